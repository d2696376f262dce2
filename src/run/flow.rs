//! How many requests at a time, and how fast? Derived from answers: what was accepted when, and what was put off.
//! Pure: the caller passes the time in; it starts, sends and waits for nothing.
//!
//! Two separate questions. *Places*: one more request in flight is kept if throughput then rose; one
//! fewer, if it did not fall. *Pace*: once a destination has said "later", requests go out at the rate it was last
//! seen to accept them, and a little faster with each it accepts, until it says "later" again.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Answers for each place in one measuring interval, at least.
const ANSWERS_PER_PLACE: u32 = 4;
/// How long an interval lasts at least.
const STRETCH: Duration = Duration::from_millis(250);
/// By how much throughput has to rise for one more place.
const GAIN: f64 = 1.03;
/// Intervals between trials at most, if trial after trial changed nothing.
const REST_MAX: u32 = 32;
/// How much faster each request is than the last while none is refused: at least, if the pace is known well, and at
/// most, if it still has to be found.
const STEP: RangeInclusive<f64> = 0.006..=0.5;
/// Requests without a refusal after which steps double: the limit may have been raised.
const STEP_DOUBLES: u32 = 24;
/// A stall as long as this many requests at the former pace has another cause: a server was down, or a limit changed.
const LONG_STALL: f64 = 8.0;
/// How many of the last requests the accepted rate is measured over: enough for a burst, and the debt after it, to even
/// out.
const SEEN: usize = 16;
/// How much longer than the first pause the longest is.
const PAUSES: u32 = 100;
/// Smaller requests help nobody.
const SIZE_MIN: u64 = 64 << 10;
/// No request is larger.
const SIZE_MAX: u64 = 128 << 20;
/// Punctual requests after which they may be twice as large again.
const SIZE_DOUBLES: u32 = 16;
/// How late a request may be without delaying the next one.
const SLACK: Duration = Duration::from_millis(50);

/// What has been learnt about a destination.
pub struct Flow {
    places: Places,
    pace: Pace,
    size: Size,
}

/// How much travels together, once a request took too long.
#[derive(Default)]
struct Size {
    most: Option<u64>,
    unhurried: u32,
}

/// How many requests at a time.
struct Places {
    bounds: RangeInclusive<usize>,
    limit: usize,
    out: usize,
    since: Instant,
    answers: u32,
    bytes: u64,
    /// The limit before a trial, and bytes a second in the last interval at it.
    before: Option<(usize, f64)>,
    /// Which way the next trial goes.
    up: bool,
    /// Intervals to wait until the next trial, and after it if it changes nothing.
    rest: (u32, u32),
}

/// How fast.
struct Pace {
    /// Bytes a second; `None` while nothing was ever put off.
    rate: Option<f64>,
    step: f64,
    unrefused: u32,
    /// When the next request may go out.
    free_at: Instant,
    /// The first refusal since the last accepted request.
    stalled: Option<Instant>,
    /// When the last requests were accepted, and the bytes of each.
    taken: VecDeque<(Instant, u64)>,
    pause: Duration,
    first_pause: Duration,
}

impl Flow {
    /// Begins with the lower bound of requests at a time. After a refusal the first pause is
    /// `first_pause`; further ones grow a hundredfold.
    pub fn new(bounds: RangeInclusive<usize>, first_pause: Duration, now: Instant) -> Flow {
        Flow {
            places: Places {
                limit: *bounds.start(),
                bounds: 1..=*bounds.end(),
                out: 0,
                since: now,
                answers: 0,
                bytes: 0,
                before: None,
                up: true,
                // Equal bounds leave no choice.
                rest: match bounds.start() == bounds.end() {
                    true => (u32::MAX, u32::MAX),
                    false => (1, 1),
                },
            },
            pace: Pace {
                rate: None,
                step: *STEP.end(),
                unrefused: 0,
                free_at: now,
                stalled: None,
                taken: VecDeque::from([(now, 0)]),
                pause: first_pause,
                first_pause,
            },
            size: Size::default(),
        }
    }

    /// Whether this many bytes may go out together.
    pub fn fits(&self, bytes: u64) -> bool {
        self.size.most.is_none_or(|most| bytes <= most)
    }

    /// Notes that a request of this many bytes took too long: half as much from now on, and one at a time.
    pub fn slow(&mut self, bytes: u64) {
        let half = (bytes / 2).max(SIZE_MIN);
        self.size.most = Some(self.size.most.map_or(half, |most| most.min(half)));
        self.size.unhurried = 0;
        self.places.limit = 1;
        self.places.before = None;
        self.places.up = true;
        self.places.rest = (REST_MAX, REST_MAX);
    }

    /// Takes a place, if one is free.
    pub fn enter(&mut self) -> bool {
        let free = self.places.out < self.places.limit;
        self.places.out += usize::from(free);
        free
    }

    /// Gives a place back.
    pub fn leave(&mut self) {
        self.places.out -= 1;
    }

    /// `None`: this many bytes may go out now. Else how long to wait before asking again.
    pub fn turn(&mut self, now: Instant, bytes: u64) -> Option<Duration> {
        let pace = &mut self.pace;
        if pace.rate.is_none() && pace.stalled.is_none() {
            return None;
        }
        if let Some(wait) = pace.free_at.checked_duration_since(now)
            && !wait.is_zero()
        {
            return Some(wait);
        }
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        pace.free_at = pace.free_at.max(earliest) + pace.time_for(bytes);
        if pace.stalled.is_some() {
            // One request tries; the others wait for its outcome.
            pace.free_at = pace.free_at.max(now + pace.pause);
        }
        None
    }

    /// Notes that a request was accepted.
    pub fn accepted(&mut self, now: Instant, bytes: u64) {
        self.pace.accepted(now, bytes);
        self.places.accepted(now, bytes);
        if let Some(most) = self.size.most {
            self.size.unhurried += 1;
            if self.size.unhurried >= SIZE_DOUBLES {
                self.size.unhurried = 0;
                // Above the size of any batch, it limits nothing.
                self.size.most = most.checked_mul(2).filter(|most| *most < SIZE_MAX);
            }
        }
    }

    /// Notes that a request that went out at `sent` was put off.
    pub fn refused(&mut self, now: Instant, sent: Instant) {
        self.pace.refused(now, sent);
    }
}

impl Pace {
    /// How long after a request of this many bytes the next may go out; no longer than the longest pause.
    fn time_for(&self, bytes: u64) -> Duration {
        let seconds = self.rate.map_or(0.0, |rate| bytes as f64 / rate);
        let longest = self.first_pause * PAUSES;
        Duration::try_from_secs_f64(seconds).map_or(longest, |time| time.min(longest))
    }

    fn accepted(&mut self, now: Instant, bytes: u64) {
        self.taken.push_back((now, bytes));
        if self.taken.len() > SEEN {
            self.taken.pop_front();
        }
        if let Some(since) = self.stalled.take() {
            let first = self.taken[0].0;
            let bytes_seen: u64 = self.taken.iter().skip(1).map(|(_, bytes)| bytes).sum();
            let seconds = now
                .saturating_duration_since(first)
                .max(SLACK)
                .as_secs_f64();
            let seen = bytes_seen as f64 / seconds;
            let stall = now.saturating_duration_since(since).as_secs_f64();
            let rate = match self.rate {
                Some(before) if stall * before < LONG_STALL * bytes as f64 => {
                    self.step = (self.step / 4.0).max(*STEP.start());
                    // Bounded: a server that refuses now and then for other reasons must not bring the pace to zero.
                    seen.clamp(before * 0.9, before * 0.97)
                }
                _ => {
                    self.step = *STEP.end();
                    seen
                }
            };
            self.rate = Some(rate);
            self.free_at = now + self.time_for(bytes);
            self.unrefused = 0;
            self.pause = self.first_pause;
        } else if let Some(rate) = &mut self.rate {
            self.unrefused += 1;
            if self.unrefused.is_multiple_of(STEP_DOUBLES) {
                self.step = (self.step * 2.0).min(*STEP.end());
            }
            *rate *= 1.0 + self.step;
        }
    }

    fn refused(&mut self, now: Instant, sent: Instant) {
        match self.stalled {
            None => self.stalled = Some(now),
            // It was already on its way when the first was refused, so this is nothing new.
            Some(first) if sent < first => {}
            Some(_) => self.pause = (self.pause * 2).min(self.first_pause * PAUSES),
        }
        self.free_at = self.free_at.max(now + self.pause);
    }
}

impl Places {
    fn accepted(&mut self, now: Instant, bytes: u64) {
        self.answers += 1;
        self.bytes += bytes;
        let seconds = now.saturating_duration_since(self.since);
        if self.answers < ANSWERS_PER_PLACE * self.limit as u32 || seconds < STRETCH {
            return;
        }
        let rate = self.bytes as f64 / seconds.as_secs_f64();
        (self.since, self.answers, self.bytes) = (now, 0, 0);
        match self.before.take() {
            Some((limit, before)) => {
                let wanted = if self.limit > limit { GAIN } else { 1.0 / GAIN };
                if rate >= before * wanted {
                    self.rest = (1, 1);
                } else {
                    self.limit = limit;
                    self.up = !self.up;
                    let longer = (self.rest.1 * 2).min(REST_MAX);
                    self.rest = (longer, longer);
                }
            }
            None if self.rest.0 > 1 => self.rest.0 -= 1,
            None => {
                let tried = match self.up {
                    true => self.limit + 1,
                    false => self.limit - 1,
                };
                if self.bounds.contains(&tried) {
                    self.before = Some((self.limit, rate));
                    self.limit = tried;
                } else {
                    self.up = !self.up;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A destination: whether it takes this many bytes now, and after how long it answers while this many
    /// requests are out.
    trait Destination {
        fn takes(&mut self, now: Duration, bytes: u64) -> bool;
        fn answers_after(&self, out: usize) -> Duration;
    }

    /// What came of a simulated run, its first part left out.
    #[derive(Default, Debug)]
    struct Seen {
        taken: u32,
        refused: u32,
        bytes_per_s: f64,
        places: f64,
    }

    /// Requests of `bytes` each, as fast as the flow lets them, for `seconds`; what is seen counts from `warm` on.
    fn simulate(
        flow: &mut Flow,
        start: Instant,
        destination: &mut dyn Destination,
        bytes: u64,
        (warm, seconds): (u64, u64),
    ) -> Seen {
        let mut seen = Seen::default();
        // Those that have a place and wait for their turn; those that are out: sent, answered at, taken.
        let (mut waiting, mut out) = (0, Vec::<(Duration, Duration, bool)>::new());
        let (warm, end) = (Duration::from_secs(warm), Duration::from_secs(seconds));
        let mut time = Duration::ZERO;
        while time < end {
            let (back, still) = out.into_iter().partition(|(_, answer, _)| *answer <= time);
            out = still;
            for (sent, answer, taken) in back {
                let counts = u32::from(time >= warm);
                if taken {
                    flow.accepted(start + answer, bytes);
                    flow.leave();
                    seen.taken += counts;
                } else {
                    flow.refused(start + answer, start + sent);
                    waiting += 1;
                    seen.refused += counts;
                }
            }
            while flow.enter() {
                waiting += 1;
            }
            while waiting > 0 && flow.turn(start + time, bytes).is_none() {
                waiting -= 1;
                let after = destination.answers_after(out.len() + 1);
                out.push((time, time + after, destination.takes(time, bytes)));
            }
            if time >= warm {
                seen.places += flow.places.limit as f64 / (end - warm).as_millis() as f64;
            }
            time += MS;
        }
        seen.bytes_per_s = f64::from(seen.taken) * bytes as f64 / (end - warm).as_secs_f64();
        seen
    }

    /// Accepts this many bytes a second, as Milvus's limiter does: a request is accepted while anything is left, and
    /// may leave a debt.
    struct Bucket {
        bytes_per_s: f64,
        left: f64,
        at: Duration,
    }

    impl Destination for Bucket {
        fn takes(&mut self, now: Duration, bytes: u64) -> bool {
            self.left += (now - self.at).as_secs_f64() * self.bytes_per_s;
            self.left = self.left.min(self.bytes_per_s);
            self.at = now;
            let takes = self.left > 0.0;
            if takes {
                self.left -= bytes as f64;
            }
            takes
        }

        fn answers_after(&self, _: usize) -> Duration {
            20 * MS
        }
    }

    #[test]
    fn below_a_rate_limit_few_requests_are_refused_and_most_of_it_is_used() {
        for (limit, bytes, seconds) in [
            (1e6, 4_200_000, 4000),
            (1e6, 260_000, 400),
            (30e6, 4_200_000, 200),
            (0.5e6, 520_000, 1000),
        ] {
            let start = Instant::now();
            let mut flow = Flow::new(4..=8, 100 * MS, start);
            let mut bucket = Bucket {
                bytes_per_s: limit,
                left: limit,
                at: Duration::ZERO,
            };
            let seen = simulate(&mut flow, start, &mut bucket, bytes, (seconds / 8, seconds));
            let share = f64::from(seen.refused) / f64::from(seen.refused + seen.taken);
            let used = seen.bytes_per_s / limit;
            assert!(share < 0.1, "{limit} {bytes}: {share} refused, {seen:?}");
            assert!(used > 0.85, "{limit} {bytes}: {used} used, {seen:?}");
        }
    }

    /// Accepts everything; a request takes `alone` if it is alone; all together at most `per_s`, less for each beyond
    /// `crowd`.
    struct Served {
        alone: Duration,
        per_s: f64,
        crowd: usize,
    }

    impl Destination for Served {
        fn takes(&mut self, _: Duration, _: u64) -> bool {
            true
        }

        fn answers_after(&self, out: usize) -> Duration {
            let beyond = out.saturating_sub(self.crowd) as f64;
            let together = out as f64 / (self.per_s / (1.0 + 0.2 * beyond));
            self.alone.max(Duration::from_secs_f64(together))
        }
    }

    #[test]
    fn more_are_in_flight_only_while_throughput_rises() {
        let check = |mut served: Served, expected: RangeInclusive<f64>| {
            let start = Instant::now();
            let mut flow = Flow::new(2..=8, 100 * MS, start);
            let seen = simulate(&mut flow, start, &mut served, 4 << 20, (60, 240));
            assert!(expected.contains(&seen.places), "{seen:?}");
            assert_eq!(seen.refused, 0);
        };
        let served = |alone, per_s, crowd| Served {
            alone: alone * MS,
            per_s,
            crowd,
        };
        check(served(200, 1000.0, 8), 7.0..=8.0); // Far away: as many as there may be.
        check(served(200, 20.0, 8), 3.5..=5.0); // Four of 200 ms make 20 a second.
        check(served(50, 10.0, 8), 1.0..=2.5); // One at a time is all it does.
        check(served(100, 20.0, 2), 1.5..=2.7); // More are in each other's way.
    }

    #[test]
    fn a_number_that_was_set_stays() {
        let start = Instant::now();
        let mut flow = Flow::new(3..=3, 100 * MS, start);
        let mut far = Served {
            alone: 200 * MS,
            per_s: 1000.0,
            crowd: 8,
        };
        let seen = simulate(&mut flow, start, &mut far, 4 << 20, (0, 60));
        assert!((seen.places - 3.0).abs() < 1e-6, "{seen:?}");
    }

    /// Puts everything off for a while.
    struct Down(std::ops::Range<u64>);

    impl Destination for Down {
        fn takes(&mut self, now: Duration, _: u64) -> bool {
            !self.0.contains(&now.as_secs())
        }

        fn answers_after(&self, _: usize) -> Duration {
            20 * MS
        }
    }

    #[test]
    fn a_minute_of_later_is_not_taken_for_a_pace() {
        for bytes in [48, 4_200_000] {
            let start = Instant::now();
            let mut flow = Flow::new(4..=4, 100 * MS, start);
            let seen = simulate(&mut flow, start, &mut Down(5..65), bytes, (90, 100));
            let all = 200.0 * bytes as f64;
            assert!(seen.bytes_per_s > 0.9 * all, "of {all}: {seen:?}");
        }
    }

    #[test]
    fn a_limit_that_is_raised_is_found_again() {
        let start = Instant::now();
        let mut flow = Flow::new(4..=8, 100 * MS, start);
        let mut bucket = Bucket {
            bytes_per_s: 1e6,
            left: 1e6,
            at: Duration::ZERO,
        };
        simulate(&mut flow, start, &mut bucket, 260_000, (0, 200));
        (bucket.bytes_per_s, bucket.at) = (20e6, Duration::ZERO);
        let later = start + Duration::from_secs(200);
        let mut flow = Flow {
            places: Places {
                out: 0,
                ..flow.places
            },
            ..flow
        };
        let seen = simulate(&mut flow, later, &mut bucket, 260_000, (60, 120));
        assert!(seen.bytes_per_s > 0.85 * 20e6, "{seen:?}");
    }
}
