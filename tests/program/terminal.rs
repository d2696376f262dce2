//! What stands on a terminal: one line that never breaks, follows its width, names the phase, and is gone at the end.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration, pty};

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migration::{Jobs, flat_index, server};
use pty::{Screen, Terminal};
use support::fake_milvus::{Fake, Misbehave};

/// A job of 5000 rows of the example into a sink.
fn example(jobs: &Jobs, sink: &str, run: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/float_example.h5");
    let job = format!(
        "source: {{hdf5: {{paths: {}}}}}\nsink: {{{sink}}}\nrun: {{{run}}}\n",
        path.display()
    );
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
}

#[track_caller]
fn until(mut what: impl FnMut() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// No state of the line was wider than the terminal less one, and nothing of it is left.
#[track_caller]
fn check_line(screen: &Screen, columns: usize, phases: &[&str]) {
    for frame in &screen.frames {
        assert!(frame.chars().count() < columns, "{frame}");
    }
    for phase in phases {
        let named = screen.frames.iter().any(|frame| frame.starts_with(phase));
        assert!(named, "no {phase} among {:#?}", screen.frames);
    }
    for line in screen.lines() {
        let left = phases.iter().any(|phase| line.starts_with(phase));
        assert!(!left, "{line} is left");
    }
}

#[test]
fn a_run_with_flush_index_and_load_names_each_phase_in_one_line() {
    for columns in [80, 40] {
        let jobs = Jobs::new();
        flat_index(&jobs, "flat.index", 60_000, 64);
        let job = format!(
            "source: {{faiss: {{path: flat.index}}}}\nsink: {{milvus: {{address: '{}', collection: terminal_{columns}, \
             metric: L2, index: {{type: HNSW, params: {{M: 16, efConstruction: 100}}}}, load: true}}}}\n\
             run: {{verify: full, batch: 256KiB}}\n",
            server().address()
        );
        std::fs::write(jobs.path("job.yaml"), job).unwrap();
        let terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], columns);
        let (status, screen) = terminal.end();
        let lines = screen.lines();
        assert!(status.success(), "{lines:#?}");
        let phases = ["sending", "flushing", "indexing", "loading", "verifying"];
        check_line(&screen, columns.into(), &phases);
        assert!(lines[0].starts_with("done: 60000 rows"), "{lines:#?}");
        // The terminal broke no line of the summary: each was short enough.
        for line in &lines {
            assert!(line.chars().count() < columns.into(), "{lines:#?}");
        }
        let said = lines.join(" ");
        let said: Vec<&str> = said.split_whitespace().collect();
        let said = said.join(" ");
        assert!(
            said.contains("counted 60000 (exact count): agrees"),
            "{said}"
        );
        assert!(said.contains(&format!("terminal_{columns}")), "{said}");
        if columns == 40 {
            let all = "was create, before 0, delivered 60000, left out 0, deleted 0";
            assert!(said.contains(all), "{said}");
        }
        if columns == 80 {
            let sending = screen
                .frames
                .iter()
                .find(|f| f.starts_with("sending") && f.contains("rows/s"));
            assert!(
                sending.is_some_and(|f| f.contains("ETA")),
                "{:#?}",
                screen.frames
            );
            assert!(lines[1].starts_with("  target"), "{lines:#?}");
        }
    }
}

#[test]
fn ctrl_c_leaves_no_half_line() {
    for columns in [80, 40] {
        let fake = Fake::start("v2.3.5");
        let jobs = Jobs::new();
        let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
        example(&jobs, &sink, "batch: 16KiB, max_rows_per_s: 1500");
        let mut terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], columns);
        until(|| terminal.line().starts_with("sending") && fake.arrived().len() > 2);
        terminal.interrupt();
        let (status, screen) = terminal.end();
        assert_eq!(status.code(), Some(130));
        check_line(&screen, columns.into(), &["sending"]);
        let lines = screen.lines().join(" ");
        assert!(!lines.contains("rows/s") && !lines.contains('%'), "{lines}");
        assert!(
            lines.replace(' ', "").contains("stoppedonrequest"),
            "{lines}"
        );
    }
}

#[test]
fn ctrl_c_twice_leaves_no_half_line_either() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    for _ in 0..50 {
        fake.next(Misbehave::Hang);
    }
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    example(&jobs, &sink, "batch: 16KiB");
    let mut terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80);
    until(|| terminal.line().starts_with("sending") && fake.hangs() > 0);
    terminal.interrupt();
    std::thread::sleep(Duration::from_millis(150));
    terminal.interrupt();
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(130));
    check_line(&screen, 80, &["sending"]);
    assert_eq!(screen.lines(), Vec::<String>::new());
}

#[test]
fn a_resumed_run_says_where_it_began_and_counts_its_own_rows() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    example(&jobs, &sink, "batch: 16KiB, max_rows_per_s: 3000");
    let mut terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80);
    until(|| fake.arrived().len() > 4);
    terminal.interrupt();
    let (status, _) = terminal.end();
    assert_eq!(status.code(), Some(130));
    let terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 120);
    let (status, screen) = terminal.end();
    let lines = screen.lines();
    assert!(status.success(), "{lines:#?}");
    let word = |line: &str, number: usize| -> u64 {
        let digits = |c: &char| c.is_ascii_digit();
        let words = line.split(|c: char| !digits(&c)).filter(|w| !w.is_empty());
        words.map(|w| w.parse().unwrap()).nth(number).unwrap()
    };
    let note = lines
        .iter()
        .find(|l| l.starts_with("note: continues at row"))
        .unwrap();
    let (before, all) = (word(note, 0), word(note, 1));
    assert!(before > 0 && before < 5000 && all == 5000, "{note}");
    let done = lines
        .iter()
        .find(|l| l.starts_with("done: 5000 rows"))
        .unwrap();
    assert!(
        done.contains(&format!("of these {before} before")),
        "{done}"
    );
    assert!(
        done.contains(&format!("this run {} rows", 5000 - before)),
        "{done}"
    );
    let began = format!("began at row {before}");
    assert!(
        screen.frames.iter().any(|f| f.contains(&began)),
        "{:#?}",
        screen.frames
    );
}

#[test]
fn a_file_is_said_to_be_written_again() {
    let jobs = Jobs::new();
    example(
        &jobs,
        "hdf5: {path: out.h5}",
        "batch: 16KiB, max_rows_per_s: 1500",
    );
    let mut terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80);
    until(|| terminal.line().starts_with("sending"));
    terminal.interrupt();
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(130));
    let said = screen.lines().join("");
    assert!(said.contains("the same command continues"), "{said}");
    example(&jobs, "hdf5: {path: out.h5}", "batch: 16KiB");
    let (status, screen) = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80).end();
    let said = screen.lines().join("");
    assert!(status.success(), "{said}");
    assert!(said.contains("written again from its first row"), "{said}");
    assert!(
        said.contains("done: 5000 rows") && !said.contains("before; this run"),
        "{said}"
    );
}

#[test]
fn what_is_waited_for_is_said_with_since_and_until_when() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    for _ in 0..40 {
        fake.next(Misbehave::Status(
            49,
            8,
            "rate limit exceeded\x1b[2J\nproducts: agrees",
        ));
    }
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    example(&jobs, &sink, "batch: 16KiB, patience: 1h");
    let mut terminal = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80);
    until(|| terminal.line().starts_with("waiting since"));
    terminal.interrupt();
    let (_, screen) = terminal.end();
    check_line(&screen, 80, &["waiting since"]);
    let waiting = screen
        .frames
        .iter()
        .find(|f| f.starts_with("waiting"))
        .unwrap();
    assert!(
        waiting.contains(", until ") && waiting.contains(" UTC: "),
        "{waiting}"
    );
}

fn rows_arrived(fake: &Fake) -> usize {
    let arrived = fake.arrived();
    let ids = arrived.iter().filter_map(|arrived| arrived.ids());
    ids.map(<[i64]>::len).sum()
}

#[test]
fn a_stopped_terminal_does_not_stop_the_run() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    example(&jobs, &sink, "batch: 16KiB, max_rows_per_s: 3000");
    let mut terminal = Terminal::start_stopped(jobs.0.path(), &["run", "job.yaml"], 80);
    until(|| rows_arrived(&fake) == 5000);
    terminal.release();
    let (status, screen) = terminal.end();
    assert!(status.success(), "{:#?}", screen.lines());
    let lines = screen.lines();
    assert!(lines[0].starts_with("done: 5000 rows"), "{lines:#?}");
    check_line(&screen, 80, &[]);
}

#[test]
fn a_stopped_terminal_does_not_keep_a_run_that_is_told_to_stop() {
    for all in [false, true] {
        let fake = Fake::start("v2.3.5");
        let jobs = Jobs::new();
        let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
        let run = "batch: 16KiB, max_rows_per_s: 3000";
        example(&jobs, &sink, run);
        let terminal = Terminal::start_stopped(jobs.0.path(), &["run", "job.yaml"], 80);
        // In the middle of the rows, or in the summary.
        let wanted = if all { 5000 } else { 1000 };
        until(|| rows_arrived(&fake) >= wanted);
        std::thread::sleep(Duration::from_millis(500));
        terminal.terminate();
        let status = terminal.ended(Duration::from_secs(20));
        assert_eq!(status.code(), Some(130));
        let (status, _) = Terminal::start(jobs.0.path(), &["run", "job.yaml"], 80).end();
        assert!(status.success());
        assert_eq!(rows_arrived(&fake), 5000);
    }
}

#[test]
fn a_full_pipe_keeps_neither_a_run_nor_its_end() {
    let fake = Fake::start("v2.3.5");
    let jobs = Jobs::new();
    let sink = format!("milvus: {{address: '{}', collection: c}}", fake.address);
    example(&jobs, &sink, "batch: 16KiB, max_rows_per_s: 2000");
    let (unread, mut pipe) = std::io::pipe().unwrap();
    // All that a pipe holds.
    std::io::Write::write_all(&mut pipe, &[b'x'; 1 << 16]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "json"])
        .current_dir(jobs.0.path())
        .stdout(Stdio::null())
        .stderr(pipe)
        .spawn()
        .unwrap();
    until(|| rows_arrived(&fake) == 5000);
    until(|| child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    drop(unread);
}
