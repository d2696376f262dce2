//! A new user's first job for each source that needs no server of another maker, into Milvus and into Parquet: as `init`
//! writes it, with the marked lines edited. `chroma.rs`, `pgvector.rs`, `pinecone.rs`, `qdrant.rs`, `search.rs` and `stores.rs` do
//! the same with theirs.

#![allow(clippy::unwrap_used)]

use crate::support::{self, milvus2x as unpacked, new_job};

use std::path::Path;
use std::process::Command;

use new_job::into_both;
use support::{Engine, Server, python, run_python, test_env};

/// Inputs by the names that new jobs have, in the current directory.
const FILES: &str = "
import sys, os, numpy as np, h5py, faiss
os.chdir(sys.argv[1])
x = np.random.RandomState(1).standard_normal((300, 16)).astype('f4')
i = faiss.IndexFlatL2(16); i.add(x); faiss.write_index(i, 'vectors.index')
with h5py.File('vectors.h5', 'w') as f: f['embeddings'] = x; f['ids'] = np.arange(300)
np.save('embeddings.npy', x)
np.hstack([np.full((300, 1), 16, '<i4').view('f4'), x]).tofile('base.fvecs')
";

/// A collection with rows that are flushed and an index, loaded.
const COLLECTION: &str = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
c = Collection('products', CollectionSchema([
    FieldSchema('id', DataType.INT64, is_primary=True), FieldSchema('title', DataType.VARCHAR, max_length=100),
    FieldSchema('v', DataType.FLOAT_VECTOR, dim=4)]))
c.insert([list(range(300)), ['no. %d' % i for i in range(300)], [[i, 1, 2, 3] for i in range(300)]])
c.flush()
c.create_index('v', {'index_type': 'FLAT', 'metric_type': 'L2', 'params': {}})
c.load()
";

/// What a notebook leaves behind that used Milvus Lite.
const PROTOTYPE: &str = "
import sys
from pymilvus import MilvusClient
client = MilvusClient(sys.argv[1])
client.create_collection('products', dimension=4)
client.insert('products', [{'id': i, 'vector': [i, 1, 2, 3], 'title': 'no. %d' % i} for i in range(300)])
client.close()
";

/// How many rows a server has of the collections that one job made, and forgets them.
fn arrived(server: &Server) -> u64 {
    let script = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
rows = 0
for name in utility.list_collections():
    c = Collection(name)
    rows += c.num_entities
    c.drop()
print(rows)
";
    run_python(script, &[&server.address()]).parse().unwrap()
}

/// Keys of marked lines, with the values they get.
type Edits<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_new_job_of_every_source_runs_once_its_marked_lines_are_edited() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    run_python(FILES, &[&at("")]);
    let milvus1 = r#"[{"collection": "products", "dimension": 8, "metric": 1, "partitions": {"": [0, 300]}}]"#;
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/make_milvus1x.py");
    let mut command = Command::new(python());
    let made = command.arg(make).args([&at("old"), milvus1]).output();
    assert!(made.unwrap().status.success());
    unpacked::unpack(dir.path());
    let with_lite = test_env().join("lite/venv-py/bin/python");
    let mut command = Command::new(with_lite);
    let made = command.args(["-c", PROTOTYPE, &at("demo.db")]).output();
    assert!(made.unwrap().status.success());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixture = |name: &str| fixtures.join(name).display().to_string();

    let from = Server::start(Engine::Standalone, &[]);
    run_python(COLLECTION, &[&from.address()]);
    let to = Server::start(Engine::Standalone, &[]);
    let address = to.address();
    let running = from.address();
    let stored = from.data().join("data").display().to_string();

    // The first writes the files that the last reads.
    let exported = format!("['{}/products/_default/*.parquet']", at("milvus_out"));
    let sources: [(&str, Edits, u64); 11] = [
        ("milvus", &[("address", &running)], 300),
        ("faiss", &[], 300),
        ("hdf5", &[], 300),
        ("numpy", &[], 300),
        ("vecs", &[], 300),
        ("milvus1", &[("path", &at("old/milvus"))], 270),
        ("langchain", &[("path", &fixture("langchain/current"))], 11),
        ("milvus_files", &[("path", &stored)], 300),
        ("milvus_backup", &[("path", &at("backup"))], 0), // as many as the golden data have
        ("milvus_lite", &[], 300),
        ("parquet", &[("paths", &exported)], 300),
    ];
    for (source, edits, rows) in sources {
        let by_sink = into_both(dir.path(), source, edits, &address);
        let wanted = if rows == 0 { by_sink[0] } else { rows };
        assert!(wanted > 0, "{source}");
        assert_eq!(by_sink, [wanted, wanted], "{source}");
        assert_eq!(arrived(&to), by_sink[0], "{source}");
    }
}
