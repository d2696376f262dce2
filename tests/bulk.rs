//! Rows that a real Milvus 2.3.5 imports by itself: staged files, jobs, deaths at any moment, and what is refused before
//! a job is made.

mod support;

#[path = "support/migration.rs"]
mod migration;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::{Jobs, flat_index, read_back, server, support_script};
use serde_json::{Value, json};
use support::{Engine, Server, run_python, test_env};

const ROWS: usize = 12_000;

/// Where rows go, by files that hold so many bytes of rows.
fn sink(jobs: &Jobs, collection: &str, more: &str, bulk: &str) -> String {
    migration::sink(&format!(
        "collection: {collection}, {more} bulk: {{when: always, staging: {{path: '{}'}}, {bulk}}}",
        jobs.path("staging").display()
    ))
}

/// Writes a job of [`ROWS`] rows of an index, and what should arrive.
fn job(jobs: &Jobs, collection: &str, more: &str, bulk: &str) {
    flat_index(jobs, "a.index", ROWS, 32);
    let source = "source: {faiss: {path: a.index, ids: row_number}}\n";
    let text = format!("{source}{}", sink(jobs, collection, more, bulk));
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let file = format!("{source}sink: {{hdf5: {{path: wanted.h5, mode: skip}}}}\n");
    jobs.run("file", &file).code(0);
}

/// What a partition holds, and should hold.
#[track_caller]
fn check_whole(jobs: &Jobs, collection: &str, partition: &str) {
    let path = jobs.path("wanted.h5");
    let wanted = support_script("read_back.py", &["-", "h5", path.to_str().unwrap()]);
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    let back = &read_back(&[collection])[collection];
    assert_eq!(back["count"], json!(ROWS));
    let held = &back["partitions"][partition];
    assert_eq!(
        (&held["rows"], &held["sorted"]),
        (&wanted["rows"], &wanted["sorted"])
    );
}

/// Import jobs that the server has had for a collection; none where there is no collection.
fn imports(collection: &str) -> usize {
    let script = r#"
import sys
from pymilvus import connections, utility
connections.connect(uri="http://" + sys.argv[1])
has = utility.has_collection(sys.argv[2])
print(len(utility.list_bulk_insert_tasks(collection_name=sys.argv[2])) if has else 0)
"#;
    run_python(script, &[&server().address(), collection])
        .parse()
        .unwrap()
}

fn start(jobs: &Jobs) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", "job.yaml", "--progress", "none"])
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn run(jobs: &Jobs, line: &str, code: i32, words: &[&str]) {
    let output = jobs.milvusdm(&line.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: no `{word}` in {said}");
    }
}

const RUN: &str = "run job.yaml --progress none";

#[test]
fn arrays_are_staged_imported_into_a_partition_and_removed() {
    let jobs = Jobs::new();
    let more = "partition: p1, metric: L2, index: {type: FLAT},";
    job(&jobs, "bulk_arrays", more, "file_bytes: 600kB");
    let way = [
        "12000 rows, 1.6 MB in about 3 npy files of at most 4411 rows",
        "rows are an id and a vector",
    ];
    run(&jobs, "plan job.yaml", 0, &way);
    run(&jobs, RUN, 0, &["done: 12000 rows"]);
    assert_eq!(imports("bulk_arrays"), 3);
    check_whole(&jobs, "bulk_arrays", "p1");
    let left = std::fs::read_dir(jobs.path("staging")).unwrap().count();
    assert_eq!(left, 0);
    run(&jobs, RUN, 0, &["12000 rows delivered"]);
    run(
        &jobs,
        "verify job.yaml --progress none --load",
        0,
        &["agrees"],
    );
    assert_eq!(imports("bulk_arrays"), 3);
}

/// Starts a server again that is gone: Milvus 2.3.5 ends when a program dies while it asks about imports.
fn revive(server: &Server) {
    std::thread::sleep(Duration::from_millis(500));
    if TcpStream::connect(server.address()).is_err() {
        server.kill();
        server.start_again();
    }
}

#[test]
fn killed_at_random_moments_every_row_is_there_once() {
    let (jobs, server) = (Jobs::new(), Server::start(Engine::Standalone, &[]));
    job(&jobs, "bulk_killed", "", "file_bytes: 600kB, keep: true");
    let text = std::fs::read_to_string(jobs.path("job.yaml")).unwrap();
    let text = text.replace(&migration::server().address(), &server.address());
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let rounds = std::env::var("BULK_KILLS").map_or(3, |n| n.parse::<u32>().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut seed = u64::from(now.subsec_nanos());
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let after = Duration::from_millis(100 + (seed >> 33) % 4_000);
        let mut child = start(&jobs);
        std::thread::sleep(after);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let said = format!("round {round}, killed after {after:?}: {status}");
        assert!(status.code().is_none_or(|code| code == 0), "{said}");
        revive(&server);
    }
    // After a death of the server its statistics may count what it broke off.
    let output = jobs.milvusdm(&RUN.split(' ').collect::<Vec<_>>());
    assert!(matches!(output.status.code(), Some(0 | 5)), "{output:?}");
    let count = r#"
import sys
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
c = Collection("bulk_killed")
c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
ids = [row["id"] for row in c.query("id >= 0", limit=16384, consistency_level="Strong")]
print(c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"], len(set(ids)))
"#;
    assert_eq!(run_python(count, &[&server.address()]), "12000 12000");
    run(&jobs, "verify job.yaml --progress none", 0, &["agrees"]);
}

/// Makes a Parquet file of rows by this Python, which has `t`, a table of ids and vectors of 200 rows, to change.
fn table(jobs: &Jobs, change: &str) {
    let script = format!(
        r#"
import sys, json
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
n = 200
rng = np.random.default_rng(3)
vectors = rng.standard_normal((n, 8), dtype=np.float32)
t = {{"id": pa.array(range(n), pa.int64()), "vec": pa.array(list(vectors), pa.list_(pa.float32()))}}
{change}
pq.write_table(pa.table(t), sys.argv[1])
"#
    );
    let output = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", &script])
        .arg(jobs.path("a.parquet"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn table_job(jobs: &Jobs, collection: &str, bulk: &str, more: &str) {
    let text = format!(
        "source: {{parquet: {{paths: [a.parquet], id: id}}}}\n{}{more}",
        sink(jobs, collection, "", bulk)
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
}

#[test]
fn columns_of_every_type_that_2_3_5_has_arrive_by_parquet() {
    let jobs = Jobs::new();
    table(
        &jobs,
        r#"
t["flag"] = pa.array([i % 3 == 0 for i in range(n)])
t["i8"] = pa.array([i - 100 for i in range(n)], pa.int8())
t["i16"] = pa.array([i * 100 - 9000 for i in range(n)], pa.int16())
t["i32"] = pa.array([i * 10**6 for i in range(n)], pa.int32())
t["i64"] = pa.array([i * 10**15 for i in range(n)], pa.int64())
t["f"] = pa.array([i / 8 for i in range(n)], pa.float32())
t["d"] = pa.array([i / 7 for i in range(n)], pa.float64())
t["text"] = pa.array(["naïve %d" % i for i in range(n)])
t["tags"] = pa.array([["t%d" % j for j in range(i % 4)] for i in range(n)], pa.list_(pa.string()))
t["nums"] = pa.array([list(range(i % 5)) for i in range(n)], pa.list_(pa.int64()))
"#,
    );
    let fields = "fields:\n  columns:\n    text: {type: varchar, max_length: 64}\n    tags: {type: array<varchar>, \
                  max_capacity: 8, max_length: 16}\n    nums: {type: array<int64>, max_capacity: 8}\n";
    table_job(&jobs, "bulk_columns", "", fields);
    run(
        &jobs,
        "plan job.yaml",
        0,
        &["parquet files", "more than an id and a vector"],
    );
    run(&jobs, RUN, 0, &["done: 200 rows"]);
    assert_eq!(imports("bulk_columns"), 1);
    let script = r#"
import sys
import numpy as np
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
c = Collection("bulk_columns")
c.create_index("vec", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
rows = sorted(c.query("id >= 0", output_fields=["*"], limit=1000, consistency_level="Strong"), key=lambda r: r["id"])
vectors = np.random.default_rng(3).standard_normal((200, 8), dtype=np.float32)
wrong = []
for i, row in enumerate(rows):
    wanted = {"id": i, "flag": i % 3 == 0, "i8": i - 100, "i16": i * 100 - 9000, "i32": i * 10**6, "i64": i * 10**15,
              "f": i / 8, "d": i / 7, "text": "naïve %d" % i, "tags": ["t%d" % j for j in range(i % 4)],
              "nums": list(range(i % 5))}
    for key, value in wanted.items():
        found = row[key]
        found = list(found) if isinstance(value, list) else found
        if found != value:
            wrong.append((i, key, found, value))
    if np.asarray(row["vec"], dtype=np.float32).tobytes() != vectors[i].tobytes():
        wrong.append((i, "vec"))
print(len(rows), wrong[:5])
"#;
    assert_eq!(run_python(script, &[&server().address()]), "200 []");
}

/// A job by [`table`] and [`table_job`] is refused with these words, and the server has had no import.
#[track_caller]
fn refused(collection: &str, change: &str, bulk: &str, more: &str, code: i32, words: &[&str]) {
    let jobs = Jobs::new();
    table(&jobs, change);
    table_job(&jobs, collection, bulk, more);
    run(&jobs, RUN, code, words);
    assert_eq!(imports(collection), 0);
}

#[test]
fn vectors_that_are_not_finite_are_refused() {
    let nan = "v = vectors.copy(); v[7, 3] = np.nan; t['vec'] = pa.array(list(v), pa.list_(pa.float32()))";
    refused(
        "bulk_nan",
        nan,
        "",
        "",
        3,
        &["id 7", "NaN or infinity as component 3"],
    );
    let infinite = nan.replace("np.nan", "-np.inf");
    refused(
        "bulk_inf",
        &infinite,
        "format: parquet",
        "",
        3,
        &["id 7", "NaN or infinity"],
    );
    let wide = "v = vectors.astype(np.float64); v[7, 3] = 1e300; t['vec'] = pa.array(list(v), pa.list_(pa.float64()))";
    refused(
        "bulk_wide",
        wide,
        "",
        "",
        3,
        &["row 7", "is more than a float32 can be"],
    );
}

#[test]
fn texts_and_lists_that_are_too_long_are_refused() {
    let text = "t['text'] = pa.array(['x' * (40 if i == 9 else 3) for i in range(n)])";
    let fields = "fields: {columns: {text: {type: varchar, max_length: 16}}}\n";
    refused(
        "bulk_text",
        text,
        "",
        fields,
        3,
        &["id 9", "has 40 bytes, and the field takes 16"],
    );
    let list = "t['nums'] = pa.array([list(range(9 if i == 9 else 2)) for i in range(n)], pa.list_(pa.int64()))";
    let fields = "fields: {columns: {nums: {type: array<int64>, max_capacity: 4}}}\n";
    refused(
        "bulk_list",
        list,
        "",
        fields,
        3,
        &["id 9", "is a list of 9, and the field takes 4"],
    );
    let inner = "t['tags'] = pa.array([['x' * (40 if i == 9 else 3)] for i in range(n)], pa.list_(pa.string()))";
    let fields =
        "fields: {columns: {tags: {type: array<varchar>, max_capacity: 4, max_length: 16}}}\n";
    refused(
        "bulk_inner",
        inner,
        "",
        fields,
        3,
        &["id 9", "has 40 bytes"],
    );
}

#[test]
fn ids_that_repeat_or_are_missing_are_refused() {
    let repeated = "t['id'] = pa.array([5 if i == 9 else i for i in range(n)], pa.int64())";
    refused("bulk_repeated", repeated, "", "", 3, &["5"]);
    let missing = "t['id'] = pa.array([None if i == 9 else i for i in range(n)], pa.int64())";
    refused("bulk_missing", missing, "", "", 3, &[]);
    let null = "t['vec'] = pa.array([None if i == 9 else list(v) for i, v in enumerate(vectors)], pa.list_(pa.float32()))";
    refused("bulk_null", null, "", "", 3, &[]);
}

#[test]
fn what_an_import_cannot_do_is_refused() {
    let text = "t['text'] = pa.array(['x' for i in range(n)])";
    refused(
        "bulk_npy",
        text,
        "format: npy",
        "",
        2,
        &["format: npy` takes an id and a vector"],
    );
    refused(
        "bulk_upsert",
        "",
        "",
        "run: {existing: upsert}\n",
        2,
        &["an import only adds"],
    );
    refused(
        "bulk_bytes",
        "",
        "file_bytes: 20GiB",
        "",
        2,
        &["sink.milvus.bulk.file_bytes"],
    );
}

#[test]
fn arrays_in_fortran_order_arrive_as_they_are_meant() {
    let jobs = Jobs::new();
    let script = "import sys, numpy as np\nv = np.arange(1600, dtype=np.float32).reshape(200, 8)\n\
                  np.save(sys.argv[1], np.asfortranarray(v))";
    run_python(script, &[jobs.path("a.npy").to_str().unwrap()]);
    let text = format!(
        "source: {{numpy: {{vectors: a.npy}}}}\n{}",
        sink(
            &jobs,
            "bulk_fortran",
            "metric: L2, index: {type: FLAT}, load: true,",
            ""
        )
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let output = jobs.milvusdm(&RUN.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        run(&jobs, "verify job.yaml --progress none", 0, &["agrees"]);
        let row = "import sys\nfrom pymilvus import Collection, connections\nconnections.connect(uri='http://' + sys.argv[1])\n\
                   print([float(x) for x in Collection('bulk_fortran').query('id == 3', output_fields=['embedding'])[0]['embedding'][:2]])";
        assert_eq!(run_python(row, &[&server().address()]), "[24.0, 25.0]");
    } else {
        assert_eq!(
            (output.status.code(), imports("bulk_fortran")),
            (Some(3), 0),
            "{said}"
        );
    }
}

#[test]
fn a_directory_that_the_server_does_not_see_is_told_and_mended() {
    let jobs = Jobs::new();
    job(&jobs, "bulk_unseen", "", "file_bytes: 1GiB");
    let text = std::fs::read_to_string(jobs.path("job.yaml")).unwrap();
    let wrong = text.replace("path: '/", "server_path: /nowhere, path: '/");
    std::fs::write(jobs.path("job.yaml"), wrong).unwrap();
    run(
        &jobs,
        RUN,
        5,
        &["could not import rows from row 0", "server_path"],
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    run(&jobs, RUN, 0, &["12000"]);
    check_whole(&jobs, "bulk_unseen", "_default");
}
