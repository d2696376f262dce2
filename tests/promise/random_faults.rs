//! Random combinations of faults before a real Milvus 2.3.5: lost answers, late deliveries, lines that are slow or
//! break at some byte, SIGKILL of either side, strangers that write. Exit 0 only if every row is there exactly once, and
//! no stranger's row is touched. `tests/random_faults` runs more of them, and with other seeds.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use crate::support::{self, gateway, migration};

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use gateway::{Fate, Gateway, Line};
use migration::{Jobs, server, support_script};

const ROWS: u64 = 3000;
const DIMENSION: u64 = 32;
/// Rounds at a time, all before one server.
const SIDE_BY_SIDE: u64 = 6;
/// The longest that a request is late.
const LATE_MS: u64 = 10_000;

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |v| v.parse().expect("a whole number"))
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn start(jobs: &Jobs) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// One combination; what the program said at its end.
fn round(number: u64, seed: u64, outage: &Mutex<()>) -> i32 {
    let mut random = Random(seed.wrapping_add(number));
    let name = format!("rf_{seed}_{number}");
    let jobs = Jobs::new();
    let (rows, dim) = (ROWS.to_string(), DIMENSION.to_string());
    let path = jobs.path("a.h5");
    support_script("promise.py", &["make", path.to_str().unwrap(), &rows, &dim]);
    let address = server().address();
    let (loses, lates) = (random.one_in(2), random.one_in(2));
    let fates = Mutex::new(Random(random.below(u64::MAX)));
    let last_late = std::sync::Arc::new(AtomicU64::new(0));
    let (began, noted) = (Instant::now(), last_late.clone());
    let gateway = Gateway::start(&address, move |call| {
        let mut random = fates.lock().unwrap();
        if !matches!(call.method, "Insert" | "Upsert") {
            return Fate::Pass;
        }
        if lates && random.one_in(8) {
            let ms = 50 + random.below(LATE_MS - 50);
            let arrives = began.elapsed().as_millis() as u64 + ms;
            noted.fetch_max(arrives, Ordering::SeqCst);
            return Fate::Late(Duration::from_millis(ms));
        }
        match loses && random.one_in(8) {
            true => Fate::Lose(14, "lost"),
            false => Fate::Pass,
        }
    });
    let slow = if random.one_in(3) { 50_000 } else { 0 };
    let line = Line::start(&gateway.address, slow);
    let load = match random.one_in(3) {
        true => "",
        false => ", index: {type: FLAT}, load: true",
    };
    let job = format!(
        "source: {{hdf5: {{paths: [a.h5]}}}}\n\
         sink: {{milvus: {{address: '{}', collection: {name}, metric: L2{load}}}}}\n\
         run: {{batch: {}KiB, patience: 3m}}\n",
        line.address,
        8 << random.below(4)
    );
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    let (kills, strange) = (random.below(3), random.one_in(3));
    let kills_server = random.one_in(6);
    let mut wrote = 0;
    let mut child = start(&jobs);
    for kill in 0..kills + 1 {
        thread::sleep(Duration::from_millis(300 + random.below(1500)));
        if random.one_in(2) {
            line.break_in(random.below(60_000));
        }
        if kill < kills {
            child.kill().unwrap();
            child.wait().unwrap();
            child = start(&jobs);
        }
        if strange && wrote == 0 {
            let strange = ["strange", &address, &name, "1000000", "500", &dim];
            // The collection may not be there yet: then they come later, or not at all.
            let done = Command::new(support::python())
                .arg("tests/support/promise.py")
                .args(strange)
                .stderr(Stdio::null())
                .output()
                .unwrap();
            wrote = if done.status.success() { 500 } else { 0 };
        }
    }
    if kills_server && let Ok(_one) = outage.try_lock() {
        server().kill();
        thread::sleep(Duration::from_millis(random.below(2000)));
        server().start_again();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let exit = output.status.code().unwrap();
    // What is still on its way arrives before anybody looks.
    let arrived = Duration::from_millis(last_late.load(Ordering::SeqCst) + 2000);
    thread::sleep(arrived.saturating_sub(began.elapsed()));
    // A server that is being started again is waited for.
    let _up = outage.lock().unwrap();
    let found = support_script("promise.py", &["check", &address, &name, &rows, &dim]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let what = format!(
        "round {number} of seed {seed}: exit {exit}; loses {loses}, lates {lates}, slow {slow}, kills {kills}, \
         server {kills_server}, strangers {wrote}, load {}: {found}\n{said}",
        !load.is_empty()
    );
    eprintln!("{}", what.lines().next().unwrap());
    assert!([0, 5, 7].contains(&exit), "{what}");
    assert_eq!(found["others"], json!(wrote), "{what}");
    assert_eq!(found["others_changed"], json!(0), "{what}");
    if exit == 0 {
        assert_eq!(found["count"], json!(ROWS), "{what}");
        assert_eq!(found["wrong"], json!(0), "{what}");
    }
    exit
}

#[test]
fn exit_0_means_that_every_row_is_there_once_whatever_goes_wrong() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = setting("MILVUSDM_FAULTS_SEED", now.as_secs());
    let rounds = setting("MILVUSDM_FAULTS_ROUNDS", 20);
    eprintln!("MILVUSDM_FAULTS_SEED={seed}");
    let (next, outage) = (AtomicU64::new(0), Mutex::new(()));
    let exits = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= rounds {
                        return;
                    }
                    let exit = round(number, seed, &outage);
                    exits.lock().unwrap().push(exit);
                }
            });
        }
    });
    let exits = exits.into_inner().unwrap();
    let of = |code| exits.iter().filter(|exit| **exit == code).count();
    eprintln!("exit 0: {}, 5: {}, 7: {}", of(0), of(5), of(7));
    assert_eq!(exits.len() as u64, rounds);
    assert!(of(0) > 0, "{exits:?}");
}
