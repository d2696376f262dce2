//! The loader is killed, the server goes away, others write meanwhile.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::pgvector::killed::killed_four_times;
use crate::pgvector::migration::Jobs;
use crate::support::{Engine, Server, run_python};

const ROWS: i64 = 60_000;

/// A server of its own with a table; rows whose id is divisible by three are never touched.
fn filled() -> Server {
    let server = Server::start(Engine::Postgres, &[]);
    server.sql(&format!(
        "CREATE EXTENSION vector; CREATE TABLE moving (id bigint PRIMARY KEY, v vector(32) NOT NULL, t text); \
         INSERT INTO moving SELECT n, array_fill(n::real, ARRAY[32])::vector, 'row ' || n \
         FROM generate_series(0, {}) n",
        ROWS - 1
    ));
    server
}

fn job(server: &Server, milvus: &Server, collection: &str, more: &str) -> String {
    format!(
        "source: {{pgvector: {{url: '{}', table: moving}}}}\nsink: {{milvus: {{address: '{}', collection: \
         {collection}, metric: L2, index: {{type: FLAT}}, load: true}}}}\nrun: {{verify: count, batch: 64KiB{more}}}\n",
        server.url(),
        milvus.address()
    )
}

fn begin(jobs: &Jobs, name: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", name, "--progress", "none", "--report", "r.json"])
        .current_dir(jobs.path("."))
        .env("XDG_STATE_HOME", jobs.path("state"))
        .spawn()
        .unwrap()
}

/// Rows of the collection, by id: their texts, and whether vectors are theirs.
fn rows(milvus: &Server, collection: &str) -> Value {
    let said = run_python(
        "import sys, json; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
         c = Collection(sys.argv[2]); out = []\n\
         for start in range(0, 200000, 10000):\n\
         \x20   got = c.query(f'id >= {start} and id < {start + 10000}', output_fields=['id', 'v', 't'], consistency_level='Strong')\n\
         \x20   out += [[r['id'], r['t'], len(set(map(float, r['v']))) == 1 and float(r['v'][0])] for r in got]\n\
         print(json.dumps(out))",
        &[&milvus.address(), collection],
    );
    serde_json::from_str(&said).unwrap()
}

/// Each row that nobody touched is there once, as it was.
#[track_caller]
fn check(rows: &Value, is_checked: impl Fn(i64) -> bool) {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows.as_array().unwrap() {
        let id = row[0].as_i64().unwrap();
        if !is_checked(id) {
            continue;
        }
        assert!(seen.insert(id), "{id} is there twice");
        assert_eq!(row[1], format!("row {id}"));
        assert_eq!(row[2].as_f64(), Some(id as f64), "{row}");
    }
    let wanted = (0..ROWS).filter(|id| is_checked(*id)).count();
    assert_eq!(seen.len(), wanted);
}

#[test]
fn killed_four_times_while_others_write_each_untouched_row_arrives_once() {
    let (server, milvus) = (filled(), Server::shared(Engine::Standalone));
    let jobs = Jobs::new();
    let name = "killed.yaml";
    std::fs::write(
        jobs.path(name),
        job(&server, milvus, "killed", ", max_rows_per_s: 20000"),
    )
    .unwrap();
    let (done, mut kills) = (AtomicBool::new(false), 0);
    let code = std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let at = turn * 7919 % ROWS;
                server.sql(&format!(
                    "DELETE FROM moving WHERE id BETWEEN {at} AND {at} + 50 AND id % 3 = 1; \
                     UPDATE moving SET t = 'new' WHERE id BETWEEN {at} AND {at} + 50 AND id % 3 = 2; \
                     INSERT INTO moving SELECT n * 3 + 1, array_fill(1::real, ARRAY[32])::vector, 'late' \
                     FROM generate_series({at} + 20000, {at} + 20050) n ON CONFLICT DO NOTHING"
                ));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let code = loop {
            let mut loader = begin(&jobs, name);
            if kills < 4 {
                std::thread::sleep(Duration::from_millis(900));
                kills += i32::from(loader.try_wait().unwrap().is_none());
                let _ = loader.kill();
            }
            let status = loader.wait().unwrap();
            if status.code().is_some() {
                break status.code();
            }
        };
        done.store(true, Ordering::Relaxed);
        code
    });
    // Rows that were sent again and have changed since prove nothing either way.
    assert!(matches!(code, Some(0 | 7)), "{code:?}");
    assert_eq!(kills, 4);
    let report = std::fs::read_to_string(jobs.path("r.json")).unwrap();
    assert!(report.contains("\"snapshot\": \"pinned\""), "{report}");
    check(&rows(milvus, "killed"), |id| id < ROWS && id % 3 == 0);
}

#[test]
fn killed_four_times_all_rows_of_a_table_at_rest_arrive_once() {
    let (server, milvus) = (filled(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let text = job(&server, milvus, "rest", "");
    killed_four_times(&jobs, "rest", &text, 4000).code(0);
    check(&rows(milvus, "rest"), |_| true);
    let again = jobs.milvusdm(&["run", "rest.yaml", "--progress", "none"]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.contains("nothing to do"), "{said}");
}

#[test]
fn one_moment_is_read_whatever_others_write_meanwhile() {
    let server = filled();
    let jobs = Jobs::new();
    let text = format!(
        "source: {{pgvector: {{url: '{}', table: moving}}}}\nsink: {{parquet: {{dir: out}}}}\nrun: {{batch: 64KiB, \
         max_rows_per_s: 30000, verify: count}}\n",
        server.url()
    );
    std::fs::write(jobs.path("moment.yaml"), text).unwrap();
    let mut loader = begin(&jobs, "moment.yaml");
    std::thread::sleep(Duration::from_millis(700));
    server.sql("DELETE FROM moving WHERE id % 2 = 0; UPDATE moving SET t = 'new'");
    assert_eq!(loader.wait().unwrap().code(), Some(0));
    let report = std::fs::read_to_string(jobs.path("r.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["targets"][0]["delivered"], ROWS);
    let count = "import glob, sys; import pyarrow.parquet as pq\n\
        rows = [r for f in glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True) for r in pq.read_table(f, columns=['id', 't']).to_pylist()]\n\
        print(len(rows), all(r['t'] == 'row %d' % r['id'] for r in rows))";
    let output = Command::new(crate::support::test_env().join("tables/bin/python"))
        .args(["-c", count])
        .arg(jobs.path("out"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), format!("{ROWS} True"));
}

#[test]
fn a_server_that_goes_away_is_waited_for_and_what_is_left_is_read_then() {
    let (server, milvus) = (filled(), Server::shared(Engine::Standalone));
    let jobs = Jobs::new();
    let name = "away.yaml";
    let more = ", max_rows_per_s: 15000, patience: 60s";
    std::fs::write(jobs.path(name), job(&server, milvus, "away", more)).unwrap();
    let mut loader = begin(&jobs, name);
    std::thread::sleep(Duration::from_millis(1500));
    server.kill();
    std::thread::sleep(Duration::from_millis(500));
    server.start_again();
    assert_eq!(loader.wait().unwrap().code(), Some(0));
    let report = std::fs::read_to_string(jobs.path("r.json")).unwrap();
    assert!(report.contains("lost the snapshot"), "{report}");
    check(&rows(milvus, "away"), |_| true);
    // Nobody waits for ever.
    let more = ", max_rows_per_s: 15000, patience: 2s";
    std::fs::write(jobs.path("gone.yaml"), job(&server, milvus, "gone", more)).unwrap();
    let mut loader = begin(&jobs, "gone.yaml");
    std::thread::sleep(Duration::from_millis(1500));
    server.kill();
    assert_eq!(loader.wait().unwrap().code(), Some(5));
    server.start_again();
    server.sql("DROP TABLE moving; CREATE TABLE moving (id bigint PRIMARY KEY, v vector(32) NOT NULL, t text)");
    let other = jobs.milvusdm(&["run", "gone.yaml", "--progress", "none"]);
    assert_eq!(other.status.code(), Some(4), "{other:?}");
}
