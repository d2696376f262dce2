//! Which intervals of a shard have arrived, if batches are identified by the keys they hold? For sources that change
//! while they are read: there a batch cannot be identified by its number, because one more row before it would change
//! it.
//!
//! An interval begins after a position and ends with another, inclusive. Each batch is recorded as an interval before
//! it may be sent. What has no receipt is read again: recorded batches as the same interval, because they may have
//! arrived; the rest is cut again.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Position;

/// What is left to read of a shard: after `from`, up to `to` inclusive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Whether its rows may have been sent before the program ended.
    pub doubt: bool,
}

/// What is known about a shard's intervals.
#[derive(Default)]
pub struct Intervals {
    /// Intervals with receipts or without rows: in order, and none touches the next.
    covered: Vec<(Position, Position)>,
    /// Batches that may have been sent and have no receipt.
    cut: BTreeMap<u32, (Position, Position)>,
    /// No batch has had this index or a later one.
    unused: u32,
}

impl Intervals {
    /// Notes that a batch may be sent from now on.
    pub fn cut(&mut self, index: u32, from: Position, to: Position) {
        self.unused = self.unused.max(index.saturating_add(1));
        self.cut.insert(index, (from, to));
    }

    /// Notes that a batch has arrived. Returns false if that was known.
    pub fn received(&mut self, index: u32, from: Position, to: Position) -> bool {
        self.unused = self.unused.max(index.saturating_add(1));
        if self.is_covered(&from, &to) {
            return false;
        }
        self.cut.remove(&index);
        self.cover(from, to);
        true
    }

    /// Notes that nothing is left of an interval.
    pub fn cover(&mut self, from: Position, to: Position) {
        let (mut from, mut to) = (from, to);
        self.covered.retain(|(start, end)| {
            let apart = *end < from || *start > to;
            if !apart {
                from = from.clone().min(start.clone());
                to = to.clone().max(end.clone());
            }
            apart
        });
        let at = self.covered.partition_point(|(start, _)| *start < from);
        self.covered.insert(at, (from, to));
        let cut = std::mem::take(&mut self.cut);
        let open = cut
            .into_iter()
            .filter(|(_, (from, to))| !self.is_covered(from, to));
        self.cut = open.collect();
    }

    /// Notes that of the batches so far, only these may have been sent without a receipt.
    pub fn only(&mut self, batches: &BTreeSet<u32>) {
        self.cut.retain(|index, _| batches.contains(index));
    }

    /// The batches that may have been sent and have no receipt.
    pub fn doubts(&self) -> BTreeSet<u32> {
        self.cut.keys().copied().collect()
    }

    /// An index that no batch has had.
    pub fn unused(&self) -> u32 {
        self.unused
    }

    /// What is left of a shard, in order.
    pub fn gaps(&self, start: &Position, end: &Position) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = Vec::new();
        let mut at = start.clone();
        let past = (end.clone(), end.clone());
        for (from, to) in self.covered.iter().chain([&past]) {
            let until = from.min(end);
            if at < *until {
                self.divide(&at, until, &mut gaps);
            }
            if *to > at {
                at = to.clone();
            }
        }
        gaps
    }

    /// Divides a gap into pieces that were recorded as batches, and the rest.
    fn divide(&self, from: &Position, to: &Position, gaps: &mut Vec<Gap>) {
        let mut bounds = BTreeSet::from([from, to]);
        let ends = self.cut.values().flat_map(|(start, end)| [start, end]);
        bounds.extend(ends.filter(|bound| *bound > from && *bound < to));
        let bounds: Vec<&Position> = bounds.into_iter().collect();
        for pair in bounds.windows(2) {
            let (from, to) = (pair[0].clone(), pair[1].clone());
            let holds = |(start, end): &(Position, Position)| *start <= from && to <= *end;
            let doubt = self.cut.values().any(holds);
            match gaps.last_mut() {
                Some(last) if last.to == from && last.doubt == doubt => last.to = to,
                _ => gaps.push(Gap { from, to, doubt }),
            }
        }
    }

    fn is_covered(&self, from: &Position, to: &Position) -> bool {
        let at = self.covered.partition_point(|(start, _)| start <= from);
        at.checked_sub(1)
            .is_some_and(|at| *to <= self.covered[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Key;

    fn at(key: i64) -> Position {
        match key {
            0 => Position::Start,
            99 => Position::End,
            key => Position::After(Key::Int(key)),
        }
    }

    fn gaps(intervals: &Intervals) -> Vec<(Position, Position, bool)> {
        let gaps = intervals.gaps(&Position::Start, &Position::End);
        gaps.into_iter().map(|g| (g.from, g.to, g.doubt)).collect()
    }

    #[test]
    fn what_was_cut_is_in_doubt_until_it_is_received() {
        let mut shard = Intervals::default();
        assert_eq!(gaps(&shard), [(at(0), at(99), false)]);
        shard.cut(0, at(0), at(5));
        shard.cut(1, at(5), at(9));
        shard.cut(2, at(9), at(12));
        assert!(shard.received(1, at(5), at(9)));
        assert!(!shard.received(1, at(5), at(9)));
        assert_eq!(
            gaps(&shard),
            [
                (at(0), at(5), true),
                (at(9), at(12), true),
                (at(12), at(99), false)
            ]
        );
        assert_eq!(shard.doubts(), BTreeSet::from([0, 2]));
        assert_eq!(shard.unused(), 3);
        shard.only(&BTreeSet::from([2]));
        // When read again, it is cut into other batches.
        shard.cut(3, at(0), at(3));
        assert!(shard.received(3, at(0), at(3)));
        assert_eq!(
            gaps(&shard),
            [
                (at(3), at(5), false),
                (at(9), at(12), true),
                (at(12), at(99), false)
            ]
        );
        shard.cover(at(3), at(5));
        shard.cut(4, at(9), at(10));
        assert!(shard.received(4, at(9), at(10)));
        assert_eq!(
            gaps(&shard),
            [(at(10), at(12), true), (at(12), at(99), false)]
        );
        shard.cover(at(10), at(99));
        assert!(gaps(&shard).is_empty() && shard.doubts().is_empty());
    }

    #[test]
    fn a_shard_is_looked_at_between_its_ends() {
        let mut shard = Intervals::default();
        shard.cover(at(2), at(4));
        let gaps = shard.gaps(&at(3), &at(7));
        assert_eq!(
            gaps,
            [Gap {
                from: at(4),
                to: at(7),
                doubt: false
            }]
        );
        assert!(shard.gaps(&at(2), &at(4)).is_empty());
    }
}
