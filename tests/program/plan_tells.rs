//! What a plan tells of a target, and an index that is proved before the first row: on a real server.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use migration::{Jobs, flat_index, server};
use serde_json::Value;
use support::run_python;

/// The collections of the server, with the rows that statistics count in one of them.
fn collections(one: &str) -> (Vec<String>, Option<i64>) {
    let script = "
import sys, json
from pymilvus import MilvusClient
c = MilvusClient('http://' + sys.argv[1])
names = sorted(c.list_collections())
rows = c.get_collection_stats(sys.argv[2])['row_count'] if sys.argv[2] in names else None
print(json.dumps([names, None if rows is None else int(rows)]))";
    let said = run_python(script, &[&server().address(), one]);
    serde_json::from_str(&said).unwrap()
}

fn job(jobs: &Jobs, name: &str, sink: &str) -> String {
    let file = format!("{name}.yaml");
    let text = format!(
        "source: {{faiss: {{path: flat.index}}}}\nsink: {{milvus: {{address: '{}', {sink}}}}}\n",
        server().address()
    );
    std::fs::write(jobs.path(&file), text).unwrap();
    file
}

/// A flat index that measures by inner product.
fn inner_product(jobs: &Jobs) {
    flat_index(jobs, "flat.index", 500, 8);
    let mut file = std::fs::read(jobs.path("flat.index")).unwrap();
    file[33..37].copy_from_slice(&0i32.to_le_bytes());
    std::fs::write(jobs.path("flat.index"), file).unwrap();
}

#[test]
fn the_metric_of_the_job_stands_beside_that_of_the_source() {
    let jobs = Jobs::new();
    inner_product(&jobs);
    let check = |sink: &str, parts: &[&str], warns: bool| {
        let file = job(&jobs, "metric", sink);
        let output = jobs.milvusdm(&["plan", &file]);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{err}");
        for part in parts {
            assert!(out.contains(part), "no `{part}` in {out}");
        }
        let said = "for m, the job sets metric L2, but the source has IP: the job's is used";
        assert_eq!(err.contains(said), warns, "{err}");
    };
    check(
        "collection: m, metric: L2, index: {type: HNSW, params: {M: 16, efConstruction: 64}}, load: true",
        &[
            "metric     L2 (from the job; the source has IP)",
            "index      HNSW {M: 16, efConstruction: 64} with metric L2, created once all rows are in",
            "load       once all rows are in",
            "verify     an exact count",
        ],
        true,
    );
    check(
        "collection: m",
        &[
            "metric     IP (from the source)",
            "index      none is created: searches choose the metric",
            "load       no",
            "verify     the server's statistics",
        ],
        false,
    );
    let output = jobs.milvusdm(&["plan", "metric.yaml", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = &told["targets"][0];
    assert_eq!(
        (&target["metric"], &target["metric_in_target"]),
        (&"IP".into(), &"IP".into())
    );
}

#[test]
fn an_index_that_the_server_does_not_take_is_refused_before_the_first_row() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 500, 8);
    let good = "metric: L2, index: {type: HNSW, params: {M: 8, efConstruction: 32}}";
    let file = job(&jobs, "good", &format!("collection: kept, {good}"));
    assert!(jobs.milvusdm(&["run", &file]).status.success());
    flat_index(&jobs, "other.index", 400, 8);
    let file = job(&jobs, "plain", "collection: bare");
    assert!(jobs.milvusdm(&["run", &file]).status.success());
    let before = collections("kept");
    assert_eq!(before.1, Some(500));
    for (number, (index, words)) in [
        (
            "{type: HNSW, params: {M: 0, efConstruction: 64}}",
            "HNSW {M: 0",
        ),
        ("{type: HNSW, params: {M: 16}}", "HNSW {M: 16}"),
        (
            "{type: HSNWX, params: {M: 16, efConstruction: 64}}",
            "HSNWX",
        ),
        (
            "{type: IVF_FLAT, params: {nlist: 0}}",
            "IVF_FLAT {nlist: 0}",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for sink in [
            "collection: new",
            "collection: kept, mode: overwrite",
            "collection: bare, partition: new",
            "collection: bare",
        ] {
            let name = format!("bad{number}{}", sink.len());
            let file = job(&jobs, &name, &format!("{sink}, metric: L2, index: {index}"));
            // Other rows, so that nothing but the index stands in the way.
            let text = std::fs::read_to_string(jobs.path(&file)).unwrap();
            let text = text.replace("flat.index", "other.index, first_id: 9000");
            std::fs::write(jobs.path(&file), text).unwrap();
            let output = jobs.milvusdm(&["run", &file]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(5), "{said}");
            assert!(said.contains("the server refuses the index"), "{said}");
            assert!(said.contains(words), "{said}");
            assert!(
                said.contains("nothing was sent, created or removed"),
                "{said}"
            );
            assert_eq!(collections("kept"), before);
        }
    }
    let left: Vec<_> = std::fs::read_dir(jobs.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("bad") && !name.ends_with(".yaml"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn loading_what_has_no_index_is_refused_with_the_hint() {
    let jobs = Jobs::new();
    flat_index(&jobs, "flat.index", 500, 8);
    let file = job(&jobs, "load", "collection: unindexed, load: true");
    for command in ["plan", "run"] {
        let output = jobs.milvusdm(&[command, &file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("`load: true` needs an index"), "{said}");
        assert!(said.contains("index: {type: AUTOINDEX}"), "{said}");
    }
    assert_eq!(collections("unindexed").1, None);
}
