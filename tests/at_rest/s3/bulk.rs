//! Files that a real Milvus imports out of the bucket in which it keeps its storage: killed at any moment, every row once;
//! what is wrong with the bucket is said before there is a row.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::s3::migration::{Jobs, flat_index, support_script};
use crate::s3::milvus::milvus;
use crate::s3::{bucket, settings};
use crate::support::{Server, run_python};

const ROWS: usize = 100_000;
const BUCKET: &str = "of-bulk";
const RUN: [&str; 4] = ["run", "job.yaml", "--progress", "none"];

/// A job whose files are staged there.
fn job(server: &Server, source: &str, collection: &str, staging: &str, bulk: &str) -> String {
    format!(
        "source: {{{source}}}\nsink: {{milvus: {{address: '{}', collection: {collection}, bulk: {{when: always, \
         staging: {{{staging}}}, {bulk}}}}}}}\n",
        server.address()
    )
}

fn staging(prefix: &str) -> String {
    format!("path: 's3://{BUCKET}/{prefix}', {}", settings())
}

const VECTORS: &str = "faiss: {path: a.index, ids: row_number}";

/// Keys of the objects below a prefix.
fn objects(prefix: &str) -> Vec<String> {
    let (bucket, mut keys) = (
        bucket(&settings(), &format!("s3://{BUCKET}")).unwrap(),
        Vec::new(),
    );
    let mut each = |page: Vec<milvusdm::store::Found>| {
        keys.extend(page.into_iter().map(|found| found.key));
        true
    };
    bucket.walk(prefix, &mut each).unwrap();
    keys
}

/// What is kept next to the checkpoint: sets of files, and ledgers.
fn staged(jobs: &Jobs) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(jobs.path("job.yaml.ckpt.staging"))
        .into_iter()
        .flatten();
    let entries = runs
        .flatten()
        .filter_map(|run| std::fs::read_dir(run.path()).ok());
    entries.flatten().flatten().map(|e| e.path()).collect()
}

/// Whether the last line of a ledger says so.
fn says(jobs: &Jobs, word: &str) -> bool {
    let ledgers = staged(jobs).into_iter().filter(|path| path.is_file());
    let mut texts = ledgers.filter_map(|path| std::fs::read_to_string(path).ok());
    texts.any(|text| text.lines().last().is_some_and(|line| line.contains(word)))
}

/// Starts the job, and kills it as soon as it is there, or after a while.
fn killed_when(jobs: &Jobs, is_there: &dyn Fn() -> bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(RUN)
        .current_dir(jobs.0.path())
        .env("XDG_STATE_HOME", jobs.path("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !is_there()
        && child.try_wait().unwrap().is_none()
        && began.elapsed() < Duration::from_secs(6)
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().unwrap();
}

/// Milvus 2.3.5 ends when a client is killed while it asks about imports (a nil dereference of its own).
fn revive(server: &Server) {
    std::thread::sleep(Duration::from_millis(500));
    if TcpStream::connect(server.address()).is_err() {
        server.kill();
        server.start_again();
    }
}

#[test]
fn a_server_imports_out_of_its_bucket_whenever_the_loader_dies() {
    let server = milvus(BUCKET);
    refused(&server);
    every_row_once(&server);
    files_of_columns_stay_where_the_job_says_so(&server);
}

/// Compares each row with those of a file, whose ids are row numbers.
const COMPARE: &str = r#"
import sys, h5py, numpy as np
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
wanted = h5py.File(sys.argv[2])["embeddings"][()]
c = Collection("killed")
c.create_index("embedding", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
count = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
for at in range(0, len(wanted), 5000):
    rows = c.query(f"id >= {at} and id < {at + 5000}", output_fields=["id", "embedding"], consistency_level="Strong")
    rows = sorted(rows, key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(at, min(at + 5000, len(wanted)))), (at, len(rows))
    assert np.array([row["embedding"] for row in rows], dtype=np.float32).tobytes() == wanted[at:at + 5000].tobytes(), at
assert count == len(wanted), (count, len(wanted))
print(count, "rows are counted and the same")
"#;

fn every_row_once(server: &Server) {
    let jobs = Jobs::new();
    flat_index(&jobs, "a.index", ROWS, 16);
    let file = format!("source: {{{VECTORS}}}\nsink: {{hdf5: {{path: wanted.h5}}}}\n");
    jobs.run("file", &file).code(0);
    let text = job(
        server,
        VECTORS,
        "killed",
        &staging("imports"),
        "file_bytes: 1MB",
    );
    std::fs::write(jobs.path("job.yaml"), &text).unwrap();
    let sets = || staged(&jobs).iter().any(|path| path.is_dir());
    killed_when(&jobs, &sets);
    killed_when(&jobs, &|| !objects("imports/").is_empty());
    for word in ["submitted", "accepted", "accepted", "done"] {
        killed_when(&jobs, &|| says(&jobs, word));
        revive(server);
    }
    // After a death of the server its statistics may count what it broke off.
    let output = jobs.milvusdm(&RUN);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{said}");
    let wanted = jobs.path("wanted.h5");
    let said = run_python(COMPARE, &[&server.address(), wanted.to_str().unwrap()]);
    assert_eq!(said, format!("{ROWS} rows are counted and the same"));
    if output.status.success() {
        assert_eq!(objects("imports/"), [""; 0]);
        assert!(!jobs.path("job.yaml.ckpt.staging").exists());
    }
}

fn files_of_columns_stay_where_the_job_says_so(server: &Server) {
    let jobs = Jobs::new();
    let make = "import sys, pyarrow as pa, pyarrow.parquet as pq\nn = 500\n\
                pq.write_table(pa.table({'id': pa.array(range(n), pa.int64()), 'text': ['é %d' % i for i in range(n)],\n\
                'vec': pa.array([[i, i / 2] for i in range(n)], pa.list_(pa.float32()))}), sys.argv[1])";
    let output = Command::new(crate::support::test_env().join("tables/bin/python"))
        .args(["-c", make])
        .arg(jobs.path("a.parquet"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let source = "parquet: {paths: [a.parquet], id: id}";
    let text = job(server, source, "kept", &staging("kept"), "keep: true");
    jobs.run("job", &text).code(0);
    let keys = objects("kept/");
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys[0].ends_with("/rows.parquet"), "{keys:?}");
    let script = r#"
import sys
from pymilvus import Collection, connections
connections.connect(uri="http://" + sys.argv[1])
c = Collection("kept")
c.create_index("vec", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
c.load()
rows = sorted(c.query("id >= 0", output_fields=["*"], limit=1000, consistency_level="Strong"), key=lambda r: r["id"])
print([(r["id"], r["text"], [float(x) for x in r["vec"]]) for r in rows] == [(i, "é %d" % i, [i, i / 2]) for i in range(500)])
"#;
    assert_eq!(run_python(script, &[&server.address()]), "True");
}

/// Jobs whose bucket is wrong: nothing is made on the server, but for a bucket that is there and not its own, which the
/// server itself notices.
fn refused(server: &Server) {
    let jobs = Jobs::new();
    flat_index(&jobs, "a.index", 1000, 16);
    let there = staging("refused");
    let has = |name: &str| {
        let script = "import sys\nfrom pymilvus import connections, utility\nconnections.connect(uri='http://' + sys.argv[1])\n\
                      print(utility.has_collection(sys.argv[2]))";
        run_python(script, &[&server.address(), name]) == "True"
    };
    for (number, (staging, code, words)) in [
        (
            there.replace("secret_key: minioadmin", "secret_key: hunter2"),
            5,
            &["denied", "AWS_ACCESS_KEY_ID"][..],
        ),
        (
            there.replace(BUCKET, "no-such-bucket"),
            2,
            &["there is no such bucket"],
        ),
        (
            format!("{there}, server_path: /files"),
            2,
            &["sink.milvus.bulk.staging.server_path", "have keys"],
        ),
        (there.replace("s3://", "gs://"), 2, &["s3://bucket/prefix"]),
        (
            format!("path: staging, {}", settings()),
            2,
            &["sink.milvus.bulk.staging.s3", "there is none"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("refused_{number}");
        let text = job(server, VECTORS, &name, &staging, "");
        let ended = jobs.run(&name, &text).code(code);
        assert!(!ended.said.contains("hunter2"), "{}", ended.said);
        ended.says(words);
        assert!(!has(&name), "{name}");
    }
    // It is there, and not the server's.
    let text = job(
        server,
        VECTORS,
        "elsewhere",
        &staging("elsewhere").replace(BUCKET, "tests"),
        "",
    );
    jobs.run("elsewhere", &text)
        .code(5)
        .says(&["could not import rows from row 0", "minio.bucketName"]);
    let back = support_script("read_back.py", &[&server.address(), "server", "elsewhere"]);
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!(back["elsewhere"]["count"], 0);
}
