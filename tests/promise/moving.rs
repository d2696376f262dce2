//! The seeded simulation of sources that are read in the order of their keys, and change while they are read: rows are
//! inserted and deleted between any two looks, the source stays away now and then, requests get lost or arrive late, and
//! the loader is killed at any point and resumed. Rows that nobody touches must then be there exactly once. With any part
//! of the rules taken out, this test must fail.
//!
//! `MILVUSDM_SEEDS` says how many seeds; 1,000 if it does not.

use crate::support::random;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int64Array, StringArray};
use bytes::Bytes;
use milvusdm::batch::{
    Batch, BatchId, Cut, Key, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName,
};
use milvusdm::buffers::Buffer;
use milvusdm::checkpoint::{Checkpoint, Found};
use milvusdm::error::{Error, Kind, Result};
use milvusdm::job::{Job, RunSettings};
use milvusdm::plan::{Fingerprint, Plan};
use milvusdm::progress::Progress;
use milvusdm::run::{Stop, run};
use milvusdm::schema::{Column, ColumnType, Columns, Element, Scalar, VectorType};
use milvusdm::sink::held::Held;
use milvusdm::sink::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, Strength,
};
use milvusdm::source::{Files, Reader, Source, Stillness, Survey};

use random::Random;

/// Keys are below this; those divisible by three are never touched.
const KEYS: i64 = 150;
const BATCH_ROWS: usize = 4;

/// What is taken out of the rules, to see the test fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Batches are told by their numbers, as those of files are.
    ByNumber,
    /// Nobody recorded which keys were on their way.
    NoCuts,
    /// Only the newest of these records outlives a death.
    LostCuts,
    /// Stretches in doubt go as they went the first time.
    BlindResend,
    /// Shards are cut anew by each life.
    OtherShards,
}

/// Rows by key, that come and go.
struct World {
    rows: Mutex<BTreeSet<i64>>,
    random: Mutex<Random>,
    /// How often something happens to them: once in so many looks; 0: never.
    moves: u64,
    texts: bool,
    mutant: Mutant,
}

impl World {
    /// Somebody else writes.
    fn pass(&self) {
        let mut random = self.random.lock().unwrap();
        if self.moves == 0 || !random.one_in(self.moves) {
            return;
        }
        let mut rows = self.rows.lock().unwrap();
        for _ in 0..random.next() % 20 {
            let key = (random.next() % KEYS as u64) as i64;
            if key % 3 == 0 {
                continue;
            }
            if !rows.remove(&key) {
                rows.insert(key);
            }
        }
    }

    fn key(&self, key: i64) -> Key {
        match self.texts {
            // By their bytes they are in the same order.
            true => Key::Text(format!("\"{key:05}").into()),
            false => Key::Int(key),
        }
    }

    fn number(key: &Key) -> i64 {
        match key {
            Key::Int(id) => *id,
            Key::Text(text) => text[1..].parse().unwrap(),
        }
    }

    fn columns(&self) -> Arc<Columns> {
        let key = match self.texts {
            true => ColumnType::VarChar { max_bytes: None },
            false => ColumnType::Scalar(Scalar::Int64),
        };
        let vector = ColumnType::Vector(VectorType {
            element: Element::Float32,
            dimension: 1,
        });
        Columns::new(vec![Column::key("id", key), Column::new("v", vector)]).unwrap()
    }
}

#[derive(Clone)]
struct Moving(Arc<World>);

impl Moving {
    /// Three shards, cut where the rows happen to be.
    fn manifest(&self) -> Manifest {
        let world = &self.0;
        let keys: Vec<i64> = world.rows.lock().unwrap().iter().copied().collect();
        let at = |part: usize| Position::After(world.key(keys[keys.len() * part / 3]));
        let ends = [Position::Start, at(1), at(2), Position::End];
        let shard = |number: usize| Shard {
            number: number as u32,
            target: 0,
            part: 0,
            name: format!("{number}"),
            rows: keys.len() as u64 / 3,
            first_row: 0,
            start: ends[number].clone(),
            end: ends[number + 1].clone(),
        };
        Manifest {
            targets: vec![Target {
                number: 0,
                name: TargetName {
                    collection: "t".to_owned(),
                    partition: String::new(),
                },
                columns: world.columns(),
                traits: Default::default(),
                keys: Keys::Unique,
                auto_id: false,
                rows: keys.len() as u64,
                rows_deleted: 0,
                source: "moving".to_owned(),
            }],
            shards: (0..3).map(shard).collect(),
        }
    }
}

impl Source for Moving {
    fn survey(&self, _: Limits) -> Result<Survey> {
        Ok(Survey {
            manifest: self.manifest(),
            identity: BTreeMap::new(),
            warnings: Vec::new(),
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        match self.0.mutant {
            Mutant::ByNumber => Stillness::Frozen,
            _ => Stillness::Live,
        }
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        _: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(MovingReader {
            world: self.0.clone(),
            at: from,
            end: shard.end.clone(),
        }))
    }

    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
}

struct MovingReader {
    world: Arc<World>,
    at: Position,
    end: Position,
}

impl Reader for MovingReader {
    fn next(&mut self) -> Result<Option<Cut>> {
        let world = &self.world;
        world.pass();
        if world.random.lock().unwrap().one_in(40) {
            return Err(Error::new(Kind::Busy, "the source is away"));
        }
        let rows = world.rows.lock().unwrap();
        let after = |key: &i64| Position::After(world.key(*key));
        let keys = rows.iter().filter(|key| after(key) > self.at);
        let mut keys: Vec<i64> = keys
            .take_while(|key| after(key) <= self.end)
            .take(BATCH_ROWS + 1)
            .copied()
            .collect();
        let last = keys.len() <= BATCH_ROWS;
        keys.truncate(BATCH_ROWS);
        let Some(behind) = keys.last().map(after) else {
            return Ok(None);
        };
        // Some readers know that nothing follows, others have to look.
        self.at = match last && keys[0] % 2 == 0 {
            true => self.end.clone(),
            false => behind,
        };
        let ids: ArrayRef = match world.texts {
            true => {
                let texts = keys.iter().map(|key| match world.key(*key) {
                    Key::Text(text) => text.to_string(),
                    Key::Int(_) => unreachable!(),
                });
                Arc::new(StringArray::from_iter_values(texts))
            }
            false => Arc::new(Int64Array::from(keys.clone())),
        };
        let vectors = keys.iter().map(|key| (*key as f32).to_le_bytes());
        let vectors = FixedSizeBinaryArray::try_from_iter(vectors).unwrap();
        let rows = vec![ids, Arc::new(vectors) as ArrayRef];
        let part = Part::new(&world.columns(), rows, &Path::new("moving").into(), 0)?;
        Ok(Some(Cut {
            parts: vec![part],
            next: self.at.clone(),
        }))
    }

    fn files(&self) -> Files {
        Files::new([])
    }
}

/// What outlives a loader: a server that does not enforce keys, behind a gateway that knows requests by their names.
#[derive(Default)]
struct Server {
    rows: Mutex<Vec<i64>>,
    /// Requests on their way, and after how many more they arrive.
    late: Mutex<Vec<(u64, Vec<i64>, bool)>>,
    names: Mutex<HashSet<(BatchId, u64, u32)>>,
}

impl Server {
    fn store(&self, ids: Vec<i64>, upsert: bool) {
        let mut rows = self.rows.lock().unwrap();
        if upsert {
            rows.retain(|id| !ids.contains(id));
        }
        rows.extend(ids);
    }

    fn arrive(&self, all: bool) {
        let mut late = self.late.lock().unwrap();
        let (due, still) = std::mem::take(&mut *late)
            .into_iter()
            .map(|(wait, ids, upsert)| (wait.saturating_sub(1), ids, upsert))
            .partition::<Vec<_>, _>(|(wait, ..)| all || *wait == 0);
        *late = still;
        drop(late);
        for (_, ids, upsert) in due {
            self.store(ids, upsert);
        }
    }
}

struct Faulty {
    server: Arc<Server>,
    random: Mutex<Random>,
    dead: AtomicBool,
    deliveries: AtomicU64,
    dies_at: u64,
    finishing: AtomicBool,
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
    fn keyed(&self, keys: Keys) -> bool {
        keys == Keys::Stored
    }
    fn decide(&self, _: &Target) -> Result<Decision> {
        Ok(Decision {
            removes: None,
            replaces: 0,
            action: Action::Create,
            rows_before: 0,
            ours: true,
            why: "simulated".to_owned(),
        })
    }
    fn prepare(&self, _: &Target, _: &Decision, _: bool) -> Result<()> {
        Ok(())
    }
    fn pack(&self, batch: Batch, _: Buffer) -> Result<Parcel> {
        Ok(Parcel {
            id: batch.id,
            rows: batch.rows() as u32,
            payload_bytes: batch.rows(),
            digest: batch.rows(),
            body: vec![Bytes::from(vec![0; batch.rows() as usize])],
            left_out: Vec::new(),
            batch,
        })
    }
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        let dead = || Error::new(Kind::Refused, "the loader is dead");
        if self.dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        self.server.arrive(false);
        let upsert = attempt == Attempt::Again;
        let keys = parcel.batch.parts.iter().flat_map(|part| part.keys());
        let ids: Vec<i64> = keys.map(|key| World::number(&key)).collect();
        let dies = self.deliveries.fetch_add(1, Ordering::SeqCst) == self.dies_at;
        let mut random = self.random.lock().unwrap();
        let (fate, arrives, wait) = (random.next() % 10, random.one_in(2), random.next() % 6);
        drop(random);
        if dies || fate == 3 {
            let late = wait > 0 && !self.finishing.load(Ordering::SeqCst);
            match (arrives, late) {
                (true, true) => (self.server.late.lock().unwrap()).push((wait, ids, upsert)),
                (true, false) => self.server.store(ids, upsert),
                _ => {}
            }
            if dies {
                self.dead.store(true, Ordering::SeqCst);
                return Err(dead());
            }
            return Err(Error::new(Kind::Lost, "no answer"));
        }
        match fate {
            0 => return Err(Error::new(Kind::Busy, "later")),
            2 if parcel.rows > 1 => return Err(Error::new(Kind::TooBig, "too big")),
            _ => {}
        }
        // A name that came before is answered as it was then, and an upsert does no harm twice.
        let name = (parcel.id, parcel.batch.first_row, parcel.rows);
        if self.server.names.lock().unwrap().insert(name) || upsert {
            self.server.store(ids, upsert);
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
    fn replaces(&self) -> bool {
        true
    }
    fn finish(&self, _: &Target) -> Result<Finishing> {
        self.finishing.store(true, Ordering::SeqCst);
        self.server.arrive(true);
        Ok(Finishing::Done)
    }
    fn count(&self, _: &Target) -> Result<Count> {
        Ok(Count {
            rows: self.server.rows.lock().unwrap().len() as u64,
            strength: Strength::Exact,
        })
    }
    fn held<'s>(&'s self, _: &Target) -> Result<Held<'s>> {
        Ok(Held::Hidden {
            why: "not loaded".to_owned(),
            hint: String::new(),
        })
    }
    fn abandon(&self, _: &Target, _: &Decision) -> Option<String> {
        None
    }
}

fn settings(checkpoint: &Path, mutant: Mutant) -> RunSettings {
    let text = "source: {moving: {}}\nsink: {simulation: {}}\n".to_owned();
    let job = Job::parse(Path::new("simulation.yaml"), text).unwrap();
    RunSettings {
        checkpoint: checkpoint.to_owned(),
        first_wait: Duration::ZERO,
        late_wait: Duration::ZERO,
        on_doubt: match mutant {
            Mutant::BlindResend => milvusdm::job::OnDoubt::Resend,
            _ => job.run.on_doubt,
        },
        ..job.run
    }
}

/// Runs until done, killed again and again; what is wrong then.
fn simulate(seed: u64, mutant: Mutant, directory: &Path) -> Option<String> {
    let path = directory.join(format!("{seed}.ckpt"));
    let server = Arc::new(Server::default());
    let mut random = Random(seed);
    let world = Arc::new(World {
        rows: Mutex::new(
            (0..KEYS)
                .filter(|key| key % 3 == 0 || key % 5 == 0)
                .collect(),
        ),
        moves: [0, 1, 3, 10][(random.next() % 4) as usize],
        texts: random.one_in(2),
        random: Mutex::new(Random(random.next())),
        mutant,
    });
    for life in 0.. {
        assert!(life < 100, "seed {seed}: never done");
        let source = Moving(world.clone());
        let sink = Faulty {
            server: server.clone(),
            random: Mutex::new(Random(random.next())),
            dead: AtomicBool::new(false),
            deliveries: AtomicU64::new(0),
            dies_at: match life < 6 {
                true => random.next() % 25,
                false => u64::MAX,
            },
            finishing: AtomicBool::new(false),
        };
        let mut plan = Plan {
            fingerprint: Fingerprint::default(),
            manifest: source.manifest(),
            source: Box::new(source),
            sink: Box::new(sink),
            conversion: None,
            shapes: Default::default(),
            limits: Limits {
                batch_bytes: 1 << 20,
                batch_rows: BATCH_ROWS as u64,
            },
            settings: settings(&path, mutant),
            source_kind: String::new(),
            first_id: 0,
            auto_id: false,
            last: Default::default(),
            threads: 1 + (random.next() % 3) as usize,
            in_flight: 1..=1 + (random.next() % 4) as usize,
            warnings: Vec::new(),
            renamed: Default::default(),
            share: None,
        };
        let checkpoint = match Checkpoint::create_or_resume(&path, &plan, false).unwrap() {
            Found::Finished(_) => unreachable!("it is not finished twice"),
            Found::Open(checkpoint) => checkpoint,
        };
        if mutant != Mutant::OtherShards {
            plan.adopt(checkpoint.shards());
        }
        let mut decisions = plan.decide().unwrap();
        if checkpoint.decision(0).is_none() {
            checkpoint.decide(0, &decisions[0]).unwrap();
        }
        let progress = Progress::default();
        match run(
            &plan,
            &checkpoint,
            &mut decisions,
            &progress,
            &Stop::default(),
        ) {
            Ok(()) => break,
            // Loud: the program itself has noticed that it reads something else than before, and ends.
            Err((error, _)) if mutant != Mutant::None && error.kind() == Kind::Changed => {
                return None;
            }
            Err((error, _)) => assert_eq!(error.kind(), Kind::Refused, "seed {seed}: {error}"),
        }
        drop(checkpoint);
        tear(&path, &mut random, mutant);
        world.pass();
    }
    // A row that was sent, and deleted before it would have been sent again, may be there, even twice: nobody can ask
    // the source about it any more. The others can be told.
    let mut rows = server.rows.lock().unwrap().clone();
    rows.retain(|key| key % 3 == 0);
    rows.sort_unstable();
    if rows.windows(2).any(|pair| pair[0] == pair[1]) {
        return Some(format!("rows are doubled: {rows:?}"));
    }
    let missing = (0..KEYS).filter(|key| key % 3 == 0 && !rows.contains(key));
    let missing: Vec<i64> = missing.collect();
    (!missing.is_empty()).then(|| format!("rows are missing: {missing:?}"))
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
        let is_synced = !["\"received\"", "\"closed\"", "\"empty\""]
            .iter()
            .any(|kind| line.contains(kind));
        if is_synced {
            synced = at;
        }
    }
    let cut = synced + (random.next() as usize) % (text.len() - synced + 1);
    let mut left = text[..cut].to_owned();
    if matches!(mutant, Mutant::NoCuts | Mutant::LostCuts) {
        let is_cut = |line: &&str| line.contains("\"cut\"");
        let cuts = left.split_inclusive('\n').filter(is_cut).count();
        let kept = if mutant == Mutant::NoCuts { 0 } else { 1 };
        let mut number = 0;
        left = left
            .split_inclusive('\n')
            .filter(|line| {
                number += usize::from(is_cut(line));
                !is_cut(line) || number + kept > cuts
            })
            .collect();
    }
    std::fs::write(path, left).unwrap();
}

/// In memory where the system has such a place: the simulation syncs thousands of times.
fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    match shm.is_dir() {
        true => tempfile::tempdir_in(shm),
        false => tempfile::tempdir(),
    }
    .unwrap()
}

#[test]
fn rows_that_nobody_touches_arrive_exactly_once_whatever_moves_and_dies() {
    let seeds = std::env::var("MILVUSDM_SEEDS").map_or(1000, |n| n.parse().unwrap());
    const THREADS: u64 = 16;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let directory = scratch();
                for seed in (thread..seeds).step_by(THREADS as usize) {
                    let wrong = simulate(seed, Mutant::None, directory.path());
                    assert_eq!(wrong, None, "seed {seed}");
                }
            });
        }
    });
}

#[test]
fn without_any_part_of_the_rules_rows_are_lost_or_doubled() {
    for mutant in [
        Mutant::ByNumber,
        Mutant::NoCuts,
        Mutant::LostCuts,
        Mutant::BlindResend,
        Mutant::OtherShards,
    ] {
        let directory = scratch();
        let noticed =
            (10_000..10_300).any(|seed| simulate(seed, mutant, directory.path()).is_some());
        assert!(noticed, "{mutant:?} goes unnoticed");
    }
}
