//! A real Milvus 2.3.5 behind gateways and lines that misbehave: what the program then says is what the server holds.

#![allow(clippy::unwrap_used)]

use crate::support::{gateway, migration};

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use milvusdm::milvus::proto::{InsertRequest, MutationResult};
use prost::Message;
use serde_json::{Value, json};

use gateway::{Call, Fate, Gateway, Line};
use migration::{Ended, Jobs, server, support_script};

const ROWS: u64 = 20_000;
const DIMENSION: u64 = 32;
/// Loaded, so that rows can be counted and read.
const LOADED: &str = ", metric: L2, index: {type: FLAT}, load: true";

/// A job from `a.h5` to a collection behind an address.
fn job(address: &str, collection: &str, sink: &str, run: &str) -> String {
    format!(
        "source: {{hdf5: {{paths: [a.h5]}}}}\n\
         sink: {{milvus: {{address: '{address}', collection: {collection}{sink}}}}}\nrun: {{{run}}}\n"
    )
}

fn jobs(rows: u64) -> Jobs {
    let jobs = Jobs::new();
    let path = jobs.path("a.h5");
    let (rows, dim) = (rows.to_string(), DIMENSION.to_string());
    support_script("promise.py", &["make", path.to_str().unwrap(), &rows, &dim]);
    jobs
}

/// What is there, by pymilvus.
fn there(collection: &str, rows: u64) -> Value {
    let (rows, dim) = (rows.to_string(), DIMENSION.to_string());
    let address = server().address();
    let said = support_script("promise.py", &["check", &address, collection, &rows, &dim]);
    serde_json::from_str(&said).unwrap()
}

fn exactly(rows: u64) -> Value {
    json!({"count": rows, "wrong": 0, "others": 0, "others_changed": 0})
}

/// Acknowledges an insert that nobody carries out.
fn dropped(call: &Call<'_>) -> Fate {
    let request = InsertRequest::decode(call.message).unwrap();
    let result = MutationResult {
        insert_cnt: i64::from(request.num_rows),
        ..MutationResult::default()
    };
    Fate::Answer(result.encode_to_vec())
}

/// One answer is lost, and another batch acknowledged and dropped.
fn masked(address: &str) -> Gateway {
    Gateway::start(address, |call| match (call.method, call.number) {
        ("Insert", 3) => Fate::Lose(14, "lost"),
        ("Insert", 5) => dropped(call),
        _ => Fate::Pass,
    })
}

#[test]
fn superseded_rows_do_not_hide_lost_ones() {
    let (jobs, gateway) = (jobs(ROWS), masked(&server().address()));
    let said = &["NOT PROVEN", "verify --load"];
    let text = job(&gateway.address, "p_masked", "", "batch: 256KiB");
    let ended = jobs.run("masked", &text).code(7).says(said);
    let target = &ended.report["targets"][0];
    assert_eq!(target["proof"], json!("open"), "{target}");
    assert_eq!(target["rows_open"], target["sent_again"], "{target}");
    // Loaded it is counted exactly, and the loss is seen.
    let missing = ROWS - there("p_masked", ROWS)["count"].as_u64().unwrap();
    assert!(missing > 1000);
    let counts = format!("counts {} (exact count)", ROWS - missing);
    let ended = jobs.run("masked", &text).code(5).says(&[&counts]);
    for harm in ["--again", "overwrite"] {
        assert!(!ended.said.contains(harm), "{}", ended.said);
    }
}

#[test]
fn an_answer_that_is_lost_is_proven_where_rows_can_be_counted() {
    let jobs = jobs(ROWS);
    let gateway = Gateway::start(&server().address(), |call| {
        match (call.method, call.number) {
            ("Insert", 2 | 5) => Fate::Lose(14, "lost"),
            _ => Fate::Pass,
        }
    });
    let text = job(&gateway.address, "p_lost", LOADED, "batch: 256KiB");
    let ended = jobs.run("lost", &text).code(0);
    let target = &ended.report["targets"][0];
    assert_eq!(target["proof"], json!("exact"), "{target}");
    assert!(target["sent_again"].as_u64().unwrap() > 2000, "{target}");
    assert_eq!(there("p_lost", ROWS), exactly(ROWS));
}

#[test]
fn a_request_that_arrives_after_its_successor_doubles_nothing() {
    for (name, sink, code, late_ms) in [
        ("p_late", LOADED, 0, 6000),
        ("p_late_soon", LOADED, 0, 50),
        ("p_late_open", "", 7, 3000),
    ] {
        let jobs = jobs(ROWS);
        let late = Duration::from_millis(late_ms);
        let gateway = Gateway::start(&server().address(), move |call| {
            match (call.method, call.number) {
                ("Insert", 2 | 6) => Fate::Late(late),
                _ => Fate::Pass,
            }
        });
        let text = job(&gateway.address, name, sink, "batch: 256KiB");
        jobs.run("late", &text).code(code);
        assert!(gateway.calls("Upsert") >= 2);
        assert_eq!(there(name, ROWS), exactly(ROWS), "{name}");
    }
}

#[test]
fn a_gateway_that_limits_answers_doubles_nothing() {
    // An answer names each row.
    let jobs = jobs(ROWS);
    let gateway = Gateway::start(&server().address(), |call| match call.method {
        "Insert" | "Upsert" => Fate::Limit(12_000),
        _ => Fate::Pass,
    });
    let text = job(&gateway.address, "p_limit", LOADED, "batch: 512KiB");
    let ended = jobs.run("limit", &text).code(0);
    assert!(ended.report["targets"][0]["sent_again"].as_u64() > Some(0));
    assert_eq!(there("p_limit", ROWS), exactly(ROWS));
}

#[test]
fn patience_starts_anew_with_each_answer() {
    // The index takes 9 s to build, two answers are lost on the way, and the job has 3 s of patience.
    let jobs = jobs(1000);
    let began: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let lost = AtomicU64::new(0);
    let gateway = Gateway::start(&server().address(), move |call| {
        if call.method == "CreateIndex" {
            began.get_or_init(Instant::now);
        }
        let Some(began) = began.get().filter(|_| call.method == "DescribeIndex") else {
            return Fate::Pass;
        };
        let seconds = began.elapsed().as_secs();
        let blips = lost.load(Ordering::SeqCst);
        if seconds >= [1, 6, u64::MAX][blips as usize] {
            lost.fetch_add(1, Ordering::SeqCst);
            return Fate::Lose(14, "lost");
        }
        match seconds {
            0..9 => Fate::Change(half_built),
            _ => Fate::Pass,
        }
    });
    let sink = ", metric: L2, index: {type: FLAT}";
    let text = job(&gateway.address, "p_patience", sink, "patience: 3s");
    jobs.run("patience", &text).code(0);
    // One proved the index before the first row.
    assert_eq!(gateway.calls("CreateIndex"), 2);
}

/// The description of an index, as it is while it is built: with more rows each time.
fn half_built(answer: &[u8]) -> Vec<u8> {
    use milvusdm::milvus::proto::{DescribeIndexResponse, index_state};
    static ROWS: AtomicU64 = AtomicU64::new(1);
    let mut answer = DescribeIndexResponse::decode(answer).unwrap();
    for index in &mut answer.indexes {
        index.state = index_state::FINISHED - 1;
        index.indexed_rows = ROWS.fetch_add(1, Ordering::SeqCst) as i64;
        index.pending_rows = 1;
    }
    answer.encode_to_vec()
}

/// A gateway before the server that keeps the calls of a method back until it is told not to.
fn stuck(method: &'static str) -> (Gateway, Arc<AtomicBool>) {
    let stuck = Arc::new(AtomicBool::new(true));
    let still = stuck.clone();
    let gateway = Gateway::start(&server().address(), move |call| {
        match call.method == method && still.load(Ordering::SeqCst) {
            true => Fate::Late(Duration::from_secs(3600)),
            false => Fate::Pass,
        }
    });
    (gateway, stuck)
}

/// Runs a job until it has called a method so often, and kills it there.
fn killed_at(jobs: &Jobs, name: &str, text: &str, gateway: &Gateway, method: &str) {
    let file = format!("{name}.yaml");
    std::fs::write(jobs.path(&file), text).unwrap();
    let mut child = start(jobs, &file);
    let since = Instant::now();
    while gateway.calls(method) == 0 {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// 963 rows of somebody else, in a collection or partition that is made for them.
fn strangers(how: &str, collection: &str, partition: &[&str]) {
    let (address, dim) = (server().address(), DIMENSION.to_string());
    let strange = [how, &address, collection, "10", "963", &dim];
    support_script("promise.py", &[&strange, partition].concat());
}

#[test]
fn a_partition_that_somebody_made_meanwhile_is_not_taken() {
    let jobs = jobs(ROWS);
    // Rows in one partition, so that the collection is there.
    let first = job(&server().address(), "p_taken", ", partition: old", "");
    jobs.run("first", &first).code(0);
    // The program dies after its decision, before the partition is made.
    let (gateway, stuck) = stuck("CreatePartition");
    let text = job(&gateway.address, "p_taken", ", partition: new", "");
    killed_at(&jobs, "second", &text, &gateway, "CreatePartition");
    strangers("strange", "p_taken", &["new"]);
    stuck.store(false, Ordering::SeqCst);
    jobs.run("second", &text).code(5).says(&[
        "p_taken/new was created after this job looked",
        "963 rows that are not its own",
    ]);
    assert_eq!(gateway.calls("Insert") + gateway.calls("Upsert"), 0);
}

/// The program dies between the drop of what it replaces and the making of what comes in its place.
#[test]
fn what_somebody_made_after_the_drop_is_not_dropped() {
    for (name, partition, method) in [
        ("p_replaced", "", "CreateCollection"),
        ("p_replaced_part", ", partition: one", "CreatePartition"),
    ] {
        let jobs = jobs(1000);
        let first = job(&server().address(), name, partition, "");
        jobs.run("first", &first).code(0);
        let (gateway, stuck) = stuck(method);
        let sink = format!("{partition}, mode: overwrite");
        let text = job(&gateway.address, name, &sink, "");
        killed_at(&jobs, "second", &text, &gateway, method);
        match partition {
            "" => strangers("make_strange", name, &[]),
            _ => strangers("strange", name, &["one"]),
        }
        stuck.store(false, Ordering::SeqCst);
        let ended = jobs.run("second", &text).code(5);
        ended.says(&[
            "was created after this job looked",
            "963 rows that are not its own",
        ]);
        assert_eq!(there(name, 10)["others"], json!(963), "{name}");
    }
}

#[test]
fn what_an_earlier_start_made_in_place_of_the_old_is_filled() {
    for (name, partition, method) in [
        ("p_again", "", "CreateCollection"),
        ("p_again_part", ", partition: one", "CreatePartition"),
    ] {
        let jobs = jobs(1000);
        let first = job(&server().address(), name, partition, "");
        jobs.run("first", &first).code(0);
        // It is made, and nobody hears of it.
        let lost = Arc::new(AtomicBool::new(true));
        let losing = lost.clone();
        let gateway = Gateway::start(&server().address(), move |call| {
            match call.method == method && losing.load(Ordering::SeqCst) {
                true => Fate::Lose(14, "lost"),
                false => Fate::Pass,
            }
        });
        let sink = format!("{partition}, mode: overwrite");
        let text = job(&gateway.address, name, &sink, "");
        killed_at(&jobs, "second", &text, &gateway, method);
        lost.store(false, Ordering::SeqCst);
        jobs.run("second", &text).code(0);
        assert_eq!(there(name, 1000), exactly(1000), "{name}");
        assert!(gateway.calls("DropCollection") + gateway.calls("DropPartition") == 1);
    }
}

fn start(jobs: &Jobs, job: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", job, "--progress", "none"])
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A Milvus 1.x directory of one collection with so many partitions of ten rows each, ids from `first`.
fn partitions(jobs: &Jobs, name: &str, collection: &str, count: u64, first: u64) {
    let ids = |i: u64| [first + 10 * i, first + 10 * i + 10];
    let tags: serde_json::Map<_, _> = (0..count)
        .map(|i| (format!("t{i}"), json!(ids(i))))
        .collect();
    let spec = json!([{"collection": collection, "dimension": 8, "metric": 1, "partitions": tags}]);
    let out = jobs.path(name);
    support_script(
        "make_milvus1x.py",
        &[out.to_str().unwrap(), &spec.to_string()],
    );
}

/// Of a collection the server is asked once, however many partitions it has; of a partition only what there is to be known
/// of that one.
#[test]
fn many_partitions_are_flushed_and_described_together() {
    const PARTITIONS: usize = 150;
    let jobs = Jobs::new();
    for (name, first, flushes, of_each) in [("made", 0, 1, 1), ("added_to", 1_000_000, 2, 4)] {
        partitions(&jobs, name, "p_many", PARTITIONS as u64, first);
        let gateway = Gateway::start(&server().address(), |_| Fate::Pass);
        let text = format!(
            "source: {{milvus1: {{path: {name}/milvus}}}}\nsink: {{milvus: {{address: '{}'}}}}\n",
            gateway.address
        );
        let ended = jobs.run(name, &text).code(0);
        let targets = ended.report["targets"].as_array().unwrap();
        let delivered = targets.iter().map(|t| t["delivered"].as_u64().unwrap());
        assert_eq!(delivered.sum::<u64>(), 9 * PARTITIONS as u64);
        assert_eq!(gateway.calls("Flush"), flushes, "{name}");
        assert_eq!(gateway.calls("Insert"), PARTITIONS, "{name}");
        for (method, most) in [
            ("DescribeCollection", 12),
            ("DescribeIndex", 4),
            ("ShowPartitions", 8),
            ("CreatePartition", PARTITIONS),
            ("HasPartition", PARTITIONS + 1),
            ("GetLoadState", of_each * (PARTITIONS + 1)),
            ("GetPartitionStatistics", of_each * (PARTITIONS + 1)),
        ] {
            let calls = gateway.calls(method);
            assert!(
                calls <= most,
                "{name}: {calls} calls of {method}, {most} wanted"
            );
        }
    }
}

#[test]
fn others_that_write_meanwhile_are_named_and_nothing_that_harms_is_advised() {
    let jobs = jobs(ROWS);
    let address = server().address();
    let wrote = AtomicU64::new(0);
    let direct = address.clone();
    let gateway = Gateway::start(&address, move |call| {
        if call.method == "Insert" && wrote.fetch_add(1, Ordering::SeqCst) == 2 {
            let (first, dim) = ("1000000", DIMENSION.to_string());
            let strange = ["strange", &direct, "p_others", first, "500", &dim];
            support_script("promise.py", &strange);
        }
        Fate::Pass
    });
    let text = job(&gateway.address, "p_others", "", "batch: 256KiB");
    let ended = jobs.run("others", &text).code(5);
    let ended = ended.says(&[
        "20000 were delivered",
        "counts 20500",
        "another program may have written",
    ]);
    for harm in ["--again", "overwrite"] {
        assert!(!ended.said.contains(harm), "{}", ended.said);
    }
    let found = there("p_others", ROWS);
    assert_eq!(
        found,
        json!({"count": ROWS, "wrong": 0, "others": 500, "others_changed": 0})
    );
}

#[test]
fn a_server_that_is_gone_at_the_final_count_leaves_the_proof_open() {
    let jobs = jobs(1000);
    let flushed = AtomicU64::new(0);
    let gateway = Gateway::start(&server().address(), move |call| {
        if call.method == "GetFlushState" {
            flushed.store(1, Ordering::SeqCst);
        }
        let counts = matches!(call.method, "GetCollectionStatistics" | "GetLoadState");
        match counts && flushed.load(Ordering::SeqCst) == 1 {
            true => Fate::Lose(14, "gone"),
            false => Fate::Pass,
        }
    });
    let text = job(&gateway.address, "p_gone", "", "patience: 10s");
    let ended: Ended = jobs.run("gone", &text).code(7);
    let ended = ended.says(&["could not be queried"]);
    assert_eq!(ended.report["targets"][0]["proof"], json!("open"));
    assert_eq!(ended.report["targets"][0]["rows_open"], json!(1000));
}

/// Scaled down from `tests/slow_line`: four batches are each longer on their way than an answer may take, were it counted
/// from their beginning.
#[test]
fn a_slow_line_gets_on() {
    const ROWS: u64 = 14_000; // 1.9 MB
    let jobs = jobs(ROWS);
    let line = Line::start(&server().address(), 200_000);
    let text = job(&line.address, "p_slow", "", "");
    let began = Instant::now();
    let ended = jobs.run("slow", &text).code(0);
    let needed = line.up() as f64 / 200_000.0;
    let took = began.elapsed().as_secs_f64();
    assert!(line.up() < 2_200_000, "{} bytes went", line.up());
    assert!(took < needed * 1.3 + 6.0, "{took} s of {needed}");
    assert_eq!(ended.report["progress"]["retries"], json!(0));
}

/// Run by `tests/slow_line`: it takes more than three minutes.
#[test]
#[ignore = "takes 200 s: tests/slow_line"]
fn a_job_over_100_kb_a_second() {
    const ROWS: u64 = 147_000; // 20 MB
    let jobs = jobs(ROWS);
    let line = Line::start(&server().address(), 100_000);
    let text = job(&line.address, "p_slow_line", "", "");
    let began = Instant::now();
    jobs.run("slow_line", &text).code(0);
    let (took, needed) = (began.elapsed().as_secs_f64(), ROWS as f64 * 136.0 / 1e5);
    assert!(
        took < needed * 1.3,
        "{took:.0} s of {needed:.0}; {} bytes went",
        line.up()
    );
}
