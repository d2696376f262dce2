//! Runs that end before they are through, whenever that happens: each has got further before it is killed.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::migration::{Ended, Jobs};

/// How often a run is killed.
const KILLS: usize = 4;

/// Starts a run of a job that was written before, with more settings of how it runs.
pub fn begin(jobs: &Jobs, name: &str, settings: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", &format!("{name}.yaml"), "--progress", "none"])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .current_dir(jobs.path("."))
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many batches of a job have receipts.
pub fn receipts(jobs: &Jobs, name: &str) -> usize {
    let log = jobs.path(&format!("{name}.yaml.ckpt"));
    let log = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&log)
        .matches("{\"received\"")
        .count()
}

/// Waits until so many batches more have receipts; the run is not through then.
#[track_caller]
pub fn gets_further(jobs: &Jobs, name: &str, mut child: Child, batches: usize) -> Child {
    let (before, began) = (receipts(jobs, name), Instant::now());
    while receipts(jobs, name) < before + batches {
        let is_slow = began.elapsed() > Duration::from_secs(120);
        if is_slow || child.try_wait().unwrap().is_some() {
            let _ = child.kill();
            let (code, said) = ended(child);
            panic!("{name} got no further than {before} batches ({code:?}): {said}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let has_ended = child.try_wait().unwrap().is_some();
    assert!(!has_ended, "{name} was through before it was disturbed");
    child
}

/// Waits for its end: the exit code, and what it said.
pub fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a job so slowly that it is met on its way, kills it (-9) four times there, and lets the same command end.
#[track_caller]
pub fn killed_four_times(jobs: &Jobs, name: &str, text: &str, rows_per_s: u32) -> Ended {
    std::fs::write(jobs.path(&format!("{name}.yaml")), text).unwrap();
    let slowly = format!("run.max_rows_per_s={rows_per_s}");
    for _ in 0..KILLS {
        let mut child = gets_further(jobs, name, begin(jobs, name, &[&slowly]), 2);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    jobs.run(name, text)
}
