//! How did a run go over time? What had arrived at each moment, and what was put off meanwhile; bounded by what a page
//! shows.

use crate::limits;

/// Milliseconds between the first points.
const STEP_MS: u64 = 100;

/// The course of a run. Its points get sparser as it goes on, so that their number stays bounded.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// What had arrived, and when.
    pub points: Vec<Point>,
    /// Why requests were put off.
    pub put_off: Vec<PutOff>,
    /// How many times `step` has doubled.
    doubled: u32,
    last: Point,
}

/// What had arrived at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds since the start.
    pub ms: u64,
    /// Rows with a receipt, this attempt.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Requests that were put off for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOff {
    /// Why.
    pub why: String,
    /// How many.
    pub times: u64,
    /// Milliseconds from the start to the first.
    pub first_ms: u64,
    /// The same to the last.
    pub last_ms: u64,
}

impl Course {
    /// Notes a receipt. Several threads call this: late ones are ignored.
    pub fn delivered(&mut self, ms: u64, rows: u64, bytes: u64) {
        if ms < self.last.ms || rows < self.last.rows {
            return;
        }
        self.last = Point { ms, rows, bytes };
        let step = STEP_MS << self.doubled;
        let is_due = self.points.last().is_none_or(|last| ms - last.ms >= step);
        if !is_due {
            return;
        }
        if self.points.len() == limits::COURSE_POINTS_MAX {
            let mut number = 0;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.doubled += 1;
        }
        self.points.push(self.last);
    }

    /// Notes a request that was put off.
    pub fn put_off(&mut self, ms: u64, why: &str) {
        let is_full = self.put_off.len() == limits::COURSE_REASONS_MAX;
        let found = match self.put_off.iter().position(|put_off| put_off.why == why) {
            None if is_full => Some(limits::COURSE_REASONS_MAX - 1),
            found => found,
        };
        match found {
            Some(at) => {
                let put_off = &mut self.put_off[at];
                if put_off.why != why {
                    put_off.why = "other reasons".to_owned();
                }
                put_off.times += 1;
                put_off.last_ms = ms;
            }
            None => self.put_off.push(PutOff {
                why: why.to_owned(),
                times: 1,
                first_ms: ms,
                last_ms: ms,
            }),
        }
    }

    /// All points, the last receipt's included.
    pub fn all(&self) -> Vec<Point> {
        let mut points = self.points.clone();
        if points.last() != Some(&self.last) {
            points.push(self.last);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_any_length_has_a_bounded_course_from_its_beginning_to_its_end() {
        for hours in [0, 1, 100] {
            let mut course = Course::default();
            let end = 2_000 + hours * 3_600_000;
            for ms in (10..=end).step_by(50) {
                course.delivered(ms, ms * 7, ms * 700);
            }
            let points = course.all();
            assert!(points.len() <= limits::COURSE_POINTS_MAX + 1);
            assert!(points.len() >= 20, "{}", points.len());
            assert_eq!(points[0].ms, 10);
            let last = points[points.len() - 1];
            assert_eq!((last.ms, last.rows), (end - 40, (end - 40) * 7));
            assert!(
                points
                    .windows(2)
                    .all(|two| two[0].ms < two[1].ms && two[0].rows < two[1].rows)
            );
        }
    }

    #[test]
    fn reasons_are_counted_and_bounded() {
        let mut course = Course::default();
        for number in 0..100 {
            course.put_off(number, "rate limit");
            course.put_off(number, &format!("reason {number}"));
        }
        assert_eq!(course.put_off.len(), limits::COURSE_REASONS_MAX);
        assert_eq!(
            (course.put_off[0].times, course.put_off[0].last_ms),
            (100, 99)
        );
        let times: u64 = course.put_off.iter().map(|put_off| put_off.times).sum();
        assert_eq!(times, 200);
        assert_eq!(course.put_off.last().unwrap().why, "other reasons");
    }
}
