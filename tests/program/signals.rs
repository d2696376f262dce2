//! Asked to stop: in good order within two seconds whatever the destination does, at once when asked twice, and the
//! same command goes on.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use migration::Jobs;
use support::fake_milvus::{Fake, Misbehave};

fn float_example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/float_example.h5");
    path.display().to_string()
}

fn start(jobs: &Jobs, sink: &str, run: &str) -> Child {
    let job = format!(
        "source: {{hdf5: {{paths: {}}}}}\nsink: {{{sink}}}\nrun: {{{run}}}\n",
        float_example()
    );
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .current_dir(jobs.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// How it ended, and how long that took.
#[track_caller]
fn ended(child: Child) -> (Output, Duration) {
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    (output, asked.elapsed())
}

#[track_caller]
fn stopped_in_good_order((output, took): (Output, Duration)) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command continues"), "{said}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Waits until something is so.
#[track_caller]
fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_that_is_interrupted_goes_on_where_it_stopped() {
    for name in ["-INT", "-TERM"] {
        let fake = Fake::start("v2.3.5");
        let jobs = Jobs::new();
        let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
        let child = start(&jobs, &sink, "batch: 16KiB, max_rows_per_s: 1500");
        until(|| fake.arrived().len() > 3);
        signal(&child, name);
        stopped_in_good_order(ended(child));
        let before = fake.arrived().len();
        let output = start(&jobs, &sink, "batch: 16KiB").wait_with_output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let mut ids: Vec<i64> = Vec::new();
        for arrived in fake.arrived() {
            if let Some(found) = arrived.ids() {
                ids.extend(found);
            }
        }
        assert!(before > 3 && fake.arrived().len() > before);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5000);
    }
}

#[test]
fn a_destination_that_never_answers_does_not_keep_it() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    for _ in 0..50 {
        fake.next(Misbehave::Hang);
    }
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    let child = start(&jobs, &sink, "batch: 16KiB");
    until(|| fake.hangs() > 0);
    signal(&child, "-INT");
    stopped_in_good_order(ended(child));
}

#[test]
fn asked_twice_it_ends_at_once() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    for _ in 0..50 {
        fake.next(Misbehave::Hang);
    }
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    let child = start(&jobs, &sink, "batch: 16KiB");
    until(|| fake.hangs() > 0);
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(150));
    signal(&child, "-INT");
    let (output, took) = ended(child);
    assert_eq!(output.status.code(), Some(130));
    assert!(took < Duration::from_millis(1200), "{took:?}");
}

#[test]
fn an_interrupted_file_is_not_left_looking_whole() {
    let jobs = Jobs::new();
    let sink = "hdf5: {path: out.h5}";
    let child = start(&jobs, sink, "batch: 16KiB, max_rows_per_s: 1500");
    until(|| jobs.path("job.yaml.ckpt").exists());
    std::thread::sleep(Duration::from_millis(700));
    signal(&child, "-INT");
    stopped_in_good_order(ended(child));
    assert!(!jobs.path("out.h5").exists());
    let output = start(&jobs, sink, "batch: 16KiB").wait_with_output();
    assert!(output.unwrap().status.success());
    assert!(jobs.path("out.h5").exists());
}
