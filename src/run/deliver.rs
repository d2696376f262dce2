//! How is one batch delivered? With as many attempts as it takes, in halves if it is too much, and, if it may have
//! arrived, again in the way that its destination allows.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::batch::BatchId;
use crate::error::{Error, Kind, Result};
use crate::job::OnDoubt;
use crate::sink::{Attempt, Parcel, Receipt, Redelivery};
use crate::source::Files;

use super::Run;
use super::wait::{Patience, sleep};

/// What all attempts at a batch have in common.
pub(super) struct Way<'r> {
    id: BatchId,
    files: &'r Files,
    patience: Patience<'r>,
    /// Whether some of it has arrived, or may have, before the last attempt.
    again: bool,
}

impl<'r> Way<'r> {
    /// `again`: an earlier run may have sent it.
    pub(super) fn new(run: &Run<'r>, id: BatchId, files: &'r Files, again: bool) -> Way<'r> {
        let salt = u64::from(id.index).wrapping_mul(0x9e37_79b9);
        let seed = run.checkpoint.run() ^ salt;
        Way {
            id,
            files,
            patience: Patience::new(&run.plan.settings, run.progress, seed),
            again,
        }
    }
}

/// Delivers a parcel. Also returns whether an attempt other than the one with the receipt may have arrived.
pub(super) fn deliver(
    run: &Run<'_>,
    parcel: &Parcel,
    attempt: Attempt,
    way: &mut Way<'_>,
) -> Result<(Receipt, bool)> {
    let mut doubted = way.again;
    let receipt = try_whole(run, parcel, attempt, way, &mut doubted)?;
    Ok((receipt, doubted && !run.plan.sink.recognises()))
}

fn try_whole(
    run: &Run<'_>,
    parcel: &Parcel,
    mut attempt: Attempt,
    way: &mut Way<'_>,
    doubted: &mut bool,
) -> Result<Receipt> {
    if parcel.rows == 0 {
        // All its rows were left out.
        return Ok(Receipt {
            rows: 0,
            upserted: false,
        });
    }
    let bytes = parcel.body_bytes();
    loop {
        run.check()?;
        if bytes > run.body_bytes_max.load(Ordering::Relaxed) {
            let too_big = Error::new(
                Kind::TooBig,
                "is bigger than a request that was refused as too big",
            );
            return try_halves(run, parcel, attempt, way, doubted, Some(too_big));
        }
        if parcel.batch.rows() > 1 && !run.flow().fits(bytes) {
            return try_halves(run, parcel, attempt, way, doubted, None);
        }
        run.pace.take(run, parcel)?;
        run.turn(bytes)?;
        run.handed(way.id, true);
        let sent = Instant::now();
        let error = match run.plan.sink.deliver(parcel, attempt) {
            Ok(receipt) => {
                run.flow().accepted(Instant::now(), bytes);
                way.patience.ended();
                // Whatever becomes of the other half, some of this one has arrived.
                way.again = true;
                return Ok(receipt);
            }
            Err(error) => error,
        };
        let nothing_done = matches!(
            error.kind(),
            Kind::Busy | Kind::Full | Kind::Unreachable | Kind::TooBig
        );
        if nothing_done && !way.again {
            run.handed(way.id, false);
        }
        match error.kind() {
            // "Later" applies to all threads: all slow down, and the next request is the trial.
            Kind::Busy => {
                run.flow().refused(Instant::now(), sent);
                way.patience.wait(error)?;
                continue;
            }
            Kind::TooBig => {
                let largest = bytes.saturating_sub(1);
                run.body_bytes_max.fetch_min(largest, Ordering::Relaxed);
                return try_halves(run, parcel, attempt, way, doubted, Some(error));
            }
            Kind::Lost | Kind::Slow | Kind::TooMuch => {
                // A mapping that was truncated, or that cannot be read, breaks the connection that sends it.
                parcel.touch();
                way.files.unchanged()?;
                attempt = run.doubt_of(parcel.batch.target, &error)?;
                (*doubted, way.again) = (true, true);
                match error.kind() {
                    Kind::Slow => run.flow().slow(bytes),
                    Kind::TooMuch if parcel.batch.rows() > 1 => {
                        run.body_bytes_max.fetch_min(bytes - 1, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        sleep(way.patience.wait(error)?, &|| run.check())?;
    }
}

/// The same in halves; `too_big`: the error to return if a single row is too big.
fn try_halves(
    run: &Run<'_>,
    parcel: &Parcel,
    attempt: Attempt,
    way: &mut Way<'_>,
    doubted: &mut bool,
    too_big: Option<Error>,
) -> Result<Receipt> {
    let Some((left, right)) = parcel.batch.halves() else {
        let why = too_big.map_or(String::new(), |error| format!(": {}", error.what()));
        let what = format!("one row is more than the destination accepts{why}");
        return Err(Error::new(Kind::Refused, what));
    };
    let mut receipt = Receipt {
        rows: 0,
        upserted: false,
    };
    for half in [left, right] {
        let half = run.plan.sink.pack(half, run.rooms.take())?;
        let one = try_whole(run, &half, attempt, way, doubted)?;
        receipt.rows += one.rows;
        receipt.upserted |= one.upserted;
    }
    Ok(receipt)
}

impl Run<'_> {
    /// How to send a batch again that may have arrived, if that is allowed.
    pub(super) fn doubt(&self, target: u32) -> Result<Attempt> {
        let died = Error::new(
            Kind::Lost,
            "an earlier run sent it, and ended before the answer, or found the source changed",
        );
        self.doubt_of(target, &died)
    }

    fn doubt_of(&self, target: u32, lost: &Error) -> Result<Attempt> {
        *self.doubted.lock().expect("no one panics with it locked") = Instant::now();
        let stop = |why: &str| {
            let what = format!(
                "this batch may or may not have arrived ({}); {why}",
                lost.what()
            );
            Err(Error::new(Kind::Lost, what).hint(
                "check whether its rows are there and correct, then choose: `run: {on_doubt: resend}` sends it again and may \
                 duplicate its rows; `on_doubt: upsert` replaces rows with the same keys, no matter who wrote them; \
                 `mode: overwrite` with --again loads everything again",
            ))
        };
        match self.plan.settings.on_doubt {
            OnDoubt::Stop => stop("the job sets `on_doubt: stop`"),
            OnDoubt::Resend => Ok(Attempt::First),
            OnDoubt::Upsert => Ok(Attempt::Again),
            OnDoubt::Auto => {
                let number = target as usize;
                let target = &self.plan.manifest.targets[number];
                match self.plan.sink.redelivery(target, &self.decisions[number]) {
                    Redelivery::Harmless => Ok(Attempt::Again),
                    Redelivery::Doubles(why) => stop(&why),
                }
            }
        }
    }

    /// When a batch was last found to be in doubt: what was sent before may still arrive.
    pub(super) fn doubted(&self) -> Instant {
        *self.doubted.lock().expect("no one panics with it locked")
    }

    /// Notes whether a batch was handed to the sink and has no receipt yet.
    pub(super) fn handed(&self, id: BatchId, handed: bool) {
        let mut all = self.handed.lock().expect("no one panics with it locked");
        let shard = all.entry(id.shard).or_default();
        match handed {
            true => shard.insert(id.index),
            false => shard.remove(&id.index),
        };
    }
}
