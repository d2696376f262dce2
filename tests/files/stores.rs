//! Files of LlamaIndex' and Haystack's stores in memory, laid out as they write them: each row with its text and metadata.

#![cfg(feature = "network")]

use crate::support::{self, arrived, killed, migration, new_job};

use std::process::Command;

use arrived::in_milvus;
use killed::killed_four_times;
use migration::Jobs;
use new_job::into_both;
use serde_json::{Map, Value, json};
use support::{Engine, Server};

/// Rows as they should arrive, in the order of their ids.
fn expected(count: usize) -> Map<String, Value> {
    let row = |n: usize| {
        let vector: Vec<f32> = (0..4).map(|k| (n * 4 + k) as f32 / 3.0 - 2.0).collect();
        let text = format!("text {n} \"ü\"\n");
        let metadata =
            json!({"page": n, "score": n as f64 / 4.0, "tags": ["a", {"b": [n]}], "none": null});
        (
            format!("id-{n:03}"),
            json!({"embedding": vector, "text": text, "payload": metadata}),
        )
    };
    (0..count).map(row).collect()
}

/// As numbers of single precision, however they are written.
fn single(rows: &Map<String, Value>) -> Map<String, Value> {
    let mut rows = rows.clone();
    for row in rows.values_mut() {
        let vector = row["embedding"].as_array().unwrap().iter();
        let vector: Vec<f32> = vector.map(|x| x.as_f64().unwrap() as f32).collect();
        row["embedding"] = json!(vector);
    }
    rows
}

fn llamaindex(jobs: &Jobs, rows: &Map<String, Value>) -> String {
    let root = jobs.path("storage");
    std::fs::create_dir_all(&root).unwrap();
    let vectors: Map<String, Value> = (rows.iter())
        .map(|(id, row)| (id.clone(), row["embedding"].clone()))
        .collect();
    let mut nodes: Map<String, Value> = (rows.iter().enumerate())
        .map(|(n, (id, row))| {
            let node = json!({"id_": id, "embedding": null, "metadata": row["payload"], "excluded_embed_metadata_keys": [],
                "relationships": {"1": {"node_id": "x", "metadata": {}}}, "text": row["text"], "class_name": "TextNode"});
            // Some releases write it as a text.
            let node = match n % 2 {
                0 => node,
                _ => node.to_string().into(),
            };
            (id.clone(), json!({"__data__": node, "__type__": "1"}))
        })
        .collect();
    nodes.insert(
        "behind".into(),
        json!({"__data__": {"text": "no vector", "metadata": {}}, "__type__": "1"}),
    );
    let refs: Map<String, Value> = vectors.keys().map(|id| (id.clone(), json!("x"))).collect();
    let store =
        json!({"embedding_dict": vectors, "text_id_to_ref_doc_id": refs, "metadata_dict": {}});
    std::fs::write(root.join("default__vector_store.json"), store.to_string()).unwrap();
    let docstore =
        json!({"docstore/metadata": {}, "docstore/data": nodes, "docstore/ref_doc_info": {}});
    std::fs::write(root.join("docstore.json"), docstore.to_string()).unwrap();
    format!("source: {{llamaindex: {{path: '{}'}}}}\n", root.display())
}

fn haystack(jobs: &Jobs, rows: &Map<String, Value>) -> String {
    let path = jobs.path("documents.json");
    let mut documents: Vec<Value> = (rows.iter())
        .map(|(id, row)| {
            json!({"id": id, "content": row["text"], "blob": null, "meta": row["payload"], "score": null,
                "embedding": row["embedding"], "sparse_embedding": null})
        })
        .collect();
    documents.push(json!({"id": "behind", "content": "no vector", "embedding": null, "meta": {}}));
    let store = json!({"bm25_tokenization_regex": "\\w+", "embedding_similarity_function": "cosine", "index": "i",
        "documents": documents});
    std::fs::write(&path, store.to_string()).unwrap();
    format!("source: {{haystack: {{path: '{}'}}}}\n", path.display())
}

#[test]
fn each_row_has_its_text_and_metadata_in_parquet_and_milvus() {
    let (jobs, rows) = (Jobs::new(), expected(300));
    let lite_python = support::test_env().join("lite/venv-py/bin/python");
    let servers = [
        (Server::shared(Engine::Standalone), support::python()),
        (Server::shared(Engine::LitePython), lite_python),
    ];
    for (name, source) in [
        ("llamaindex", llamaindex(&jobs, &rows)),
        ("haystack", haystack(&jobs, &rows)),
    ] {
        let dir = jobs.path(name);
        let sink = format!(
            "sink: {{parquet: {{dir: '{}'}}}}\nrun: {{verify: full, batch: 4KiB}}\n",
            dir.display()
        );
        jobs.run(name, &(source.clone() + &sink)).code(0);
        let script = "import glob, json, sys; import pyarrow.parquet as pq\n\
            rows = [r for f in glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True) for r in pq.read_table(f).to_pylist()]\n\
            print(json.dumps({r['id']: {'embedding': r['embedding'], 'text': r['text'], 'payload': json.loads(r['metadata'])} for r in rows}))";
        let output = Command::new(arrived::tables())
            .args(["-c", script])
            .arg(&dir)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found: Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(single(&found), single(&rows), "{name}");
        for (server, python) in &servers {
            let address = server.address();
            let sink = format!(
                "sink: {{milvus: {{address: '{address}', collection: {name}, metric: COSINE}}}}\n"
            );
            let into = format!("{name}_{}", address.replace(':', "_"));
            let ended = jobs.run(&into, &(source.clone() + &sink)).code(0);
            ended.says(&["1 ", "are not migrated"]);
            let found = in_milvus(python, server, name);
            assert_eq!(single(&found), single(&rows), "{name}");
        }
    }
}

#[test]
fn a_run_that_is_killed_four_times_ends_with_each_row_once() {
    let (jobs, rows) = (Jobs::new(), expected(1000));
    let lite = Server::shared(Engine::LitePython);
    let python = support::test_env().join("lite/venv-py/bin/python");
    for (name, source) in [
        ("llamaindex", llamaindex(&jobs, &rows)),
        ("haystack", haystack(&jobs, &rows)),
    ] {
        let sink = format!(
            "sink: {{milvus: {{address: '{}', collection: killed_{name}, metric: COSINE}}}}\nrun: {{batch: 4KiB}}\n",
            lite.address()
        );
        killed_four_times(&jobs, name, &(source + &sink), 200).code(0);
        let found = in_milvus(&python, lite, &format!("killed_{name}"));
        assert_eq!(single(&found), single(&rows), "{name}");
    }
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    let (jobs, rows) = (Jobs::new(), expected(30));
    llamaindex(&jobs, &rows);
    haystack(&jobs, &rows);
    for source in ["llamaindex", "haystack"] {
        // Both jobs call their collection the same.
        let lite = Server::start(Engine::LitePython, &[]);
        let rows = into_both(&jobs.path("."), source, &[], &lite.address());
        assert_eq!(rows, [30, 30], "{source}");
    }
}

#[test]
fn what_is_short_missing_or_of_another_store_is_refused_by_name() {
    let (jobs, rows) = (Jobs::new(), expected(20));
    let sink = format!(
        "sink: {{parquet: {{dir: '{}'}}}}\n",
        jobs.path("out").display()
    );
    let planned = |source: &str, code: i32, expected: &[&str]| {
        std::fs::write(jobs.path("plan.yaml"), source.to_owned() + &sink).unwrap();
        let output = jobs.milvusdm(&["plan", "plan.yaml"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    };
    let source = llamaindex(&jobs, &rows);
    planned(
        &source,
        0,
        &["1 nodes have no vector", "page: {type: int64}"],
    );
    let nodes = jobs.path("storage/docstore.json");
    let whole = std::fs::read_to_string(&nodes).unwrap();
    for len in (0..whole.len())
        .step_by(997)
        .filter(|len| whole.is_char_boundary(*len))
    {
        std::fs::write(&nodes, &whole[..len]).unwrap();
        planned(&source, 3, &["docstore.json"]);
    }
    std::fs::write(&nodes, whole.replace("\"id-007\":", "\"id-x\":")).unwrap();
    planned(&source, 3, &["has no node \"id-007\""]);
    std::fs::remove_file(&nodes).unwrap();
    planned(&source, 2, &["docstore.json"]);
    std::fs::write(&nodes, &whole).unwrap();
    std::fs::write(jobs.path("storage/default__vector_store.json"), "IxF2....").unwrap();
    planned(&source, 3, &["a vector store other", "`source: faiss`"]);
    let source = haystack(&jobs, &rows);
    planned(&source, 0, &["1 documents have no embedding"]);
    let file = jobs.path("documents.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        whole.replacen("\"id\":\"id-003\"", "\"id\":\"id-002\"", 1),
    )
    .unwrap();
    planned(&source, 3, &["has row \"id-002\" twice"]);
    std::fs::write(&file, "{\"documents\": []}").unwrap();
    planned(&source, 3, &["has no row with a vector"]);
}
