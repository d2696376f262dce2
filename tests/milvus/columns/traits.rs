//! What a collection carries beside its columns, made on a real server and read back; what it lacks is refused.

use std::sync::Arc;

use milvusdm::batch::Target;
use milvusdm::error::Kind;
use milvusdm::schema::{
    CollectionTraits, Column, ColumnType, Columns, Consistency, DefaultValue, Element, Function,
    FunctionKind, Role, Scalar, VectorType,
};
use milvusdm::sink::Sink;

use super::support::{Engine, Server, run_python};
use super::{aimed, open, prepare};

/// A key, a vector, a partition key, and numbers and text with defaults.
fn columns(change: impl Fn(&mut Vec<Column>)) -> Arc<Columns> {
    let with = |name: &str, kind, default| {
        let mut column = Column::new(name, kind);
        column.traits.default = Some(default);
        column.traits.description = format!("what {name} is");
        column
    };
    let scalar = ColumnType::Scalar;
    let text = ColumnType::VarChar { max_bytes: Some(9) };
    let vector = VectorType {
        element: Element::Float32,
        dimension: 8,
    };
    let mut owner = Column::new("owner", text);
    owner.role = Role::PartitionKey;
    let mut all = vec![
        Column::key("pk", text),
        Column::new("v", ColumnType::Vector(vector)),
        owner,
        with("d_bool", scalar(Scalar::Bool), DefaultValue::Bool(true)),
        with("d_int8", scalar(Scalar::Int8), DefaultValue::Int(-128)),
        with(
            "d_int64",
            scalar(Scalar::Int64),
            DefaultValue::Int(i64::MIN),
        ),
        with("d_float", scalar(Scalar::Float), DefaultValue::Float(0.5)),
        with(
            "d_double",
            scalar(Scalar::Double),
            DefaultValue::Double(0.1),
        ),
        with("d_text", text, DefaultValue::Text("x".to_owned())),
    ];
    change(&mut all);
    Columns::new(all).unwrap()
}

fn target(sink: &dyn Sink, columns: &Arc<Columns>, traits: CollectionTraits) -> Target {
    Target {
        traits: Arc::new(traits),
        ..aimed(sink, columns)
    }
}

fn there(server: &Server, name: &str) -> bool {
    let script = "import sys\nfrom pymilvus import *\nconnections.connect(uri='http://' + sys.argv[1])\n\
        print(utility.has_collection(sys.argv[2]))";
    run_python(script, &[&server.address(), name]) == "True"
}

#[test]
fn all_that_a_schema_carries_is_made() {
    let server = Server::shared(Engine::Standalone);
    let sink = open(server, "collection: traits_all", "");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let traits = CollectionTraits {
        description: "products".to_owned(),
        shards: Some(2),
        partitions: Some(7),
        consistency: Some(Consistency::Eventually),
        properties: vec![
            pair("collection.ttl.seconds", "36000"),
            pair("replicate.id", "x"),
        ],
        ..CollectionTraits::default()
    };
    let target = target(&*sink, &columns(|_| {}), traits);
    sink.begin(1);
    prepare(&*sink, &target).unwrap();
    let said = run_python(
        "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
d = connections._fetch_handler('default').describe_collection('traits_all')
print(d['description'], d['num_shards'], d['num_partitions'], d['consistency_level'], d['properties'])
for f in d['fields']:
    print(f['name'], f['description'], bool(f.get('is_partition_key')))
",
        &[&server.address()],
    );
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("products (milvusdm run 0000000000000001) 2 7 3 "),
        "{said}"
    );
    assert!(
        lines[0].contains("collection.ttl.seconds") && !lines[0].contains("replicate"),
        "{said}"
    );
    assert!(lines.contains(&"owner  True"), "{said}");
    assert!(lines.contains(&"d_text what d_text is False"), "{said}");
    assert_eq!(lines.len(), 10, "{said}");
}

#[test]
fn what_the_server_lacks_of_a_schema_is_refused_or_dropped_and_never_kills_it() {
    let server = Server::shared(Engine::Standalone);
    let function = || CollectionTraits {
        functions: vec![Function {
            name: "words".to_owned(),
            description: String::new(),
            kind: FunctionKind::Bm25,
            inputs: vec!["d_text".to_owned()],
            outputs: vec!["sparse".to_owned()],
            params: vec![],
        }],
        outputs: vec![Column::new("sparse", ColumnType::Sparse)],
        ..CollectionTraits::default()
    };
    let default = |number: usize, value: DefaultValue| {
        columns(move |all| all[number].traits.default = Some(value.clone()))
    };
    let clustering = columns(|all| all[5].traits.is_clustering_key = true);
    let plain = || CollectionTraits::default();
    // A default in a member that is not its type's ends the server.
    let cases = [
        (columns(|_| {}), function(), "function words (BM25)"),
        (clustering, plain(), "clustering key d_int64"),
        (
            default(5, DefaultValue::Text("7".to_owned())),
            plain(),
            "of d_int64 int64",
        ),
        (default(3, DefaultValue::Int(1)), plain(), "of d_bool bool"),
        (
            default(4, DefaultValue::Int(128)),
            plain(),
            "of d_int8 int8",
        ),
        (
            default(6, DefaultValue::Double(1.0)),
            plain(),
            "of d_float float",
        ),
        (default(1, DefaultValue::Int(1)), plain(), "of v float32"),
        (
            default(8, DefaultValue::Bool(true)),
            plain(),
            "of d_text varchar(9)",
        ),
    ];
    for (number, (columns, traits, expected)) in cases.into_iter().enumerate() {
        let name = format!("traits_lacks_{number}");
        let strict = open(server, &format!("collection: {name}"), "");
        let wanted = target(&*strict, &columns, traits.clone());
        let error = strict.decide(&wanted).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!there(server, &name), "nothing was made");
        let lenient = open(
            server,
            &format!("collection: {name}, unsupported: drop"),
            "",
        );
        prepare(&*lenient, &target(&*lenient, &columns, traits)).unwrap();
        assert!(there(server, &name), "{expected}");
    }
}
