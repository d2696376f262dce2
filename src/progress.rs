//! How far? Counters that threads add to and anyone may look at.
//! Calls nobody back and steers nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Counters of a run.
pub struct Progress {
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
    waiting: Mutex<Option<String>>,
}

/// What the counters were at one moment.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Snapshot {
    /// Rows that will have travelled at the end; those of earlier attempts included.
    pub rows_total: u64,
    /// Bytes of vectors and ids of these.
    pub bytes_total: u64,
    /// Rows with a receipt; those of earlier attempts included.
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
    /// Of these, seconds until the last batch was done with: it has its receipt, or all its rows were left out, or, in a
    /// verification, it was compared. In a run that is done, what comes after is the destination making all lasting.
    /// `None` before the first of this attempt.
    pub last_receipt_seconds: Option<f64>,
    /// What is waited for, if anything.
    pub waiting: Option<String>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
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
        }
    }
}

impl Progress {
    /// Says how much there is.
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
        // Several threads deliver: none may set it back.
        self.last_receipt_ms.fetch_max(ms, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = None;
        }
    }

    /// Counts an attempt beyond the first, and says what is waited for.
    pub fn retry(&self, why: String) {
        self.retries.fetch_add(1, Relaxed);
        self.wait_for(Some(why));
    }

    /// Says what is waited for.
    pub fn wait_for(&self, what: Option<String>) {
        if let Ok(mut waiting) = self.waiting.lock() {
            *waiting = what;
        }
    }

    /// When the last receipt came; the start, when none has.
    pub fn last_receipt(&self) -> Instant {
        self.started + std::time::Duration::from_millis(self.last_receipt_ms.load(Relaxed))
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
            waiting: self.waiting.lock().ok().and_then(|w| w.clone()),
        }
    }
}
