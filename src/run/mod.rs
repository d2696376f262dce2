//! Who carries what now? The pool that reads and packs, the channel, the delivery threads.
//! The only room that retries; knows no format and no protocol.

mod deliver;
mod finish;
mod flow;
mod prepare;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, SendTimeoutError, Sender, bounded, unbounded};

use crate::batch::{Batch, Cut, Position, Shard};
use crate::buffers::Buffers;
use crate::checkpoint::{Checkpoint, Deliveries, Gap, Standing, batch_id};
use crate::error::{Error, Kind, Result};
use crate::job::Existing;
use crate::limits;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::sink::{Action, Attempt, Decision, Parcel};
use crate::source::{Files, Steady};

use deliver::{Way, deliver};
use finish::finish;
use flow::Flow;
use wait::{Pace, Patience, sleep};

pub use finish::complete;
pub use prepare::prepare;
pub use wait::patiently;

/// How often a waiting thread checks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// A request to stop: set by a signal, checked by every thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The flag itself, for the code that sets it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// An error if the run should stop.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Stopped, "stopped on request")
                .hint("the same command continues where this one stopped"));
        }
        Ok(())
    }
}

/// What the threads of a run share.
struct Run<'a> {
    plan: &'a Plan,
    checkpoint: &'a Checkpoint,
    progress: &'a Progress,
    stop: &'a Stop,
    decisions: &'a [Decision],
    rooms: Buffers,
    pace: Pace,
    flow: Mutex<Flow>,
    /// Notified when a delivery has ended and another may begin.
    left: Condvar,
    /// Bodies above this have been refused as too big.
    body_bytes_max: AtomicU64,
    /// The first error; every thread ends once there is one.
    failed: Mutex<Option<Error>>,
    halted: AtomicBool,
    /// For each target: shards not yet read to their end and parcels not yet delivered.
    pending: Vec<AtomicU64>,
    /// For each target: the files that were read for it, this run.
    files: Mutex<Vec<Vec<Files>>>,
    /// For each shard: batches that were handed to the sink and have no receipt.
    handed: Mutex<BTreeMap<u32, BTreeSet<u32>>>,
    /// When a batch was last found to be in doubt; the start of the run, if none was.
    doubted: Mutex<Instant>,
}

/// A parcel on its way.
struct Sent {
    parcel: Parcel,
    /// The files its bytes come from, some of them only when they are sent.
    files: Files,
    /// Where in its shard it starts.
    from: Position,
    /// Whether it may have been sent before.
    again: bool,
    attempt: Attempt,
    /// The error of its components, if they were converted to another type.
    relative_error: Option<f32>,
}

/// Carries everything that has no receipt yet, and finishes each target. The decision about a target is recorded before
/// anything is changed, and never made again on resume; what a sink learns while preparing is put into `decisions`.
///
/// On an error, the sentences name what was left behind.
pub fn run(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &mut [Decision],
    progress: &Progress,
    stop: &Stop,
) -> std::result::Result<(), (Error, Vec<String>)> {
    let targets = &plan.manifest.targets;
    let prepared = prepare(plan, checkpoint, decisions, progress, stop);
    let run = Run {
        plan,
        checkpoint,
        progress,
        stop,
        rooms: Buffers::default(),
        pace: Pace::new(plan),
        flow: Mutex::new(Flow::new(
            plan.in_flight.clone(),
            plan.settings.first_wait,
            Instant::now(),
        )),
        left: Condvar::new(),
        body_bytes_max: AtomicU64::new(u64::MAX),
        failed: Mutex::new(None),
        halted: AtomicBool::new(false),
        pending: targets.iter().map(|_| AtomicU64::new(0)).collect(),
        files: Mutex::new(vec![Vec::new(); targets.len()]),
        handed: Mutex::default(),
        doubted: Mutex::new(Instant::now()),
        decisions,
    };
    let noted =
        prepared.and_then(|()| Deliveries::note(plan, checkpoint.path(), run.decisions, None));
    let carried = noted.and_then(|()| carry(&run));
    carried.map_err(|error| {
        let open = targets.iter().filter(|t| {
            let action = run.decisions[t.number as usize].action;
            action != Action::Skip && !checkpoint.done(t.number)
        });
        let left = open.filter_map(|t| plan.sink.abandon(t, &run.decisions[t.number as usize]));
        (error, left.collect())
    })
}

/// The pool reads and packs, the delivery threads deliver, and this thread finishes targets as they fill.
fn carry(run: &Run<'_>) -> Result<()> {
    let plan = run.plan;
    let mut shards: Vec<(&Shard, Standing)> = plan
        .manifest
        .shards
        .iter()
        .filter(|s| run.wanted(s.target))
        .map(|s| (s, run.checkpoint.standing(s)))
        .filter(|(_, standing)| !standing.closed)
        .collect();
    for (shard, _) in &shards {
        run.pending[shard.target as usize].fetch_add(1, Ordering::SeqCst);
    }
    let (parcels_in, parcels) = bounded::<Sent>(plan.threads);
    let (full_in, full) = unbounded::<u32>();
    for target in plan
        .manifest
        .targets
        .iter()
        .filter(|t| run.wanted(t.number))
    {
        if run.pending[target.number as usize].load(Ordering::SeqCst) == 0 {
            full_in
                .send(target.number)
                .expect("the receiver is held here");
        }
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(plan.threads)
        .thread_name(|n| format!("pack-{n}"))
        .build()
        .map_err(|e| Error::new(Kind::Io, format!("cannot start threads: {e}")))?;
    let filling = run.pending.iter().filter(|n| n.load(Ordering::SeqCst) > 0);
    run.progress.doing().filling(filling.count() as u64);
    if plan.moves() {
        by_turns(&mut shards);
    }
    let work = stretches(&shards, plan.sink.in_order());
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..*plan.in_flight.end() {
            let (parcels, full) = (parcels.clone(), full_in.clone());
            scope.spawn(move || run.guard(deliver_parcels(run, parcels, &full)));
        }
        let full_out = full_in;
        scope.spawn(|| {
            // Work is taken in order, so that at most one shard a thread is open at any time. These are long
            // loops, not one task per shard: a thread that has run out of work helps others to pack.
            let (out, full_out) = (parcels_in, full_out);
            pool.broadcast(|_| {
                while let Some(stretch) = work.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let mut came = None;
                    for (shard, standing) in *stretch {
                        match pack_shard(run, shard, standing, came, &out) {
                            Ok(rows) => came = plan.by_place().then_some(rows),
                            Err(error) => return run.guard(Err(error)),
                        }
                        run.less_pending(shard.target, &full_out);
                    }
                }
            });
        });
        while let Ok(number) = full.recv() {
            // The steps after the last row of all shares do not follow the last row of one.
            if plan.share.is_some() {
                continue;
            }
            // Includes those that have filled meanwhile: all of them are recorded as done together.
            run.guard(finish(run, std::iter::once(number).chain(full.try_iter())));
        }
    });
    let failed = run.failed.lock().map(|mut failed| failed.take());
    match failed.expect("no one panics with the error locked") {
        Some(error) => {
            narrow_doubt(run, &shards);
            Err(error)
        }
        // Files that are no longer being read may have changed since.
        None => plan.source.unchanged(),
    }
}

/// Records which batches were never handed to the sink: these are known not to have arrived.
fn narrow_doubt(run: &Run<'_>, shards: &[(&Shard, Standing)]) {
    let handed = run.handed.lock().expect("no one panics with it locked");
    for (shard, before) in shards {
        let Some(handed) = handed.get(&shard.number) else {
            continue;
        };
        let mut doubt = before.doubts();
        doubt.extend(handed);
        // If this cannot be written, more is in doubt than necessary.
        let _ = run
            .checkpoint
            .doubt(shard.number, shard.target, doubt.into_iter().collect());
    }
}

/// What a pool thread takes at a time: a shard, or all of a target if its batches must come in order.
fn stretches<'s, 'p>(
    shards: &'s [(&'p Shard, Standing)],
    in_order: bool,
) -> Vec<&'s [(&'p Shard, Standing)]> {
    if in_order {
        shards.chunk_by(|a, b| a.0.target == b.0.target).collect()
    } else {
        shards.chunks(1).collect()
    }
}

/// Orders the first shards of all targets before the second ones, so that a large collection does not keep others
/// waiting. Files are read one after the other, as they are on disk.
fn by_turns<T>(shards: &mut [(&Shard, T)]) {
    let mut turns: BTreeMap<u32, u32> = BTreeMap::new();
    let turns: BTreeMap<u32, u32> = (shards.iter())
        .map(|(shard, _)| {
            let turn = turns.entry(shard.target).or_default();
            *turn += 1;
            (shard.number, *turn)
        })
        .collect();
    shards.sort_by_key(|(shard, _)| turns[&shard.number]);
}

/// The counters for the batches of a shard.
struct Counted {
    index: u32,
    /// According to the log, batches below this may be on their way.
    window: u32,
    /// Rows of the target before the next batch. Only sinks that do not resume inside a target rely on it, and they
    /// restart shards.
    first_row: u64,
}

/// Runs on the pool: carries what is left of one shard. `came`: rows of its target that came before, if that may differ
/// from the shard's figure. Returns how many have come at its end.
fn pack_shard(
    run: &Run<'_>,
    shard: &Shard,
    standing: &Standing,
    came: Option<u64>,
    out: &Sender<Sent>,
) -> Result<u64> {
    let mut counted = Counted {
        index: standing.index,
        window: 0,
        first_row: came.unwrap_or(shard.first_row),
    };
    for gap in &standing.gaps {
        pack_gap(run, shard, standing, gap, &mut counted, out)?;
    }
    // Batches of a moving source are recorded with what they hold.
    if !run.plan.moves() {
        run.checkpoint.close(shard, counted.index)?;
    }
    Ok(counted.first_row)
}

/// Carries one range of a shard, from its beginning to its end.
fn pack_gap(
    run: &Run<'_>,
    shard: &Shard,
    standing: &Standing,
    gap: &Gap,
    counted: &mut Counted,
    out: &Sender<Sent>,
) -> Result<()> {
    let plan = run.plan;
    let moves = plan.moves();
    let stretch = Shard {
        end: gap.to.clone(),
        ..shard.clone()
    };
    let source = plan.source.as_ref();
    let mut reader = Steady::new(source, stretch, gap.from.clone(), plan.limits);
    let mut patience = Patience::new(&plan.settings, run.progress, u64::from(shard.number));
    let files = wait_for(run, &mut patience, || reader.files())?;
    run.files.lock().expect("no one panics with it locked")[shard.target as usize]
        .push(files.clone());
    loop {
        let from = reader.at().clone();
        let cut = wait_for(run, &mut patience, || reader.rows())?;
        let Some(Cut { parts, next }) = cut else {
            // Records that nothing is between the last row and the end. Where rows that are written again come at the end
            // of a shard, a resumed run looks there once more: some of them are no longer where they were.
            let last = gap.to == shard.end && source.repeats(shard, true);
            return match moves && from < gap.to && !last {
                true => run.checkpoint.empty(shard, &from, &gap.to),
                false => Ok(()),
            };
        };
        run.check()?;
        let id = batch_id(run.checkpoint, shard, counted.index);
        let batch = Batch {
            id,
            target: shard.target,
            first_row: counted.first_row,
            parts,
            next,
        };
        let rows = batch.rows();
        counted.first_row += rows;
        counted.index += 1;
        if standing.received(id.index) && !moves {
            continue;
        }
        run.progress.read(rows);
        if moves {
            run.checkpoint.cut(shard, id.index, &from, &batch.next)?;
        }
        let packed = pack(run, batch);
        // Checked after the bytes were read and before they are believed: a page that vanished under the packer
        // reads as zeros.
        files.unchanged()?;
        let (parcel, relative_error) = packed.map_err(|e| e.batch(id))?;
        // It does not matter what was on its way to a target that is restarted.
        if plan.sink.resumable() && counted.window <= id.index {
            counted.window = counted.index.saturating_add(limits::WINDOW_BATCHES - 1);
            if !moves {
                run.checkpoint.open_window(shard, counted.window)?;
            }
            let mut handed = run.handed.lock().expect("no one panics with it locked");
            handed.entry(shard.number).or_default();
        }
        let repeats = source.repeats(shard, moves && standing.begun());
        // Rows in files cannot be taken back: rows of one state are indistinguishable from rows of the next.
        if repeats && !moves {
            let what = format!("{}: the state that was read is gone", shard.name);
            return Err(
                Error::new(Kind::Changed, what).hint("the same command reads all of it again")
            );
        }
        let again = gap.doubt || standing.in_doubt(id.index) || repeats;
        let attempt = match again {
            true => run.doubt(shard.target).map_err(|e| e.batch(id))?,
            false => run.first_attempt(shard.target),
        };
        run.pending[shard.target as usize].fetch_add(1, Ordering::SeqCst);
        let sent = Sent {
            parcel,
            files: files.clone(),
            from,
            again,
            attempt,
            relative_error,
        };
        run.send(out, sent)?; // Blocks: the backpressure.
    }
}

/// Reads, with retries for a source that is unavailable for a while.
fn wait_for<T>(
    run: &Run<'_>,
    patience: &mut Patience<'_>,
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match read() {
            Ok(read) => {
                patience.ended();
                return Ok(read);
            }
            Err(error) => sleep(patience.wait(error)?, &|| run.check())?,
        }
    }
}

/// Packs a batch, converted where the job asks for it; by how much its components are then off.
fn pack(run: &Run<'_>, batch: Batch) -> Result<(Parcel, Option<f32>)> {
    let converted = run.plan.converted(batch, &run.rooms)?;
    let mut parcel = run.plan.sink.pack(converted.batch, run.rooms.take())?;
    parcel.left_out.extend(converted.left_out);
    Ok((parcel, converted.relative_error))
}

/// On a delivery thread, until the channel closes.
fn deliver_parcels(run: &Run<'_>, parcels: Receiver<Sent>, full: &Sender<u32>) -> Result<()> {
    // A place first, a parcel then: what waits for a place holds no memory.
    while let Ok(sent) = run.enter().map(|()| parcels.recv())? {
        run.check()?;
        let (parcel, files) = (&sent.parcel, &sent.files);
        let mut way = Way::new(run, parcel.id, files, sent.again);
        let receipt = deliver(run, parcel, sent.attempt, &mut way);
        // Pages that were overwritten, or could not be read, between their check and their sending went out as they
        // then were: without a receipt the batch stays in doubt, and the next attempt sends it again. It matters more
        // than what the destination made of them.
        let receipt = files.unchanged().and(receipt);
        let (receipt, again) = receipt.map_err(|e| e.batch(parcel.id))?;
        run.checkpoint
            .record(parcel, &receipt, &sent.from, again, sent.relative_error)?;
        run.handed(parcel.id, false);
        run.progress
            .delivered(u64::from(receipt.rows), parcel.payload_bytes);
        run.less_pending(parcel.batch.target, full);
        run.leave();
    }
    run.leave();
    Ok(())
}

impl Run<'_> {
    /// An error if the run should end, because of a signal or another thread's error.
    fn check(&self) -> Result<()> {
        self.stop.check()?;
        if self.halted.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Stopped, "another thread failed"));
        }
        Ok(())
    }

    /// Keeps the first error of any thread; the others end because of it.
    fn guard(&self, result: Result<()>) {
        let Err(error) = result else { return };
        let mut failed = self
            .failed
            .lock()
            .expect("no one panics with the error locked");
        let first = !self.halted.swap(true, Ordering::SeqCst);
        if first || failed.as_ref().is_some_and(|f| f.kind() == Kind::Stopped) {
            *failed = Some(error);
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow
            .lock()
            .expect("no one panics with the flow locked")
    }

    /// Waits for a place among the requests in flight.
    fn enter(&self) -> Result<()> {
        let mut flow = self.flow();
        while !flow.enter() {
            let waited = self.left.wait_timeout(flow, LOOK);
            flow = waited.expect("no one panics with the flow locked").0;
            self.check()?;
        }
        Ok(())
    }

    /// Gives the place to the next. The number of places may have grown: all look.
    fn leave(&self) {
        self.flow().leave();
        self.left.notify_all();
    }

    /// Waits until the destination is likely to take this many bytes.
    fn turn(&self, bytes: u64) -> Result<()> {
        loop {
            let wait = self.flow().turn(Instant::now(), bytes);
            match wait {
                None => return Ok(()),
                // The result may change meanwhile.
                Some(wait) => sleep(wait.min(LOOK), &|| self.check())?,
            }
        }
    }

    /// The files that were read for a target.
    fn files_of(&self, target: u32) -> Vec<Files> {
        let mut files = self.files.lock().expect("no one panics with it locked");
        std::mem::take(&mut files[target as usize])
    }

    fn wanted(&self, target: u32) -> bool {
        self.decisions[target as usize].action != Action::Skip && !self.checkpoint.done(target)
    }

    fn less_pending(&self, target: u32, full: &Sender<u32>) {
        if self.pending[target as usize].fetch_sub(1, Ordering::SeqCst) == 1 {
            self.progress.doing().filled();
            // The receiver is gone only if the run has failed.
            let _ = full.send(target);
        }
    }

    fn send(&self, out: &Sender<Sent>, mut sent: Sent) -> Result<()> {
        loop {
            match out.send_timeout(sent, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => sent = back,
                Err(SendTimeoutError::Disconnected(_)) => {
                    return Err(Error::new(Kind::Stopped, "no delivery thread is left"));
                }
            }
            self.check()?;
        }
    }

    /// How a batch is sent for the first time: as an upsert if it may replace rows that were there before.
    fn first_attempt(&self, target: u32) -> Attempt {
        let decision = &self.decisions[target as usize];
        let replaces = self.plan.settings.existing == Existing::Upsert
            && decision.action == Action::Append
            && !decision.ours;
        match replaces {
            true => Attempt::Again,
            false => Attempt::First,
        }
    }

    /// Does something that is safe to repeat, as often as patience lasts.
    fn patiently<T>(&self, deed: impl FnMut() -> Result<T>) -> Result<T> {
        patiently(&self.plan.settings, self.progress, self.stop, deed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_target_does_not_keep_small_ones_waiting() {
        let shard = |(number, target): (u32, u32)| Shard {
            number,
            target,
            part: 0,
            name: String::new(),
            rows: 1,
            first_row: 0,
            start: Position::Start,
            end: Position::End,
        };
        let all: Vec<Shard> = (0..).zip([0, 0, 0, 0, 1, 2, 2]).map(shard).collect();
        let mut turns: Vec<(&Shard, ())> = all.iter().map(|shard| (shard, ())).collect();
        by_turns(&mut turns);
        let numbers: Vec<u32> = turns.iter().map(|(shard, ())| shard.number).collect();
        assert_eq!(numbers, [0, 4, 5, 1, 6, 2, 3]);
    }
}
