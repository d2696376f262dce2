//! Vector files and numpy arrays of every kind into HDF5 files and into a real Milvus 2.3.5, by the program itself: numpy
//! writes them and says what should arrive; h5py and pymilvus read what did.

#![allow(clippy::unwrap_used)]

use crate::support::migration;

use std::path::Path;

use serde_json::{Value, json};

use migration::{Jobs, read_back, sink, support_script};

/// The files, and what should come of each.
fn cases(dir: &Path) -> Vec<Value> {
    let said = support_script("vector_files.py", &[dir.to_str().unwrap()]);
    let cases: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert!(cases.len() > 80);
    cases
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap()
}

#[test]
fn every_file_arrives_as_numpy_reads_it_or_is_refused_with_the_reason() {
    let jobs = Jobs::new();
    let cases = cases(jobs.0.path());
    std::thread::scope(|scope| {
        for some in cases.chunks(cases.len().div_ceil(3)) {
            let jobs = &jobs;
            scope.spawn(move || some.iter().for_each(|case| check(jobs, case)));
        }
    });
}

/// Carries a case to an HDF5 file.
fn check(jobs: &Jobs, case: &Value) {
    let name = name(case);
    let out = jobs.path(&format!("{name}.h5"));
    let job = json!({"source": case["source"], "sink": {"hdf5": {"path": out}}, "run": {"batch": "4KiB"}});
    let ended = jobs.run(name, &job.to_string());
    let says: Vec<&str> = case["says"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    let code = case["code"].as_i64().unwrap() as i32;
    assert_eq!(ended.code, Some(code), "{name}: {}", ended.said);
    for part in says {
        assert!(
            ended.said.contains(part),
            "{name}: no `{part}` in:\n{}",
            ended.said
        );
    }
    if code != 0 {
        assert!(!out.exists(), "{name} left a file");
        return;
    }
    let held: Value = serde_json::from_str(&support_script(
        "read_back.py",
        &["-", "h5", out.to_str().unwrap()],
    ))
    .unwrap();
    assert_eq!(
        (&held["rows"], &held["in_order"]),
        (&case["rows"], &case["digest"]),
        "{name}"
    );
    let ended = jobs.milvusdm(&["verify", &format!("{name}.yaml")]);
    assert_eq!(ended.status.code(), Some(0), "{name}: {ended:?}");
}

#[test]
fn they_arrive_in_a_real_milvus() {
    let jobs = Jobs::new();
    let mut chosen = cases(jobs.0.path());
    let names = [
        "fvecs",
        "fbin",
        "bvecs",
        "u8bin_bits",
        "i8bin_floats",
        "dir",
        "npy_idsbi8",
        "fortran",
        "npy_bools",
        "npz_packed",
    ];
    chosen.retain(|case| names.contains(&name(case)));
    assert_eq!(chosen.len(), names.len());
    for case in &chosen {
        let source = json!({"source": case["source"]}).to_string();
        let source = source
            .trim_start_matches('{')
            .trim_end_matches('}')
            .to_owned()
            + "}}";
        let source = source.replacen("\"source\":", "source: ", 1);
        jobs.run(
            name(case),
            &format!(
                "{source}\n{}",
                sink(&format!("collection: vf_{}", name(case)))
            ),
        )
        .code(0);
    }
    let collections: Vec<String> = chosen
        .iter()
        .map(|case| format!("vf_{}", name(case)))
        .collect();
    let back = read_back(&collections.iter().map(String::as_str).collect::<Vec<_>>());
    for case in &chosen {
        let held = &back[format!("vf_{}", name(case))];
        let expected = json!({"rows": case["rows"], "sorted": case["sorted"]});
        assert_eq!(held["partitions"]["_default"], expected, "{}", name(case));
    }
    // Milvus has no signed bytes before 2.6.
    let i8bin = json!({"vecs": {"path": jobs.path("x.i8bin")}});
    jobs.run(
        "int8",
        &format!("source: {i8bin}\n{}", sink("collection: vf_int8")),
    )
    .code(3);
}

#[test]
fn inspect_says_what_files_hold_and_what_would_become_of_them() {
    let jobs = Jobs::new();
    cases(jobs.0.path());
    let check = |file: &str, parts: &[&str]| {
        let output = jobs.milvusdm(&["inspect", file]);
        let said = String::from_utf8_lossy(&output.stdout);
        for part in parts {
            assert!(said.contains(part), "{file}: no `{part}` in:\n{said}");
        }
        let json = jobs.milvusdm(&["inspect", "--json", file]).stdout;
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert!(
            json["format"].is_string() && json["arrays"].is_array(),
            "{json}"
        );
    };
    check(
        "x.fvecs",
        &[
            "fvecs file, 36400 bytes",
            "700 × 12 float32",
            "vectors: float32 × 12",
        ],
    );
    check("x.u8bin", &["700 × 16 uint8", "vectors: float32 × 16"]);
    check(
        "fortran_big.npy",
        &[
            "300 × 24 float64, big-endian, column by column",
            "vectors: float32 × 24",
        ],
    );
    check("idn.npy", &["300 int64", "ids, -1000 to -701"]);
    check(
        "packed.npz",
        &[
            "x.npy: 300 × 24 float64, packed",
            "ids.npy: 300 int64",
            "ids, 0 to 2093",
        ],
    );
    check("b1.npy", &["300 × 32 bool", "vectors: binary × 32"]);
    check("o.npy", &["pickled", "nothing that can be carried"]);
    let output = jobs.milvusdm(&["inspect", "odd_last.fvecs"]);
    assert_eq!(output.status.code(), Some(3));
}
