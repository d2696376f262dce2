//! Milvus Lite 3.2.2, read and written: it has what 2.3.5 has not, and gives rows in no order.

use serde_json::Value;

use crate::living::migration::Jobs;
use crate::living::{dump, job, rows, same_rows, source, to_milvus};
use crate::support::{Engine, Server, test_env};

fn lite_script(arguments: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/living_lite.py");
    let output = std::process::Command::new(test_env().join("lite/venv-py/bin/python"))
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn every_column_goes_to_milvus_lite_row_by_row() {
    let (from, to) = (source(), Server::shared(Engine::LitePython));
    let jobs = Jobs::new();
    let names = ["plain", "traits", "every"];
    let into = "into: {collection: 'from_{collection}'}\nrun: {verify: full, misfit: skip}\n";
    // Lite has neither keys with NUL nor infinity: such rows are named and left out.
    let collections = format!("collections: [{}]", names.join(", "));
    let sink = to_milvus(
        to,
        "metric: L2, index: {type: FLAT}, load: true, unsupported: drop",
    );
    let ended = jobs.run("lite", &job(&sink, &collections, into)).code(0);
    let copies = names.map(|name| format!("from_{name}"));
    let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
    let (one, mut other) = (dump(from, &names), dump(to, &copies));
    for (name, copy) in names.into_iter().zip(copies) {
        let mut one = one[name].clone();
        if name == "every" {
            // What Lite does not take, and nothing else, was left out.
            let finite = |row: &Value| {
                let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
                !text("f").contains("inf") && !text("d").contains("nan")
            };
            let all = one["rows"]["_default"].as_object_mut().unwrap();
            all.retain(|_, row| finite(row));
        }
        let there = other[copy].take();
        same_rows(name, &one, &there);
    }
    let left_out = |name: &str| {
        let targets = ended.report["targets"].as_array().unwrap().iter();
        let of = targets.filter(|t| t["name"].as_str().unwrap().starts_with(name));
        of.map(|t| t["left_out"].as_u64().unwrap()).sum::<u64>()
    };
    // To Lite a key is one row of all partitions: what gets lost by that is not called a copy.
    let wide = job(&sink, "collections: [wide]", into);
    jobs.run("wide", &wide)
        .code(5)
        .says(&["source and destination do not agree"]);
    assert_eq!(left_out("from_plain"), 0);
    assert!(left_out("from_every") > 0, "{}", ended.said);
}

#[test]
fn null_default_and_empty_values_stay_what_they_are() {
    let lite = Server::shared(Engine::LitePython);
    let address = lite.address();
    lite_script(&["make", &address, "nulls"]);
    let jobs = Jobs::new();
    let text = format!(
        "source: {{milvus: {{address: '{address}', collections: [nulls]}}}}\n\
         sink: {{milvus: {{address: '{address}', index: source, load: true}}}}\n\
         into: {{collection: nulls_copy}}\nrun: {{verify: full}}\n"
    );
    jobs.run("nulls", &text).code(0);
    let both = lite_script(&["dump", &address, "nulls", "nulls_copy"]);
    assert_eq!(both["nulls"], both["nulls_copy"]);
    let rows = both["nulls"]["rows"].as_object().unwrap();
    let nulls = rows.values().filter(|row| row["n"].is_null()).count();
    assert_eq!((rows.len(), nulls), (300, 100));
}

#[test]
fn rows_in_no_order_all_arrive_once() {
    let lite = Server::shared(Engine::LitePython);
    let address = lite.address();
    lite_script(&["make", &address, "unordered"]);
    let jobs = Jobs::new();
    let text = format!(
        "source: {{milvus: {{address: '{address}', collections: [unordered], page: 130}}}}\n\
         sink: {{milvus: {{address: '{}', index: source, load: true}}}}\n\
         run: {{verify: full, batch: 64KiB}}\n",
        crate::living::other().address()
    );
    let ended = jobs.run("unordered", &text).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 5000);
    let there = dump(crate::living::other(), &["unordered"]);
    let from = lite_script(&["dump", &address, "unordered"]);
    assert_eq!(there["unordered"]["count"], 5000);
    let arrived = rows(&there["unordered"]);
    let arrived = arrived["_default"].as_object().unwrap();
    for (key, row) in from["unordered"]["rows"].as_object().unwrap() {
        assert_eq!(row["v"], arrived[key]["v"], "{key}");
    }
}
