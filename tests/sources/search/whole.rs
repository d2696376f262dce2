//! Whole indices in real Milvus servers: every cell of every document, an index without any, and what a new user does.

use std::path::Path;

use serde_json::{Value, json};

use super::arrived::{Rows, in_milvus, same};
use super::migration::Jobs;
use super::server::script;
use super::support::{self, Engine, Server, run_python, test_env};
use super::{dump, floats, job, opensearch};

/// A vector as pymilvus gives it.
fn vector(found: &Value) -> Value {
    let all = floats(found).into_iter().map(f64::from);
    json!(all.collect::<Vec<f64>>())
}

#[test]
fn every_cell_of_every_document_arrives_in_milvus_and_lite() {
    let jobs = Jobs::new();
    let lite_python = test_env().join("lite/venv-py/bin/python");
    // The Python client cannot read the whole number of 21 digits of this one back.
    let query = "query: {bool: {must_not: {ids: {values: [raw]}}}}";
    let there = dump("items");
    for (engine, python, second) in [
        // It has one vector a collection.
        (Engine::Standalone, support::python(), "inner.w: false"),
        (Engine::LitePython, lite_python, "inner_w: {from: inner.w}"),
    ] {
        let milvus = Server::shared(engine);
        let to = format!(
            "milvus: {{address: '{}', collection: items, index: {{type: FLAT}}, load: true}}",
            milvus.address()
        );
        let text = job("items", query, &to)
            + &format!("fields: {{id: id, columns: {{{second}}}}}\nrun: {{verify: full}}\n");
        jobs.run(&format!("items_{engine:?}"), &text).code(0);
        let mut expected = Rows::new();
        for (key, document) in there.as_object().unwrap() {
            let mut payload = document.as_object().unwrap().clone();
            let v = vector(&payload.remove("v").unwrap());
            let inner = payload["inner"].as_object_mut().unwrap();
            let w = vector(&inner.remove("w").unwrap());
            let row = match engine {
                Engine::Standalone => json!({"v": v, "payload": payload}),
                _ => json!({"v": v, "inner_w": w, "payload": payload}),
            };
            expected.insert(key.clone(), row);
        }
        expected.remove("raw").unwrap();
        assert!(expected.len() > 2400);
        let mut found = in_milvus(&python, milvus, "items");
        for row in found.values_mut().filter_map(Value::as_object_mut) {
            for name in ["v", "inner_w"] {
                row.entry(name).and_modify(|v| *v = vector(v));
            }
        }
        same(&found, &expected);
    }
}

#[test]
fn an_index_without_documents_becomes_an_empty_collection() {
    let jobs = Jobs::new();
    let lite_python = test_env().join("lite/venv-py/bin/python");
    for (engine, python) in [
        (Engine::Standalone, support::python()),
        (Engine::LitePython, lite_python),
    ] {
        let milvus = Server::shared(engine);
        let to = format!(
            "milvus: {{address: '{}', collection: nothing}}",
            milvus.address()
        );
        let text = job("empty", "", &to) + "fields: {id: id}\n";
        let ended = jobs.run(&format!("nothing_{engine:?}"), &text).code(0);
        assert_eq!(ended.report["targets"][0]["delivered"], 0, "{}", ended.said);
        assert!(in_milvus(&python, milvus, "nothing").is_empty());
    }
}

/// The first jobs of the documentation's pages, with the addresses of this test's servers.
#[test]
fn a_new_user_goes_from_an_address_to_a_collection_that_can_be_searched() {
    script(&["rows", &opensearch().address, "products", "300"]);
    let milvus = Server::shared(Engine::Standalone).address();
    let wanted = dump("products")["keep-000005"]["v"].to_string();
    for (name, path) in [
        ("opensearch", "docs/sources/opensearch.md"),
        ("elasticsearch", "docs/sources/elasticsearch.md"),
        ("shipped", "yamls/opensearch_to_milvus.yaml"),
    ] {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(text).unwrap();
        let job = match text.split_once("```yaml\n") {
            Some((_, rest)) => rest.split("```").next().unwrap().to_owned(),
            None => text,
        };
        let job = job
            .replace("${ELASTIC_PASSWORD}", "secret")
            .replace("http://127.0.0.1:9200", &opensearch().address)
            .replace("127.0.0.1:19530", &milvus)
            .replace(
                "collection: products",
                &format!("collection: products_{name}"),
            );
        let jobs = Jobs::new();
        jobs.run(name, &job).code(0);
        let found = run_python(
            "import json, sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
             c = Collection(sys.argv[2]); metric = c.indexes[0].params['metric_type']\n\
             hits = c.search([json.loads(sys.argv[3])], 'v', {'metric_type': metric}, limit=1, expr='n < 100', output_fields=['text'])[0]\n\
             print(hits[0].id, hits[0].entity.get('text'))",
            &[&milvus, &format!("products_{name}"), &wanted],
        );
        assert_eq!(found, "keep-000005 word word word word word", "{name}");
    }
}
