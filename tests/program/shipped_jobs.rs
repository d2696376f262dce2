//! Every job under yamls/ that runs against Milvus 2.3.5 or files, as it stands but for places: run, verified at once,
//! verified with `--load`, found afterwards as before.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration, milvus2x as unpacked};

use std::path::Path;

use migration::{Jobs, server, support_script};
use serde_json::{Value, json};
use support::{Engine, Server, run_python};

/// Inputs by the names that the shipped jobs give them.
const MAKE: &str = "
import sys, os, numpy as np, h5py, faiss
os.chdir(sys.argv[1])
x = np.random.RandomState(1).standard_normal((900, 128)).astype('f4')
i = faiss.IndexFlatL2(128); i.add(x); faiss.write_index(i, 'products.index')
for n, (a, b) in enumerate([(0, 400), (400, 900)]):
    for name in ('float_%d.h5', 'part-%d.h5'):
        with h5py.File(name % (n + 1), 'w') as f: f['embeddings'] = x[a:b]; f['ids'] = np.arange(a, b)
with h5py.File('sift-128-euclidean.hdf5', 'w') as f: f['train'] = x; f.attrs['distance'] = 'euclidean'
np.save('embeddings.npy', x); np.savez('catalogue.npz', ids=np.arange(900) * 3)
rows = np.hstack([np.full((900, 4), [128, 0, 0, 0], 'u1'), np.random.RandomState(2).randint(0, 256, (900, 128)).astype('u1')])
rows.tofile('bigann_base.bvecs')
";

/// Milvus 1.x as the shipped jobs know it: a collection `products` with partitions, and some that are merged.
const MILVUS1: &str = r#"[
 {"collection": "products", "dimension": 8, "metric": 1, "partitions": {"": [0, 50], "spring": [50, 200], "autumn": [200, 300]}},
 {"collection": "prod_a", "dimension": 8, "metric": 1, "partitions": {"": [1000, 1200]}},
 {"collection": "prod_b", "dimension": 8, "metric": 1, "partitions": {"": [2000, 2100]}},
 {"collection": "prod_c_tmp", "dimension": 8, "metric": 1, "partitions": {"": [2000, 2100]}}]"#;

fn made() -> Jobs {
    let jobs = Jobs::new();
    migration::check_installed();
    run_python(MAKE, &[jobs.0.path().to_str().unwrap()]);
    let old = jobs.path("old");
    support_script("make_milvus1x.py", &[old.to_str().unwrap(), MILVUS1]);
    jobs
}

/// A shipped job with the places of this machine put in. Ends the names of its collections so.
fn shipped(jobs: &Jobs, name: &str, ending: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("yamls")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let address = server().address();
    let (host, port) = address.split_once(':').unwrap();
    let old = jobs.path("old/milvus").display().to_string();
    let text = text
        .replace("127.0.0.1:19530", &address)
        .replace("dest_host: '127.0.0.1'", &format!("dest_host: '{host}'"))
        .replace("dest_port: 19530", &format!("dest_port: {port}"))
        .replace("/var/lib/milvus", &old)
        .replace("/backup/milvus", &jobs.path("m2h").display().to_string())
        .replace(
            "dest_collection_name: 'products'",
            &format!("dest_collection_name: 'products{ending}'"),
        )
        .replace(
            "collection: products,",
            &format!("collection: products{ending},"),
        )
        .replace(
            "collection: products\n",
            &format!("collection: products{ending}\n"),
        );
    std::fs::write(jobs.path(name), &text).unwrap();
    text
}

/// Rows, indexes and loading of the server's collections: those of the pair, or all others, which another test has.
fn found(of_pair: bool) -> String {
    let script = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
for name in sorted(utility.list_collections()):
    if name.endswith('_pair') != (sys.argv[2] == 'true') or name.startswith('milvusdm_proof'): continue
    c = Collection(name)
    print(name, c.num_entities, sorted((i.field_name, i.index_name) for i in c.indexes), utility.load_state(name))
";
    run_python(script, &[&server().address(), &of_pair.to_string()])
}

#[track_caller]
fn verify(jobs: &Jobs, name: &str, more: &[&str]) -> (Option<i32>, Value) {
    let output = jobs.milvusdm(&[&["verify", name, "--json"], more].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let told = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        told.unwrap_or_else(|e| panic!("{name}: {e}: {said}")),
    )
}

/// Rows that a verification compared, all found alike.
#[track_caller]
fn compared(name: &str, report: &Value) -> u64 {
    let targets = report["targets"].as_array().unwrap();
    let rows = targets.iter().map(|target| {
        let content = &target["content"];
        assert_eq!(content["rows_differing"], json!(0), "{name}: {target:#}");
        content["rows_compared"].as_u64().unwrap()
    });
    rows.sum()
}

#[test]
fn each_shipped_job_is_verified_right_after_its_run() {
    let jobs = made();
    for (name, ending, rows) in [
        ("F2M.yaml", "_f2m", 900),
        ("H2M.yaml", "_h2m", 900),
        ("M2M.yaml", "", 225),
        ("M2H.yaml", "", 270),
        ("faiss_to_hdf5.yaml", "", 900),
        ("faiss_to_milvus.yaml", "_faiss", 900),
        ("hdf5_to_hdf5.yaml", "", 900),
        ("hdf5_to_milvus.yaml", "", 900),
        ("milvus1_to_hdf5.yaml", "", 270),
        ("milvus1_to_milvus.yaml", "", 270),
        ("numpy_to_milvus.yaml", "_numpy", 900),
        ("numpy_to_milvus_bulk.yaml", "_bulk", 900),
        ("vecs_to_milvus.yaml", "", 900),
    ] {
        shipped(&jobs, name, ending);
        let output = jobs.milvusdm(&["run", name, "--progress", "none"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        let before = found(false);
        let (code, report) = verify(&jobs, name, &[]);
        match code {
            Some(0) => assert_eq!(compared(name, &report), rows, "{name}"),
            _ => {
                assert_eq!(code, Some(7), "{name}: {report:#}");
                let error = report["error"].to_string();
                assert!(error.contains("verify --load"), "{name}: {error}");
                let (code, report) = verify(&jobs, name, &["--load"]);
                assert_eq!(code, Some(0), "{name}: {report:#}");
                assert_eq!(compared(name, &report), rows, "{name}");
            }
        }
        assert_eq!(found(false), before, "{name}");
        // Once more does nothing.
        let again = jobs.milvusdm(&["run", name, "--progress", "none"]);
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert_eq!(again.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("nothing to do"), "{name}: {said}");
        assert_eq!(found(false), before, "{name}");
    }
}

#[test]
fn two_shipped_jobs_of_one_file_do_not_deliver_it_twice() {
    let jobs = made();
    shipped(&jobs, "F2M.yaml", "_pair");
    shipped(&jobs, "faiss_to_milvus.yaml", "_pair");
    let first = jobs.milvusdm(&["--yaml", "F2M.yaml", "--progress", "none"]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let before = found(true);
    for command in ["plan", "run"] {
        let second = jobs.milvusdm(&[command, "faiss_to_milvus.yaml"]);
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains("products_pair"), "{command}: {said}");
        assert_eq!(found(true), before);
    }
}

#[test]
fn a_backup_of_a_storage_is_whole_and_comes_back() {
    migration::check_installed();
    let jobs = Jobs::new();
    let golden = jobs.path("golden");
    std::fs::create_dir(&golden).unwrap();
    unpacked::unpack(&golden);
    // Of its own: other tests look at all collections of the one that is shared.
    let fresh = Server::start(Engine::Standalone, &[]);
    let storage = golden.join("storage").display().to_string();
    // The golden storage has rows that no insert takes: texts as JSON, and one key twice.
    let chosen = "    collections: [all_i64, compacted, str_bin]\n    # meta:";
    for name in ["milvus_files_to_parquet.yaml", "parquet_restore.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("yamls")
            .join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let text = text
            .replace("/var/lib/milvus/data", &storage)
            .replace("    # meta:", chosen)
            .replace("127.0.0.1:19530", &fresh.address());
        std::fs::write(jobs.path(name), text).unwrap();
        let output = jobs.milvusdm(&["run", name, "--progress", "none"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        let (code, report) = verify(&jobs, name, &["--load"]);
        assert_eq!(code, Some(0), "{name}: {report:#}");
        assert_eq!(compared(name, &report), 740 + 400 + 201, "{name}");
    }
    let (code, report) = verify(&jobs, "backup", &[]);
    assert_eq!((code, &report["state"]), (Some(0), &json!("whole")));
}
