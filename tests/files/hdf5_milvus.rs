//! HDF5 files into a real Milvus 2.3.5, by the program itself: every layout that h5py writes, sizes at the edges, and
//! what is refused. What arrived is read back by pymilvus, row by row.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use migration::{Jobs, read_back, server, sink, support_script};
use support::run_python;

/// A job that brings files into a collection of its own.
fn job(name: &str, case: &Value) -> String {
    let text = |key: &str| case[key].as_str();
    let setting = |key: &str| text(key).map_or(String::new(), |v| format!(", {key}: {v}"));
    let source = format!(
        "source: {{hdf5: {{paths: {}{}{}}}}}\n",
        case["paths"],
        setting("vectors"),
        setting("ids")
    );
    source + &sink(&format!("collection: {name}{}", setting("metric")))
}

#[test]
fn files_of_every_layout_arrive_row_for_row() {
    let jobs = Jobs::new();
    let made = jobs.path("made");
    std::fs::create_dir(&made).unwrap();
    let directory = made.to_str().unwrap();
    support_script("h5_layouts.py", &["make", directory]);
    let names: BTreeSet<String> = std::fs::read_dir(&made)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    // Most of it is waiting for the server.
    let names: Vec<&String> = names.iter().collect();
    std::thread::scope(|scope| {
        for some in names.chunks(names.len().div_ceil(6)) {
            let (jobs, made) = (&jobs, &made);
            scope.spawn(move || {
                for name in some {
                    let case = std::fs::read(made.join(format!("{name}.json"))).unwrap();
                    let case = serde_json::from_slice(&case).unwrap();
                    jobs.run(name, &job(name, &case)).code(0);
                }
            });
        }
    });
    let said = support_script("h5_layouts.py", &["check", directory, &server().address()]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, json!({"checked": names.len(), "differ": {}}));
}

/// A file of 100 rows by h5py: the script has `x`, `ids` and the open file `f` at hand.
fn file(path: &Path, script: &str) {
    let script = format!(
        "import sys, h5py, numpy as np\nx = np.ones((100, 4), '<f4'); ids = np.arange(100) + 7000\n\
         f = h5py.File(sys.argv[1], 'w')\n{script}\nf['embeddings'] = x; f['ids'] = ids; f.close()"
    );
    run_python(&script, &[path.to_str().unwrap()]);
}

#[test]
fn what_milvus_does_not_take_is_named_by_file_row_and_id() {
    let jobs = Jobs::new();
    let (good, bad) = (jobs.path("good.h5"), jobs.path("bad.h5"));
    file(&good, "ids -= 500");
    for (name, value) in [("nan", "np.nan"), ("infinite", "-np.inf")] {
        file(&bad, &format!("x[41, 3] = {value}"));
        let paths = json!({"paths": [good, bad]});
        jobs.run(name, &job(name, &paths))
            .code(3)
            .says(&["bad.h5", "row 41", "7041"]);
        let skip = format!("{}run: {{non_finite: skip}}\n", job(name, &paths));
        // The same job, mended: rows of the good file may have arrived before, and are not sent again.
        let ended = jobs.run(name, &skip).code(0);
        let left = &ended.report["left_out"];
        assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
        assert_eq!(left[0]["id"], json!(7041));
        assert_eq!(left[0]["row"], json!(41));
        assert_eq!(read_back(&[name])[name]["count"], json!(199));
    }
}

#[test]
fn ids_that_are_fewer_than_vectors_are_refused_before_anything_is_made() {
    let jobs = Jobs::new();
    let path = jobs.path("short.h5");
    file(&path, "ids = ids[:99]");
    jobs.run("short", &job("short_ids", &json!({"paths": [path]})))
        .code(3)
        .says(&["short.h5", "99", "100"]);
    assert_eq!(read_back(&["short_ids"])["short_ids"], Value::Null);
}
