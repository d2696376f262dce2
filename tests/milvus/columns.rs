//! Every type of column into real servers, and back: as pymilvus gives it, and as `verify` compares it.
//! Milvus 2.3.5 standalone, Milvus Lite 3.2.2 and 2.5.1; each gets all that it has.

mod bad_rows;
mod cases;
mod every_type;
mod fields;
mod misfits;
mod traits;

use crate::support::{self, migration};

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray, StringArray, new_null_array};
use milvusdm::batch::{Batch, BatchId, Part, Position, Target};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Kind, Result};
use milvusdm::schema::{Column, ColumnType, Columns, Element, Role, Scalar, TooLong, VectorType};
use milvusdm::sink::held::Held;
use milvusdm::sink::{Attempt, Parcel, Sink};
use serde_json::{Value, json};

use cases::{Case, common, sparse, texts, vectors};
use support::{Engine, Server, finish, open_milvus, run_python, target};

/// Keys that break what quotes them badly; one is empty, one as long as may be.
fn nasty_keys(engine: Engine) -> Vec<String> {
    let mut keys: Vec<String> = [
        "",
        "plain",
        "a\"b",
        "it's",
        "back\\slash",
        "ends\\",
        "line\nbreak",
        "tab\there",
        "bell\u{7}\u{7f}",
        "percent%s{}",
        "ümläut",
        "emoji😀",
        "大",
    ]
    .map(str::to_owned)
    .into();
    keys.push("k".repeat(65_535));
    // It cannot be asked for keys with a line break.
    keys.retain(|key| engine != Engine::LiteCpp || !key.contains('\n'));
    keys
}

fn open(server: &Server, sink: &str, run: &str) -> Box<dyn Sink> {
    let address = server.address();
    open_milvus(&format!("address: '{address}', {sink}"), run).unwrap()
}

/// Columns that begin with the key.
fn wide(keys: &[String], cases: &[Case]) -> (Arc<Columns>, Vec<ArrayRef>) {
    let key = Column::key("pk", ColumnType::VarChar { max_bytes: None });
    let columns = cases.iter().map(|case| case.column.clone());
    let columns = Columns::new([key].into_iter().chain(columns).collect()).unwrap();
    let values = cases.iter().map(|case| case.values.clone());
    (columns, [texts(keys)].into_iter().chain(values).collect())
}

fn batch(columns: &Arc<Columns>, rows: Vec<ArrayRef>) -> Batch {
    let file: Arc<Path> = Path::new("/data/x.parquet").into();
    let whole = Part::new(columns, rows, &file, 100).unwrap();
    // Two parts, so that values are framed across their border.
    let middle = whole.len() / 3;
    let parts = [
        whole.slice(0, middle),
        whole.slice(middle, whole.len() - middle),
    ];
    Batch {
        id: BatchId {
            run: 7,
            shard: 0,
            index: 0,
        },
        target: 0,
        first_row: 0,
        parts: parts.into_iter().filter(|part| !part.is_empty()).collect(),
        next: Position::Row(0),
    }
}

fn aimed(sink: &dyn Sink, columns: &Arc<Columns>) -> Target {
    let plain = VectorType {
        element: Element::Float32,
        dimension: 8,
    };
    Target {
        columns: columns.measured(None, None),
        rows: 1,
        ..target(sink, plain)
    }
}

fn prepare(sink: &dyn Sink, target: &Target) -> Result<()> {
    let decision = sink.decide(target)?;
    sink.prepare(target, &decision, false)
}

fn pack(sink: &dyn Sink, batch: Batch) -> Result<Parcel> {
    sink.pack(batch, Buffers::default().take())
}

/// Runs a script with the messages of a pymilvus that knows all types.
fn new_python(script: &str, arguments: &[&str]) -> String {
    let python = support::test_env().join("lite/venv-py/bin/python");
    let output = std::process::Command::new(python)
        .args(["-c", script])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a server has of these keys, as pymilvus gives it: a map for each key.
fn given(server: &Server, collection: &str, columns: &Columns) -> Value {
    let script = r#"
import json, struct, sys
from pymilvus import connections
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, common_pb2
import grpc
address, collection, fields = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
size = [('grpc.max_receive_message_length', -1)]
stub = milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address, options=size))
request = milvus_pb2.QueryRequest(collection_name=collection, expr='pk != "no such key"', output_fields=fields)
answer = stub.Query(request, timeout=60)
assert answer.status.code == 0 and answer.status.error_code == 0, answer.status
def scalars(s):
    member = s.WhichOneof('data')
    if member is None: return []
    data = getattr(s, member).data
    if member == 'array_data': return [scalars(x) for x in data]
    if member == 'json_data': return [json.loads(x) for x in data]
    if member in ('float_data', 'double_data'): return [struct.pack('<d', x).hex() for x in data]
    return list(data)
def rows(f, n):
    valid = list(f.ListFields() and f.valid_data) if hasattr(f, 'valid_data') else []
    if f.WhichOneof('field') == 'scalars':
        values = scalars(f.scalars)
        return [v if not valid or valid[i] else None for i, v in enumerate(values)]
    v = f.vectors
    member = v.WhichOneof('data')
    assert member, f
    if member == 'float_vector':
        raw = struct.pack('<%df' % len(v.float_vector.data), *v.float_vector.data)
    elif member == 'sparse_float_vector':
        out = []
        for c in v.sparse_float_vector.contents:
            out.append([list(struct.unpack_from('<If', c, i)) for i in range(0, len(c), 8)])
        return out
    else:
        raw = getattr(v, member)
    width = len(raw) // n
    return [raw[i * width:(i + 1) * width].hex() for i in range(n)]
columns = {f.field_name or '$meta': f for f in answer.fields_data}
keys = list(columns['pk'].scalars.string_data.data)
values = {name: rows(f, len(keys)) for name, f in columns.items()}
print(json.dumps({k: {name: v[i] for name, v in values.items()} for i, k in enumerate(keys)}))
"#;
    let all = columns.all().iter();
    let names = all.map(|c| {
        if c.role == Role::Dynamic {
            "$meta"
        } else {
            &*c.name
        }
    });
    let names = json!(names.collect::<Vec<_>>()).to_string();
    let said = new_python(script, &[&server.address(), collection, &names]);
    serde_json::from_str(&said).unwrap()
}

/// Carries columns there, and looks at what arrived with pymilvus' messages and with our own comparison.
fn there_and_back(engine: Engine, collection: &str, cases: Vec<Case>) {
    let server = Server::shared(engine);
    let keys = nasty_keys(engine);
    let (columns, values) = wide(&keys, &cases);
    let settings = format!(
        "collection: {collection}, metric: L2, index: {{type: FLAT}}, load: true, mode: append"
    );
    let sink = open(server, &settings, "verify: off");
    let target = aimed(&*sink, &columns);
    prepare(&*sink, &target).unwrap();
    let parcel = pack(&*sink, batch(&columns, values.clone())).unwrap();
    assert_eq!(parcel.left_out, []);
    let receipt = sink.deliver(&parcel, Attempt::First).unwrap();
    assert_eq!(receipt.rows as usize, keys.len());
    finish(&*sink, &target).unwrap();

    let found = given(server, collection, &columns);
    let found = found.as_object().unwrap();
    assert_eq!(found.len(), keys.len());
    for (row, key) in keys.iter().enumerate() {
        let shown = key.chars().take(20).collect::<String>();
        let found = found
            .get(key)
            .unwrap_or_else(|| panic!("{engine:?}: no {shown:?}"));
        for case in &cases {
            let name = match case.column.role {
                Role::Dynamic => "$meta",
                _ => &*case.column.name,
            };
            let (found, sent) = (&found[name], &case.given[row]);
            assert!(
                same(found, sent),
                "{engine:?} {name} of {shown:?}: {found} is not {sent}"
            );
        }
    }

    let Held::Rows(mut holder) = sink.held(&target).unwrap() else {
        panic!("{engine:?}: nothing is given back");
    };
    let sent = batch(&columns, values.clone());
    let compared = holder.compare(&sent).unwrap();
    assert_eq!(
        (compared.rows as usize, compared.differing),
        (keys.len(), 0),
        "{engine:?}: {compared:?}"
    );
    // Each column is looked at: with the values of another row in it, it differs.
    for number in 1..values.len() {
        let mut odd = values.clone();
        let turned = [
            odd[number].slice(1, keys.len() - 1),
            odd[number].slice(0, 1),
        ];
        odd[number] = arrow_concat(&turned);
        let compared = holder.compare(&batch(&columns, odd)).unwrap();
        let name = &columns.all()[number].name;
        let what = compared
            .first
            .unwrap_or_else(|| panic!("{engine:?}: {name} is not compared"))
            .what;
        assert_eq!(
            what.to_string(),
            format!("is there with another value in `{name}`")
        );
    }
}

fn arrow_concat(arrays: &[ArrayRef]) -> ArrayRef {
    let data: Vec<_> = arrays.iter().map(|array| array.to_data()).collect();
    let mut all = arrow_data::transform::MutableArrayData::new(data.iter().collect(), true, 0);
    for (number, array) in arrays.iter().enumerate() {
        all.try_extend(number, 0, array.len()).unwrap();
    }
    arrow_array::make_array(all.freeze())
}

/// Floating numbers come as the bytes they are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::Number(b)) => {
            let bytes = b.as_f64().unwrap().to_le_bytes();
            *a == bytes.map(|byte| format!("{byte:02x}")).concat()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

#[test]
fn every_type_of_a_real_server_comes_back_as_it_went() {
    let rows = nasty_keys(Engine::Standalone).len();
    let mut cases = common(rows);
    cases.push(vectors("v", Element::Float32, rows));
    there_and_back(Engine::Standalone, "columns_real", cases);
    let mut cases = common(rows);
    cases.push(vectors("v", Element::Bit, rows));
    there_and_back_binary(cases);
}

fn there_and_back_binary(mut cases: Vec<Case>) {
    cases.last_mut().unwrap().column.metric = Some(milvusdm::schema::Metric::Hamming);
    let server = Server::shared(Engine::Standalone);
    let (columns, values) = wide(&nasty_keys(Engine::Standalone), &cases);
    let sink = open(
        server,
        "collection: columns_bits, metric: HAMMING, index: {type: BIN_FLAT}",
        "verify: off",
    );
    let target = aimed(&*sink, &columns);
    prepare(&*sink, &target).unwrap();
    let parcel = pack(&*sink, batch(&columns, values)).unwrap();
    assert_eq!(
        sink.deliver(&parcel, Attempt::First).unwrap().rows as usize,
        nasty_keys(Engine::Standalone).len()
    );
}

#[test]
fn every_type_of_lite_in_python_comes_back_as_it_went() {
    let rows = nasty_keys(Engine::LitePython).len();
    let mut cases = common(rows);
    for case in &mut cases {
        // Every other value of each column that may have none is none.
        if case.column.role == Role::Plain {
            case.column.nullable = true;
            let none = new_null_array(case.values.data_type(), 1);
            let mixed = (0..rows).map(|row| match row % 2 {
                0 => case.values.slice(row, 1),
                _ => none.clone(),
            });
            case.values = arrow_concat(&mixed.collect::<Vec<_>>());
            (0..rows)
                .filter(|row| row % 2 == 1)
                .for_each(|row| case.given[row] = Value::Null);
        }
    }
    cases.push(vectors("v", Element::Float32, rows));
    cases.push(sparse(rows, false));
    there_and_back(Engine::LitePython, "columns_python", cases);
}

#[test]
fn every_type_of_lite_in_cpp_comes_back_as_it_went() {
    let rows = nasty_keys(Engine::LiteCpp).len();
    let mut cases = common(rows);
    cases.push(vectors("v_half", Element::Float16, rows));
    cases.push(vectors("v_brain", Element::BFloat16, rows));
    cases.push(vectors("v", Element::Float32, rows));
    cases.push(sparse(rows, true));
    there_and_back(Engine::LiteCpp, "columns_cpp", cases);
}

#[test]
fn what_a_server_lacks_is_refused_before_anything_is_made() {
    let rows = 1;
    let vector = || vectors("v", Element::Float32, rows);
    let checks: Vec<(Engine, Vec<Case>, &str)> = vec![
        (
            Engine::Standalone,
            vec![vector(), sparse(rows, true)],
            "2 vectors (v, v_sparse)",
        ),
        (
            Engine::Standalone,
            vec![sparse(rows, true)],
            "no sparse vectors",
        ),
        (
            Engine::Standalone,
            vec![vectors("v", Element::Float16, rows)],
            "no float16 vectors",
        ),
        (Engine::Standalone, vec![], "0 vectors"),
        (
            Engine::LitePython,
            vec![vectors("v", Element::Bit, rows)],
            "no binary vectors",
        ),
    ];
    for (engine, cases, expected) in checks {
        let server = Server::shared(engine);
        let sink = open(server, "collection: columns_lacks", "");
        let (columns, _) = wide(&["a".to_owned()], &cases);
        let error = sink.decide(&aimed(&*sink, &columns)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}

/// A value that must not be sent, and what is said of it.
fn bad_values() -> Vec<(Case, &'static str)> {
    let text = |max, value: &str| {
        let kind = ColumnType::VarChar {
            max_bytes: Some(max),
        };
        Case::new("c", kind, texts(&[value.to_owned()]), vec![])
    };
    let json = |value: &str| Case::new("c", ColumnType::Json, texts(&[value.to_owned()]), vec![]);
    let dynamic = |value: &str| {
        let mut case = json(value);
        case.column.role = Role::Dynamic;
        case
    };
    let words = |capacity, max_bytes, words: Vec<Option<&str>>| {
        let kind = ColumnType::Array {
            of: Scalar::VarChar,
            capacity: Some(capacity),
            max_bytes: Some(max_bytes),
        };
        let len = words.len();
        let values: ArrayRef = Arc::new(StringArray::from(words));
        let arrow_schema::DataType::List(field) = kind.arrow() else {
            panic!()
        };
        let nullable = Arc::new(field.as_ref().clone().with_nullable(true));
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([len]);
        let list = ListArray::new(nullable, offsets, values, None);
        // As a careless source would make it: the column says that there are no nulls inside.
        let data = arrow_array::Array::to_data(&list)
            .into_builder()
            .data_type(kind.arrow());
        let array = arrow_array::make_array(unsafe_free(data));
        Case::new("c", kind, array, vec![])
    };
    let mut none = text(10, "");
    none.values = new_null_array(none.values.data_type(), 1);
    none.column.nullable = true;
    vec![
        (text(4, "12345"), "`c` has 5 bytes, but the field allows 4"),
        (text(4, "üü1"), "`c` has 5 bytes"),
        (none, "`c` has no value"),
        (json("{"), "`c` is JSON that Milvus does not accept"),
        (json(""), "`c` is JSON that Milvus does not accept"),
        (json(r#"{"a": 1e400}"#), "`c` is JSON"),
        (json("[1]"), "it is not an object"),
        (json("3"), "it is not an object"),
        (
            json(&format!(r#"{{"a": "{}"}}"#, "x".repeat(65_536))),
            "bytes, but the field allows 65536",
        ),
        (dynamic("null"), "it is not an object"),
        (dynamic("[]"), "it is not an object"),
        (dynamic(r#"{"$meta": 1}"#), "its key `$meta`"),
        (
            dynamic(r#"{"pk": 1}"#),
            "its key `pk` is the name of a field",
        ),
        (
            words(2, 8, vec![Some("a"), Some("b"), Some("c")]),
            "`c` is a list of 3, but the field allows 2",
        ),
        (words(2, 8, vec![Some("123456789")]), "`c` has 9 bytes"),
    ]
}

fn unsafe_free(data: arrow_data::ArrayDataBuilder) -> arrow_data::ArrayData {
    data.build().unwrap()
}

#[test]
fn bad_values_are_named_by_key_and_never_sent() {
    let server = Server::shared(Engine::Standalone);
    for (number, (case, expected)) in bad_values().into_iter().enumerate() {
        let name = format!("columns_bad_{number}");
        let settings = format!("collection: {name}");
        let cases = [case, vectors("v", Element::Float32, 1)];
        let (columns, values) = wide(&["a\"key".to_owned()], &cases);
        let strict = open(server, &settings, "");
        let target = aimed(&*strict, &columns);
        prepare(&*strict, &target).unwrap();
        let error = pack(&*strict, batch(&columns, values.clone()))
            .err()
            .expect(expected);
        let said = error.to_string();
        assert!(
            said.contains("/data/x.parquet: row 100 (id \"a\\\"key\")"),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
        let lenient = open(server, &settings, "misfit: skip");
        prepare(&*lenient, &target).unwrap();
        let parcel = pack(&*lenient, batch(&columns, values)).unwrap();
        assert_eq!(
            (parcel.rows, parcel.left_out.len(), parcel.body.len()),
            (0, 1, 0)
        );
    }
    let count = run_python(
        "import sys\nfrom pymilvus import *\nconnections.connect(uri='http://' + sys.argv[1])\n\
         print(sum(Collection(c).num_entities for c in utility.list_collections() if 'columns_bad' in c))",
        &[&server.address()],
    );
    assert_eq!(count, "0", "the server answers, and has no row");
}

#[test]
fn text_that_is_too_long_is_cut_between_characters_where_the_job_says_so() {
    let server = Server::shared(Engine::Standalone);
    let kind = ColumnType::VarChar { max_bytes: Some(5) };
    let mut text = Case::new(
        "c",
        kind,
        texts(&["abcdüü".to_owned(), "abc".to_owned()]),
        vec![],
    );
    text.column.too_long = TooLong::Truncate;
    let cases = [text, vectors("v", Element::Float32, 2)];
    let (columns, values) = wide(&["a".to_owned(), "b".to_owned()], &cases);
    let sink = open(server, "collection: columns_cut", "");
    let target = aimed(&*sink, &columns);
    prepare(&*sink, &target).unwrap();
    let parcel = pack(&*sink, batch(&columns, values)).unwrap();
    assert_eq!(parcel.rows, 2);
    let cut: Vec<String> = (parcel.batch.parts.iter())
        .flat_map(|part| {
            let column = part.column(1);
            let texts = column.as_any().downcast_ref::<StringArray>().unwrap();
            texts
                .iter()
                .map(|text| text.unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(cut, ["abcd", "abc"]);
}

/// A collection that others made, with fields that the rows do not have.
#[test]
fn a_field_with_a_default_gets_it_and_a_server_does_not_end_by_it() {
    let server = Server::shared(Engine::Standalone);
    let script = "
import sys, grpc
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, schema_pb2 as s, common_pb2
stub = milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(sys.argv[1]))
length = [common_pb2.KeyValuePair(key='max_length', value='9')]
dim = [common_pb2.KeyValuePair(key='dim', value='8')]
fields = [s.FieldSchema(name='pk', data_type=21, is_primary_key=True, type_params=length),
    s.FieldSchema(name='v', data_type=101, type_params=dim)]
for t, v in [(1, s.ValueField(bool_data=True)), (5, s.ValueField(long_data=7)),
        (11, s.ValueField(double_data=0.5)), (21, s.ValueField(string_data='x'))]:
    fields.append(s.FieldSchema(name='d_%d' % t, data_type=t, default_value=v, type_params=length))
schema = s.CollectionSchema(name='columns_default', fields=fields).SerializeToString()
request = milvus_pb2.CreateCollectionRequest(collection_name='columns_default', schema=schema)
assert stub.CreateCollection(request).code == 0
";
    new_python(script, &[&server.address()]);
    let cases = [vectors("v", Element::Float32, 3)];
    let keys = ["a", "b", "c"].map(str::to_owned);
    let (columns, values) = wide(&keys, &cases);
    let sink = open(
        server,
        "collection: columns_default, metric: L2, index: {type: FLAT}, load: true",
        "",
    );
    let target = aimed(&*sink, &columns);
    prepare(&*sink, &target).unwrap();
    let parcel = pack(&*sink, batch(&columns, values)).unwrap();
    assert_eq!(sink.deliver(&parcel, Attempt::First).unwrap().rows, 3);
    finish(&*sink, &target).unwrap();
    let found = run_python(
        "import sys\nfrom pymilvus import *\nconnections.connect(uri='http://' + sys.argv[1])\n\
         rows = Collection('columns_default').query('pk != \"\"', output_fields=['d_1', 'd_5', 'd_11', 'd_21'])\n\
         print(sorted((r['pk'], r['d_1'], r['d_5'], r['d_11'], r['d_21']) for r in rows))",
        &[&server.address()],
    );
    let row = |key: &str| format!("('{key}', True, 7, 0.5, 'x')");
    assert_eq!(found, format!("[{}, {}, {}]", row("a"), row("b"), row("c")));
}
