//! Which rows of a shard does a sample include? The first, the last, and one of each range between.
//! Pure: the same for the same seed.

/// Rows of a shard, ascending.
pub struct Picks {
    rows: u64,
    picks: u64,
    seed: u64,
    next: u64,
}

impl Picks {
    /// About `wanted` rows of a target's `all`, spread over its shards by their length: at least two of this one.
    pub fn of(rows: u64, all: u64, wanted: u64, seed: u64) -> Picks {
        let share = u128::from(wanted) * u128::from(rows);
        let share = share.div_ceil(u128::from(all.max(1))) as u64;
        Picks {
            rows,
            picks: share.max(2).min(rows),
            seed,
            next: 0,
        }
    }
}

impl Iterator for Picks {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let number = self.next;
        if number == self.picks {
            return None;
        }
        self.next += 1;
        let bound =
            |n: u64| (u128::from(n) * u128::from(self.rows) / u128::from(self.picks)) as u64;
        let (first, after) = (bound(number), bound(number + 1));
        Some(if number == 0 {
            first
        } else if number + 1 == self.picks {
            after - 1
        } else {
            first + crate::digest::chained(number, &self.seed.to_le_bytes()) % (after - first)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_are_among_them_and_none_comes_twice() {
        for (rows, all, wanted) in [
            (1, 1, 5),
            (2, 9, 1),
            (7, 7, 7),
            (1000, 4000, 40),
            (u64::MAX, u64::MAX, 9),
        ] {
            let picks: Vec<u64> = Picks::of(rows, all, wanted, 7).collect();
            assert_eq!((picks[0], picks[picks.len() - 1]), (0, rows - 1));
            assert!(picks.is_sorted_by(|a, b| a < b), "{picks:?}");
        }
        assert_eq!(Picks::of(1000, 4000, 40, 7).count(), 10);
        assert_eq!(Picks::of(0, 0, 40, 7).count(), 0);
        let of = |seed| Picks::of(1000, 1000, 40, seed).collect::<Vec<u64>>();
        assert_ne!(of(1), of(2));
    }
}
