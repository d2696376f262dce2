//! The seeded simulation: a destination that refuses, loses answers and dies, and a loader that is killed at
//! any point and resumed, until all is done. Every row must then be there exactly once; and with either half of
//! the in-doubt rule taken out, this test must fail.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use milvusdm::batch::{
    Batch, Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName,
};
use milvusdm::buffers::Buffer;
use milvusdm::checkpoint::{Checkpoint, Found};
use milvusdm::error::{Error, Kind, Result};
use milvusdm::job::{Job, OnDoubt, RunSettings};
use milvusdm::plan::{Fingerprint, Plan};
use milvusdm::progress::Progress;
use milvusdm::run::{Stop, run};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::held::Held;
use milvusdm::sink::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, Strength,
};
use milvusdm::source::{Files, Reader, Source, Survey};

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

/// What outlives a loader: rows as a server that does not enforce keys keeps them.
#[derive(Default)]
struct Server {
    rows: Mutex<HashMap<u32, Vec<i64>>>,
}

/// A sink that misbehaves by its seed.
struct Faulty {
    server: Arc<Server>,
    random: Mutex<Random>,
    dead: AtomicBool,
    deliveries: AtomicU64,
    dies_at: u64,
    calm: bool,
}

impl Faulty {
    fn store(&self, parcel: &Parcel, upsert: bool) {
        let mut rows = self.server.rows.lock().unwrap();
        let kept = rows.entry(parcel.batch.target).or_default();
        let ids: Vec<i64> = parcel
            .batch
            .parts
            .iter()
            .flat_map(|p| p.ids().to_vec())
            .collect();
        if upsert {
            kept.retain(|id| !ids.contains(id));
        }
        kept.extend(ids);
    }
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
        let (fate, arrives) = {
            let mut random = self.random.lock().unwrap();
            (random.next() % 10, random.one_in(2))
        };
        let upsert = attempt == Attempt::Again;
        if self.deliveries.fetch_add(1, Ordering::SeqCst) == self.dies_at {
            if arrives {
                self.store(parcel, upsert);
            }
            self.dead.store(true, Ordering::SeqCst);
            return Err(Error::new(Kind::Refused, "killed here"));
        }
        match if self.calm { 9 } else { fate } {
            0 => return Err(Error::new(Kind::Busy, "later")),
            1 => return Err(Error::new(Kind::Unreachable, "nobody there")),
            2 if parcel.rows > 1 => return Err(Error::new(Kind::TooBig, "too big")),
            3 => {
                if arrives {
                    self.store(parcel, upsert);
                }
                return Err(lost());
            }
            _ => {}
        }
        self.store(parcel, upsert);
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
        Ok(Finishing::Done)
    }
    fn count(&self, target: &Target) -> Result<Count> {
        let rows = self.server.rows.lock().unwrap();
        Ok(Count {
            rows: rows.get(&target.number).map_or(0, |r| r.len() as u64),
            strength: Strength::Exact,
        })
    }
    fn held<'s>(&'s self, _: &Target) -> Result<Held<'s>> {
        Ok(Held::Another("a simulation is not read back".to_owned()))
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
}

/// Runs until done, killed again and again; returns what the server then holds.
fn simulate(seed: u64, mutant: Mutant, directory: &Path) -> HashMap<u32, Vec<i64>> {
    let path = directory.join(format!("{seed}.ckpt"));
    let server = Arc::new(Server::default());
    let mut random = Random(seed);
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
            Found::Finished(_) => break,
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
                checkpoint.finish().unwrap();
                break;
            }
            Err((error, _)) => assert_eq!(error.kind(), Kind::Refused, "seed {seed}: {error}"),
        }
        drop(checkpoint);
        tear(&path, &mut random, mutant);
    }
    let rows = server.rows.lock().unwrap();
    rows.clone()
}

/// What a power cut does to the log: anything after the last synced record may be missing, torn at any byte.
fn tear(path: &Path, random: &mut Random, mutant: Mutant) {
    let text = std::fs::read_to_string(path).unwrap();
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
            .filter(|l| !l.contains("\"window\""))
            .collect();
    }
    std::fs::write(path, left).unwrap();
}

fn is_exact(rows: &HashMap<u32, Vec<i64>>) -> bool {
    let sorted = |target: u32| {
        let mut ids = rows.get(&target).cloned().unwrap_or_default();
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
    const SEEDS: u64 = 2000;
    // A destination that says "later" is given time: seeds wait beside each other.
    const THREADS: u64 = 16;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let directory = scratch();
                for seed in (thread..SEEDS).step_by(THREADS as usize) {
                    let rows = simulate(seed, Mutant::None, directory.path());
                    assert!(is_exact(&rows), "seed {seed}: {rows:?}");
                }
            });
        }
    });
}

#[test]
fn without_either_half_of_the_in_doubt_rule_rows_are_doubled() {
    let directory = scratch();
    for mutant in [Mutant::BlindResend, Mutant::NoWindows] {
        let wrong =
            (10_000..10_200).filter(|seed| !is_exact(&simulate(*seed, mutant, directory.path())));
        let wrong = wrong.count();
        assert!(wrong > 0, "{mutant:?} goes unnoticed");
    }
}
