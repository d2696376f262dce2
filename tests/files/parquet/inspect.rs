//! `inspect` of Parquet: a file, files beside each other, what a sink wrote, and what is wrong with it.

use serde_json::{Value, json};

use crate::parquet::migration::Jobs;

fn inspect(jobs: &Jobs, path: &str) -> (String, Value) {
    let text = jobs.milvusdm(&["inspect", path]);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    let json = jobs.milvusdm(&["inspect", path, "--json"]);
    (
        String::from_utf8(text.stdout).unwrap(),
        serde_json::from_slice(&json.stdout).unwrap(),
    )
}

#[test]
fn inspect_tells_what_files_and_directories_hold() {
    let jobs = Jobs::new();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parquet");
    let (text, json) = inspect(&jobs, &format!("{fixtures}/types_v1.parquet"));
    for line in [
        "12 rows in 2 row groups of 5 to 7, written by parquet-cpp-arrow",
        "v: list<float32>, may be null, snappy; becomes float32 × 4",
        "s: struct<indices: list<uint32>, values: list<float32>>",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert_eq!(json["files"][0]["row_groups"], json!([7, 5]));
    let (_, beside) = inspect(&jobs, fixtures);
    assert_eq!(beside["files"].as_array().unwrap().len(), 3);

    let job = json!({
        "source": {"parquet": {"path": format!("{fixtures}/vectors.parquet")}},
        "sink": {"parquet": {"dir": "out", "rows_per_file": 5}},
        "into": {"collection": "things", "partition": "p1"},
    });
    jobs.run("a", &job.to_string()).code(0);
    let (text, json) = inspect(&jobs, "out");
    assert!(
        text.contains("collection things, partition p1, from "),
        "{text}"
    );
    let target = &json["targets"][0];
    assert_eq!(
        (&target["rows"], &target["columns"][1], &json["files"]),
        (&json!(12), &json!("v float32 × 4"), &json!([]))
    );
    assert_eq!(target["files"].as_array().unwrap().len(), 3);
    let columns = &target["files"][0]["columns"];
    assert_eq!(
        (
            &columns[0]["packed"],
            &columns[1]["packed"],
            &columns[1]["stored"]
        ),
        (
            &json!("zstd"),
            &json!("uncompressed"),
            &json!("list<float32>")
        )
    );
    // What is wrong is told, and nothing fails.
    let part = jobs.path("out/things/p1/part-00001.parquet");
    std::fs::write(&part, "PAR1, and no more").unwrap();
    std::fs::remove_file(jobs.path("out/things/p1/part-00002.parquet")).unwrap();
    let (_, json) = inspect(&jobs, "out");
    let wrong = |file: usize| json["targets"][0]["files"][file]["wrong"].to_string();
    assert_eq!(wrong(0), "null");
    assert!(wrong(1).contains("does not end with PAR1"), "{}", wrong(1));
    assert!(wrong(2).contains("no such file"), "{}", wrong(2));
    std::fs::write(jobs.path("out/things/p1/manifest.json"), "{").unwrap();
    let (text, _) = inspect(&jobs, "out");
    assert!(text.contains("cannot be read: "), "{text}");
}
