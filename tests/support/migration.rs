//! What tests of whole migrations share: jobs run by the program itself, and reading back what arrived.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Engine, Server, python, test_env};

/// A directory for one test's jobs, reports and checkpoints.
pub struct Jobs(pub TempDir);

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
    pub report: Value,
}

impl Ended {
    #[track_caller]
    pub fn code(self, expected: i32) -> Ended {
        assert_eq!(self.code, Some(expected), "{}", self.said);
        self
    }

    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Ended {
        // Columns of a table are as wide as what stands in them.
        let words: Vec<&str> = self.said.split(' ').filter(|w| !w.is_empty()).collect();
        let narrow = words.join(" ");
        for part in parts {
            let is_there = self.said.contains(part) || narrow.contains(part);
            assert!(is_there, "no `{part}` in:\n{}", self.said);
        }
        self
    }
}

impl Jobs {
    pub fn new() -> Jobs {
        Jobs(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn milvusdm(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .output()
            .unwrap()
    }

    /// Runs a job; each name is its own checkpoint.
    pub fn run(&self, name: &str, job: &str) -> Ended {
        let (file, report) = (format!("{name}.yaml"), format!("{name}.json"));
        std::fs::write(self.path(&file), job).unwrap();
        let output = self.milvusdm(&["run", &file, "--progress", "none", "--report", &report]);
        let report = std::fs::read(self.path(&report)).unwrap_or(b"null".to_vec());
        Ended {
            code: output.status.code(),
            said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            report: serde_json::from_slice(&report).unwrap(),
        }
    }
}

/// The one server of this test binary.
pub fn server() -> &'static Server {
    check_installed();
    Server::shared(Engine::Standalone)
}

pub fn check_installed() {
    let missing = "is not there: tests/setup installs what the tests need";
    assert!(python().exists(), "{} {missing}", test_env().display());
}

/// Runs a Python script of tests/support, and returns what it printed.
pub fn support_script(name: &str, arguments: &[&str]) -> String {
    check_installed();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let output = Command::new(python())
        .arg(path.join(name))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What collections of the server are and hold; null where there is none.
pub fn read_back(collections: &[&str]) -> Value {
    let address = server().address();
    let arguments = [&[address.as_str(), "server"], collections].concat();
    serde_json::from_str(&support_script("read_back.py", &arguments)).unwrap()
}

/// Where a general job goes, with further settings of the sink.
pub fn sink(more: &str) -> String {
    format!(
        "sink: {{milvus: {{address: '{}', {more}}}}}\n",
        server().address()
    )
}

/// Where a general job comes from.
pub fn source(path: &Path, more: &str) -> String {
    format!(
        "source: {{milvus1: {{path: '{}', {more}}}}}\n",
        path.display()
    )
}

/// A classic job, with further keys.
pub fn classic(path: &Path, more: &str) -> String {
    let address = server().address();
    let (host, port) = address.split_once(':').unwrap();
    format!(
        "M2M:\n  milvus_version: 2.x\n  source_milvus_path: '{}'\n  mysql_parameter: ''\n  dest_host: {host}\n  \
         dest_port: {port}\n  mode: append\n{more}",
        path.display()
    )
}

/// Rows and digest of each partition of each collection, as they should arrive.
pub type Tables = BTreeMap<(String, String), (u64, String)>;

/// What expected.json says of each table.
pub fn wanted(tables: &[Value]) -> Tables {
    let table = |t: &Value| {
        let text = |key: &str| t[key].as_str().unwrap().to_owned();
        let held = (t["live_rows"].as_u64().unwrap(), text("live_sorted_sha256"));
        ((text("collection"), text("partition_tag")), held)
    };
    tables.iter().map(table).collect()
}

/// The name a tag has in Milvus 2.x: its letters, digits and underscores, and a digest where there were others.
pub fn is_name_of(name: &str, tag: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match tag {
        "" => name == "_default",
        tag if tag.chars().all(plain) => name == tag,
        tag => {
            let readable: String = tag
                .chars()
                .map(|c| if plain(c) { c } else { '_' })
                .collect();
            let rest = name.strip_prefix(&format!("{readable}_"));
            rest.is_some_and(|digest| digest.len() == 8)
        }
    }
}

/// Compares collections, named with this prefix, with what should have arrived.
#[track_caller]
pub fn check(prefix: &str, tables: &Tables) -> Value {
    let mut names: Vec<String> = tables.keys().map(|t| format!("{prefix}{}", t.0)).collect();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let back = read_back(&names);
    for ((collection, tag), (rows, sum)) in tables {
        let found = &back[format!("{prefix}{collection}")];
        let partitions = found["partitions"]
            .as_object()
            .unwrap_or_else(|| panic!("{prefix}{collection} did not arrive"));
        let mut named = partitions.iter().filter(|p| is_name_of(p.0, tag));
        let partition = named
            .next()
            .unwrap_or_else(|| panic!("{collection}/{tag}: {:?}", partitions.keys()))
            .1;
        assert!(named.next().is_none());
        assert_eq!(
            *partition,
            json!({"rows": rows, "sorted": sum}),
            "{collection}/{tag}"
        );
        let of = tables.iter().filter(|t| t.0.0 == *collection);
        let all: u64 = of.clone().map(|t| t.1.0).sum();
        assert_eq!(found["count"], json!(all), "{collection}");
        let default = usize::from(!tables.contains_key(&(collection.clone(), String::new())));
        assert_eq!(partitions.len(), of.count() + default, "{partitions:?}");
    }
    back
}

#[track_caller]
pub fn check_repeated(collection: &str) {
    let back = read_back(&[collection]);
    assert_eq!(back[collection]["count"], json!(10), "{back}");
}

/// A directory made for a test.
pub fn make(jobs: &Jobs, name: &str, spec: Value) -> (PathBuf, Tables) {
    let out = jobs.path(name);
    support_script(
        "make_milvus1x.py",
        &[out.to_str().unwrap(), &spec.to_string()],
    );
    let text = std::fs::read_to_string(out.join("expected.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    (
        out.join("milvus"),
        wanted(all["tables"].as_array().unwrap()),
    )
}

/// Makes a flat Faiss index of rows that differ.
pub fn flat_index(jobs: &Jobs, name: &str, rows: usize, dimension: usize) {
    let mut file = b"IxF2".to_vec();
    file.extend((dimension as i32).to_le_bytes());
    file.extend((rows as i64).to_le_bytes());
    file.extend([1_048_576i64.to_le_bytes(); 2].concat());
    file.push(1);
    file.extend(1i32.to_le_bytes());
    file.extend(((rows * dimension) as u64).to_le_bytes());
    let mut state = 7u32;
    for _ in 0..rows * dimension {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend(((state >> 8) as f32 / 1e6).to_le_bytes());
    }
    std::fs::write(jobs.path(name), file).unwrap();
}
