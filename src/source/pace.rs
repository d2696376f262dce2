//! How fast may a server be read? Spares servers that have other clients too.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::job::Setting;

/// The setting of a job.
pub const ROWS_PER_S: Setting = Setting::number(
    "rows_per_s",
    (1, u64::MAX),
    "how many rows are read per second at most, to spare the server",
);

/// Lets this many rows through per second.
pub struct Pace {
    rows_per_s: Option<u64>,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// `None` for no limit.
    pub fn new(rows_per_s: Option<u64>) -> Pace {
        Pace {
            rows_per_s,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// How many of these rows may be requested at a time: no wait is longer than a second per reader.
    #[cfg(any(feature = "chroma", feature = "pinecone", feature = "qdrant"))]
    pub fn most(&self, rows: u64) -> u64 {
        rows.min(self.rows_per_s.unwrap_or(u64::MAX)).max(1)
    }

    /// Waits until this many more rows may be read.
    pub fn take(&self, rows: u64) {
        let Some(rate) = self.rows_per_s else {
            return;
        };
        let wait = {
            let mut free_at = self.free_at.lock().expect("no one panics with it locked");
            let start = (*free_at).max(Instant::now());
            *free_at = start + Duration::from_secs_f64(rows as f64 / rate as f64);
            start.saturating_duration_since(Instant::now())
        };
        std::thread::sleep(wait);
    }
}
