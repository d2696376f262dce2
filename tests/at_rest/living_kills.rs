//! A running Milvus that is read while its loader, it and the destination die, and others write to it: rows that nobody
//! writes are there afterwards, each once.
//!
//! In the suite each dies a few times. `LIVING_KILLS=1 tests/run --test at_rest living_kills::` kills the loader eight times, the
//! source twice and the destination twice, at random moments; `LIVING_KILLS=5` five times as often. What dies when is
//! drawn from a number that is printed, and that `LIVING_SEED` sets.

#![allow(clippy::print_stdout)]

use crate::support::{self, migration};

use std::process::{Child, Command};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use migration::{Jobs, support_script};
use support::{Engine, Server};

/// Somebody who writes to a collection of 60,000 rows, until dropped.
struct Writer(Child);

impl Writer {
    fn new(server: &Server) -> Writer {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/living.py");
        let writer = Command::new(support::python())
            .args([script, "write", &server.address(), "many"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Writer(writer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dump(server: &Server) -> Value {
    let text = support_script("living.py", &["dump", &server.address(), "many"]);
    serde_json::from_str::<Value>(&text).unwrap()["many"].take()
}

fn rows(dumped: &Value) -> Map<String, Value> {
    dumped["rows"]["_default"].as_object().unwrap().clone()
}

/// Which keys the writer leaves alone.
fn untouched(rows: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let third = |key: &str| key.parse::<i64>().unwrap() % 3 == 0;
    rows.iter().filter(move |(key, _)| third(key))
}

#[track_caller]
fn check(before: &Map<String, Value>, after: &Map<String, Value>) {
    let mut count = 0;
    for (key, row) in untouched(before) {
        assert_eq!(Some(row), after.get(key), "{key}");
        count += 1;
    }
    assert_eq!(count, 20000);
    assert_eq!(untouched(after).count(), 20000);
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Killed {
    Loader,
    Source,
    Destination,
}

/// How often each is killed: in the suite a few times, and `LIVING_KILLS=n` times eight, two and two.
fn deaths(random: &mut impl FnMut() -> u64) -> Vec<Killed> {
    let rounds = std::env::var("LIVING_KILLS")
        .ok()
        .map(|n| n.parse::<usize>().unwrap());
    let (loader, servers) = match rounds {
        Some(rounds) => (8 * rounds, 2 * rounds),
        None => (4, 1),
    };
    let mut all = vec![Killed::Loader; loader];
    all.extend(vec![Killed::Source; servers]);
    all.extend(vec![Killed::Destination; servers]);
    for at in (1..all.len()).rev() {
        all.swap(at, (random() % (at as u64 + 1)) as usize);
    }
    all
}

fn random() -> (u64, impl FnMut() -> u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let given = std::env::var("LIVING_SEED")
        .ok()
        .map(|n| n.parse().unwrap());
    let seed = given.unwrap_or(now.as_nanos() as u64) | 1;
    let mut state = seed;
    (seed, move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    })
}

#[test]
fn after_any_kill_each_row_that_nobody_writes_arrives_once() {
    let (seed, mut random) = random();
    let deaths = deaths(&mut random);
    println!("LIVING_SEED={seed}: {deaths:?}");
    // It takes so many queries a second, and says of the others "later".
    let limited = [
        "quotaAndLimits.enabled=true",
        "quotaAndLimits.dql.enabled=true",
        "quotaAndLimits.dql.queryRate.max=60",
    ];
    let limits: Vec<&str> = limited.iter().flat_map(|set| ["--set", set]).collect();
    let from = Server::start(Engine::Standalone, &limits);
    let to = Server::start(Engine::Standalone, &[]);
    support_script("living.py", &["rows", &from.address(), "many", "60000"]);
    let before = rows(&dump(&from));
    let jobs = Jobs::new();
    // So slow that the last of them dies before the last row came.
    let pace = 60_000 / (deaths.len() as u64 * 2);
    let text = format!(
        "source: {{milvus: {{address: '{}', collections: [many], page: 700, rows_per_s: {pace}}}}}\n\
         sink: {{milvus: {{address: '{}', index: source, load: true}}}}\n\
         run: {{verify: count, batch: 64KiB, patience: 5m}}\n",
        from.address(),
        to.address()
    );
    std::fs::write(jobs.path("many.yaml"), text).unwrap();
    let writer = Writer::new(&from);
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args([
                "run",
                "many.yaml",
                "--progress",
                "none",
                "--report",
                "r.json",
            ])
            .current_dir(jobs.path("."))
            .env("XDG_STATE_HOME", jobs.path("state"))
            .spawn()
            .unwrap()
    };
    let mut loader = start();
    for death in &deaths {
        std::thread::sleep(Duration::from_millis(300 + random() % 1700));
        match death {
            Killed::Loader => {
                let _ = loader.kill();
                loader.wait().unwrap();
                loader = start();
            }
            Killed::Source => {
                from.kill();
                from.start_again();
            }
            Killed::Destination => {
                to.kill();
                to.start_again();
            }
        }
    }
    let mut code = loader.wait().unwrap().code();
    drop(writer);
    if code != Some(0) {
        // Without anybody who writes, what was open is looked at once more.
        code = start().wait().unwrap().code();
    }
    let report = std::fs::read_to_string(jobs.path("r.json")).unwrap();
    assert!(matches!(code, Some(0 | 7)), "{report}");
    assert!(report.contains("\"snapshot\": \"live\""), "{report}");
    let dumped = dump(&to);
    let after = rows(&dumped);
    check(&before, &after);
    // Copies of a key would be counted.
    assert_eq!(
        dumped["count"],
        after.len(),
        "rows are there more than once"
    );
}

/// What directories of Parquet files hold, as pyarrow reads them.
fn in_files(dir: &std::path::Path) -> Value {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/living_parquet.py"
    );
    let output = Command::new(support::test_env().join("tables/bin/python"))
        .arg(script)
        .arg(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["many"].take()
}

#[test]
fn rows_that_nobody_writes_are_in_files_once_though_others_come_and_go() {
    migration::check_installed();
    let from = Server::start(Engine::Standalone, &[]);
    support_script("living.py", &["rows", &from.address(), "many", "60000"]);
    let before = rows(&dump(&from));
    let jobs = Jobs::new();
    let out = jobs.path("out");
    let text = format!(
        "source: {{milvus: {{address: '{}', collections: [many], page: 2000, rows_per_s: 20000}}}}\n\
         sink: {{parquet: {{dir: '{}', rows_per_file: 7000}}}}\n\
         run: {{verify: count, batch: 256KiB}}\n",
        from.address(),
        out.display()
    );
    let writer = Writer::new(&from);
    std::fs::write(jobs.path("many.yaml"), &text).unwrap();
    // Killed in the middle, and gone on with: what the files hold is what the source holds by then.
    let mut loader = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "many.yaml", "--progress", "none"])
        .current_dir(jobs.path("."))
        .env("XDG_STATE_HOME", jobs.path("state"))
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1800));
    let _ = loader.kill();
    let _ = loader.wait();
    let ended = jobs.run("many", &text).code(0);
    drop(writer);
    let files = in_files(&out);
    let after = rows(&files);
    check(&before, &after);
    let target = &ended.report["targets"][0];
    assert_eq!(target["delivered"], after.len(), "{}", ended.said);
    assert_eq!(target["rows_counted"], after.len(), "{}", ended.said);
    assert_eq!(ended.report["snapshot"], "live");
}
