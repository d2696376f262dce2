//! Tables of every kind, and keys of every type: each row once, in the order of its key, whatever the ranges.

use std::collections::BTreeSet;
use std::path::Path;

use milvusdm::batch::{Key, Limits, Manifest, Position};
use milvusdm::job::{Form, Mistakes};
use milvusdm::source::{Source, pgvector};

use crate::pgvector::migration::Jobs;
use crate::pgvector::new_job::into_both;
use crate::pgvector::{postgres, source, to_milvus};
use crate::support::{Engine, Server, run_python};

const TABLES: &str = r#"
CREATE TABLE small (id smallint PRIMARY KEY, v vector(2)); INSERT INTO small SELECT n, '[1,2]' FROM generate_series(-300, 299) n;
CREATE TABLE wide (id bigint PRIMARY KEY, v vector(2));
INSERT INTO wide SELECT (n - 10000) * 900000000000000, '[1,2]' FROM generate_series(1, 20000) n;
INSERT INTO wide VALUES (-9223372036854775808, '[1,2]'), (9223372036854775807, '[1,2]');
CREATE TABLE named (id text COLLATE "pg_c_utf8" PRIMARY KEY, v vector(2));
INSERT INTO named SELECT (ARRAY['a', 'A', 'ä', 'b''', 'Z"', 'é😀', '\', ' '])[n % 8 + 1] || n, '[1,2]' FROM generate_series(1, 20000) n;
INSERT INTO named VALUES ('', '[1,2]');
CREATE TABLE by_uuid (id uuid PRIMARY KEY, v vector(2));
INSERT INTO by_uuid SELECT md5(n::text)::uuid, '[1,2]' FROM generate_series(1, 20000) n;
CREATE TABLE by_number (id numeric(30, 2) PRIMARY KEY, v vector(2));
INSERT INTO by_number SELECT n * 1.5, '[1,2]' FROM generate_series(1, 9000) n;
CREATE TABLE by_mood (id mood PRIMARY KEY, v vector(2)); INSERT INTO by_mood VALUES ('sad', '[1,2]'), ('happy', '[3,4]');
CREATE TABLE parts (id bigint, day date, v vector(2), PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-06-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-06-01') TO ('2025-01-01');
INSERT INTO parts SELECT n, date '2024-01-01' + n % 365, '[1,2]' FROM generate_series(1, 20000) n;
CREATE TABLE parent (id bigint PRIMARY KEY, v vector(2)); CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent VALUES (1, '[1,2]'); INSERT INTO child VALUES (2, '[1,2]', 3);
CREATE VIEW seen AS SELECT id, v, 'x' || id AS title FROM wide WHERE id > 0;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen;
CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Ünï.Table" ("The Id" int PRIMARY KEY, "V""x" vector(2));
INSERT INTO "My Schema"."Ünï.Table" SELECT n, '[1,2]' FROM generate_series(1, 10) n;
CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, v vector(2)); INSERT INTO "MixedCase" VALUES (1, '[1,2]');
CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.indexed (id int PRIMARY KEY, v vector(2) NOT NULL);
INSERT INTO elsewhere.indexed SELECT n, ARRAY[n, 1]::vector FROM generate_series(1, 500) n;
CREATE INDEX ON elsewhere.indexed USING hnsw (v vector_cosine_ops) WITH (m = 8, ef_construction = 40);
CREATE TABLE nothing (id int PRIMARY KEY, v vector(2) NOT NULL, t text);
"#;

fn made() {
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| drop(postgres().sql(TABLES)));
}

pub fn open(settings: &str) -> Box<dyn Source> {
    let mistakes = Mistakes::default();
    let map =
        serde_yaml::from_str(&format!("{{url: '{}', {settings}}}", postgres().url())).unwrap();
    let mut form = Form::new("source", map, pgvector::KIND.settings, &mistakes);
    let spec = (pgvector::KIND.read)(&mut form);
    assert!(form.done(), "{settings}: {:?}", mistakes.all());
    spec.unwrap().open().unwrap()
}

/// The keys of all shards, in order.
fn keys(source: &dyn Source, manifest: &Manifest, batch_rows: u64) -> Vec<String> {
    let limits = Limits {
        batch_bytes: 1 << 20,
        batch_rows,
    };
    let mut found = Vec::new();
    for shard in &manifest.shards {
        let (mut rows, mut at) = (0, shard.start.clone());
        let mut reader = source.open(shard, at.clone(), limits).unwrap();
        while let Some(cut) = reader.next().unwrap() {
            assert!(cut.next > at && cut.next <= shard.end, "{:?}", cut.next);
            at = cut.next;
            let keys = cut.parts.iter().flat_map(|part| part.keys());
            let keys: Vec<String> = keys
                .map(|key| match key {
                    Key::Int(id) => id.to_string(),
                    Key::Text(text) => text.to_string(),
                })
                .collect();
            assert!(!keys.is_empty() && keys.len() as u64 <= batch_rows);
            rows += keys.len() as u64;
            found.extend(keys);
        }
        assert_eq!((rows, &at), (shard.rows, &shard.end), "{}", shard.name);
    }
    found
}

#[test]
fn each_row_of_tables_of_every_kind_is_read_once() {
    made();
    for (settings, from, key, ranges) in [
        ("table: small", "small", "id", 1),
        ("table: wide", "wide", "id", 4),
        ("table: named", "named", "id", 4),
        ("table: by_uuid", "by_uuid", "id", 4),
        ("table: by_number", "by_number", "id", 2),
        ("table: by_mood", "by_mood", "id", 1),
        ("table: parts, key: id", "parts", "id", 4),
        ("table: parent, key: id", "parent", "id", 1),
        ("table: seen, key: id", "seen", "id", 2),
        ("table: kept, key: title", "kept", "title", 2),
        (
            "table: 'My Schema.Ünï.Table'",
            "\"My Schema\".\"Ünï.Table\"",
            "\"The Id\"",
            1,
        ),
        ("table: MixedCase, key: Id", "\"MixedCase\"", "\"Id\"", 1),
        ("table: public.SMALL, key: ID", "small", "id", 1),
        (
            "query: 'select id::text || ''/'' as k, v from wide where id % 7 = 0', key: k",
            "(select id::text || '/' as k from wide where id % 7 = 0) q",
            "k",
            1,
        ),
    ] {
        let source = open(settings);
        let limits = Limits {
            batch_bytes: 1 << 20,
            batch_rows: 1000,
        };
        let manifest = source.survey(limits).unwrap().manifest;
        assert_eq!(manifest.shards.len(), ranges, "{settings}");
        // With a mark before each: one of the keys is empty.
        let expected = postgres().sql(&format!("SELECT '.' || {key}::text FROM {from}"));
        let expected: BTreeSet<&str> = expected.split('\n').map(|line| &line[1..]).collect();
        for batch_rows in [777, 1 << 20] {
            let found = keys(&*source, &manifest, batch_rows);
            let unique: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found.len(), unique.len(), "{settings}");
            assert!(unique == expected, "{settings}: {} keys", unique.len());
        }
        let rows: u64 = manifest.shards.iter().map(|shard| shard.rows).sum();
        assert_eq!(
            (manifest.targets[0].rows, rows),
            (rows, expected.len() as u64)
        );
    }
}

#[test]
fn reading_goes_on_behind_any_key() {
    made();
    for settings in [
        "table: named",
        "table: parts, key: id",
        "table: seen, key: id",
        "query: 'select id::text || ''/'' as k, v from wide where id % 7 = 0', key: k",
    ] {
        let source = open(settings);
        let limits = Limits {
            batch_bytes: 1 << 20,
            batch_rows: 500,
        };
        let manifest = source.survey(limits).unwrap().manifest;
        let shard = manifest.shards.last().unwrap();
        let all = |from: Position| {
            let mut reader = source.open(shard, from, limits).unwrap();
            let mut cuts = Vec::new();
            while let Some(cut) = reader.next().unwrap() {
                let keys: Vec<Key> = cut.parts.iter().flat_map(|part| part.keys()).collect();
                cuts.push((keys, cut.next));
            }
            cuts
        };
        let whole = all(shard.start.clone());
        assert!(whole.len() > 5, "{settings}");
        for (number, (_, next)) in whole.iter().enumerate() {
            let rest = all(next.clone());
            assert!(rest == whole[number + 1..], "{settings}: from {next:?}");
        }
    }
}

#[test]
fn an_empty_table_becomes_an_empty_collection() {
    made();
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::Standalone);
    let job = format!(
        "{}{}",
        source("table: nothing"),
        to_milvus(milvus, "collection: nothing, metric: L2")
    );
    let ended = jobs.run("nothing", &job).code(0);
    assert_eq!(ended.report["targets"][0]["rows_counted"], 0);
    let said = run_python(
        "import sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
         print([(f.name, f.dtype.name) for f in Collection('nothing').schema.fields])",
        &[&milvus.address()],
    );
    assert_eq!(
        said,
        "[('id', 'INT64'), ('v', 'FLOAT_VECTOR'), ('t', 'VARCHAR')]"
    );
}

/// The first job of the documentation's page, with the addresses of this test's servers.
#[test]
fn a_new_user_goes_from_an_address_to_a_collection_that_can_be_searched() {
    made();
    postgres().sql("CREATE TABLE items AS SELECT * FROM elsewhere.indexed; ALTER TABLE items ADD PRIMARY KEY (id)");
    let milvus = Server::shared(Engine::Standalone);
    for (name, path) in [
        ("page", "docs/sources/pgvector.md"),
        ("shipped", "yamls/pgvector_to_milvus.yaml"),
    ] {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(text).unwrap();
        let job = match text.split_once("```yaml\n") {
            Some((_, rest)) => rest.split("```").next().unwrap().to_owned(),
            None => text,
        };
        let job = job
            .replace("${PGPASSWORD}", "secret")
            .replace("127.0.0.1:5432", &postgres().address())
            .replace("127.0.0.1:19530", &milvus.address())
            .replace("collection: items", &format!("collection: items_{name}"));
        let jobs = Jobs::new();
        jobs.run(name, &job).code(0);
        let found = run_python(
            "import sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
             c = Collection(sys.argv[2]); f = [f.name for f in c.schema.fields if f.dtype.name == 'FLOAT_VECTOR'][0]\n\
             p = c.indexes[0].params['metric_type']\n\
             print(c.search([[1.0, 1.0]], f, {'metric_type': p}, limit=1)[0].ids)",
            &[&milvus.address(), &format!("items_{name}")],
        );
        assert_eq!(found, "[1]", "{name}");
    }
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    postgres().sql(
        "CREATE TABLE fresh (id bigint PRIMARY KEY, v vector(2) NOT NULL, t text NOT NULL); \
         INSERT INTO fresh SELECT n, '[1,2]', 'no. ' || n FROM generate_series(1, 300) n",
    );
    let jobs = Jobs::new();
    let lite = Server::shared(Engine::LitePython);
    let url = format!("'{}'", postgres().url());
    let edits = [("url", url.as_str()), ("table", "fresh")];
    let rows = into_both(&jobs.path("."), "pgvector", &edits, &lite.address());
    assert_eq!(rows, [300, 300]);
}

#[test]
fn tables_with_vectors_of_an_address_are_inspected() {
    made();
    let jobs = Jobs::new();
    let inspect = |url: &str| {
        let output = jobs.milvusdm(&["inspect", "--json", url]);
        let all = [output.stdout.clone(), output.stderr].concat();
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(
            !all.contains(":secret@") && !all.contains("hunter2"),
            "{all}"
        );
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = inspect(&postgres().url());
    assert_eq!(code, Some(0), "{said}");
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["source"], "pgvector");
    let tables = found["collections"].as_array().unwrap();
    for (name, rows) in [("small", 600), ("elsewhere.indexed", 500)] {
        let table = tables.iter().find(|table| table["name"] == name).unwrap();
        assert_eq!(table["rows"], rows, "{said}");
    }
    let wrong = postgres().url().replace("secret", "hunter2");
    let (code, said) = inspect(&wrong);
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn metric_and_index_are_those_of_the_table() {
    made();
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::Standalone);
    let sink = to_milvus(milvus, "index: source, load: true");
    let job = format!("{}{sink}", source("table: elsewhere.indexed"));
    jobs.run("indexed", &job).code(0);
    let said = run_python(
        "import sys, json; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
         print(json.dumps(Collection('indexed').indexes[0].params, sort_keys=True))",
        &[&milvus.address()],
    );
    for part in ["HNSW", "COSINE", "\"M\": 8", "\"efConstruction\": 40"] {
        assert!(
            said.replace("\"8\"", "8")
                .replace("\"40\"", "40")
                .contains(part),
            "{part}: {said}"
        );
    }
}
