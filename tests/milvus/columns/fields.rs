//! `fields:` from a Parquet file into a real server: names, types, values out of JSON, misfits, the dynamic field.

use std::process::Command;

use super::support::{Engine, Server, run_python, test_env};

/// 300 rows: text keys, vectors, titles that may be null, prices, JSON; in row 7 a text where a number should be.
const ROWS: &str = "
import json, sys
import pyarrow as pa, pyarrow.parquet as pq
n = 300
meta = [{'a': {'n': i}, 's': 'x' * (i % 5)} for i in range(n)]
meta[7]['a']['n'] = 'seven'
pq.write_table(pa.table({
    'doc': pa.array(['d\"%d' % i for i in range(n)]),
    'vec': pa.array([[float(i), 1., 2., 3., 0., 0., 0., 0.] for i in range(n)], pa.list_(pa.float32(), 8)),
    'title': pa.array(['title %d' % i for i in range(n)]),
    'price': pa.array([i * 0.5 for i in range(n)]),
    'meta': pa.array([json.dumps(m) for m in meta]),
    'secret': pa.array(range(n)),
}), sys.argv[1])
";

fn milvusdm(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn columns_arrive_as_the_job_names_them() {
    let server = Server::shared(Engine::Standalone);
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("rows.parquet");
    let made = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", ROWS])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let job = room.path().join("job.yaml");
    let write = |misfit: &str| {
        let text = format!(
            "source: {{parquet: {{paths: [{}], id: doc}}}}
sink: {{milvus: {{address: '{}', collection: fields_named, load: true}}}}
fields:
  id: {{name: pk, type: varchar, max_length: 20}}
  columns:
    embedding: {{from: vec, metric: L2, index: {{type: FLAT}}}}
    headline: {{from: title, type: varchar, max_length: 7, too_long: truncate}}
    price: float
    n: {{from: meta.a.n, type: int32, nullable: false}}
    meta: false
  rest: dynamic
run: {{verify: full, misfit: {misfit}}}
",
            file.display(),
            server.address()
        );
        std::fs::write(&job, text).unwrap();
    };
    let job = job.to_str().unwrap();
    write("fail");
    let (code, said) = milvusdm(&["plan", job]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "doc varchar key → pk varchar(20) key",
        "vec float32 × 8 → embedding float32 × 8",
        "meta.a.n → n int32",
        "`price`: doubles are rounded to floats",
        "left behind: meta",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let (code, said) = milvusdm(&["run", job]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("row 7 (id \"d\\\"7\"): `n` is \"seven\", which int32 cannot hold"),
        "{said}"
    );
    write("skip");
    let (code, said) = milvusdm(&["run", job, "--again"]);
    assert_eq!(code, Some(0), "{said}");
    let found = run_python(
        "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
c = Collection('fields_named')
rows = c.query('pk != \"\"', output_fields=['headline', 'price', 'n', 'secret'])
print(len(rows), sorted((r['pk'], r['headline'], float(r['price']), r['n'], r['secret']) for r in rows)[-1])
print([(f.name, f.dtype.name, f.params.get('max_length')) for f in c.schema.fields], c.schema.enable_dynamic_field)
",
        &[&server.address()],
    );
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[0], "299 ('d\"99', 'title 9', 49.5, 99, 99)");
    assert_eq!(
        lines[1],
        "[('pk', 'VARCHAR', 20), ('embedding', 'FLOAT_VECTOR', None), ('headline', 'VARCHAR', 7), \
         ('price', 'FLOAT', None), ('n', 'INT32', None)] True"
    );
}
