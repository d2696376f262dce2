//! The seeded simulation: a destination that refuses, loses answers, carries requests out late, drops what it
//! acknowledged and dies; lines that are slow, gateways that limit answers; strangers that write meanwhile, or make what
//! the job is about to make; and a loader that is killed at any point and resumed, until all is done. If nothing was
//! dropped, every row must then be there exactly once; whatever happened, exit 0 says that, and no stranger's row is
//! touched. With any part of the rules taken out, this test must fail.
//!
//! `MILVUSDM_SEEDS` says how many seeds; 10,000 if it does not.
mod place;
mod server;
mod sink;
mod source;

use crate::support::random;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milvusdm::batch::Limits;
use milvusdm::checkpoint::{Checkpoint, Delivered, Found};
use milvusdm::error::Kind;
use milvusdm::job::{Job, OnDoubt, RunSettings, Verify};
use milvusdm::plan::{Fingerprint, Plan};
use milvusdm::progress::Progress;
use milvusdm::run::{Stop, run};
use milvusdm::sink::Decision;
use milvusdm::verify::{self, Pacing, When};

use place::Places;
use random::Random;
use server::{Place, STRANGE, Server, World, strange};
use sink::{Faulty, Mutant};
use source::{Numbers, manifest, small_row};

const LIMITS: Limits = Limits {
    batch_bytes: 12 * 4,
    batch_rows: 4,
};

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

/// What came of a seed.
#[derive(Debug)]
struct Outcome {
    world: World,
    places: HashMap<u32, Place>,
    dropped: bool,
    strangers_wrote: bool,
    meddled: bool,
    twice: bool,
    /// How the program would end.
    exit: u8,
}

impl Outcome {
    /// What is wrong with it.
    fn wrong(&self) -> Option<&'static str> {
        let exact = self.is_exact();
        let first = self.places.get(&0).map_or(&[][..], |place| &place.rows);
        let (theirs, ours): (Vec<i64>, Vec<i64>) = first.iter().partition(|id| **id >= STRANGE);
        let expected = match self.strangers_wrote || self.meddled {
            true => strange(),
            false => Vec::new(),
        };
        let unflushed = self.places.values().any(|place| place.unflushed);
        match self.exit {
            _ if theirs != expected => Some("rows of somebody else were touched"),
            _ if self.meddled && !ours.is_empty() => Some("rows are in a place of somebody else"),
            _ if self.twice => Some("a step at the end was taken again"),
            0 if !exact => Some("exit 0, and rows are missing or doubled"),
            0 | 7 if unflushed => Some("all was delivered, and not all flushed"),
            _ if !exact && !self.dropped && !self.meddled => {
                Some("rows are missing or doubled, and none was dropped")
            }
            5 if exact && !self.strangers_wrote => Some("exit 5, and all is well"),
            0 | 5 | 7 => None,
            _ => Some("no such exit"),
        }
    }

    /// Whether each row of the job is there once, and nothing of before.
    fn is_exact(&self) -> bool {
        let mut expected: HashMap<u32, Vec<i64>> = HashMap::from([
            (0, (0..50).collect()),
            (1, (100..113).collect()),
            (2, Vec::new()),
        ]);
        let small = 3..3 + self.world.small;
        expected.extend(small.map(|target| (target, vec![small_row(target)])));
        expected.iter().all(|(target, expected)| {
            let place = self.places.get(target);
            let mut ids = place.map_or(Vec::new(), |place| place.rows.clone());
            ids.retain(|id| *id < STRANGE);
            ids.sort_unstable();
            ids == *expected
        })
    }
}

/// Runs until done, killed again and again.
fn simulate(seed: u64, mutant: Mutant, directory: &Path) -> Outcome {
    let path = directory.join(format!("{seed}.ckpt"));
    let mut random = Random(seed);
    let world = World::of(&mut random);
    let server = Arc::new(Server::of(world));
    let mut exit = 0;
    let on_doubt = if mutant == Mutant::BlindResend {
        OnDoubt::Resend
    } else {
        OnDoubt::Auto
    };
    for life in 0.. {
        assert!(life < 100, "seed {seed}: never done");
        let places = Places::new(match life < 6 && random.one_in(2) {
            true => random.next() % 20,
            false => u64::MAX,
        });
        let sink = Faulty {
            server: server.clone(),
            places,
            out: AtomicU64::new(0),
            whole: Mutex::default(),
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
            source: Box::new(Numbers(world.small)),
            sink: Box::new(sink),
            manifest: manifest(world.small),
            conversion: None,
            shapes: Default::default(),
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
            share: None,
        };
        let checkpoint = match Checkpoint::create_or_resume(&path, &plan, false).unwrap() {
            Found::Finished(_) => unreachable!("it is not finished twice"),
            Found::Open(checkpoint) => checkpoint,
        };
        let mut decisions = plan.decide().unwrap();
        let dies_deciding = life < 6 && random.one_in(6);
        let recorded = decide(&checkpoint, &mut decisions, dies_deciding, mutant);
        if recorded {
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
                Err((error, _)) if error.kind() == Kind::Refused => {
                    exit = error.kind().exit_code();
                    break;
                }
                Err((error, _)) => assert_eq!(error.kind(), Kind::Io, "seed {seed}: {error}"),
            }
        }
        if world.meddlers && random.one_in(4) {
            server.meddle();
        }
        drop(checkpoint);
        tear(&path, &mut random, mutant);
    }
    Outcome {
        world,
        places: server.places(),
        meddled: server.meddled.load(Ordering::SeqCst),
        twice: server.twice.load(Ordering::SeqCst),
        dropped: server.dropped.load(Ordering::SeqCst),
        strangers_wrote: server.strangers_wrote.load(Ordering::SeqCst),
        exit,
    }
}

/// Records what is decided, or takes what was recorded; whether all of it is, and the loader lives.
fn decide(checkpoint: &Checkpoint, decisions: &mut [Decision], dies: bool, mutant: Mutant) -> bool {
    for (number, decision) in decisions.iter_mut().enumerate() {
        match checkpoint.decision(number as u32) {
            Some(_) if mutant == Mutant::DecidesAnew => {}
            Some((decided, _)) => *decision = decided,
            None if dies && number == 1 => return false,
            None => checkpoint.decide(number as u32, decision).unwrap(),
        }
    }
    true
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
    let pacing = Pacing {
        check: &|| Ok(()),
        wait: &|deed| deed(),
        looked_at: &|_, _| {},
    };
    let run = checkpoint.run();
    let compared = verify::compare(plan, run, &past, Verify::Count, When::AtTheEnd, &pacing);
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
        let unsynced = |word: &&str| line.contains(*word);
        if !["\"received\"", "\"closed\"", "\"done\""]
            .iter()
            .any(unsynced)
        {
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
    if mutant == Mutant::NoPrepared {
        left = left
            .split_inclusive('\n')
            .filter(|l| !l.contains("\"prepared\""))
            .collect();
    }
    std::fs::write(path, left).unwrap();
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
    let seeds = std::env::var("MILVUSDM_SEEDS").map_or(10_000, |n| n.parse().unwrap());
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
        Mutant::NoLookAgain,
        Mutant::DropsByName,
        Mutant::DecidesAnew,
        Mutant::NoPrepared,
        Mutant::NoPlaces,
        Mutant::NeverSmaller,
        Mutant::TakenForTooBig,
        Mutant::HalvesAnew,
        Mutant::FinishesAnew,
        Mutant::NoStepBack,
        Mutant::FlushesEach,
    ] {
        let noticed =
            (10_000..12_000).any(|seed| simulate(seed, mutant, directory.path()).wrong().is_some());
        assert!(noticed, "{mutant:?} goes unnoticed");
    }
}
