//! What must not get into a server: each of many bad files is refused with its reason, while the server goes on, and holds
//! no row of the batch. Values that do not fit may go to the dynamic field instead, where fields are nullable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::migration::Jobs;
use super::support::{Engine, Server, python, test_env};

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/bad_rows.py")
}

/// Asks the server with pymilvus how many rows a collection has, as often as is wanted.
struct Watcher {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Watcher {
    fn new(server: &Server) -> Watcher {
        let mut child = Command::new(python())
            .arg(script())
            .args(["watch", &server.address()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Watcher { child, answers }
    }

    fn rows(&mut self, collection: &str) -> u64 {
        let asked = self.child.stdin.as_mut().unwrap();
        writeln!(asked, "{collection}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let count = answer.trim().parse();
        count.unwrap_or_else(|_| panic!("the server does not answer: {answer}"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_goes_on_after_each_bad_file_and_has_none_of_its_rows() {
    let (server, jobs) = (Server::shared(Engine::Standalone), Jobs::new());
    let made = Command::new(test_env().join("tables/bin/python"))
        .arg(script())
        .arg("make")
        .arg(jobs.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let cases: Vec<Value> = serde_json::from_slice(&made.stdout).unwrap();
    assert!(cases.len() > 50, "{}", cases.len());
    let mut watcher = None;
    let (mut rows, mut wrong) = (0, Vec::new());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let job = json!({
            "source": {"parquet": {"path": format!("{name}.parquet"), "id": case["id"], "types": case["types"]}},
            "sink": {"milvus": {"address": server.address(), "collection": "bad_rows", "load": true}},
            "fields": {"id": {"name": "pk", "type": "varchar", "max_length": 64}, "columns": case["columns"], "rest": "dynamic"},
        });
        let mut job = job;
        if name == "keys_of_numbers" {
            job["fields"]["id"] = "pk".into();
        }
        let ended = jobs.run(name, &job.to_string());
        let missing = case["says"].as_array().unwrap().iter();
        let missing: Vec<_> = missing
            .filter(|part| !ended.said.contains(part.as_str().unwrap()))
            .collect();
        let code = ended.code.map(i64::from);
        if code != case["code"].as_i64() || !missing.is_empty() {
            wrong.push(format!(
                "{name}: exit {code:?}, no {missing:?} in\n{}",
                ended.said
            ));
        }
        rows += if case["code"] == 0 { 3 } else { 0 };
        let found = watcher
            .get_or_insert_with(|| Watcher::new(server))
            .rows("bad_rows");
        assert_eq!(found, rows, "after {name}");
    }
    assert_eq!(rows, 6);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_does_not_fit_goes_to_the_dynamic_field_where_the_job_says_so() {
    let jobs = Jobs::new();
    let rows = "
import sys
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({
    'id': [0, 1, 2],
    'v': pa.array([[0.5] * 8] * 3, pa.list_(pa.float32())),
    'title': ['fits', 'too long', 'b'],
    'doc': ['{\"a\": 1}', '{', '{}'],
    'words': [['a'], ['a', 'b', 'c'], []],
    'more': ['x', 'y', None],
}), sys.argv[1])
";
    let made = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", rows])
        .arg(jobs.path("rows.parquet"))
        .status();
    assert!(made.unwrap().success());
    let job = |server: &Server, misfit: &str| {
        let columns = json!({
            "v": {"metric": "L2", "index": {"type": "FLAT"}},
            "title": {"type": "varchar", "max_length": 4, "nullable": true},
            "words": {"type": "array<varchar>", "max_capacity": 2, "max_length": 8, "nullable": true},
            "doc": {"type": "json", "nullable": true},
        });
        json!({
            "source": {"parquet": {"path": "rows.parquet", "types": {"doc": "json"}}},
            "sink": {"milvus": {"address": server.address(), "collection": "misfits", "load": true, "mode": "overwrite"}},
            "fields": {"columns": columns, "rest": "dynamic"},
            "run": {"misfit": misfit, "verify": "full"},
        })
        .to_string()
    };
    let server = Server::shared(Engine::LitePython);
    jobs.run("fail", &job(server, "fail"))
        .code(3)
        .says(&["row 1 (id 1): `title` has 8 bytes"]);
    jobs.run("dynamic", &job(server, "dynamic")).code(0);
    let script = "
import json, sys
from pymilvus import MilvusClient
client = MilvusClient(uri='http://' + sys.argv[1])
found = client.query('misfits', 'id >= 0', output_fields=['*'])
rows = [{k: r.get(k) for k in sorted(r) if k != 'v'} for r in sorted(found, key=lambda r: r['id'])]
print(json.dumps(rows, default=list))
";
    let found = super::new_python(script, &[&server.address()]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let without_null = |row: &Value| -> Value {
        let map = row.as_object().unwrap().iter();
        map.filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let found: Vec<Value> = found.as_array().unwrap().iter().map(without_null).collect();
    assert_eq!(
        found,
        [
            json!({"id": 0, "title": "fits", "doc": {"a": 1}, "words": ["a"], "more": "x"}),
            json!({"id": 1, "title_misfit": "too long", "doc_misfit": "{", "words_misfit": ["a", "b", "c"], "more": "y"}),
            json!({"id": 2, "title": "b", "doc": {}, "words": []}),
        ]
    );
    // Where no field is nullable there is nothing but to say so.
    let server = Server::shared(Engine::Standalone);
    jobs.run("real", &job(server, "dynamic")).code(3).says(&[
        "row 1 (id 1): `title` has 8 bytes",
        "where the field is nullable",
    ]);
}
