//! Batches in doubt: what arrived is taken back where nothing but the batch can be meant; and ids that nothing can be told
//! by, because the server made them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::stand_in::{Rows, StandIn};
use super::{Jobs, SMALL, f2m, only};

#[test]
fn ids_that_are_made_and_ids_that_are_given_never_mix() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 50, 8);
    jobs.run(&f2m(&server, "auto_id: true")).code(0);
    let found = &server.rows("c")[""];
    let vectors = |rows: &Rows| {
        let mut vectors: Vec<Vec<u8>> = rows.iter().map(|(_, v)| v.clone()).collect();
        vectors.sort();
        vectors
    };
    assert_eq!(vectors(found), vectors(&rows));
    assert!(found.iter().all(|(id, _)| *id > 1000), "{found:?}");
    let other = f2m(&server, "run: {checkpoint: b.ckpt, existing: keep}");
    let said = jobs.run(&other).code(5);
    assert!(
        said.contains("either ids of its own making or ids that are given"),
        "{said}"
    );
    assert!(said.contains("auto_id: true"), "{said}");
    assert_eq!(server.rows("c")[""].len(), 50);
}

#[test]
fn a_lost_answer_where_the_server_makes_ids_stops_the_run() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    jobs.faiss("a.index", 500, 8);
    server.fault("Insert", 2, "lose");
    let job = f2m(&server, &format!("auto_id: true\n  {SMALL}"));
    let said = jobs.run(&job).code(5);
    assert!(said.contains("the server generates the ids"), "{said}");
}

#[test]
fn a_batch_whose_answer_was_lost_arrives_once_however_it_was_lost() {
    for how in ["lose", "drop", "unavailable", "late"] {
        let server = StandIn::start(&["--auto-flush", "0"]);
        let jobs = Jobs::new();
        let rows = jobs.faiss("a.index", 1000, 8);
        for nth in [1, 3, 4] {
            server.fault("Insert", nth, how);
        }
        server.fault("Flush", 1, "lose");
        jobs.run(&f2m(&server, SMALL)).code(0);
        assert_eq!(server.rows("c"), only(rows), "{how}");
        let calls = server.calls();
        let deleted = calls.iter().filter(|c| *c == "DeleteByID").count();
        assert_eq!(deleted > 0, how != "drop", "{how}: {calls:?}");
    }
}

#[test]
fn several_connections_that_break_at_once_lose_and_double_nothing() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 4000, 8);
    for nth in [3, 9, 10, 20, 31] {
        server.fault("Insert", nth, "lose");
    }
    for call in ["DeleteByID", "GetVectorsByID", "Flush"] {
        server.fault(call, 1, "lose");
    }
    jobs.run(&f2m(
        &server,
        "run: {batch: 4KiB, connections: 2, in_flight: 4}",
    ))
    .code(0);
    assert_eq!(server.rows("c"), only(rows));
}

#[test]
fn a_killed_job_goes_on_and_every_row_is_there_once() {
    let server = StandIn::start(&["--slow-insert", "0.02"]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 3000, 8);
    let job = f2m(&server, "run: {batch: 4KiB}");
    for kill in 0..3 {
        let mut child = jobs.start(&job);
        let start = Instant::now();
        let wanted = server.requests("Insert").len() + 4;
        while server.requests("Insert").len() < wanted {
            assert!(start.elapsed() < Duration::from_secs(30), "kill {kill}");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    jobs.run(&job).code(0);
    assert_eq!(server.rows("c"), only(rows));
}

#[test]
fn rows_of_others_are_never_deleted() {
    // Row numbers into a collection that has such ids already: what is there cannot be told from the batch.
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let old = jobs.faiss("a.index", 1000, 8);
    jobs.run(&f2m(&server, "")).code(0);
    server.fault("Insert", 2, "lose");
    let again = f2m(
        &server,
        &format!("{SMALL}\n").replace("run: {", "run: {checkpoint: b.ckpt, existing: keep, "),
    );
    let said = jobs.run(&again).code(5);
    assert!(said.contains("the target held rows before"), "{said}");
    assert!(said.contains("on_doubt: upsert"), "{said}");
    let found = &server.rows("c")[""];
    assert!(
        old.iter().all(|row| found.contains(row)),
        "a row of before is gone"
    );
    assert!(!server.calls().contains(&"DeleteByID".to_owned()));
}

#[test]
fn a_partition_is_looked_into_alone_where_the_server_can() {
    for (version, code) in [("1.1.1", 0), ("1.0.0", 5)] {
        let server = StandIn::start(&["--version", version]);
        let jobs = Jobs::new();
        let first = jobs.faiss("a.index", 1000, 8);
        jobs.run(&f2m(&server, "dest_partition_name: p")).code(0);
        server.fault("Insert", 2, "lose");
        let more = format!("dest_partition_name: q\n  {SMALL}")
            .replace("run: {", "run: {checkpoint: b.ckpt, ");
        let said = jobs.run(&f2m(&server, &more)).code(code);
        let found = server.rows("c");
        assert_eq!(found["p"], first, "{version}");
        if code == 0 {
            assert_eq!(found["q"], first);
        } else {
            assert!(said.contains("rows in other partitions"), "{said}");
        }
    }
}

#[test]
fn ids_of_the_source_may_repeat_so_that_a_batch_that_arrived_stops_the_run() {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/milvus1x/v1.1.1/milvus");
    let check = |how: &str, on_doubt: &str, code: i32| {
        let server = StandIn::start(&[]);
        let jobs = Jobs::new();
        server.fault("Insert", 2, how);
        let job = format!(
            "source: {{milvus1: {{path: {}, collections: [f8_toindex]}}}}\n\
             sink: {{milvus1: {{address: '{}'}}}}\n\
             run: {{batch: 16KiB, threads: 1, connections: 1, in_flight: 1, on_doubt: {on_doubt}}}\n",
            golden.display(),
            server.address()
        );
        let said = jobs.run(&job).code(code);
        let rows = server.rows("f8_toindex")[""].len();
        if code == 0 {
            assert_eq!(rows, 4200, "{how} {on_doubt}");
        } else {
            assert!(said.contains("ids of the source may repeat"), "{said}");
        }
    };
    check("drop", "auto", 0);
    check("lose", "auto", 5);
    check("lose", "upsert", 0);
}

#[test]
fn a_server_that_says_no_or_later_is_heard() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 500, 8);
    server.fault("Insert", 2, "refuse");
    let said = jobs.run(&f2m(&server, SMALL)).code(5);
    assert!(
        said.contains("Insert: the server said: told to refuse"),
        "{said}"
    );
    server.fault("Insert", 1, "busy");
    jobs.run(&f2m(&server, SMALL)).code(0);
    assert_eq!(server.rows("c"), only(rows));
}
