//! How do rows that are read in blocks become batches? Cut by the size of their values, independent of the blocks.

use std::collections::VecDeque;

use crate::batch::{Cut, Limits, Part, Position};
use crate::error::Result;

/// How many rows of a page's average size fit into a batch.
#[cfg(feature = "network")]
pub fn fitting(page: &Part, limits: Limits) -> u64 {
    let each = (page.bytes() / (page.len() as u64).max(1)).max(1);
    (limits.batch_bytes / each).clamp(1, limits.batch_rows.max(1))
}

/// A page from a server, in pieces that fit into batches; none is empty.
#[cfg(feature = "network")]
pub fn pieces(page: &Part, limits: Limits) -> Vec<Part> {
    let fits = fitting(page, limits) as usize;
    let (mut first, mut all) = (0, Vec::new());
    while first < page.len() {
        let mut count = fits.min(page.len() - first);
        let mut part = page.slice(first, count);
        while count > 1 && part.bytes() > limits.batch_bytes {
            count /= 2;
            part = page.slice(first, count);
        }
        first += count;
        all.push(part);
    }
    all
}

/// Cuts the rows of one file, in order.
pub struct Cutter {
    limits: Limits,
    /// The row where reading stops.
    end: u64,
    /// Rows that were read but not yet returned.
    held: VecDeque<Part>,
}

impl Cutter {
    /// A cutter of rows up to this one.
    pub fn new(limits: Limits, end: u64) -> Cutter {
        Cutter {
            limits,
            end,
            held: VecDeque::new(),
        }
    }

    /// The next cut; `more` reads a block as non-empty parts, or reports that there is none.
    pub fn next(
        &mut self,
        mut more: impl FnMut() -> Result<Option<Vec<Part>>>,
    ) -> Result<Option<Cut>> {
        let mut parts: Vec<Part> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let Some(part) = self.held.pop_front() else {
                match more()? {
                    Some(block) => self.held.extend(block),
                    None => break,
                }
                continue;
            };
            let fits = self.fitting(&part, rows, bytes);
            let is_split = fits < part.len();
            if is_split {
                self.held.push_front(part.slice(fits, part.len() - fits));
            }
            if fits > 0 {
                let part = part.slice(0, fits);
                (rows, bytes) = (rows + fits as u64, bytes + part.bytes());
                parts.push(part);
            }
            if is_split || rows == self.limits.batch_rows {
                break;
            }
        }
        let Some(last) = parts.last() else {
            return Ok(None);
        };
        let next = Position::Row((last.row + last.len() as u64).min(self.end));
        Ok(Some(Cut { parts, next }))
    }

    /// How many rows of a part fit into a cut that has some already; at least one if it has none.
    fn fitting(&self, part: &Part, rows: u64, bytes: u64) -> usize {
        let most = self
            .limits
            .batch_rows
            .max(1)
            .saturating_sub(rows)
            .min(part.len() as u64) as usize;
        let room = self.limits.batch_bytes.saturating_sub(bytes);
        // The bytes of the first rows grow with their number.
        let (mut fit, mut above) = (0, most + 1);
        while above - fit > 1 {
            let middle = fit + (above - fit) / 2;
            match part.slice(0, middle).bytes() <= room {
                true => fit = middle,
                false => above = middle,
            }
        }
        fit.max(usize::from(rows == 0 && most > 0))
    }
}
