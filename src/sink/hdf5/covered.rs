//! Which rows of a file have arrived? Ranges, joined where they touch.
//! Pure: knows only numbers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};

/// The rows that have arrived.
#[derive(Default)]
pub struct Covered(BTreeMap<u64, u64>);

impl Covered {
    /// Adds a range; neighbours are joined.
    pub fn add(&mut self, rows: Range<u64>) {
        let (mut start, mut end) = (rows.start, rows.end);
        if let Some((s, e)) = self.0.range(..=start).next_back()
            && *e >= start
        {
            (start, end) = (*s, end.max(*e));
        }
        while let Some((s, e)) = self.0.range(start..=end).next() {
            let s = *s;
            end = end.max(*e);
            self.0.remove(&s);
        }
        if start < end {
            self.0.insert(start, end);
        }
    }

    /// Returns an error unless every row of the target arrived.
    pub fn check(&self, target: &Target, path: &Path) -> Result<()> {
        let came: u64 = self.0.iter().map(|(s, e)| e - s).sum();
        if came == target.rows {
            return Ok(());
        }
        let what = format!("{} rows were announced, but {came} arrived", target.rows);
        Err(Error::path(Kind::Differs, path, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_in_any_order() {
        let mut covered = Covered::default();
        for rows in [5..6, 0..2, 8..9, 2..5, 0..2, 6..8, 3..7, 9..9] {
            covered.add(rows);
        }
        assert_eq!(covered.0, BTreeMap::from([(0, 9)]));
    }
}
