//! The seeded simulation: a destination that refuses, loses answers, carries requests out late, drops what it
//! acknowledged and dies; strangers that write meanwhile; and a loader that is killed at any point and resumed, until
//! all is done. If nothing was dropped, every row must then be there exactly once; whatever happened, exit 0 says that,
//! and no stranger's row is touched. With any part of the rules taken out, this test must fail.
//!
//! `MILVUSDM_SEEDS` says how many seeds; 2,000 if it does not.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use milvusdm::batch::{
    Batch, Cut, Key, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName,
};
use milvusdm::buffers::Buffer;
use milvusdm::checkpoint::{Checkpoint, Delivered, Found};
use milvusdm::error::{Error, Kind, Result};
use milvusdm::job::{Job, OnDoubt, RunSettings, Verify};
use milvusdm::plan::{Fingerprint, Plan};
use milvusdm::progress::Progress;
use milvusdm::run::{Stop, run};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::held::{Compared, Held, Holder, Way, What};
use milvusdm::sink::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, Strength,
};
use milvusdm::source::{Files, Reader, Source, Survey};
use milvusdm::verify::{self, Hands, When};

const VECTOR: VectorType = VectorType {
    element: Element::Float32,
    dimension: 1,
};
const LIMITS: Limits = Limits {
    batch_bytes: 12 * 4,
    batch_rows: 4,
};

/// A generator of numbers, the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// Rows whose id is their number, in two targets.
struct Numbers;

fn manifest() -> Manifest {
    let columns = Columns::plain("id", "embedding", VECTOR).unwrap();
    let target = |number: u32, rows: u64| Target {
        number,
        name: TargetName {
            collection: format!("t{number}"),
            partition: String::new(),
        },
        columns: columns.clone(),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: false,
        rows,
        rows_deleted: 0,
        source: "numbers".to_owned(),
    };
    let shard = |number: u32, target: u32, start: u64, end: u64, first_row: u64| Shard {
        number,
        target,
        part: 0,
        name: format!("{start}..{end}"),
        rows: end - start,
        first_row,
        start: Position(start),
        end: Position(end),
    };
    Manifest {
        targets: vec![target(0, 50), target(1, 13), target(2, 0)],
        shards: vec![
            shard(0, 0, 0, 30, 0),
            shard(1, 0, 30, 31, 30),
            shard(2, 0, 31, 50, 31),
            shard(3, 1, 100, 113, 0),
        ],
    }
}

impl Source for Numbers {
    fn survey(&self, _: Limits) -> Result<Survey> {
        Ok(Survey {
            manifest: manifest(),
            identity: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        _: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(NumbersReader {
            at: from.0,
            end: shard.end.0,
        }))
    }

    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
}

struct NumbersReader {
    at: u64,
    end: u64,
}

impl Reader for NumbersReader {
    fn next(&mut self) -> Result<Option<Cut>> {
        if self.at == self.end {
            return Ok(None);
        }
        let last = self.end.min(self.at + 4);
        let ids: Vec<i64> = (self.at..last).map(|i| i as i64).collect();
        let bytes: Vec<u8> = ids.iter().flat_map(|i| (*i as f32).to_le_bytes()).collect();
        let columns = Columns::plain("id", "embedding", VECTOR)?;
        let part = Part::of_vectors(
            &columns,
            ids,
            Bytes::from(bytes),
            &Path::new("n").into(),
            self.at,
        )?;
        self.at = last;
        Ok(Some(Cut {
            parts: vec![part],
            next: Position(last),
        }))
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}

/// What a seed's world is like.
#[derive(Clone, Copy, Debug)]
struct World {
    /// Rows can be read and counted exactly; else there are statistics of all that ever came.
    loaded: bool,
    /// Requests without an answer may be carried out later than their successors.
    late: bool,
    /// One in so many requests is acknowledged and dropped; 0: none.
    drops: u64,
    /// Somebody else writes rows of other keys.
    strangers: bool,
}

impl World {
    fn of(random: &mut Random) -> World {
        World {
            loaded: random.one_in(2),
            late: random.one_in(2),
            drops: if random.one_in(3) { 12 } else { 0 },
            strangers: random.one_in(6),
        }
    }
}

/// Keys of strangers begin here; they write more rows than the job has, so that no count hides them.
const STRANGE: i64 = 1_000_000;
const STRANGE_ROWS: i64 = 1000;

/// A request: the target, the keys, and whether it is an upsert.
type Request = (u32, Vec<i64>, bool);

/// What outlives a loader: rows as a server that does not enforce keys keeps them.
#[derive(Default)]
struct Server {
    rows: Mutex<HashMap<u32, Vec<i64>>>,
    /// Rows that ever came, for statistics.
    came: Mutex<HashMap<u32, u64>>,
    /// Requests on their way, and after how many more they arrive.
    late: Mutex<Vec<(u64, Request)>>,
    /// Whether something was acknowledged and dropped.
    dropped: AtomicBool,
    strangers_wrote: AtomicBool,
    /// Targets that were being finished: what is late arrives before that is done.
    finishing: AtomicBool,
}

impl Server {
    fn store(&self, (target, ids, upsert): Request) {
        let mut rows = self.rows.lock().unwrap();
        let kept = rows.entry(target).or_default();
        if upsert {
            kept.retain(|id| !ids.contains(id));
        }
        *self.came.lock().unwrap().entry(target).or_default() += ids.len() as u64;
        kept.extend(ids);
    }

    /// Time passes: what is due arrives, or all of it.
    fn arrive(&self, all: bool) {
        let mut late = self.late.lock().unwrap();
        let (due, still) = std::mem::take(&mut *late)
            .into_iter()
            .map(|(wait, request)| (wait.saturating_sub(1), request))
            .partition::<Vec<_>, _>(|(wait, _)| all || *wait == 0);
        *late = still;
        drop(late);
        due.into_iter().for_each(|(_, request)| self.store(request));
    }
}

/// Rows by key, as a loaded collection gives them.
struct Rows<'s>(&'s Server, u32);

impl Rows<'_> {
    fn count(&self, id: i64) -> u64 {
        let rows = self.0.rows.lock().unwrap();
        let kept = rows.get(&self.1);
        kept.map_or(0, |kept| {
            kept.iter().filter(|one| **one == id).count() as u64
        })
    }
}

impl Holder for Rows<'_> {
    fn way(&self) -> Way {
        Way::ById
    }
    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        let mut compared = Compared::default();
        for part in &batch.parts {
            for (row, id) in part.ids().iter().enumerate() {
                match self.count(*id) {
                    0 => compared.differs(part, row, What::Missing),
                    1 => compared.rows += 1,
                    n => compared.differs(part, row, What::Copies(n)),
                }
            }
        }
        Ok(compared)
    }
    fn copies(&mut self, keys: &[Key]) -> Result<Option<u64>> {
        let count = |key: &Key| match key {
            Key::Int(id) => self.count(*id),
            Key::Text(_) => 0,
        };
        Ok(Some(keys.iter().map(count).sum()))
    }
}

/// A sink that misbehaves by its seed.
struct Faulty {
    server: Arc<Server>,
    random: Mutex<Random>,
    dead: AtomicBool,
    deliveries: AtomicU64,
    dies_at: u64,
    calm: bool,
    world: World,
    mutant: Mutant,
}

impl Faulty {
    fn store(&self, parcel: &Parcel, upsert: bool) {
        self.server.store(request(parcel, upsert));
    }

    /// A request that nobody answers: it is carried out, later or never.
    fn lose(&self, parcel: &Parcel, upsert: bool) {
        let (arrives, wait) = {
            let mut random = self.random.lock().unwrap();
            (random.one_in(2), random.next() % 6)
        };
        let finishing = self.server.finishing.load(Ordering::SeqCst);
        match arrives {
            true if self.world.late && wait > 0 && !finishing => {
                let mut late = self.server.late.lock().unwrap();
                late.push((wait, request(parcel, upsert)));
            }
            true => self.store(parcel, upsert),
            false => {}
        }
    }
}

fn request(parcel: &Parcel, upsert: bool) -> Request {
    let parts = parcel.batch.parts.iter();
    let ids = parts.flat_map(|p| p.ids().to_vec()).collect();
    (parcel.batch.target, ids, upsert)
}

impl Sink for Faulty {
    fn describe(&self) -> String {
        "simulation".to_owned()
    }
    fn limits(&self, wanted: Limits) -> Limits {
        wanted
    }
    fn name(&self, source: &TargetName) -> TargetName {
        source.clone()
    }
    fn keyed(&self, _: Keys) -> bool {
        true
    }
    fn decide(&self, _: &Target) -> Result<Decision> {
        Ok(Decision {
            removes: None,
            action: Action::Create,
            rows_before: 0,
            ours: true,
            why: "simulated".to_owned(),
        })
    }
    fn prepare(&self, target: &Target, _: &Decision, begun: bool) -> Result<()> {
        if !begun {
            self.server
                .rows
                .lock()
                .unwrap()
                .insert(target.number, Vec::new());
        }
        Ok(())
    }
    fn pack(&self, batch: Batch, _: Buffer) -> Result<Parcel> {
        let rows = batch.rows();
        Ok(Parcel {
            id: batch.id,
            rows: rows as u32,
            payload_bytes: rows * 12,
            digest: rows,
            body: vec![Bytes::from(vec![0; rows as usize])],
            left_out: Vec::new(),
            batch,
        })
    }
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        let lost = || Error::new(Kind::Lost, "no answer");
        if self.dead.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Refused, "the loader is dead"));
        }
        self.server.arrive(false);
        let (fate, drops, strange) = {
            let mut random = self.random.lock().unwrap();
            let drops = self.world.drops > 0 && random.one_in(self.world.drops);
            (random.next() % 10, drops, random.one_in(8))
        };
        if self.world.strangers
            && strange
            && !self.server.strangers_wrote.swap(true, Ordering::SeqCst)
        {
            let ids = (STRANGE..STRANGE + STRANGE_ROWS).collect();
            self.server.store((0, ids, false));
        }
        let upsert = attempt == Attempt::Again;
        if self.deliveries.fetch_add(1, Ordering::SeqCst) == self.dies_at {
            self.lose(parcel, upsert);
            self.dead.store(true, Ordering::SeqCst);
            return Err(Error::new(Kind::Refused, "killed here"));
        }
        match if self.calm { 9 } else { fate } {
            0 => return Err(Error::new(Kind::Busy, "later")),
            1 => return Err(Error::new(Kind::Unreachable, "nobody there")),
            2 if parcel.rows > 1 => return Err(Error::new(Kind::TooBig, "too big")),
            3 => {
                self.lose(parcel, upsert);
                return Err(lost());
            }
            _ => {}
        }
        if drops {
            self.server.dropped.store(true, Ordering::SeqCst);
        } else {
            self.store(parcel, upsert);
        }
        Ok(Receipt {
            rows: parcel.rows,
            upserted: upsert,
        })
    }
    fn redelivery(&self, _: &Target, _: &Decision) -> Redelivery {
        Redelivery::Harmless
    }
    fn resumable(&self) -> bool {
        true
    }
    fn finish(&self, _: &Target) -> Result<Finishing> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Refused, "the loader is dead"));
        }
        // Finishing takes longer than anything is late.
        self.server.finishing.store(true, Ordering::SeqCst);
        self.server.arrive(true);
        Ok(Finishing::Done)
    }
    fn replaces(&self) -> bool {
        self.mutant != Mutant::NoLookAfter
    }
    fn count(&self, target: &Target) -> Result<Count> {
        if !self.world.loaded {
            let came = self.server.came.lock().unwrap();
            return Ok(Count {
                rows: came.get(&target.number).copied().unwrap_or(0),
                strength: Strength::Statistics,
            });
        }
        let rows = self.server.rows.lock().unwrap();
        Ok(Count {
            rows: rows.get(&target.number).map_or(0, |r| r.len() as u64),
            strength: Strength::Exact,
        })
    }
    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        Ok(match self.world.loaded {
            true => Held::Rows(Box::new(Rows(&self.server, target.number))),
            false => Held::Hidden {
                why: "not loaded".to_owned(),
                hint: String::new(),
            },
        })
    }
    fn abandon(&self, _: &Target, _: &Decision) -> Option<String> {
        None
    }
}

fn settings(checkpoint: &Path, on_doubt: OnDoubt) -> RunSettings {
    let text = "source: {numbers: {}}\nsink: {simulation: {}}\n".to_owned();
    let job = Job::parse(Path::new("simulation.yaml"), text).unwrap();
    RunSettings {
        checkpoint: checkpoint.to_owned(),
        first_wait: Duration::ZERO,
        late_wait: Duration::ZERO,
        on_doubt,
        ..job.run
    }
}

/// What is taken out of the in-doubt rule, to see the test fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Batches in doubt go as they went the first time.
    BlindResend,
    /// Nobody recorded what may be on its way.
    NoWindows,
    /// Batches that were sent more than once are not looked after.
    NoLookAfter,
    /// The verdict does not know which batches were sent more than once.
    Believes,
}

/// What came of a seed.
#[derive(Debug)]
struct Outcome {
    world: World,
    rows: HashMap<u32, Vec<i64>>,
    dropped: bool,
    strangers_wrote: bool,
    /// How the program would end.
    exit: u8,
}

impl Outcome {
    /// What is wrong with it.
    fn wrong(&self) -> Option<&'static str> {
        let exact = is_exact(&self.rows);
        let strange: Vec<i64> = match self.strangers_wrote {
            true => (STRANGE..STRANGE + STRANGE_ROWS).collect(),
            false => Vec::new(),
        };
        let mut theirs = self.rows.get(&0).cloned().unwrap_or_default();
        theirs.retain(|id| *id >= STRANGE);
        match self.exit {
            _ if theirs != strange => Some("rows of somebody else were touched"),
            0 if !exact => Some("exit 0, and rows are missing or doubled"),
            _ if !exact && !self.dropped => {
                Some("rows are missing or doubled, and none was dropped")
            }
            5 if exact && !self.strangers_wrote => Some("exit 5, and all is well"),
            0 | 5 | 7 => None,
            _ => Some("no such exit"),
        }
    }
}

/// Runs until done, killed again and again.
fn simulate(seed: u64, mutant: Mutant, directory: &Path) -> Outcome {
    let path = directory.join(format!("{seed}.ckpt"));
    let server = Arc::new(Server::default());
    let mut random = Random(seed);
    let world = World::of(&mut random);
    let mut exit = 0;
    let on_doubt = if mutant == Mutant::BlindResend {
        OnDoubt::Resend
    } else {
        OnDoubt::Auto
    };
    for life in 0.. {
        assert!(life < 100, "seed {seed}: never done");
        let sink = Faulty {
            server: server.clone(),
            random: Mutex::new(Random(random.next())),
            dead: AtomicBool::new(false),
            deliveries: AtomicU64::new(0),
            dies_at: if life < 6 {
                random.next() % 25
            } else {
                u64::MAX
            },
            calm: random.one_in(3),
            world,
            mutant,
        };
        let threads = 1 + (random.next() % 3) as usize;
        let plan = Plan {
            fingerprint: Fingerprint::default(),
            source: Box::new(Numbers),
            sink: Box::new(sink),
            manifest: manifest(),
            conversion: None,
            limits: LIMITS,
            settings: settings(&path, on_doubt),
            source_kind: String::new(),
            first_id: 0,
            auto_id: false,
            last: Default::default(),
            threads,
            in_flight: 1..=1 + (random.next() % 4) as usize,
            warnings: Vec::new(),
            renamed: Default::default(),
        };
        let checkpoint = match Checkpoint::create_or_resume(&path, &plan, false).unwrap() {
            Found::Finished(_) => unreachable!("it is not finished twice"),
            Found::Open(checkpoint) => checkpoint,
        };
        let mut decisions = plan.decide().unwrap();
        for target in &plan.manifest.targets {
            if checkpoint.decision(target.number).is_none() {
                checkpoint
                    .decide(target.number, &decisions[target.number as usize])
                    .unwrap();
            }
        }
        match run(
            &plan,
            &checkpoint,
            &mut decisions,
            &Progress::default(),
            &Stop::default(),
        ) {
            Ok(()) => {
                exit = verdict(&plan, &checkpoint, &decisions, mutant);
                break;
            }
            Err((error, _)) => assert_eq!(error.kind(), Kind::Refused, "seed {seed}: {error}"),
        }
        drop(checkpoint);
        tear(&path, &mut random, mutant);
    }
    let rows = server.rows.lock().unwrap().clone();
    Outcome {
        world,
        rows,
        dropped: server.dropped.load(Ordering::SeqCst),
        strangers_wrote: server.strangers_wrote.load(Ordering::SeqCst),
        exit,
    }
}

/// How the program ends when all was delivered.
fn verdict(plan: &Plan, checkpoint: &Checkpoint, decisions: &[Decision], mutant: Mutant) -> u8 {
    let mut past: Vec<Delivered> = decisions
        .iter()
        .zip(&plan.manifest.targets)
        .map(|(decision, target)| checkpoint.delivered(target.number, decision))
        .collect();
    if mutant == Mutant::Believes {
        for delivered in &mut past {
            delivered.again.clear();
            delivered.totals.sent_again = 0;
        }
    }
    let hands = Hands {
        check: &|| Ok(()),
        wait: &|deed| deed(),
        looked_at: &|_, _| {},
    };
    let run = checkpoint.run();
    let compared = verify::compare(plan, run, &past, Verify::Count, When::AtTheEnd, &hands);
    match verify::judge(&compared.unwrap()) {
        Ok(()) => 0,
        Err(error) => error.kind().exit_code(),
    }
}

/// What a power cut does to the log: anything after the last synced record may be missing, torn at any byte. A program
/// that is killed has not said at its end what it handed over.
fn tear(path: &Path, random: &mut Random, mutant: Mutant) {
    let mut text = std::fs::read_to_string(path).unwrap();
    if random.one_in(2) {
        let said = |line: &&str| line.contains("\"doubt\"");
        let kept = text.lines().rev().skip_while(said).count();
        text = text.split_inclusive('\n').take(kept).collect();
    }
    let (mut at, mut synced) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        if !line.contains("\"received\"") && !line.contains("\"closed\"") {
            synced = at;
        }
    }
    let cut = synced + (random.next() as usize) % (text.len() - synced + 1);
    let mut left = text[..cut].to_owned();
    if mutant == Mutant::NoWindows {
        left = left
            .split_inclusive('\n')
            .filter(|l| !l.contains("\"window\"") && !l.contains("\"doubt\""))
            .collect();
    }
    std::fs::write(path, left).unwrap();
}

fn is_exact(rows: &HashMap<u32, Vec<i64>>) -> bool {
    let sorted = |target: u32| {
        let mut ids = rows.get(&target).cloned().unwrap_or_default();
        ids.retain(|id| *id < STRANGE);
        ids.sort_unstable();
        ids
    };
    sorted(0) == (0..50).collect::<Vec<i64>>()
        && sorted(1) == (100..113).collect::<Vec<i64>>()
        && sorted(2).is_empty()
}

/// In memory where the system has such a place: the simulation syncs thousands of times.
fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

#[test]
fn every_row_arrives_exactly_once_whatever_dies() {
    let seeds = std::env::var("MILVUSDM_SEEDS").map_or(2000, |n| n.parse().unwrap());
    // A destination that says "later" is given time: seeds wait beside each other.
    const THREADS: u64 = 16;
    let exits: [AtomicU64; 8] = Default::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let exits = &exits;
            scope.spawn(move || {
                let directory = scratch();
                for seed in (thread..seeds).step_by(THREADS as usize) {
                    let outcome = simulate(seed, Mutant::None, directory.path());
                    let wrong = outcome.wrong();
                    assert!(
                        wrong.is_none(),
                        "seed {seed}, {:?}: {}: {outcome:?}",
                        outcome.world,
                        wrong.unwrap()
                    );
                    exits[usize::from(outcome.exit)].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    for exit in [0, 5, 7] {
        let share = exits[exit].load(Ordering::Relaxed) as f64 / seeds as f64;
        assert!(share > 0.02, "{share} of the seeds end with {exit}");
    }
}

#[test]
fn without_any_part_of_the_rules_something_goes_wrong() {
    let directory = scratch();
    for mutant in [
        Mutant::BlindResend,
        Mutant::NoWindows,
        Mutant::NoLookAfter,
        Mutant::Believes,
    ] {
        let noticed =
            (10_000..10_300).any(|seed| simulate(seed, mutant, directory.path()).wrong().is_some());
        assert!(noticed, "{mutant:?} goes unnoticed");
    }
}
