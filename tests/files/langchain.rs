//! Directories that LangChain's FAISS store saved: each row with its document, and pickles that are none of these.

#![allow(clippy::unwrap_used)]

use crate::support::{self, arrived, killed, migration};

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use arrived::{Rows, in_milvus, same};
use killed::killed_four_times;
use migration::{Jobs, support_script};
use support::{Engine, Server, python, run_python, test_env};

/// Saved by langchain-community 0.4.2: twelve documents, two of them deleted, and one that came later.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/langchain/current")
}

/// A copy that may be damaged.
fn copied(jobs: &Jobs) -> PathBuf {
    let to = jobs.path("store");
    std::fs::create_dir(&to).unwrap();
    for name in ["index.faiss", "index.pkl"] {
        std::fs::copy(fixture().join(name), to.join(name)).unwrap();
    }
    to
}

fn job(store: &Path, sink: &str) -> String {
    format!(
        "source: {{langchain: {{path: '{}'}}}}\nsink: {{{sink}}}\n",
        store.display()
    )
}

/// What LangChain itself says of the rows, in the order of their ids.
fn expected() -> Vec<Value> {
    let text = std::fs::read_to_string(fixture().join("expected.json")).unwrap();
    let mut rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
    rows
}

fn parsed(said: &str) -> Vec<Value> {
    serde_json::from_str(said.trim()).unwrap()
}

#[test]
fn each_row_has_its_document_in_parquet_files() {
    let jobs = Jobs::new();
    let out = jobs.path("out");
    let sink = format!("parquet: {{dir: '{}'}}", out.display());
    jobs.run("files", &job(&fixture(), &sink)).code(0);
    let script = "import glob, json, sys; import pyarrow.parquet as pq\n\
        rows = [r for f in glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True) for r in pq.read_table(f).to_pylist()]\n\
        print(json.dumps([{'id': r['id'], 'text': r['text'], 'metadata': json.loads(r['metadata']), 'vector': list(r['embedding'])}\n\
        for r in sorted(rows, key=lambda r: r['id'])]))";
    let output = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", script])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(parsed(&String::from_utf8_lossy(&output.stdout)), expected());
}

#[test]
fn each_row_has_its_document_in_milvus() {
    assert!(python().exists());
    let jobs = Jobs::new();
    for engine in [Engine::Standalone, Engine::LitePython] {
        in_server(&jobs, Server::shared(engine), &format!("chain_{engine:?}"));
    }
}

fn in_server(jobs: &Jobs, server: &Server, name: &str) {
    let sink = format!(
        "milvus: {{address: '{}', collection: chain, metric: L2, index: {{type: FLAT}}, load: true}}",
        server.address()
    );
    let text = job(&fixture(), &sink) + "run: {verify: full}\n";
    jobs.run(name, &text).code(0);
    let said = run_python(
        "import json, sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
         rows = Collection('chain').query('id >= \"\"', output_fields=['*'])\n\
         out = []\n\
         for r in sorted(rows, key=lambda r: r['id']):\n\
         \x20   r = dict(r); meta = r.pop('$meta', None) or {k: v for k, v in r.items() if k not in ('id', 'text', 'embedding')}\n\
         \x20   out.append({'id': r['id'], 'text': r['text'], 'metadata': meta, 'vector': [float(x) for x in r['embedding']]})\n\
         print(json.dumps(out))",
        &[&server.address()],
    );
    assert_eq!(parsed(&said), expected());
}

#[test]
fn a_run_that_is_killed_four_times_ends_with_each_row_once() {
    let (jobs, lite) = (Jobs::new(), Server::shared(Engine::LitePython));
    let store = jobs.path("laid_out");
    support_script("langchain_laid_out.py", &[store.to_str().unwrap(), "2000"]);
    let sink = format!(
        "milvus: {{address: '{}', collection: killed, metric: L2}}",
        lite.address()
    );
    let text = job(&store, &sink) + "run: {batch: 4KiB}\n";
    killed_four_times(&jobs, "killed", &text, 250).code(0);
    let row = |n: usize| {
        let (vector, payload) = ([n as f64, n as f64 / 4.0, 0.5, -1.25], json!({"page": n}));
        let row = json!({"embedding": vector, "text": format!("text {n}"), "payload": payload});
        (format!("id-{n:05}"), row)
    };
    let expected: Rows = (0..2000).map(row).collect();
    let python = test_env().join("lite/venv-py/bin/python");
    same(&in_milvus(&python, lite, "killed"), &expected);
}

#[test]
fn a_store_without_documents_becomes_an_empty_collection() {
    let (jobs, lite) = (Jobs::new(), Server::shared(Engine::LitePython));
    let store = jobs.path("laid_out");
    support_script("langchain_laid_out.py", &[store.to_str().unwrap(), "0"]);
    let sink = format!(
        "milvus: {{address: '{}', collection: nothing, metric: L2}}",
        lite.address()
    );
    jobs.run("nothing", &job(&store, &sink)).code(0);
    let python = test_env().join("lite/venv-py/bin/python");
    assert!(in_milvus(&python, lite, "nothing").is_empty());
}

#[test]
fn a_pickle_that_would_run_something_is_refused_and_nothing_runs() {
    let jobs = Jobs::new();
    let store = copied(&jobs);
    let made = jobs.path("made");
    let command = format!("touch {}", made.display());
    let evil = format!(
        "cos\nsystem\n(X{}{command}tR.",
        (command.len() as u32)
            .to_le_bytes()
            .map(char::from)
            .iter()
            .collect::<String>()
    );
    std::fs::write(store.join("index.pkl"), evil).unwrap();
    let sink = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    jobs.run("evil", &job(&store, &sink)).code(3).says(&[
        "index.pkl",
        "the class os.system",
        "nothing of a pickle is ever run",
    ]);
    assert!(!made.exists() && !jobs.path("out").exists());
}

#[test]
fn what_is_short_damaged_or_of_another_store_is_refused_by_name() {
    let jobs = Jobs::new();
    let store = copied(&jobs);
    let sink = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    let text = job(&store, &sink);
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let planned = |code: i32| {
        let output = jobs.milvusdm(&["plan", "job.yaml"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    planned(0);
    let whole = std::fs::read(store.join("index.pkl")).unwrap();
    for len in (0..whole.len()).step_by(97) {
        std::fs::write(store.join("index.pkl"), &whole[..len]).unwrap();
        assert!(planned(3).contains("index.pkl"), "{len}");
    }
    std::fs::write(store.join("index.pkl"), b"\x80\x04}.").unwrap();
    assert!(planned(3).contains("LangChain's FAISS store"));
    std::fs::remove_file(store.join("index.pkl")).unwrap();
    assert!(planned(2).contains("index.pkl"));
}
