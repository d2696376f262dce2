//! From a running Milvus into files and into Milvus 1.x.

use crate::support::milvus1 as stand_in;

use std::process::Command;

use serde_json::Value;

use crate::living::migration::Jobs;
use crate::living::{
    ALL, counted, dump, job, other, rows, same_rows, same_schema, source, to_milvus,
};
use crate::support::test_env;
use stand_in::StandIn;

/// What directories of Parquet files hold, as pyarrow reads them, in the form of a dump.
fn in_files(dir: &std::path::Path) -> Value {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/living_parquet.py"
    );
    let output = Command::new(test_env().join("tables/bin/python"))
        .arg(script)
        .arg(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn files_hold_every_row_and_restore_every_collection() {
    let jobs = Jobs::new();
    let out = jobs.path("out");
    let to = format!("parquet: {{dir: '{}'}}", out.display());
    let collections = format!("collections: [{}]", ALL.join(", "));
    let ended = jobs.run("files", &job(&to, &collections, "run: {verify: full}\n"));
    let ended = ended.code(0);
    assert_eq!(ended.report["snapshot"], "live");
    let one = dump(source(), &ALL);
    let files = in_files(&out);
    for name in ALL {
        same_rows(name, &one[name], &files[name]);
    }
    // And back, to another server: rows and schema are the first one's.
    let restore = format!(
        "source: {{parquet: {{dir: '{}'}}}}\nsink: {{{}}}\ninto: {{collection: 'restored_{{collection}}'}}\n\
         run: {{verify: full}}\n",
        out.display(),
        to_milvus(other(), "index: source, load: true")
    );
    jobs.run("restore", &restore).code(0);
    let copies = ALL.map(|name| format!("restored_{name}"));
    let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
    let there = dump(other(), &copies);
    for (name, copy) in ALL.into_iter().zip(copies) {
        same_rows(name, &one[name], &there[copy]);
        same_schema(name, &one[name], &there[copy]);
        assert_eq!(there[copy]["count"], counted(name, &one[name]), "{name}");
    }
}

/// Keys and vectors of a partition that was dumped, sorted: floats little-endian, bits as they are.
fn plain(dumped: &Value, partition: &str) -> stand_in::Rows {
    let rows = rows(dumped);
    let rows = rows[partition].as_object().unwrap().iter();
    let float = |text: &Value| {
        let text = text.as_str().unwrap();
        let (mantissa, exponent) = text.split_once('p').unwrap();
        let (sign, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (-1.0, digits),
            None => (1.0, mantissa),
        };
        let (whole, part) = digits.trim_start_matches("0x").split_once('.').unwrap();
        let part = u64::from_str_radix(part, 16).unwrap() as f64 / 16f64.powi(part.len() as i32);
        let value = u64::from_str_radix(whole, 16).unwrap() as f64 + part;
        (sign * value * 2f64.powi(exponent.parse().unwrap())) as f32
    };
    let vector = |row: &Value| -> Vec<u8> {
        let all = row["v"].as_array().unwrap();
        match all.first().unwrap().as_str().unwrap() {
            floats if floats.contains('p') => {
                all.iter().flat_map(|f| float(f).to_le_bytes()).collect()
            }
            bits => stand_in::unhex(bits),
        }
    };
    let mut rows: stand_in::Rows = rows
        .map(|(key, row)| (key.parse().unwrap(), vector(row)))
        .collect();
    rows.sort();
    rows
}

#[test]
fn plain_collections_go_to_milvus_1_with_their_partitions() {
    let (jobs, old) = (Jobs::new(), StandIn::start(&[]));
    let to = format!("milvus1: {{address: '{}'}}", old.address());
    let columns = "collections: [plain, parts, bits], columns: [v]";
    // Some keys are in two partitions, and Milvus 1.x looks a key up in all of them: compared below instead.
    let ended = jobs.run("old", &job(&to, columns, "run: {verify: count}\n"));
    ended.code(0);
    let from = dump(source(), &["plain", "parts", "bits"]);
    for name in ["plain", "parts", "bits"] {
        for (tag, rows) in old.rows(name) {
            let partition = if tag.is_empty() { "_default" } else { &tag };
            assert_eq!(rows, plain(&from[name], partition), "{name}/{partition}");
        }
    }
    let mut tags: Vec<String> = old.rows("parts").into_keys().collect();
    tags.sort();
    assert_eq!(tags, ["", "empty", "p1", "p2"]);
    // More than a key and a vector has no place there.
    let ended = jobs.run("refused", &job(&to, "collections: [every]", ""));
    ended.code(3).says(&["`fields:`"]);
}

#[test]
fn a_plain_collection_becomes_an_hdf5_file() {
    let jobs = Jobs::new();
    let dir = jobs.path("h5");
    let to = format!("hdf5: {{dir: '{}'}}", dir.display());
    let columns = "collections: [plain, parts], columns: [v]";
    jobs.run("file", &job(&to, columns, "run: {verify: full}\n"))
        .code(0);
    let from = dump(source(), &["plain", "parts"]);
    let read = "import h5py, sys\n\
                with h5py.File(sys.argv[1]) as f:\n\
                \x20   for i, v in sorted(zip(f['ids'][:].tolist(), f['embeddings'][:])):\n\
                \x20       print(i, v.astype('<f4').tobytes().hex())";
    for (name, partition) in [
        ("plain", "_default"),
        ("parts", "_default"),
        ("parts", "p1"),
    ] {
        let file = dir.join(name).join(format!("{partition}.h5"));
        let said = crate::support::run_python(read, &[&file.display().to_string()]);
        let line = |line: &str| {
            let (id, vector) = line.split_once(' ').unwrap();
            (id.parse().unwrap(), stand_in::unhex(vector))
        };
        let there: stand_in::Rows = said.lines().map(line).collect();
        assert_eq!(there, plain(&from[name], partition), "{name}/{partition}");
    }
}
