//! Each cell of each type, compared with what Postgres says of it: in Parquet files, Milvus 2.3.5 and Milvus Lite 3.2.2.

use std::path::Path;
use std::process::Command;

use crate::pgvector::migration::Jobs;
use crate::pgvector::{postgres, source, to_milvus};
use crate::support::{Engine, Server, python, test_env};

/// Columns of a table: name, kind as pgvector_cells.py knows it, and what Postgres is asked for.
type Columns = [(&'static str, &'static str, &'static str)];

const MOMENT: &str = "YYYY-MM-DD\"T\"HH24:MI:SS.US";

/// Those that all destinations take.
const EVERY: &Columns = &[
    ("id", "plain", "id"),
    ("embedding", "vector", "embedding::text"),
    ("b", "plain", "b"),
    ("i2", "plain", "i2"),
    ("i4", "plain", "i4"),
    ("f4", "f32", "f4"),
    ("f8", "f64", "f8"),
    ("o", "plain", "o::bigint"),
    ("t", "plain", "t"),
    ("vc", "plain", "vc"),
    // Blanks at its end belong to it; a cast would drop them.
    ("ch", "plain", "rpad(ch, 5)"),
    ("u", "plain", "u"),
    ("js", "json", "js"),
    ("jb", "json", "jb"),
    ("nu", "plain", "nu::text"),
    (
        "d",
        "plain",
        "CASE WHEN d < '0001-01-01' THEN '0044-03-15 BC' WHEN isfinite(d) THEN to_char(d, 'YYYY-MM-DD') ELSE d::text END",
    ),
    (
        "ts",
        "plain",
        "CASE WHEN isfinite(ts) THEN to_char(ts, 'MOMENT') ELSE ts::text END",
    ),
    (
        "tz",
        "plain",
        "to_char(tz AT TIME ZONE 'UTC', 'MOMENT') || 'Z'",
    ),
    ("bin", "plain", "encode(bin, 'hex')"),
    ("iv", "plain", "iv::text"),
    ("m", "plain", "m"),
    ("dom", "plain", "dom"),
    ("p", "json", "to_json(p)"),
    ("ci", "plain", "ci::text"),
    ("net", "plain", "net::text"),
    ("r", "plain", "r::text"),
    ("ab", "plain", "ab"),
    ("ai", "plain", "ai"),
    ("a8", "plain", "a8"),
    ("a2", "plain", "a2"),
    ("af", "f32s", "af"),
    ("ad", "plain", "ad"),
    ("at", "plain", "at"),
    ("au", "plain", "au"),
    ("gen", "plain", "gen"),
];

/// Arrays that are no lists: JSON that is no object.
const DEEP: &Columns = &[("deep", "json", "deep"), ("gappy", "json", "gappy")];

const VECTORS: &Columns = &[
    ("id", "plain", "id"),
    ("h", "halfvec", "h::text"),
    ("s", "sparsevec", "s::text"),
    ("bt", "bit", "bt::text"),
    ("v", "vector", "v::text"),
    ("hv", "halfvec", "hv::text"),
];

/// Writes what Postgres says of these columns.
fn expect(path: &Path, table: &str, columns: &[&Columns]) {
    let all: Vec<_> = columns.iter().flat_map(|columns| columns.iter()).collect();
    let asked: Vec<String> = all.iter().map(|c| c.2.replace("MOMENT", MOMENT)).collect();
    let rows = postgres().sql(&format!(
        "SELECT json_agg(json_build_array({}) ORDER BY id) FROM {table}",
        asked.join(", ")
    ));
    let names: Vec<[&str; 2]> = all.iter().map(|c| [c.0, c.1]).collect();
    let names = serde_json::to_string(&names).unwrap();
    std::fs::write(path, format!("{{\"columns\": {names}, \"rows\": {rows}}}")).unwrap();
}

/// How many cells are the same, which all must be.
#[track_caller]
fn compared(expected: &Path, arguments: &[&str]) -> usize {
    let python = match arguments[0] {
        "parquet" => test_env().join("tables/bin/python"),
        // Clients of Milvus 2.3 take what is missing for a value.
        "lite" => test_env().join("lite/venv-py/bin/python"),
        _ => python(),
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/pgvector_cells.py"
    );
    let output = Command::new(python)
        .arg(script)
        .arg(expected)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap()
}

fn names(columns: &[&Columns]) -> String {
    let all = columns.iter().flat_map(|columns| columns.iter());
    all.map(|column| column.0).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_cell_of_every_type_arrives_in_parquet_files() {
    let jobs = Jobs::new();
    for (table, columns, rows) in [
        ("every", &[EVERY, DEEP][..], 300),
        ("holes", &[EVERY, DEEP][..], 40),
        ("vectors", &[VECTORS][..], 200),
    ] {
        let (out, expected) = (
            jobs.path(&format!("{table}_out")),
            jobs.path("expected.json"),
        );
        let job = format!(
            "{}sink: {{parquet: {{dir: '{}'}}}}\nrun: {{verify: full}}\n",
            source(&format!("table: {table}")),
            out.display()
        );
        let ended = jobs.run(table, &job).code(0);
        assert_eq!(ended.report["snapshot"], "pinned", "{}", ended.said);
        expect(&expected, table, columns);
        let cells: usize = columns.iter().map(|columns| columns.len()).sum();
        let found = compared(&expected, &["parquet", out.to_str().unwrap()]);
        assert_eq!(found, rows * cells, "{table}");
    }
}

#[test]
fn every_cell_of_every_type_arrives_in_milvus_and_lite() {
    let jobs = Jobs::new();
    let expected = jobs.path("expected.json");
    expect(&expected, "every", &[EVERY]);
    for (name, engine) in [("full", Engine::Standalone), ("lite", Engine::LitePython)] {
        let server = Server::shared(engine);
        let table = format!("table: every, columns: [{}]", names(&[EVERY]));
        let sink = to_milvus(
            server,
            "collection: every, metric: L2, index: {type: FLAT}, load: true",
        );
        let job = format!("{}{sink}run: {{verify: full}}\n", source(&table));
        jobs.run(name, &job).code(0);
        let found = compared(&expected, &["milvus", &server.address(), "every"]);
        assert_eq!(found, 300 * EVERY.len(), "{name}");
    }
    let lite = Server::shared(Engine::LitePython);
    expect(&expected, "holes", &[EVERY]);
    let table = format!("table: holes, columns: [{}]", names(&[EVERY]));
    let sink = to_milvus(
        lite,
        "collection: holes, metric: L2, index: {type: FLAT}, load: true",
    );
    jobs.run("holes", &format!("{}{sink}", source(&table)))
        .code(0);
    let found = compared(&expected, &["lite", &lite.address(), "holes"]);
    assert_eq!(found, 40 * EVERY.len());
}

#[test]
fn vectors_of_every_type_arrive_where_they_are_taken() {
    let jobs = Jobs::new();
    let expected = jobs.path("expected.json");
    let (full, lite) = (
        Server::shared(Engine::Standalone),
        Server::shared(Engine::LitePython),
    );
    for (column, server, client) in [
        ("bt", full, "milvus"),
        ("v", full, "milvus"),
        ("s", lite, "lite"),
    ] {
        let of: Vec<_> = VECTORS
            .iter()
            .filter(|c| c.0 == column || c.0 == "id")
            .copied()
            .collect();
        expect(&expected, "vectors", &[&of]);
        let name = format!("vectors_{column}");
        let table = source(&format!("table: vectors, columns: [{column}]"));
        let sink = to_milvus(server, &format!("collection: {name}"));
        jobs.run(&name, &format!("{table}{sink}")).code(0);
        let found = compared(&expected, &[client, &server.address(), &name]);
        assert_eq!(found, 400, "{column}");
    }
}
