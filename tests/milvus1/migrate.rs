//! Milvus 1.x directories and HDF5 files into a real Milvus 2.3.5, by the program itself: is every row there that
//! should be, and none beside? What arrived is read back by pymilvus and compared by digest.

#![allow(clippy::unwrap_used)]

use crate::support::{migration, milvus1_files as milvus1};

use std::path::Path;

use serde_json::{Value, json};

use migration::{
    Ended, Jobs, Tables, check, check_repeated, classic, make, read_back, server, sink, source,
    support_script, wanted,
};
use milvus1::{Read, digest, expected, golden, open};

fn read(path: &Path, settings: &str) -> Read {
    milvus1::read(&*open(path, settings).unwrap(), milvus1::LIMITS).unwrap()
}

fn sorted(mut rows: Vec<(i64, Vec<u8>)>) -> (u64, String) {
    rows.sort();
    (rows.len() as u64, digest(&rows))
}

/// f8_l2 without its row that Milvus 2.x does not take, and that row's id.
fn finite() -> ((u64, String), i64) {
    let read = read(&golden("v1.1.1/milvus"), "collections: [f8_l2]");
    let finite = |row: &(i64, Vec<u8>)| {
        let floats = row.1.chunks(4);
        floats
            .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
            .all(f32::is_finite)
    };
    let (kept, odd): (Vec<_>, Vec<_>) = read.rows[0].iter().cloned().partition(finite);
    assert_eq!((kept.len(), odd.len()), (640, 1));
    (sorted(kept), odd[0].0)
}

/// The whole of v1.1.1 as it should be there. f8_dupids is counted only: a query gives each id back once.
fn whole() -> Tables {
    let mut tables = wanted(&expected("v1.1.1"));
    tables.insert(("f8_l2".to_owned(), String::new()), finite().0);
    tables.remove(&("f8_dupids".to_owned(), String::new()));
    tables
}

#[track_caller]
fn check_left_out(ended: &Ended) {
    let left = ended.report["left_out"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["id"], json!(finite().1));
    assert!(left[0]["file"].as_str().unwrap().ends_with(".rv"));
    assert!(left[0]["row"].is_u64());
}

#[test]
fn a_classic_job_brings_every_row_of_a_directory() {
    let jobs = Jobs::new();
    let names: Vec<String> = wanted(&expected("v1.1.1"))
        .into_keys()
        .map(|t| format!("    {}:\n", t.0))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let more = format!(
        "  index: source\n  run: {{non_finite: skip, id_collision: keep}}\n  source_collection:\n{}",
        names.concat()
    );
    let ended = jobs
        .run("classic", &classic(&golden("v1.1.1/milvus"), &more))
        .code(0)
        .says(&["partition \"part 2/a.b\" of f128_ip becomes part_2_a_b_"]);
    check_left_out(&ended);
    let back = check("", &whole());
    check_repeated("f8_dupids");
    assert_eq!(back["f128_ip"]["fields"], json!(["id", "embedding"]));
    let index = |name: &str| {
        let found = &back[name];
        let text = |key: &str| found[key].as_str().unwrap_or("none").to_owned();
        format!(
            "{}({}) {} {}",
            text("type"),
            found["dimension"],
            text("index"),
            text("metric")
        )
    };
    for (name, expected) in [
        ("f128_ip", "FLOAT_VECTOR(128) FLAT IP"),
        ("f8_indexed", "FLOAT_VECTOR(8) IVF_FLAT L2"),
        ("f8_toindex", "FLOAT_VECTOR(8) HNSW L2"),
        ("b64_hamming", "BINARY_VECTOR(64) BIN_FLAT HAMMING"),
        ("b512_jaccard", "BINARY_VECTOR(512) BIN_FLAT JACCARD"),
        ("b8_tanimoto", "BINARY_VECTOR(8) BIN_FLAT JACCARD"),
        (
            "b128_substructure",
            "BINARY_VECTOR(128) BIN_FLAT SUBSTRUCTURE",
        ),
    ] {
        assert_eq!(index(name), expected, "{name}");
    }
}

#[test]
fn a_general_job_brings_every_row() {
    general("v1.1.1", "g11_");
}

#[test]
fn a_general_job_brings_every_row_of_an_older_directory() {
    general("v1.0.0", "g10_");
}

fn general(version: &str, prefix: &str) {
    let jobs = Jobs::new();
    let run = "run: {non_finite: skip, id_collision: keep}\n";
    let path = golden(version).join("milvus");
    let into = format!("into: {{collection: '{prefix}{{collection}}'}}\n");
    let job = [source(&path, ""), sink(""), into, run.to_owned()].concat();
    let ended = jobs.run(version, &job).code(0);
    if version == "v1.1.1" {
        check_left_out(&ended);
        check(prefix, &whole());
        check_repeated("g11_f8_dupids");
    } else {
        check(prefix, &wanted(&expected(version)));
    }
}

#[test]
fn what_milvus_2_does_not_take_is_refused_by_name() {
    let jobs = Jobs::new();
    let path = golden("v1.1.1/milvus");
    let job = |collection: &str, prefix: &str| {
        let source = source(&path, &format!("collections: [{collection}]"));
        let into = format!("into: {{collection: '{prefix}{{collection}}'}}\n");
        [source, sink(""), into].concat()
    };
    let id = finite().1.to_string();
    let refused = jobs.run("odd", &job("f8_l2", "odd_")).code(3);
    refused.says(&[".rv", "row ", &id, "non_finite: skip"]);
    let refused = jobs.run("repeats", &job("f8_dupids", "rep_")).code(3);
    refused.says(&["f8_dupids", "ids 2, 4", "id_collision: keep"]);
    assert_eq!(
        read_back(&["rep_f8_dupids"]),
        json!({"rep_f8_dupids": null})
    );
    // A name that the job itself states is not replaced.
    let stated = [
        source(&path, "collections: [f8_shadow]"),
        sink("collection: stated, partition: 'a b'"),
    ];
    let refused = jobs.run("stated", &stated.concat()).code(2);
    refused.says(&["does not allow the partition name `a b`"]);
    assert_eq!(read_back(&["stated"]), json!({"stated": null}));
}

#[test]
fn what_was_not_flushed_is_named_and_the_rest_arrives_when_told_to() {
    let jobs = Jobs::new();
    let path = golden("v1.1.1-crash/milvus");
    let all = "  source_collection: {f8_unflushed: , b64_walonly: }\n";
    let refused = jobs.run("crash", &classic(&path, all)).code(3);
    refused.says(&[
        "15 inserts into f8_unflushed (10 in _default, 5 in p1)",
        "2 deletes from f8_unflushed",
        "12 inserts into b64_walonly",
        "ignore_wal: true",
    ]);
    let names = ["f8_unflushed", "b64_walonly"];
    let nothing = json!({"f8_unflushed": null, "b64_walonly": null});
    assert_eq!(read_back(&names), nothing);
    let job = classic(&path, &format!("{all}  ignore_wal: true\n"));
    jobs.run("ignored", &job)
        .code(0)
        .says(&["12 inserts into b64_walonly"]);
    check("", &wanted(&expected("v1.1.1-crash")));
}

#[test]
fn three_collections_become_one_with_allow_and_block_lists() {
    let jobs = Jobs::new();
    let four = |name: &str, partitions: Value| json!({"collection": name, "dimension": 4, "metric": 1, "partitions": partitions});
    let spec = json!([
        four("prod_a", json!({"": [0, 100]})),
        four("prod_b", json!({"": [100, 150], "new": [150, 250]})),
        four("prod_c-d", json!({"": [300, 420], "old": [0, 50]})),
        four("prod_tmp", json!({"": [0, 60]})),
        four("other", json!({"": [0, 60]})),
        four("double", json!({"": [240, 260]})),
    ]);
    let (path, tables) = make(&jobs, "made", spec);
    let from = source(&path, "");
    let job = [
        from.as_str(),
        &sink(""),
        "collections: {allow: ['prod_*'], block: ['*_tmp', 'prod_c*/old']}\n",
        "into: {collection: all_prod, partition: '{collection}'}\n",
    ]
    .concat();
    jobs.run("merge", &job)
        .code(0)
        .says(&["partition \"prod_c-d\" of all_prod becomes prod_c_d_"]);
    let merged = |settings: &str| -> (u64, String) {
        let read = read(&path, settings);
        for (target, rows) in read.survey.manifest.targets.iter().zip(&read.rows) {
            let name = (
                target.name.collection.clone(),
                target.name.partition.clone(),
            );
            assert_eq!(sorted(rows.clone()), tables[&name]);
        }
        sorted(read.rows.concat())
    };
    let there = |name: &str| ("all_prod".to_owned(), name.to_owned());
    let expected = Tables::from([
        (there("prod_a"), merged("collections: [prod_a]")),
        (there("prod_b"), merged("collections: [prod_b]")),
        (
            there("prod_c-d"),
            merged("collections: {prod_c-d: [_default]}"),
        ),
    ]);
    check("", &expected);

    let job = [
        from.as_str(),
        &sink(""),
        "collections: {allow: [prod_b, double]}\n",
        "into: {collection: all_double, partition: ''}\n",
    ]
    .concat();
    let refused = jobs.run("collision", &job).code(3);
    refused.says(&["all_double", "240", "id_collision: keep"]);
    assert_eq!(read_back(&["all_double"]), json!({"all_double": null}));
}

#[test]
fn binary_vectors_of_all_five_metrics_arrive() {
    let jobs = Jobs::new();
    let metrics = [
        ("hamming", 3, "HAMMING"),
        ("jaccard", 4, "JACCARD"),
        ("tanimoto", 5, "JACCARD"),
        ("substructure", 6, "SUBSTRUCTURE"),
        ("superstructure", 7, "SUPERSTRUCTURE"),
    ];
    let spec: Vec<Value> = metrics
        .iter()
        .map(|(name, metric, _)| {
            json!({"collection": format!("bin_{name}"), "dimension": 32, "metric": metric, "partitions": {"": [0, 90]}})
        })
        .collect();
    let (path, tables) = make(&jobs, "made", json!(spec));
    let job = [source(&path, ""), sink("index: source")].concat();
    jobs.run("binary", &job).code(0).says(&["TANIMOTO"]);
    let back = check("", &tables);
    for (name, _, metric) in metrics {
        let found = &back[format!("bin_{name}")];
        assert_eq!(found["type"], json!("BINARY_VECTOR"));
        assert_eq!(found["index"], json!("BIN_FLAT"));
        assert_eq!(found["metric"], json!(metric));
    }
}

#[test]
fn a_backup_in_hdf5_restores_every_collection() {
    let jobs = Jobs::new();
    let tables = wanted(&expected("v1.1.1"));
    let mut names: Vec<&str> = tables.keys().map(|t| t.0.as_str()).collect();
    names.dedup();
    let chosen: Vec<String> = names.iter().map(|n| format!("    {n}:\n")).collect();
    let backup = format!(
        "M2H:\n  milvus_version: 1.x\n  source_milvus_path: '{}'\n  mysql_parameter: ''\n  data_dir: '{}'\n  \
         source_collection:\n{}",
        golden("v1.1.1/milvus").display(),
        jobs.path("out").display(),
        chosen.concat()
    );
    jobs.run("backup", &backup).code(0);
    let address = server().address();
    let port = address.split_once(':').unwrap().1;
    let restore = |name: &str| {
        let text = std::fs::read_to_string(jobs.path("out").join(name).join("H2M.yaml")).unwrap();
        let mut job = text
            .replace("dest_port: 19530", &format!("dest_port: {port}"))
            .replace(
                &format!("collection: \"{name}\""),
                &format!("collection: \"back_{name}\""),
            );
        assert_ne!(job, text);
        match name {
            "f8_l2" => job += "  run: {non_finite: skip}\n",
            "f8_dupids" => job += "  run: {id_collision: keep}\n",
            _ => {}
        }
        let ended = jobs.run(name, &job).code(0);
        if name == "f8_l2" {
            let left = &ended.report["left_out"][0];
            assert_eq!(left["id"], json!(finite().1));
        }
    };
    // Most of it is waiting for the server.
    std::thread::scope(|scope| {
        for some in names.chunks(5) {
            scope.spawn(|| some.iter().for_each(|name| restore(name)));
        }
    });
    check("back_", &whole());
    check_repeated("back_f8_dupids");
}

#[test]
fn published_hdf5_files_arrive() {
    let jobs = Jobs::new();
    let address = server().address();
    let port = address.split_once(':').unwrap().1;
    for (file, dimension, metric, in_order) in [
        (
            "float_example",
            100,
            "L2",
            Some("3009cba92571fcef20cca85ecbe9ddd9b969278371b597b239844404fd38afb7"),
        ),
        ("byte_example", 512, "HAMMING", None),
    ] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/hdf5/{file}.h5"));
        let path = path.to_str().unwrap();
        let held: Value =
            serde_json::from_str(&support_script("read_back.py", &["-", "h5", path])).unwrap();
        if let Some(sum) = in_order {
            assert_eq!(held["in_order"], json!(sum));
        }
        let job = format!(
            "H2M:\n  milvus-version: 2.x\n  data_path:\n    - {path}\n  data_dir:\n  dest_host: 127.0.0.1\n  \
             dest_port: {port}\n  mode: append\n  dest_collection_name: {file}\n  dest_partition_name: ''\n  \
             collection_parameter:\n    dimension: {dimension}\n    index_file_size: 1024\n    \
             metric_type: {metric}\n"
        );
        jobs.run(file, &job).code(0);
        let there = (file.to_owned(), String::new());
        let sum = held["sorted"].as_str().unwrap().to_owned();
        check(
            "",
            &Tables::from([(there, (held["rows"].as_u64().unwrap(), sum))]),
        );
    }
}

/// Plans the same job several times and proves that all answers are one: its code and text.
fn plans(jobs: &Jobs, times: usize) -> (Option<i32>, String) {
    let plan = || {
        let output = jobs.milvusdm(&["plan", "merge.yaml"]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let first = plan();
    for _ in 1..times {
        assert_eq!(plan(), first);
    }
    first
}

#[test]
fn sources_that_are_indexed_otherwise_do_not_leave_the_index_of_a_merge_to_chance() {
    let jobs = Jobs::new();
    let path = golden("v1.1.1/milvus");
    for partition in ["{collection}", ""] {
        let job = [
            source(&path, ""),
            sink("index: source"),
            "collections: {allow: [f8_indexed, f8_toindex]}\n".to_owned(),
            format!("into: {{collection: merged, partition: '{partition}'}}\n"),
        ]
        .concat();
        let words = ["f8_indexed has IVF_FLAT", "f8_toindex has HNSW", "name one"];
        jobs.run("merge", &job).code(2).says(&words);
        assert_eq!(plans(&jobs, 10).0, Some(2));
        // With the index named there is nothing to choose.
        let index = "index: {type: HNSW, params: {M: 8, efConstruction: 64}}";
        let job = job.replace("index: source", index) + "run: {id_collision: keep}\n";
        std::fs::write(jobs.path("merge.yaml"), job).unwrap();
        let (code, plan) = plans(&jobs, 10);
        assert_eq!(code, Some(0), "{plan}");
        assert!(
            plan.contains("HNSW") && !plan.contains("IVF_FLAT"),
            "{plan}"
        );
    }
    assert_eq!(read_back(&["merged"]), json!({"merged": null}));
}
