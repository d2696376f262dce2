//! The program killed (SIGKILL) at random moments and gone on with by the same command, into a real Milvus 2.3.5 that
//! is itself killed and started again, and into HDF5 files. `tests/soak` runs it longer, and with other seeds.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use crate::support::{self, migration};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use migration::{Jobs, make, support_script};
use support::{Engine, Server};

/// A figure from the environment, for `tests/soak`.
fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |v| v.parse().expect("a whole number"))
}

/// Moments, others in every run; what was drawn from is printed.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = setting("MILVUSDM_SOAK_SEED", now.as_nanos() as u64);
        eprintln!("MILVUSDM_SOAK_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        let step = self.0.wrapping_mul(6364136223846793005);
        self.0 = step.wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn start(jobs: &Jobs, job: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", job, "--progress", "none", "--report", "report.json"])
        .current_dir(jobs.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether a run delivered everything. It may have had to send batches again whose answer the kill took; statistics
/// then prove nothing, which is said.
fn delivered(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    let unproven = output.status.code() == Some(7) && said.contains("it is not proven");
    assert!(output.status.success() || unproven, "{said}");
}

/// Runs a job to its end, however often it has to be begun; it is killed this many times at moments of up to
/// so many milliseconds. How often it was really killed in the middle, and the report of the last run.
fn run_killed(
    jobs: &Jobs,
    job: &str,
    kills: u64,
    within: u64,
    random: &mut Random,
) -> (u64, Value) {
    let mut killed = 0;
    while killed < kills {
        let mut child = start(jobs, job);
        thread::sleep(Duration::from_millis(random.below(within)));
        if child.try_wait().unwrap().is_some() {
            // It was done, or said that it was: the last word is below.
            eprintln!("finished after {killed} kills");
            let output = child.wait_with_output().unwrap();
            delivered(&output);
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    let output = start(jobs, job).wait_with_output().unwrap();
    delivered(&output);
    let report = std::fs::read(jobs.path("report.json")).unwrap();
    (killed, serde_json::from_slice(&report).unwrap())
}

#[test]
fn a_loader_and_a_server_that_are_killed_lose_and_double_nothing() {
    let kills = setting("MILVUSDM_SOAK_KILLS", 8);
    let outages = setting("MILVUSDM_SOAK_OUTAGES", 1);
    let (rows, dim) = (20_000, 32);
    let mut random = Random::new();
    let server = Server::start(Engine::Standalone, &[]);
    let jobs = Jobs::new();
    let (index, count, width) = (jobs.path("rows.index"), rows.to_string(), dim.to_string());
    support_script(
        "soak.py",
        &["make", index.to_str().unwrap(), &count, &width],
    );
    // Small batches, slowly: so many kills need time and places to hit.
    let rate = rows * (dim * 4 + 8) / (kills + 20 * outages);
    std::fs::write(
        jobs.path("soak.yaml"),
        format!(
            "source: {{faiss: {{path: rows.index}}}}\n\
             sink: {{milvus: {{address: '{}', collection: soak}}}}\n\
             run: {{batch: 16KiB, max_bytes_per_s: {rate}}}\n",
            server.address()
        ),
    )
    .unwrap();
    let done = AtomicBool::new(false);
    let (killed, report) = thread::scope(|scope| {
        let mut moments = Random(random.below(u64::MAX >> 33));
        let (server, done) = (&server, &done);
        let outage = move || {
            for _ in 0..outages {
                thread::sleep(Duration::from_millis(1500 + moments.below(4000)));
                if done.load(Ordering::SeqCst) {
                    return;
                }
                server.kill();
                thread::sleep(Duration::from_millis(moments.below(3000)));
                server.start_again();
            }
        };
        let outages = scope.spawn(outage);
        let ended = run_killed(&jobs, "soak.yaml", kills, 2500, &mut random);
        done.store(true, Ordering::SeqCst);
        outages.join().unwrap();
        ended
    });
    eprintln!("killed {killed} times; {}", report["targets"]);
    assert!(
        killed >= kills / 2,
        "too few of the kills came before its end"
    );
    let there = support_script(
        "soak.py",
        &["check", &server.address(), "soak", &count, &width],
    );
    let there: Value = serde_json::from_str(&there).unwrap();
    assert_eq!(
        there,
        json!({"counted": rows, "compared": rows, "differ": []})
    );
    // The check has loaded the collection: now a count proves it, and a look at what was sent again.
    let again = start(&jobs, "soak.yaml").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[again.stdout, again.stderr].concat()).into_owned();
    assert!(again.status.success(), "{said}");
    let again = start(&jobs, "soak.yaml").wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(said.contains("nothing to do"), "{said}");
}

/// All files under a directory, by name.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn hdf5_files_of_a_killed_run_are_those_of_an_undisturbed_one_byte_for_byte() {
    let kills = setting("MILVUSDM_SOAK_KILLS", 8);
    let mut random = Random::new();
    let jobs = Jobs::new();
    let spec = json!([
        {"collection": "one", "dimension": 64, "metric": 1,
         "partitions": {"": [1, 4001], "p1": [5000, 9000], "p 2": [9000, 9001]}},
        {"collection": "two", "dimension": 512, "metric": 3, "partitions": {"": [1, 6001], "a/b": [7000, 12000]}},
    ]);
    let (source, _) = make(&jobs, "source", spec);
    for settings in [
        "",
        "  compression: gzip1\n  shuffle: true\n  chunk_rows: 500\n",
    ] {
        let job = |out: &str, run: &str| {
            format!(
                "M2H:\n  source_milvus_path: {}\n  data_dir: {out}\n{settings}  run: {run}\n",
                source.display()
            )
        };
        jobs.run("calm", &job("calm", "{threads: 1}")).code(0);
        // About 2.5 MB, slowly.
        let slow = "{threads: 2, batch: 16KiB, max_bytes_per_s: 700000}";
        std::fs::write(jobs.path("killed.yaml"), job("killed", slow)).unwrap();
        let (killed, _) = run_killed(&jobs, "killed.yaml", kills, 1500, &mut random);
        eprintln!("killed {killed} times");
        assert!(
            killed >= kills / 2,
            "too few of the kills came before its end"
        );
        let (calm, killed) = (jobs.path("calm"), jobs.path("killed"));
        let strip = |root: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
            let named = files(root).into_iter();
            named
                .map(|(path, bytes)| (path.strip_prefix(root).unwrap().to_owned(), bytes))
                .collect()
        };
        let (calm_files, killed_files) = (strip(&calm), strip(&killed));
        assert!(calm_files.len() >= 7, "{:?}", calm_files.keys());
        assert!(
            calm_files.keys().eq(killed_files.keys()),
            "{:?}",
            killed_files.keys()
        );
        for (name, bytes) in &calm_files {
            if name.extension().is_some_and(|e| e == "h5") {
                assert!(*bytes == killed_files[name], "{} differs", name.display());
            }
        }
        for path in [calm, killed] {
            std::fs::remove_dir_all(path).unwrap();
        }
        for name in ["calm.yaml.ckpt", "killed.yaml.ckpt"] {
            std::fs::remove_file(jobs.path(name)).unwrap();
        }
    }
}
