//! HDF5 into Parquet: datasets that travel beside vectors and ids: numbers, booleans and texts, in any layout, whatever batches they are cut
//! into; and those that are no columns.

use std::process::Command;

use serde_json::{Value, json};

use crate::parquet::migration::Jobs;
use crate::support::{python, test_env};

/// 3,000 rows; texts of any length, one of them of 3 MB.
const FILE: &str = "
import sys
import h5py, numpy as np
n = 3000
rows = np.arange(n)
with h5py.File('in.h5', 'w') as f:
    f['embeddings'] = np.repeat(rows.astype('<f4'), 8).reshape(n, 8)
    f['ids'] = rows * 2
    f['small'] = (rows % 256 - 128).astype('i1')
    f['bytes'] = (rows % 256).astype('u1')
    f.create_dataset('big', data=rows.astype('>i8') * 10**12, chunks=(100,), compression='gzip', shuffle=True)
    f['unsigned'] = rows.astype('u4')
    f['half'] = (rows % 7).astype('f2')
    f['double'] = rows / 7
    f['flag'] = rows % 2 == 0
    f['fixed'] = np.array([('ü%d' % i).encode() for i in rows], 'S8')
    texts = ['text %d' % i * (i % 5) for i in rows]
    texts[1234] = 'long' * 750_000
    f.create_dataset('texts', data=texts, dtype=h5py.string_dtype(), chunks=(64,))
    f['table'] = np.array([(i, i / 2) for i in rows], [('year', '<i2'), ('price', '<f8')])
    f['short'] = rows[:7]
    f['square'] = np.zeros((n, 2))
    f['not_utf8'] = np.array([b'\\xff'] * n, 'S1')
    f['huge'] = np.full(n, 2**64 - 1, 'u8')
";

/// What arrived, compared with what was meant.
const CHECK: &str = "
import json
import pyarrow.parquet as pq
import glob
rows = pq.read_table(sorted(glob.glob('out/*.parquet'))).to_pylist()
assert len(rows) == 3000
for i, row in enumerate(rows):
    text = 'long' * 750_000 if i == 1234 else 'text %d' % i * (i % 5)
    expected = dict(id=2 * i, embedding=[float(i)] * 8, small=(i % 256 - 128 + 128) % 256 - 128, bytes=i % 256, big=i * 10**12,
                    unsigned=i, half=float(i % 7), double=i / 7, flag=i % 2 == 0, fixed='ü%d' % i, texts=text, year=i, price=i / 2)
    assert row == expected, (i, str(row)[:300], str(expected)[:300])
print(json.dumps({name: str(kind) for name, kind in zip(rows[0], pq.read_schema('out/part-00000.parquet').types)}))
";

#[test]
fn datasets_travel_as_columns() {
    let jobs = Jobs::new();
    let run = |python: std::path::PathBuf, script: &str| {
        let output = Command::new(python)
            .args(["-c", script])
            .current_dir(jobs.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(python(), FILE);
    let names = [
        "small",
        "bytes",
        "big",
        "unsigned",
        "half",
        "double",
        "flag",
        "fixed",
        "texts",
        "table/year",
        "table/price",
    ];
    let job = |columns: &[&str]| {
        json!({
            "source": {"hdf5": {"path": "in.h5", "columns": columns}},
            "sink": {"parquet": {"dir": "out", "mode": "overwrite"}},
            "run": {"batch": "16KiB"},
        })
        .to_string()
    };
    jobs.run("all", &job(&names)).code(0);
    let kinds = run(test_env().join("tables/bin/python"), CHECK);
    let kinds: Value = serde_json::from_str(&kinds).unwrap();
    assert_eq!(
        (
            &kinds["bytes"],
            &kinds["unsigned"],
            &kinds["half"],
            &kinds["year"]
        ),
        (
            &json!("int16"),
            &json!("int64"),
            &json!("float"),
            &json!("int16")
        )
    );
    let verified = jobs.milvusdm(&["verify", "all.yaml"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    for (name, code, says) in [
        ("nowhere", 2, "has no dataset `nowhere`"),
        ("short", 3, "has 7 rows, but the vectors have 3000"),
        ("square", 3, "columns are one value to a row"),
        ("table", 3, "holds compound values"),
        ("not_utf8", 3, "`not_utf8` row 0: bytes are not UTF-8 text"),
        (
            "huge",
            3,
            "`huge` row 0: is 18446744073709551615, which int64 cannot hold",
        ),
    ] {
        jobs.run(name, &job(&[name])).code(code).says(&[says]);
    }
    // What holds an id and a vector only says so.
    let mut wide: Value = serde_json::from_str(&job(&["small"])).unwrap();
    wide["sink"] = json!({"hdf5": {"path": "out.h5"}});
    jobs.run("to_hdf5", &wide.to_string())
        .code(3)
        .says(&["holds an int64 id and one vector"]);
}
