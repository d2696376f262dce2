//! How long does a run wait, and when does it give up?

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::job::RunSettings;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::retry::Backoff;
use crate::sink::Parcel;

use super::{LOOK, Run, Stop};

/// Does something that is safe to repeat, until it succeeds or the job's patience ends.
pub fn patiently<T>(
    settings: &RunSettings,
    progress: &Progress,
    stop: &Stop,
    mut deed: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut patience = Patience::new(settings, progress, 0);
    loop {
        match deed() {
            Ok(done) => {
                progress.moves();
                return Ok(done);
            }
            Err(error) => sleep(patience.wait(error)?, &|| stop.check())?,
        }
    }
}

pub(super) fn sleep(wait: Duration, check: &dyn Fn() -> Result<()>) -> Result<()> {
    let end = Instant::now() + wait;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// How much longer to wait for a destination.
pub(super) struct Patience<'a> {
    progress: &'a Progress,
    total: Duration,
    since: Option<Instant>,
    short: Backoff,
    long: Backoff,
}

impl<'a> Patience<'a> {
    pub(super) fn new(settings: &RunSettings, progress: &'a Progress, seed: u64) -> Self {
        let first = settings.first_wait;
        Patience {
            progress,
            total: settings.patience,
            since: None,
            short: Backoff::short(first, seed),
            long: Backoff::long(first, seed),
        }
    }

    /// Notes a success: the next thing may take as long again.
    pub(super) fn ended(&mut self) {
        self.since = None;
    }

    /// How long to wait before the next attempt. Returns the error if waiting cannot help, or if patience has ended.
    pub(super) fn wait(&mut self, error: Error) -> Result<Duration> {
        let wait = match error.kind() {
            Kind::Busy | Kind::Unreachable | Kind::Lost | Kind::Slow | Kind::TooMuch => {
                self.short.wait()
            }
            Kind::Full => self.long.wait(),
            _ => return Err(error),
        };
        // A destination that accepts other batches is alive: patience counts from its last sign of life.
        let since = *self.since.get_or_insert_with(Instant::now);
        let silent = since.max(self.progress.last_receipt()).elapsed();
        if silent + wait > self.total {
            let what = format!("gave up after {} s: {}", self.total.as_secs(), error.what());
            let ended = Error::new(error.kind(), what).hint(match error.kind() {
                Kind::Slow | Kind::TooMuch => {
                    "the same command continues where this one stopped; `run: {batch: 64KiB}` sends less at a time"
                }
                _ => "the same command continues where this one stopped; `run: {patience: 1h}` waits longer",
            });
            return Err(match error.place() {
                Some(place) => ended.at(place.clone()),
                None => ended,
            });
        }
        self.progress
            .retry(format!("{error:#}"), silent, self.total);
        tracing::info!(wait_ms = wait.as_millis() as u64, "waiting: {error:#}");
        Ok(wait)
    }
}

/// Keeps below the rates the job allows.
pub(super) struct Pace {
    rows_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(plan: &Plan) -> Pace {
        Pace {
            rows_per_s: plan.settings.max_rows_per_s,
            bytes_per_s: plan.settings.max_bytes_per_s,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for this parcel's turn.
    pub(super) fn take(&self, run: &Run<'_>, parcel: &Parcel) -> Result<()> {
        let seconds =
            |amount: u64, rate: Option<u64>| rate.map_or(0.0, |r| amount as f64 / r as f64);
        let cost = seconds(u64::from(parcel.rows), self.rows_per_s)
            .max(seconds(parcel.payload_bytes, self.bytes_per_s));
        if cost == 0.0 {
            return Ok(());
        }
        let wait = {
            let mut free_at = self
                .free_at
                .lock()
                .expect("no one panics with the pace locked");
            let now = Instant::now();
            let start = (*free_at).max(now);
            *free_at = start + Duration::from_secs_f64(cost);
            start - now
        };
        sleep(wait, &|| run.check())
    }
}
