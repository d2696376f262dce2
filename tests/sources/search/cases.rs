//! Cases that other tools got wrong, each by its number in tests/CASES.md.

use std::process::Command;

use serde_json::Value;

use super::migration::Jobs;
use super::server::script;
use super::support::{Engine, Server, run_python};
use super::{ROWS, dump, elasticsearch, floats, job, opensearch, parquet};

fn planned(jobs: &Jobs, name: &str, text: &str) -> String {
    let file = format!("{name}.yaml");
    std::fs::write(jobs.path(&file), text).unwrap();
    let output = jobs.milvusdm(&["plan", &file]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// States of shards of an index that the server keeps for someone.
fn states(index: &str) -> i64 {
    let said = script(&["states", &opensearch().address, index]);
    said.trim().parse().unwrap()
}

#[test]
fn case_4_a_state_that_is_lost_is_made_anew_and_none_is_left_behind() {
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::Standalone).address();
    script(&["rows", &opensearch().address, "forgotten", "1500"]);
    let (mut process, address) = elasticsearch(&["--forget", "7"]);
    let text = format!(
        "source: {{elasticsearch: {{urls: ['{address}'], index: forgotten, page: 60, user: elastic, password: secret}}}}\n\
         sink: {{milvus: {{address: '{milvus}', metric: L2, index: {{type: FLAT}}, load: true}}}}\nfields: {{id: id}}\n"
    );
    let ended = jobs.run("forgotten", &text);
    assert!(matches!(ended.code, Some(0 | 7)), "{}", ended.said);
    process.kill().unwrap();
    process.wait().unwrap();
    let rows: Value = serde_json::from_str(&run_python(ROWS, &[&milvus, "forgotten"])).unwrap();
    let there = dump("forgotten");
    assert_eq!(rows.as_object().unwrap().len(), 1500);
    for (key, document) in there.as_object().unwrap() {
        assert_eq!(floats(&rows[key]["v"]), floats(&document["v"]), "{key}");
    }
    // What the stand-in forgot, the server keeps until its time is over.
    let before = states("forgotten");
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("kept").display());
    jobs.run("kept", &job("forgotten", "page: 60", &to)).code(0);
    assert_eq!(states("forgotten"), before);
}

#[test]
fn case_5_vectors_of_dynamic_mappings_travel_as_they_are_written() {
    let jobs = Jobs::new();
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("loose").display());
    jobs.run("loose", &job("loose", "", &to)).code(0);
    let rows = parquet(&jobs.path("loose"));
    assert_eq!(rows["a"]["rest"]["v2"], serde_json::json!([1, 2]));
    assert_eq!(rows["b"]["rest"]["v2"], serde_json::json!([1]));
}

#[test]
fn case_6_fields_that_are_kept_out_of_source_are_told_and_vectors_missed() {
    let jobs = Jobs::new();
    let to = |name: &str| format!("parquet: {{dir: '{}'}}", jobs.path(name).display());
    let said = planned(&jobs, "plan", &job("excluded", "", &to("excluded")));
    assert!(
        said.contains("they are not migrated: [\"secret\"]"),
        "{said}"
    );
    jobs.run("excluded", &job("excluded", "", &to("excluded")))
        .code(0);
    for (key, row) in parquet(&jobs.path("excluded")).as_object().unwrap() {
        assert!(
            row["rest"]["secret"].is_null() && !row["rest"]["n"].is_null(),
            "{key}"
        );
    }
    jobs.run("hidden", &job("hidden", "", &to("hidden")))
        .code(3)
        .says(&["has no vector `v`"]);
}

#[test]
fn cases_8_and_9_dates_and_places_do_not_depend_on_where_the_program_runs() {
    let jobs = Jobs::new();
    let mut arrived = Vec::new();
    for (name, zone) in [("utc", "UTC"), ("far", "Pacific/Chatham")] {
        let file = format!("{name}.yaml");
        let to = format!("parquet: {{dir: '{}'}}", jobs.path(name).display());
        std::fs::write(jobs.path(&file), job("items", "", &to)).unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args(["run", &file, "--progress", "none"])
            .current_dir(jobs.path("."))
            .env("TZ", zone)
            .output()
            .unwrap();
        assert!(ended.status.success());
        arrived.push(parquet(&jobs.path(name)));
    }
    assert_eq!(arrived[0], arrived[1]);
    let items = arrived[0].as_object().unwrap();
    for spelling in ["when", "where"] {
        let mut kinds: Vec<String> = items
            .values()
            .map(|row| row["rest"][spelling].to_string())
            .collect();
        kinds.sort();
        kinds.dedup();
        assert!(kinds.len() >= 5, "{kinds:?}");
    }
}

#[test]
fn case_10_texts_and_rows_that_are_too_long_are_named_and_texts_stay_texts() {
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::LitePython).address();
    let to = format!("milvus: {{address: '{milvus}', metric: L2}}");
    jobs.run("long", &job("long", "", &to))
        .code(3)
        .says(&["65536", "long row"]);
    // 40,000 characters of two bytes each.
    let column = "fields: {columns: {text: {type: varchar, max_length: 65535}}}\n";
    let other = to.replace("metric", "collection: long_bytes, metric");
    jobs.run("bytes", &(job("long", "", &other) + column))
        .code(3)
        .says(&["text", "65535"]);
    let file = format!("parquet: {{dir: '{}'}}", jobs.path("texts").display());
    jobs.run("texts", &job("long", "", &file)).code(0);
    let rows = parquet(&jobs.path("texts"));
    let rest = &rows["like json"]["rest"];
    assert_eq!(rest["object"], "{\"a\": 1}");
    assert_eq!(rest["list"], "[1, 2]");
}

#[test]
fn case_11_keys_that_are_taken_are_named() {
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::LitePython).address();
    let to = format!("milvus: {{address: '{milvus}', metric: L2}}");
    for (index, expected) in [("taken_id", "`id`"), ("taken_meta", "`$meta`")] {
        let text = job(index, "", &to) + "fields: {id: id}\n";
        jobs.run(index, &text)
            .code(3)
            .says(&["\"a row\"", expected]);
    }
    let file = format!("parquet: {{dir: '{}'}}", jobs.path("keys").display());
    jobs.run("keys", &job("keys", "", &file)).code(0);
    let rest = &parquet(&jobs.path("keys"))["a row"]["rest"];
    assert_eq!(rest["dots.in.it"], 1);
    assert_eq!(rest["k".repeat(300)], 2);
}

#[test]
fn case_18_weaviate_is_no_source_and_a_job_that_names_it_is_told() {
    let jobs = Jobs::new();
    let to = format!("parquet: {{dir: '{}'}}", jobs.path("out").display());
    let text = format!("source: {{weaviate: {{address: '127.0.0.1:1'}}}}\nsink: {{{to}}}\n");
    jobs.run("weaviate", &text)
        .code(2)
        .says(&["unknown source `weaviate`"]);
}

#[test]
fn case_19_metadata_that_were_dropped_afterwards_are_found() {
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::LitePython).address();
    script(&["rows", &opensearch().address, "dropped_keys", "300"]);
    let to =
        format!("milvus: {{address: '{milvus}', metric: L2, index: {{type: FLAT}}, load: true}}");
    let text = job("dropped_keys", "", &to) + "fields: {id: id}\nrun: {verify: full}\n";
    jobs.run("dropped", &text).code(0);
    let verified = || {
        let output = jobs.milvusdm(&["verify", "dropped.yaml"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(verified().0, Some(0));
    let script = "import sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
        c = Collection('dropped_keys'); row = dict(c.query('id == \"keep-000008\"', output_fields=['*'])[0])\n\
        c.delete('id in [\"keep-000008\"]'); c.insert([{'id': row['id'], 'v': [float(x) for x in row['v']], 'n': row['n']}]); c.flush()";
    let python = super::test_env().join("lite/venv-py/bin/python");
    let output = Command::new(python)
        .args(["-c", script, &milvus])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (code, said) = verified();
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("keep-000008"), "{said}");
}

#[test]
fn case_22_a_target_with_another_schema_is_refused_before_anything_is_read() {
    let jobs = Jobs::new();
    let milvus = Server::shared(Engine::Standalone).address();
    run_python(
        "import sys; from pymilvus import *; connections.connect(uri='http://' + sys.argv[1])\n\
         Collection('aliased', CollectionSchema([FieldSchema('_id', DataType.VARCHAR, is_primary=True, max_length=512),\n\
         FieldSchema('v', DataType.FLOAT_VECTOR, dim=12)], enable_dynamic_field=True))",
        &[&milvus],
    );
    let to = format!("milvus: {{address: '{milvus}', metric: L2}}");
    let ended = jobs.run("schema", &job("aliased", "", &to));
    assert!(matches!(ended.code, Some(2 | 5)), "{}", ended.said);
    ended.says(&["12"]);
    assert!(!jobs.path("schema.yaml.ckpt").exists());
}
