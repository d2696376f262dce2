//! How far is a command? Counters that threads add to, and its phase, for anyone to read.
//! Calls nothing back and controls nothing.

mod course;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use course::{Course, Point, PutOff};

/// What a command is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Looking at the job, its source and its destination.
    Planning,
    /// Looking for keys that repeat or already exist.
    CheckingKeys,
    /// Reading, packing and delivering rows.
    Sending,
    /// The destination makes everything durable.
    Flushing,
    /// The destination builds an index.
    Indexing,
    /// The destination loads a collection.
    Loading,
    /// Rows are counted.
    Counting,
    /// Rows are read back and compared.
    Verifying,
}

impl Phase {
    /// All of them, in the order of a run.
    pub const ALL: [Phase; 8] = [
        Phase::Planning,
        Phase::CheckingKeys,
        Phase::Sending,
        Phase::Flushing,
        Phase::Indexing,
        Phase::Loading,
        Phase::Counting,
        Phase::Verifying,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Planning => "planning",
            Phase::CheckingKeys => "checking keys",
            Phase::Sending => "sending",
            Phase::Flushing => "flushing",
            Phase::Indexing => "indexing",
            Phase::Loading => "loading",
            Phase::Counting => "counting",
            Phase::Verifying => "verifying",
        })
    }
}

/// What a command is doing, and for which target. Clones share the state.
#[derive(Clone)]
pub struct Doing(Arc<Mutex<State>>);

struct State {
    now: Now,
    /// Seconds spent in each phase that has ended.
    spent: BTreeMap<Phase, Duration>,
    /// Targets that still get rows: while there are any, work on full ones is not a phase of its own.
    filling: u64,
    /// The phase to be in when the last of them is full.
    next: Option<(Phase, String)>,
}

/// What is being done at a moment.
#[derive(Clone, Debug)]
pub struct Now {
    /// The phase.
    pub phase: Phase,
    /// The target; empty: everything.
    pub target: String,
    /// Percent done, if known other than by rows.
    pub percent: Option<u64>,
    /// Since when.
    pub since: Instant,
}

impl Default for Doing {
    fn default() -> Doing {
        Doing(Arc::new(Mutex::new(State {
            now: Now {
                phase: Phase::Planning,
                target: String::new(),
                percent: None,
                since: Instant::now(),
            },
            spent: BTreeMap::new(),
            filling: 0,
            next: None,
        })))
    }
}

impl Doing {
    /// Begins a phase, for a target or for everything (`""`); has no effect if it is the current one.
    pub fn begin(&self, phase: Phase, target: &str) {
        let mut state = self.lock();
        if state.filling > 0 && phase > Phase::Sending {
            state.next = Some((phase, target.to_owned()));
        } else {
            state.begin(phase, target.to_owned());
        }
    }

    /// Sets how far this phase is, in percent.
    pub fn percent(&self, percent: u64) {
        let mut state = self.lock();
        if state.filling == 0 {
            state.now.percent = Some(percent.min(100));
        }
    }

    /// Sets how many targets get rows from now on.
    pub fn filling(&self, targets: u64) {
        let mut state = self.lock();
        state.filling = targets;
        state.next = None;
        if targets > 0 {
            state.begin(Phase::Sending, String::new());
        }
    }

    /// Notes that one of them is full.
    pub fn filled(&self) {
        let mut state = self.lock();
        state.filling = state.filling.saturating_sub(1);
        if state.filling == 0
            && let Some((phase, target)) = state.next.take()
        {
            state.begin(phase, target);
        }
    }

    /// What is being done now.
    pub fn now(&self) -> Now {
        self.lock().now.clone()
    }

    /// Seconds spent in each phase so far.
    pub fn seconds(&self) -> BTreeMap<Phase, f64> {
        let state = self.lock();
        let mut spent = state.spent.clone();
        *spent.entry(state.now.phase).or_default() += state.now.since.elapsed();
        let seconds = spent
            .into_iter()
            .map(|(phase, time)| (phase, time.as_secs_f64()));
        seconds.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, phase: Phase, target: String) {
        if self.now.phase == phase && self.now.target == target {
            return;
        }
        let elapsed = self.now.since.elapsed();
        *self.spent.entry(self.now.phase).or_default() += elapsed;
        self.now = Now {
            phase,
            target,
            percent: None,
            since: Instant::now(),
        };
    }
}

/// What a run is waiting for.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Why, in a line.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
    /// When the run gives up.
    pub until: SystemTime,
}

/// Counters of a run.
pub struct Progress {
    doing: Doing,
    started: Instant,
    rows_total: AtomicU64,
    bytes_total: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    rows_read: AtomicU64,
    batches: AtomicU64,
    retries: AtomicU64,
    rows_resumed: AtomicU64,
    last_receipt_ms: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
    course: Mutex<Course>,
}

/// What the counters were at one moment.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Snapshot {
    /// Rows that will have travelled at the end, including those of earlier attempts.
    pub rows_total: u64,
    /// Bytes of vectors and ids of these.
    pub bytes_total: u64,
    /// Rows with a receipt, including those of earlier attempts.
    pub rows: u64,
    /// Bytes of vectors and ids with a receipt, this attempt.
    pub bytes: u64,
    /// Rows read, this attempt.
    pub rows_read: u64,
    /// Batches with a receipt, this attempt.
    pub batches: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Rows with a receipt from earlier attempts.
    pub rows_resumed: u64,
    /// Seconds since the start.
    pub seconds: f64,
    /// Of these, seconds until the last batch was finished: it got its receipt, or all its rows were left out, or, in a
    /// verification, it was compared. In a finished run, the time after that is the destination making everything durable.
    /// `None` before the first batch of this attempt.
    pub last_receipt_seconds: Option<f64>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::of(Doing::default())
    }
}

impl Progress {
    /// Counters at zero for a command that is doing this.
    pub fn of(doing: Doing) -> Progress {
        Progress {
            doing,
            started: Instant::now(),
            rows_total: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            rows_resumed: AtomicU64::new(0),
            last_receipt_ms: AtomicU64::new(0),
            waiting: Mutex::new(None),
            course: Mutex::default(),
        }
    }

    /// What the command is doing.
    pub fn doing(&self) -> &Doing {
        &self.doing
    }

    /// Sets how much there is.
    pub fn total(&self, rows: u64, bytes: u64) {
        self.rows_total.store(rows, Relaxed);
        self.bytes_total.store(bytes, Relaxed);
    }

    /// Counts rows that an earlier attempt delivered.
    pub fn resumed(&self, rows: u64) {
        self.rows_resumed.fetch_add(rows, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
    }

    /// Counts rows read.
    pub fn read(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Relaxed);
    }

    /// Counts a delivered batch.
    pub fn delivered(&self, rows: u64, bytes: u64) {
        let ms = self.started.elapsed().as_millis() as u64;
        // Several threads deliver: none may turn it back.
        self.last_receipt_ms.fetch_max(ms, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        let own = self
            .rows
            .load(Relaxed)
            .saturating_sub(self.rows_resumed.load(Relaxed));
        let bytes = self.bytes.load(Relaxed);
        self.lock_course().delivered(ms, own, bytes);
        self.moves();
    }

    /// Notes that the run no longer waits.
    pub fn moves(&self) {
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = None;
        }
    }

    /// Counts an attempt beyond the first, and notes what the run waits for.
    pub fn retry(&self, why: String, waited: Duration, patience: Duration) {
        self.retries.fetch_add(1, Relaxed);
        let ms = self.started.elapsed().as_millis() as u64;
        self.lock_course().put_off(ms, &why);
        self.wait(why, waited, patience);
    }

    /// How it went so far.
    pub fn course(&self) -> Course {
        self.lock_course().clone()
    }

    fn lock_course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the run waits for, for how long it has waited and how long it may.
    pub fn wait(&self, why: String, waited: Duration, patience: Duration) {
        let now = SystemTime::now();
        let since = now.checked_sub(waited).unwrap_or(now);
        let until = since.checked_add(patience).unwrap_or(now);
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = Some(Waiting { why, since, until });
        }
    }

    /// What the run waits for, if anything.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting.lock().ok().and_then(|w| w.clone())
    }

    /// When the last receipt came; the start, if none has.
    pub fn last_receipt(&self) -> Instant {
        self.started + Duration::from_millis(self.last_receipt_ms.load(Relaxed))
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            rows_total: self.rows_total.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            rows_read: self.rows_read.load(Relaxed),
            batches: self.batches.load(Relaxed),
            retries: self.retries.load(Relaxed),
            rows_resumed: self.rows_resumed.load(Relaxed),
            seconds: self.started.elapsed().as_secs_f64(),
            last_receipt_seconds: (self.batches.load(Relaxed) > 0)
                .then(|| self.last_receipt_ms.load(Relaxed) as f64 / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_for_a_full_target_is_no_phase_while_another_still_gets_rows() {
        let doing = Doing::default();
        doing.filling(2);
        assert_eq!(doing.now().phase, Phase::Sending);
        doing.filled();
        doing.begin(Phase::Flushing, "a");
        doing.percent(50);
        assert_eq!(
            (doing.now().phase, doing.now().percent),
            (Phase::Sending, None)
        );
        doing.begin(Phase::Indexing, "a");
        doing.filled();
        assert_eq!(
            (doing.now().phase, doing.now().target.as_str()),
            (Phase::Indexing, "a")
        );
        doing.percent(250);
        assert_eq!(doing.now().percent, Some(100));
        let spent: Vec<Phase> = doing.seconds().into_keys().collect();
        assert_eq!(spent, [Phase::Planning, Phase::Sending, Phase::Indexing]);
    }
}
