//! Fields as columns of the type that their mapping says, and indices without sequence numbers.

use std::process::Command;

use milvusdm::batch::{Key, Limits, Position, Shard};
use milvusdm::error::Kind;
use milvusdm::job::{Form, Mistakes};
use milvusdm::source::SOURCES;
use serde_json::Value;

use super::migration::Jobs;
use super::server::script;
use super::support::{Engine, Server, run_python, test_env};
use super::{ROWS, dump, elasticsearch, floats, job, opensearch, parquet};

/// Compares what Parquet files hold with documents, each field in its own way.
const COMPARE: &str = r#"
import datetime, glob, json, re, sys
import pyarrow.parquet as pq
documents, rows = json.load(open(sys.argv[2])), {}
for path in glob.glob(sys.argv[1] + "/**/*.parquet", recursive=True):
    for row in pq.read_table(path).to_pylist():
        rows[row.pop("_id")] = row
utc = datetime.timezone.utc
when = {"2024-01-02": (0, 0, 0, 0), "2024/01/02": (0, 0, 0, 0), "2024-01-02T03:04:05": (3, 4, 5, 0),
        "2024-01-02T03:04:05.678+02:00": (1, 4, 5, 678000), "1704164645678": (3, 4, 5, 678000)}
assert rows.keys() == documents.keys()
for key, document in documents.items():
    row, rest = rows[key], json.loads(rows[key]["$meta"])
    tags = document.get("tags")
    tags = None if tags in (None, []) else [tags] if isinstance(tags, str) else tags
    moment = document.get("when")
    moment = moment and datetime.datetime(2024, 1, 2, *when[str(moment)], tzinfo=utc)
    n = document.get("n")
    expected = {"title": document.get("title"), "big": document.get("big"), "price": document.get("price"), "tags": tags,
                "when": moment, "n": None if n is None else int(float(n)), "a.dotted.key": document.get("a.dotted.key")}
    for name, value in expected.items():
        assert row[name] == value, (key, name, row[name], value)
    if document.get("where") is None:
        assert row["where"] is None
    else:
        x, y = map(float, re.fullmatch(r"POINT ?\((\S+) (\S+)\)", row["where"]).groups())
        assert abs(x + 71.34) < 1e-5 and abs(y - 41.12) < 1e-5, (key, row["where"])
    # Everything else stays in the dynamic field.
    for name in list(expected) + ["where", "v"]:
        document.pop(name, None)
    document["inner"].pop("w")
    assert rest == document, (key, rest, document)
print(len(rows))
"#;

#[test]
fn fields_become_columns_of_the_type_that_their_mapping_says() {
    let jobs = Jobs::new();
    let to = |name: &str| format!("parquet: {{dir: '{}'}}", jobs.path(name).display());
    let columns = "columns: [n, b*, price, title, 'tags[]', when, where, a.dotted.key]";
    let ended = jobs.run("items", &job("items", columns, &to("items")));
    ended.code(0).says(&["timestamps in UTC"]);
    let dumped = script(&["dump", &opensearch().address, "items"]);
    std::fs::write(jobs.path("dump.json"), dumped).unwrap();
    let output = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", COMPARE])
        .args([jobs.path("items"), jobs.path("dump.json")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for (columns, code, expected) in [
        ("tags", 3, "values, but a column of varchar holds one"),
        ("titel", 2, "has no field `titel`"),
        ("parts.name", 2, "is in nested objects"),
        ("'when[]'", 2, "no column can hold lists of timestamptz"),
        ("opaque", 2, "no column can hold `opaque`"),
    ] {
        let more = format!("columns: [{columns}]");
        let name = format!("wrong_{code}_{}", columns.len());
        jobs.run(&name, &job("items", &more, &to(&name)))
            .code(code)
            .says(&[expected]);
    }
}

/// Some fields of a collection's rows, by key.
const FIELDS: &str = r#"
import json, sys
from pymilvus import connections, Collection
host, port = sys.argv[1].split(":")
connections.connect(host=host, port=port)
names = ["n", "small", "price", "yes", "tags", "when", "where", "other"]
rows = Collection(sys.argv[2]).query('id > ""', output_fields=names, limit=16000, consistency_level="Strong")
types = sorted(f"{f.name} {f.dtype.name}" for f in Collection(sys.argv[2]).schema.fields)
print(json.dumps([types, {row["id"]: [list(row[n]) if n == "tags" else row[n] for n in names] for row in rows}]))
"#;

#[test]
fn columns_of_a_mapping_go_to_real_servers() {
    let jobs = Jobs::new();
    for engine in [Engine::Standalone, Engine::LitePython] {
        let address = Server::shared(engine).address();
        let to = format!(
            "milvus: {{address: '{address}', metric: L2, index: {{type: FLAT}}, load: true}}"
        );
        let text = job("typed", "columns: ['*', 'tags[]']", &to)
            + "fields: {id: id, columns: {when: int64, where: {type: varchar, max_length: 64}}}\nrun: {verify: full}\n";
        let name = format!("typed_{}", address.replace(':', "_"));
        jobs.run(&name, &text).code(0);
        let said = run_python(FIELDS, &[&address, "typed"]);
        let found: Value = serde_json::from_str(&said).unwrap();
        let types: Vec<&str> = found[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap())
            .collect();
        assert_eq!(
            types,
            [
                "id VARCHAR",
                "n INT32",
                "price DOUBLE",
                "small INT8",
                "tags ARRAY",
                "v FLOAT_VECTOR",
                "when INT64",
                "where VARCHAR",
                "yes BOOL"
            ]
        );
        let rows = found[1].as_object().unwrap();
        assert_eq!(rows.len(), 200);
        for (key, row) in rows {
            let n: i64 = key[1..].parse().unwrap();
            let moment = 1_704_164_645_678_000 + n * 1_000;
            let expected = serde_json::json!([
                n,
                n % 100,
                n as f64 / 4.0,
                n % 2 == 0,
                ["a", format!("t{n}")],
                moment,
                format!("POINT ({}.5 2.25)", n % 90),
                format!("o{n}")
            ]);
            assert_eq!(*row, expected, "{key}");
        }
    }
}

#[test]
fn an_index_without_sequence_numbers_is_read_in_the_order_of_one_state() {
    let jobs = Jobs::new();
    script(&["rows", &opensearch().address, "unnumbered", "1500"]);
    let (there, source) = (dump("unnumbered"), |address: &str| {
        format!(
            "source: {{elasticsearch: {{urls: ['{address}'], index: unnumbered, page: 60, columns: [n], user: elastic, \
             password: secret}}}}\n"
        )
    });
    let there = there.as_object().unwrap();
    let (mut process, address) = elasticsearch(&["--unnumbered"]);
    let dir = jobs.path("whole");
    let to_files = format!(
        "sink: {{parquet: {{dir: '{}'}}}}\nrun: {{batch: 4KiB}}\n",
        dir.display()
    );
    let ended = jobs.run("whole", &(source(&address) + &to_files)).code(0);
    ended.says(&["keeps no sequence numbers"]);
    let arrived = parquet(&dir);
    assert_eq!(arrived.as_object().unwrap().len(), 1500);
    for (key, document) in there {
        let row = &arrived[key]["vectors"];
        assert_eq!(floats(&row["v"]), floats(&document["v"]), "{key}");
        assert_eq!(row["n"], document["n"], "{key}");
    }
    // What a program that was killed had read tells the next one nothing.
    let mistakes = Mistakes::default();
    let settings =
        format!("{{urls: ['{address}'], index: unnumbered, user: elastic, password: secret}}");
    let kind = SOURCES
        .iter()
        .find(|kind| kind.name == "elasticsearch")
        .unwrap();
    let map = serde_yaml::from_str(&settings).unwrap();
    let mut form = Form::new("source", map, kind.settings, &mistakes);
    let opened = (kind.read)(&mut form).unwrap().open().unwrap();
    let limits = Limits {
        batch_bytes: 1 << 20,
        batch_rows: 100,
    };
    let shard = opened.survey(limits).unwrap().manifest.shards.remove(0);
    let cut = opened.open(&shard, Position::Start, limits).unwrap().next();
    let next = cut.unwrap().unwrap().next;
    let rest = opened.open(&shard, next.clone(), limits).unwrap().next();
    assert!(rest.unwrap().is_some_and(|cut| cut.next > next));
    let foreign = Position::After(Key::Int(5));
    let until = Shard {
        end: foreign.clone(),
        ..shard.clone()
    };
    for (shard, from) in [(&shard, foreign), (&until, Position::Start)] {
        let mut reader = opened.open(shard, from, limits).unwrap();
        let error = reader.next().err().unwrap();
        assert_eq!(error.kind(), Kind::Changed);
        assert!(
            error.to_string().contains("what is left is unknown"),
            "{error}"
        );
    }
    drop(opened);
    let _ = (process.kill(), process.wait());
    // Nor does a state that the server lost on the way. A run anew has all of it, and replaces what had arrived.
    let (mut process, address) = elasticsearch(&["--unnumbered", "--forget-at", "14"]);
    let milvus = Server::shared(Engine::Standalone).address();
    let to = format!(
        "sink: {{milvus: {{address: '{milvus}', metric: L2, index: {{type: FLAT}}, load: true}}}}\nfields: {{id: id}}\n\
         run: {{existing: upsert}}\n"
    );
    jobs.run("lost", &(source(&address) + &to))
        .code(4)
        .says(&["what is left is unknown", "--again"]);
    let again = jobs.milvusdm(&["run", "lost.yaml", "--again", "--progress", "none"]);
    let said = String::from_utf8_lossy(&[again.stdout, again.stderr].concat()).into_owned();
    assert!(matches!(again.status.code(), Some(0 | 7)), "{said}");
    let _ = (process.kill(), process.wait());
    let rows: Value = serde_json::from_str(&run_python(ROWS, &[&milvus, "unnumbered"])).unwrap();
    assert_eq!(rows.as_object().unwrap().len(), 1500);
    for (key, document) in there {
        assert_eq!(floats(&rows[key]["v"]), floats(&document["v"]), "{key}");
        assert_eq!(rows[key]["n"], document["n"], "{key}");
    }
}
