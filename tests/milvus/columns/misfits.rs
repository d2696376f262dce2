//! Values that do not fit their fields go to the dynamic field, where the job says so and fields are nullable.

use std::process::Command;

use serde_json::{Value, json};

use super::migration::Jobs;
use super::support::{Engine, Server, test_env};

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
