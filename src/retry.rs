//! How long to wait? The schedule of waits between attempts.
//! Pure: uses no clock, and no randomness except its seed.

use std::time::Duration;

/// Growing, jittered waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    next_ms: u64,
    max_ms: u64,
    seed: u64,
}

impl Backoff {
    /// For "later" and silence: from `first` (100 ms), growing a hundredfold.
    pub fn short(first: Duration, seed: u64) -> Backoff {
        let first_ms = first.as_millis() as u64;
        Backoff {
            next_ms: first_ms,
            max_ms: first_ms * 100,
            seed,
        }
    }

    /// For a full destination: from 50 times `first` (5 s), growing to 600 times. It needs an operator, not speed.
    pub fn long(first: Duration, seed: u64) -> Backoff {
        let first_ms = first.as_millis() as u64;
        Backoff {
            next_ms: first_ms * 50,
            max_ms: first_ms * 600,
            seed,
        }
    }

    /// The next wait: between half of the schedule and all of it, so that threads do not retry at the same moment.
    pub fn wait(&mut self) -> Duration {
        let full = self.next_ms;
        self.next_ms = (full * 2).min(self.max_ms);
        // xorshift64*
        self.seed = self.seed.max(1);
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        let random = self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        Duration::from_millis(full / 2 + random % (full / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_differ_by_seed() {
        let waits = |seed| -> Vec<u64> {
            let mut backoff = Backoff::short(Duration::from_millis(100), seed);
            (0..12).map(|_| backoff.wait().as_millis() as u64).collect()
        };
        let (a, b) = (waits(1), waits(2));
        assert_ne!(a, b);
        assert!((50..=100).contains(&a[0]), "{a:?}");
        assert!(a[8..].iter().all(|w| (5_000..=10_000).contains(w)), "{a:?}");
        assert_eq!(a, waits(1));
    }
}
