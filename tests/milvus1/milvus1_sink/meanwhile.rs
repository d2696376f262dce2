//! What others make, drop and fill between a job's decision and its first row.

use std::time::{Duration, Instant};

use milvusdm::batch::Target;
use milvusdm::schema::{Element, VectorType};
use milvusdm::sink::{Action, Decision, Sink};

use super::stand_in::{Rows, StandIn};
use super::{Jobs, f2m, open, target};

const F32X8: VectorType = VectorType {
    element: Element::Float32,
    dimension: 8,
};

/// A job that has a checkpoint of its own, for a partition.
fn job(server: &StandIn, partition: &str, mode: &str, checkpoint: &str) -> String {
    let partition = match partition {
        "" => String::new(),
        tag => format!("dest_partition_name: {tag}\n  "),
    };
    let more = format!("{partition}mode: {mode}\n  run: {{checkpoint: {checkpoint}.ckpt}}");
    f2m(server, &more)
}

/// Somebody else's rows in a partition, by a program that knows nothing of ours.
fn strangers(server: &StandIn, partition: &str, rows: usize) -> Rows {
    let jobs = Jobs::new();
    let theirs = jobs.faiss("a.index", rows, 8);
    jobs.run(&job(server, partition, "append", "theirs"))
        .code(0);
    theirs
}

/// Runs a job until it has called a method that the server puts off, and kills it there.
fn killed_at(jobs: &Jobs, text: &str, server: &StandIn, method: &str) {
    let before = server.requests(method).len();
    server.fault(method, 1, "busy");
    let mut child = jobs.start(text);
    let since = Instant::now();
    while server.requests(method).len() == before {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

const MADE: [(&str, &str); 2] = [("", "CreateCollection"), ("p", "CreatePartition")];

#[test]
fn what_somebody_made_meanwhile_is_not_taken() {
    for (partition, method) in MADE {
        let server = StandIn::start(&[]);
        if !partition.is_empty() {
            strangers(&server, "other", 10);
        }
        let jobs = Jobs::new();
        jobs.faiss("a.index", 50, 8);
        let text = job(&server, partition, "append", "a");
        killed_at(&jobs, &text, &server, method);
        let theirs = strangers(&server, partition, 63);
        let said = jobs.run(&text).code(5);
        assert!(
            said.contains("created or filled after this job looked"),
            "{said}"
        );
        assert!(said.contains("63 rows that are not its own"), "{said}");
        assert_eq!(server.rows("c")[partition], theirs);
    }
}

#[test]
fn what_somebody_made_after_the_drop_is_not_dropped() {
    for (partition, method) in MADE {
        // As many rows as there were before, and others.
        for (before, after) in [(50, 50), (0, 50), (50, 7)] {
            let server = StandIn::start(&["--delete-state", "0"]);
            strangers(&server, partition, before);
            let jobs = Jobs::new();
            jobs.faiss("a.index", 20, 8);
            let text = job(&server, partition, "overwrite", "a");
            killed_at(&jobs, &text, &server, method);
            let theirs = strangers(&server, partition, after);
            let said = jobs.run(&text).code(5);
            assert!(
                said.contains(&format!("{after} rows that are not its own")),
                "{said}"
            );
            assert_eq!(server.rows("c")[partition], theirs);
            let drops = server
                .calls()
                .iter()
                .filter(|c| c.starts_with("Drop"))
                .count();
            assert_eq!(drops, 1, "{partition} {before} {after}");
        }
    }
}

fn decided(sink: &dyn Sink, target: &Target, action: Action) -> Decision {
    let decision = sink.decide(target).unwrap();
    assert_eq!(decision.action, action);
    decision
}

/// A new start of the job whose decisions these are.
fn next_start(server: &StandIn, decisions: &[(&Target, &Decision)]) -> Box<dyn Sink> {
    let sink = open(server, ", mode: overwrite");
    for (target, _) in decisions {
        sink.decide(target).unwrap();
    }
    sink.begin(7);
    for (target, decision) in decisions {
        sink.decided(target, decision);
    }
    sink
}

fn count(server: &StandIn, method: &str) -> usize {
    server.calls().iter().filter(|c| *c == method).count()
}

#[test]
fn what_an_earlier_start_made_is_filled_and_not_made_again() {
    for (partition, made) in MADE {
        let server = StandIn::start(&["--delete-state", "0"]);
        strangers(&server, partition, 50);
        let place = target(F32X8, "c", partition);
        let sink = open(&server, ", mode: overwrite");
        let decision = decided(&*sink, &place, Action::Replace);
        sink.prepare(&place, &decision, false).unwrap();
        let before = count(&server, made);
        // The log does not know that it is made.
        let again = next_start(&server, &[(&place, &decision)]);
        again.prepare(&place, &decision, false).unwrap();
        assert_eq!(count(&server, made), before);
        assert_eq!(again.count(&place).unwrap().rows, 0);
    }
}

#[test]
fn what_is_gone_when_a_job_goes_on_is_not_made_anew() {
    for (partition, what) in [
        ("", "collection c no longer exists"),
        ("p", "partition c/p no longer exists"),
    ] {
        let server = StandIn::start(&["--delete-state", "0"]);
        strangers(&server, "other", 5);
        let place = target(
            F32X8,
            if partition.is_empty() { "new" } else { "c" },
            partition,
        );
        let sink = open(&server, "");
        let decision = decided(&*sink, &place, Action::Create);
        let error = sink.prepare(&place, &decision, true).unwrap_err();
        let what = what.replace("collection c", "collection new");
        assert!(error.what().contains(&what), "{error}");
    }
}

#[test]
fn each_partition_that_is_replaced_is_dropped_and_no_other() {
    let server = StandIn::start(&[]);
    for (tag, rows) in [("p", 5), ("q", 6), ("r", 7)] {
        strangers(&server, tag, rows);
    }
    let parts = [target(F32X8, "c", "p"), target(F32X8, "c", "q")];
    let sink = open(&server, ", mode: overwrite");
    let decisions = parts
        .each_ref()
        .map(|part| decided(&*sink, part, Action::Replace));
    sink.prepare(&parts[0], &decisions[0], false).unwrap();
    // A start that died between the two is gone on with.
    for (sink, begun) in [(sink, false), (open(&server, ", mode: overwrite"), true)] {
        if begun {
            strangers(&server, "p", 3);
            sink.prepare(&parts[0], &decisions[0], true).unwrap();
        }
        sink.prepare(&parts[1], &decisions[1], false).unwrap();
        let rows = server.rows("c");
        let rows = |tag: &str| rows[tag].len();
        assert_eq!(
            (rows("p"), rows("q"), rows("r")),
            (if begun { 3 } else { 0 }, 0, 7)
        );
        assert_eq!(count(&server, "DropPartition"), 2);
    }
}

#[test]
fn a_collection_made_after_the_decision_is_not_replaced_for_any_target_in_it() {
    let server = StandIn::start(&["--delete-state", "0"]);
    strangers(&server, "", 50);
    let (whole, mut part) = (target(F32X8, "c", ""), target(F32X8, "c", "p"));
    part.number = 1;
    let sink = open(&server, ", mode: overwrite");
    let replace = decided(&*sink, &whole, Action::Replace);
    let create = decided(&*sink, &part, Action::Create);
    // The program dies after its drop; somebody makes the collection anew.
    sink.prepare(&part, &create, false).unwrap();
    server.client("drop", serde_json::json!({"collection": "c"}));
    let theirs = strangers(&server, "", 50);
    let again = next_start(&server, &[(&part, &create), (&whole, &replace)]);
    let mut refused = false;
    for (place, decision) in [(&part, &create), (&whole, &replace)] {
        refused |= again.prepare(place, decision, false).is_err();
    }
    assert!(refused);
    assert_eq!(server.rows("c")[""], theirs);
}
