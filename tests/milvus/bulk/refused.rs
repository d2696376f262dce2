//! What a server would import and keep wrong, or fail at late, is refused before a job is made.

use super::migration::{Jobs, server};
use super::support::run_python;
use super::{RUN, imports, run, sink, table, table_job};

/// A job by [`table`] and [`table_job`] is refused with these words, and the server has had no import.
#[track_caller]
fn refused(collection: &str, change: &str, bulk: &str, more: &str, code: i32, words: &[&str]) {
    let jobs = Jobs::new();
    table(&jobs, change);
    table_job(&jobs, collection, bulk, more);
    run(&jobs, RUN, code, words);
    assert_eq!(imports(collection), 0);
}

#[test]
fn vectors_that_are_not_finite_are_refused() {
    let nan = "v = vectors.copy(); v[7, 3] = np.nan; t['vec'] = pa.array(list(v), pa.list_(pa.float32()))";
    refused(
        "bulk_nan",
        nan,
        "",
        "",
        3,
        &["id 7", "NaN or infinity as component 3"],
    );
    let infinite = nan.replace("np.nan", "-np.inf");
    refused(
        "bulk_inf",
        &infinite,
        "format: parquet",
        "",
        3,
        &["id 7", "NaN or infinity"],
    );
    let wide = "v = vectors.astype(np.float64); v[7, 3] = 1e300; t['vec'] = pa.array(list(v), pa.list_(pa.float64()))";
    refused(
        "bulk_wide",
        wide,
        "",
        "",
        3,
        &["row 7", "is too large for a float32"],
    );
}

#[test]
fn texts_and_lists_that_are_too_long_are_refused() {
    let text = "t['text'] = pa.array(['x' * (40 if i == 9 else 3) for i in range(n)])";
    let fields = "fields: {columns: {text: {type: varchar, max_length: 16}}}\n";
    refused(
        "bulk_text",
        text,
        "",
        fields,
        3,
        &["id 9", "has 40 bytes, but the field allows 16"],
    );
    let list = "t['nums'] = pa.array([list(range(9 if i == 9 else 2)) for i in range(n)], pa.list_(pa.int64()))";
    let fields = "fields: {columns: {nums: {type: array<int64>, max_capacity: 4}}}\n";
    refused(
        "bulk_list",
        list,
        "",
        fields,
        3,
        &["id 9", "is a list of 9, but the field allows 4"],
    );
    let inner = "t['tags'] = pa.array([['x' * (40 if i == 9 else 3)] for i in range(n)], pa.list_(pa.string()))";
    let fields =
        "fields: {columns: {tags: {type: array<varchar>, max_capacity: 4, max_length: 16}}}\n";
    refused(
        "bulk_inner",
        inner,
        "",
        fields,
        3,
        &["id 9", "has 40 bytes"],
    );
}

#[test]
fn ids_that_repeat_or_are_missing_are_refused() {
    let repeated = "t['id'] = pa.array([5 if i == 9 else i for i in range(n)], pa.int64())";
    refused("bulk_repeated", repeated, "", "", 3, &["5"]);
    let missing = "t['id'] = pa.array([None if i == 9 else i for i in range(n)], pa.int64())";
    refused("bulk_missing", missing, "", "", 3, &[]);
    let key = "t['id'] = pa.array(['k%d' % i if i != 9 else 'k' * 30 for i in range(n)])";
    let fields = "fields: {id: {name: id, from: id, type: varchar, max_length: 16}}\n";
    refused(
        "bulk_key",
        key,
        "",
        fields,
        3,
        &["has 30 bytes, but the field allows 16"],
    );
}

#[test]
fn vectors_that_are_missing_or_have_gaps_are_refused() {
    let null = "t['vec'] = pa.array([None if i == 9 else list(v) for i, v in enumerate(vectors)], pa.list_(pa.float32()))";
    refused("bulk_null", null, "", "", 3, &["row 9"]);
    let gap = "t['vec'] = pa.array([[None if (i, j) == (9, 3) else x for j, x in enumerate(v)] for i, v in enumerate(vectors.tolist())], pa.list_(pa.float32()))";
    refused("bulk_gap", gap, "", "", 3, &["row 9"]);
    let short = "t['vec'] = pa.array([list(v)[:7 if i == 9 else 8] for i, v in enumerate(vectors)], pa.list_(pa.float32()))";
    refused("bulk_short", short, "", "", 3, &["vectors"]);
}

#[test]
fn values_that_their_field_cannot_hold_are_refused() {
    let wide = "t['x'] = pa.array([300 if i == 9 else i % 100 for i in range(n)], pa.int64())";
    refused(
        "bulk_int8",
        wide,
        "",
        "fields: {columns: {x: int8}}\n",
        3,
        &["300"],
    );
    let jobs = Jobs::new();
    let doc = "t['doc'] = pa.array(['{\"a\": ' if i == 9 else '{}' for i in range(n)])";
    table(&jobs, doc);
    let source = "source: {parquet: {paths: [a.parquet], id: id, types: {doc: json}}}\n";
    let text = format!("{source}{}", sink(&jobs, "bulk_json", "", ""));
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    run(&jobs, RUN, 3, &["doc"]);
    assert_eq!(imports("bulk_json"), 0);
    let missing = "t['x'] = pa.array([None if i == 9 else i for i in range(n)], pa.int64())";
    refused("bulk_missing_value", missing, "", "", 3, &["id 9"]);
}

/// A job of arrays of numpy, which this Python makes as a.npy and ids.npy, is refused, and the server has had no import.
#[track_caller]
fn refused_arrays(collection: &str, make: &str, code: i32, words: &[&str]) {
    let jobs = Jobs::new();
    let script = format!(
        "import sys, os, numpy as np\nos.chdir(sys.argv[1])\nv = np.arange(1600, dtype=np.float32).reshape(200, 8)\n\
         np.save('a.npy', v)\nnp.save('ids.npy', np.arange(200))\n{make}"
    );
    run_python(&script, &[jobs.0.path().to_str().unwrap()]);
    let source = "source: {numpy: {vectors: a.npy, ids: ids.npy}}\n";
    let text = format!("{source}{}", sink(&jobs, collection, "", ""));
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    run(&jobs, RUN, code, words);
    assert_eq!(imports(collection), 0);
}

#[test]
fn arrays_that_do_not_fit_each_other_or_their_own_header_are_refused() {
    for (collection, make, code) in [
        ("bulk_rows", "np.save('ids.npy', np.arange(199))", 3),
        ("bulk_cut", "os.truncate('a.npy', 6000)", 3),
        ("bulk_trailing", "open('a.npy', 'ab').write(b'12345678')", 3),
        (
            "bulk_object",
            "np.save('a.npy', v.astype(object), allow_pickle=True)",
            3,
        ),
        ("bulk_twice", "np.save('ids.npy', np.arange(200) % 150)", 3),
        ("bulk_nan_npy", "v[3, 3] = np.nan; np.save('a.npy', v)", 3),
        ("bulk_empty", "np.save('a.npy', v[:, :0])", 3),
    ] {
        refused_arrays(collection, make, code, &[]);
    }
}

#[test]
fn a_collection_that_the_files_do_not_fit_is_refused() {
    let make = r#"
import sys
from pymilvus import *
connections.connect(uri="http://" + sys.argv[1])
id = FieldSchema("id", DataType.INT64, is_primary=True)
vec = lambda dim: FieldSchema("vec", DataType.FLOAT_VECTOR, dim=dim)
Collection("bulk_other_dim", CollectionSchema([id, vec(9)]))
Collection("bulk_more_fields", CollectionSchema([id, vec(8), FieldSchema("x", DataType.INT64)]))
Collection("bulk_other_type", CollectionSchema([id, FieldSchema("vec", DataType.BINARY_VECTOR, dim=8)]))
part = FieldSchema("part", DataType.INT64)
Collection("bulk_keyed", CollectionSchema([id, vec(8), part], partition_key_field="part"))
held = Collection("bulk_held", CollectionSchema([id, vec(8)]))
held.insert([[7], [[0.0] * 8]])
held.flush()
held.create_index("vec", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
held.load()
"#;
    run_python(make, &[&server().address()]);
    for (collection, change, words) in [
        ("bulk_other_dim", "", &["9"][..]),
        ("bulk_more_fields", "", &["x"]),
        ("bulk_other_type", "", &["vec"]),
        ("bulk_held", "", &["7"]),
    ] {
        let jobs = Jobs::new();
        table(&jobs, change);
        table_job(&jobs, collection, "", "");
        let output = jobs.milvusdm(&RUN.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            matches!(output.status.code(), Some(2 | 3 | 5)),
            "{collection}: {said}"
        );
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{collection}: {said}"
        );
        assert_eq!(imports(collection), 0, "{collection}");
    }
    // A partition of a collection that makes them by key.
    let jobs = Jobs::new();
    table(&jobs, "t['part'] = pa.array(range(n), pa.int64())");
    let source = "source: {parquet: {paths: [a.parquet], id: id}}\n";
    let text = format!(
        "{source}{}",
        sink(&jobs, "bulk_keyed", "partition: p1,", "")
    );
    std::fs::write(jobs.path("job.yaml"), text).unwrap();
    let output = jobs.milvusdm(&RUN.split(' ').collect::<Vec<_>>());
    assert!(matches!(output.status.code(), Some(2 | 5)), "{output:?}");
    assert_eq!(imports("bulk_keyed"), 0);
}

#[test]
fn what_an_import_cannot_do_is_refused() {
    let text = "t['text'] = pa.array(['x' for i in range(n)])";
    refused(
        "bulk_npy",
        text,
        "format: npy",
        "",
        2,
        &["format: npy` allows only an id and a vector"],
    );
    refused(
        "bulk_upsert",
        "",
        "",
        "run: {existing: upsert}\n",
        2,
        &["an import only adds"],
    );
    refused(
        "bulk_bytes",
        "",
        "file_bytes: 20GiB",
        "",
        2,
        &["sink.milvus.bulk.file_bytes"],
    );
}
