//! Rows that a real Milvus 2.3.5 imports by itself: staged files, jobs, deaths at any moment, and what is refused before
//! a job is made.

mod kills;
mod refused;

use crate::support::{self, migration};

use std::process::{Child, Command, Stdio};

use migration::{Jobs, flat_index, read_back, server, support_script};
use serde_json::{Value, json};
use support::{run_python, test_env};

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

#[test]
fn few_rows_are_inserted_unless_the_job_says_otherwise() {
    let jobs = Jobs::new();
    job(&jobs, "bulk_few", "", "");
    let text = std::fs::read_to_string(jobs.path("job.yaml")).unwrap();
    let chosen = text.replace("when: always, ", "");
    assert_ne!(chosen, text);
    std::fs::write(jobs.path("job.yaml"), chosen).unwrap();
    let why = [
        "inserts, not `bulk`: 12000 rows, 1.6 MB in about 1 file would take about 2 s by import",
        "`when: always`",
    ];
    run(&jobs, "plan job.yaml", 0, &why);
    run(&jobs, RUN, 0, &["done: 12000 rows"]);
    assert_eq!(imports("bulk_few"), 0);
    check_whole(&jobs, "bulk_few", "_default");
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
LISTS = [("bools", pa.bool_(), lambda x: x % 2 == 0), ("bytes", pa.int8(), lambda x: x - 100), ("shorts", pa.int16(), lambda x: x * -90),
         ("ints", pa.int32(), lambda x: x * 10**6), ("longs", pa.int64(), lambda x: x * 10**15),
         ("floats", pa.float32(), lambda x: x / 8), ("doubles", pa.float64(), lambda x: x / 7)]
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
t["doc"] = pa.array(['{"i": %d, "é": [1.5, null]}' % i if i % 2 else '[%d, "x"]' % i for i in range(n)])
t["more"] = pa.array(["dynamic %d" % i for i in range(n)])
t["tags"] = pa.array([["t%d" % j for j in range(i % 4)] for i in range(n)], pa.list_(pa.string()))
for name, kind, value in LISTS:
    t[name] = pa.array([[value(i + j) for j in range(i % 5)] for i in range(n)], pa.list_(kind))
"#,
    );
    let fields = "fields:\n  columns:\n    text: {type: varchar, max_length: 64}\n    doc: json\n    more: {type: varchar, max_length: 64}\n    tags: {type: array<varchar>, \
                  max_capacity: 8, max_length: 16}\n    bools: {type: array<bool>, max_capacity: 8}\n    bytes: {type: array<int8>, max_capacity: 8}\n    \
                  shorts: {type: array<int16>, max_capacity: 8}\n    ints: {type: array<int32>, max_capacity: 8}\n    longs: {type: array<int64>, max_capacity: 8}\n    \
                  floats: {type: array<float>, max_capacity: 8}\n    doubles: {type: array<double>, max_capacity: 8}\n";
    let text = format!(
        "source: {{parquet: {{paths: [a.parquet], id: id, types: {{doc: json}}}}}}\n{}{fields}",
        sink(&jobs, "bulk_columns", "partition: p1,", "")
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    run(
        &jobs,
        "plan job.yaml",
        0,
        &["1 parquet file ", "more than an id and a vector"],
    );
    run(&jobs, RUN, 0, &["done: 200 rows"]);
    assert_eq!(imports("bulk_columns"), 1);
    let script = r#"
import sys, json
import numpy as np
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
c = Collection("bulk_columns")
c.create_index("vec", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
rows = c.query("id >= 0", output_fields=["*"], limit=1000, consistency_level="Strong", partition_names=["p1"])
rows = sorted(rows, key=lambda r: r["id"])
vectors = np.random.default_rng(3).standard_normal((200, 8), dtype=np.float32)
wrong = []
lists = {"bools": lambda x: x % 2 == 0, "bytes": lambda x: x - 100, "shorts": lambda x: x * -90, "ints": lambda x: x * 10**6,
         "longs": lambda x: x * 10**15, "floats": lambda x: x / 8, "doubles": lambda x: x / 7}
for i, row in enumerate(rows):
    wanted = {"id": i, "flag": i % 3 == 0, "i8": i - 100, "i16": i * 100 - 9000, "i32": i * 10**6, "i64": i * 10**15,
              "f": i / 8, "d": i / 7, "text": "naïve %d" % i, "tags": ["t%d" % j for j in range(i % 4)],
              "doc": {"i": i, "é": [1.5, None]} if i % 2 else [i, "x"], "more": "dynamic %d" % i}
    wanted.update({name: [value(i + j) for j in range(i % 5)] for name, value in lists.items()})
    for key, value in wanted.items():
        found = row[key]
        found = json.loads(found) if key == "doc" and isinstance(found, (str, bytes)) else found
        found = list(found) if isinstance(value, list) else found
        if found != value:
            wrong.append((i, key, found, value))
    if np.asarray(row["vec"], dtype=np.float32).tobytes() != vectors[i].tobytes():
        wrong.append((i, "vec"))
print(len(rows), wrong[:5])
"#;
    assert_eq!(run_python(script, &[&server().address()]), "200 []");
}

#[test]
fn keys_of_text_dynamic_fields_and_binary_vectors_arrive() {
    let jobs = Jobs::new();
    table(
        &jobs,
        r#"
t = {"id": pa.array(["k%05d é" % i for i in range(n)]), "price": pa.array([i / 4 for i in range(n)]),
     "bits": pa.array([bytes([i, 255 - i]) for i in range(n)], pa.binary(2))}
"#,
    );
    for (collection, source, more) in [
        ("bulk_binary", "id: id", "fields: {rest: dynamic}\n"),
        ("bulk_binary_npy", "id: row_number, columns: [bits]", ""),
    ] {
        let text = format!(
            "source: {{parquet: {{paths: [a.parquet], {source}}}}}\n{}{more}",
            sink(&jobs, collection, "", "")
        );
        std::fs::write(jobs.path(&format!("{collection}.yaml")), text).unwrap();
        let line = format!("run {collection}.yaml --progress none");
        run(&jobs, &line, 0, &["done: 200 rows"]);
        assert_eq!(imports(collection), 1);
    }
    let script = r#"
import sys
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
for name in ("bulk_binary", "bulk_binary_npy"):
    c = Collection(name)
    c.create_index("bits", {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "params": {}})
    c.load()
    first = "id != ''" if name == "bulk_binary" else "id >= 0"
    rows = sorted(c.query(first, output_fields=["*"], limit=1000, consistency_level="Strong"), key=lambda r: r["id"])
    bits = [b"".join(r["bits"]) if isinstance(r["bits"], list) else bytes(r["bits"]) for r in rows]
    print(len(rows), bits == [bytes([i, 255 - i]) for i in range(200)],
          name != "bulk_binary" or [(r["id"], r["price"]) for r in rows] == [("k%05d é" % i, i / 4) for i in range(200)])
"#;
    let said = run_python(script, &[&server().address()]);
    assert_eq!(said, "200 True True\n200 True True");
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
