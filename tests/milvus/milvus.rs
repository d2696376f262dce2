//! Rows into real servers: Milvus 2.3.5 standalone, Milvus Lite 3.2.2 and 2.5.1.

use crate::support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Key, Keys, Part, Position, Target};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Kind, Result};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::{Action, Attempt, Count, Decision, Redelivery, Sink, Strength};

use support::{Engine, Server, finish, open_milvus, run_python, target};

fn on(server: &Server, sink: &str) -> Box<dyn Sink> {
    open_milvus(&format!("address: '{}', {sink}", server.address()), "").unwrap()
}

/// A name no other test uses.
fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

const F32X4: VectorType = VectorType {
    element: Element::Float32,
    dimension: 4,
};

/// The bytes of the vector of an id: finite for every element type.
fn vector(kind: VectorType, id: i64) -> Vec<u8> {
    match kind.element {
        Element::Float32 => (0..kind.dimension)
            .flat_map(|i| (id as f32 + i as f32 / 1024.0).to_le_bytes())
            .collect(),
        _ => (0..kind.row_bytes())
            .map(|i| (id as u8).wrapping_mul(7).wrapping_add(i as u8) & 0x3f)
            .collect(),
    }
}

fn batch(kind: VectorType, index: u32, ids: std::ops::Range<i64>) -> Batch {
    let ids: Vec<i64> = ids.collect();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| vector(kind, *id)).collect();
    batch_of(kind, index, ids, bytes)
}

fn batch_of(kind: VectorType, index: u32, ids: Vec<i64>, bytes: Vec<u8>) -> Batch {
    let columns = Columns::plain("id", "embedding", kind).unwrap();
    let file: Arc<Path> = Path::new("/data/x.index").into();
    let part = Part::of_vectors(&columns, ids, Bytes::from(bytes), &file, 1000).unwrap();
    Batch {
        id: BatchId {
            run: 0x9f3c,
            shard: 0,
            index,
        },
        target: 0,
        first_row: 0,
        parts: vec![part],
        next: Position::Row(0),
    }
}

fn deliver(sink: &dyn Sink, batch: Batch, attempt: Attempt) -> Result<u32> {
    let parcel = sink.pack(batch, Buffers::default().take())?;
    Ok(sink.deliver(&parcel, attempt)?.rows)
}

/// Decides, prepares, delivers these ids in two batches, finishes, and counts.
fn carry(sink: &dyn Sink, target: &Target, ids: std::ops::Range<i64>) -> Result<(Decision, Count)> {
    let decision = sink.decide(target)?;
    if decision.action == Action::Skip {
        return Ok((decision, sink.count(target)?));
    }
    sink.prepare(target, &decision, false)?;
    let decision = sink.settle(target, decision)?;
    let kind = target.vector();
    let middle = ids.start + (ids.end - ids.start) / 3;
    for (index, ids) in [ids.start..middle, middle..ids.end].into_iter().enumerate() {
        let rows = (ids.end - ids.start) as u32;
        let delivered = deliver(sink, batch(kind, index as u32, ids), Attempt::First)?;
        assert_eq!(delivered, rows);
    }
    finish(sink, target)?;
    Ok((decision, sink.count(target)?))
}

fn statistics(rows: u64) -> Count {
    Count {
        rows,
        strength: Strength::Statistics,
    }
}

fn exact(rows: u64) -> Count {
    Count {
        rows,
        strength: Strength::Exact,
    }
}

#[test]
fn rows_arrive_and_are_counted() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("arrive");
    let sink = on(server, &format!("collection: {name}"));
    assert!(
        sink.describe()
            .starts_with("Milvus v2.3.5 (standalone) at http://127.0.0.1:")
    );
    let target = target(&*sink, F32X4);
    let (decision, count) = carry(&*sink, &target, 0..300).unwrap();
    assert_eq!((decision.action, decision.ours), (Action::Create, true));
    assert_eq!(count, statistics(300));
}

/// Python that begins with `connections`, and `Collection`, `FieldSchema` and so on at hand.
fn python(server: &Server, script: &str, arguments: &[&str]) -> String {
    let prelude = "
import sys
from pymilvus import *
address = sys.argv[1]
connections.connect(uri='http://' + address)
def fields(*f): return CollectionSchema(list(f))
ID = FieldSchema('id', DataType.INT64, is_primary=True)
V = FieldSchema('embedding', DataType.FLOAT_VECTOR, dim=4)
";
    let address = server.address();
    let mut all = vec![address.as_str()];
    all.extend(arguments);
    run_python(&format!("{prelude}{script}"), &all)
}

const HNSW: &str =
    "metric: L2, index: {type: HNSW, params: {M: 8, efConstruction: 64}}, load: true";

#[test]
fn each_mode_does_what_it_says() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("modes");
    let sink = |mode: &str| on(server, &format!("collection: {name}, mode: {mode}"));
    let append = sink("append");
    let place = target(&*append, F32X4);
    carry(&*append, &place, 0..100).unwrap();

    let append = sink("append");
    let (decision, count) = carry(&*append, &place, 100..250).unwrap();
    assert_eq!(
        (decision.action, decision.rows_before),
        (Action::Append, 100)
    );
    assert_eq!(count, statistics(250));
    assert!(!decision.ours);
    assert!(matches!(
        append.redelivery(&place, &decision),
        Redelivery::Doubles(_)
    ));

    let (decision, count) = carry(&*sink("skip"), &place, 0..100).unwrap();
    assert_eq!((decision.action, count), (Action::Skip, statistics(250)));
    assert!(
        decision.why.contains("exists, and mode is skip"),
        "{}",
        decision.why
    );

    let error = sink("fail").decide(&place).unwrap_err();
    assert_eq!(error.kind(), Kind::Job);

    let (decision, count) = carry(&*sink("overwrite"), &place, 0..30).unwrap();
    assert_eq!((decision.action, decision.ours), (Action::Replace, true));
    assert_eq!(count, statistics(30));
}

#[test]
fn partitions_are_made_added_to_and_replaced_one_by_one() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("partitions");
    let sink = |partition: &str, more: &str| {
        on(
            server,
            &format!("collection: {name}, partition: '{partition}', {more}"),
        )
    };
    let p1 = sink("p1", HNSW);
    let place1 = target(&*p1, F32X4);
    assert_eq!(place1.name.partition, "p1");
    let (decision, count) = carry(&*p1, &place1, 0..100).unwrap();
    assert_eq!((decision.action, count), (Action::Create, exact(100)));
    // Another partition of the collection, which is loaded by now.
    let p2 = sink("p2", "");
    let place2 = target(&*p2, F32X4);
    let (decision, count) = carry(&*p2, &place2, 0..50).unwrap();
    assert_eq!((decision.action, decision.ours), (Action::Create, true));
    assert_eq!(count.rows, 50);
    let p1 = sink("p1", "mode: overwrite");
    let (decision, count) = carry(&*p1, &place1, 0..20).unwrap();
    assert_eq!((decision.action, count.rows), (Action::Replace, 20));
    assert_eq!(
        p2.count(&place2).unwrap().rows,
        50,
        "the other one is as it was"
    );
    let p1 = sink("p1", "");
    let (decision, count) = carry(&*p1, &place1, 20..30).unwrap();
    assert_eq!(
        (decision.action, decision.rows_before, count.rows),
        (Action::Append, 20, 30)
    );
    let all = sink("", "");
    let whole = target(&*all, F32X4);
    assert_eq!(
        all.count(&whole).unwrap().rows,
        0,
        "nothing is in the default partition"
    );
}

#[test]
fn an_index_is_built_and_the_collection_loaded() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("index");
    let sink = on(server, &format!("collection: {name}, {HNSW}"));
    let place = target(&*sink, F32X4);
    let (_, count) = carry(&*sink, &place, -100..3000).unwrap();
    assert_eq!(count, exact(3100), "counted exactly, as it is loaded");
    finish(&*sink, &place).unwrap();
    let said = python(
        server,
        "c = Collection(sys.argv[2])
print(c.indexes[0].params['index_type'], c.indexes[0].params['metric_type'], c.indexes[0].params['params'])
rows = c.query('id in [-100, 0, 2999]', output_fields=['embedding'])
print([(r['id'], [float(x) for x in r['embedding']]) for r in sorted(rows, key=lambda r: r['id'])])",
        &[&name],
    );
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("HNSW L2 {'M': 8, 'efConstruction': 64}"));
    let row = |id: f64| {
        let parts: Vec<String> = (0..4)
            .map(|i| format!("{:?}", id + f64::from(i) / 1024.0))
            .collect();
        format!("({id}, [{}])", parts.join(", "))
    };
    let expected = format!("[{}, {}, {}]", row(-100.0), row(0.0), row(2999.0));
    assert_eq!(
        lines.next(),
        Some(expected.as_str()),
        "the rows are what was sent"
    );

    // What is loaded is counted exactly before and after.
    let sink = on(server, &format!("collection: {name}"));
    let (decision, count) = carry(&*sink, &place, 5000..5010).unwrap();
    assert_eq!((decision.rows_before, count), (3100, exact(3110)));
    let other = on(
        server,
        &format!("collection: {name}, metric: IP, index: {{type: FLAT}}"),
    );
    let error = other.decide(&place).unwrap_err();
    assert!(
        error.what().contains("has an index HNSW with metric L2"),
        "{error}"
    );
    // And a loaded collection can be replaced.
    let sink = on(server, &format!("collection: {name}, mode: overwrite"));
    assert_eq!(carry(&*sink, &place, 0..10).unwrap().1, statistics(10));
}

#[test]
fn a_second_arrival_leaves_every_row_there_once() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("again");
    let sink = on(server, &format!("collection: {name}, {HNSW}"));
    let place = target(&*sink, F32X4);
    let (decision, _) = carry(&*sink, &place, 0..100).unwrap();
    assert_eq!(sink.redelivery(&place, &decision), Redelivery::Harmless);
    assert_eq!(
        deliver(&*sink, batch(F32X4, 0, 0..100), Attempt::Again).unwrap(),
        100
    );
    assert_eq!(
        deliver(&*sink, batch(F32X4, 1, 90..120), Attempt::Again).unwrap(),
        30
    );
    assert_eq!(sink.count(&place).unwrap(), exact(120));
}

#[test]
fn binary_vectors_arrive_bit_for_bit() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("bits");
    let kind = VectorType {
        element: Element::Bit,
        dimension: 16,
    };
    let sink = on(
        server,
        &format!("collection: {name}, metric: TANIMOTO, index: {{type: BIN_FLAT}}, load: true"),
    );
    let place = target(&*sink, kind);
    assert_eq!(carry(&*sink, &place, 0..50).unwrap().1, exact(50));
    let said = python(
        server,
        "c = Collection(sys.argv[2])
print(c.indexes[0].params['metric_type'], c.query('id == 9', output_fields=['embedding'])[0]['embedding'][0].hex())",
        &[&name],
    );
    let bytes = vector(kind, 9);
    assert_eq!(said, format!("JACCARD {:02x}{:02x}", bytes[0], bytes[1]));
}

#[test]
fn the_server_makes_the_ids_where_it_is_asked_to() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("auto");
    let sink = on(server, &format!("collection: {name}, auto_id: true"));
    let place = target(&*sink, F32X4);
    let (decision, count) = carry(&*sink, &place, 0..40).unwrap();
    assert_eq!(count, statistics(40));
    assert!(!sink.keyed(Keys::Stored));
    assert!(matches!(
        sink.redelivery(&place, &decision),
        Redelivery::Doubles(_)
    ));
    let with_ids = on(server, &format!("collection: {name}"));
    let error = with_ids.decide(&place).unwrap_err();
    assert!(
        error.hint_text().unwrap().contains("auto_id: true"),
        "{error}"
    );
}

#[test]
fn nan_is_refused_with_its_place_or_left_out() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("nan");
    let odd = || {
        let mut bytes: Vec<u8> = (0..5).flat_map(|id| vector(F32X4, id)).collect();
        bytes[2 * 16 + 4..2 * 16 + 8].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[4 * 16..4 * 16 + 4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        batch_of(F32X4, 0, (0..5).collect(), bytes)
    };
    let address = server.address();
    let strict = open_milvus(&format!("address: '{address}', collection: {name}"), "").unwrap();
    let place = target(&*strict, F32X4);
    let decision = strict.decide(&place).unwrap();
    strict.prepare(&place, &decision, false).unwrap();
    let error = strict.pack(odd(), Buffers::default().take()).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    let said = error.to_string();
    assert!(
        said.starts_with("/data/x.index: row 1002 (id 2) has NaN or infinity as component 1"),
        "{said}"
    );

    let lenient = open_milvus(
        &format!("address: '{address}', collection: {name}"),
        "non_finite: skip",
    )
    .unwrap();
    let decision = lenient.decide(&place).unwrap();
    lenient.prepare(&place, &decision, false).unwrap();
    let parcel = lenient.pack(odd(), Buffers::default().take()).unwrap();
    let left_out = parcel.left_out.iter().map(|l| (l.key.clone(), l.row));
    let left_out: Vec<(Key, u64)> = left_out.collect();
    assert_eq!(
        (parcel.rows, left_out),
        (3, vec![(Key::Int(2), 1002), (Key::Int(4), 1004)])
    );
    let digest = [0, 1, 3].iter().fold(0u64, |sum, id| {
        sum.wrapping_add(milvusdm::simd::row_digest(*id, &vector(F32X4, *id)))
    });
    assert_eq!(parcel.digest, digest);
    assert_eq!(lenient.deliver(&parcel, Attempt::First).unwrap().rows, 3);
    let all_odd = batch_of(
        F32X4,
        1,
        vec![7],
        [f32::NAN; 4].iter().flat_map(|f| f.to_le_bytes()).collect(),
    );
    let parcel = lenient.pack(all_odd, Buffers::default().take()).unwrap();
    assert_eq!((parcel.rows, parcel.body_bytes()), (0, 0));
    assert_eq!(lenient.deliver(&parcel, Attempt::First).unwrap().rows, 0);
    finish(&*lenient, &place).unwrap();
    assert_eq!(lenient.count(&place).unwrap(), statistics(3));
}

/// Sent to such collections, rows are acknowledged and then end the server for good.
#[test]
fn the_poisonous_requests_are_never_sent() {
    let server = Server::shared(Engine::Standalone);
    let (dim2, text) = (fresh("dim2"), fresh("text"));
    python(
        server,
        "Collection(sys.argv[2], fields(ID, FieldSchema('embedding', DataType.FLOAT_VECTOR, dim=2)))
Collection(sys.argv[3], fields(FieldSchema('id', DataType.VARCHAR, max_length=9, is_primary=True), V))",
        &[&dim2, &text],
    );
    for (name, words) in [
        (
            &dim2,
            "has embedding FLOAT_VECTOR(2), but the vectors of the source are FLOAT_VECTOR(4)",
        ),
        (
            &text,
            "has a VARCHAR primary key `id`, but the ids of the source are INT64",
        ),
    ] {
        let sink = on(server, &format!("collection: {name}"));
        let place = target(&*sink, F32X4);
        let error = sink.decide(&place).unwrap_err();
        assert_eq!((error.kind(), error.kind().exit_code()), (Kind::Refused, 5));
        assert!(
            error.what().starts_with("schema mismatch: ") && error.what().contains(words),
            "{error}"
        );
    }
}

#[test]
fn rows_that_were_not_flushed_when_a_job_began_are_counted_as_there_before() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("unflushed");
    python(
        server,
        "c = Collection(sys.argv[2], fields(ID, V))
c.insert([[1, 2, 3], [[0.0] * 4] * 3])",
        &[&name],
    );
    let sink = on(server, &format!("collection: {name}"));
    let place = target(&*sink, F32X4);
    let first = sink.decide(&place).unwrap();
    assert!(!first.ours, "statistics cannot say that it is empty");
    let (decision, count) = carry(&*sink, &place, 10..20).unwrap();
    assert_eq!((decision.rows_before, count), (3, statistics(13)));

    let empty = fresh("empty");
    python(server, "Collection(sys.argv[2], fields(ID, V))", &[&empty]);
    let sink = on(server, &format!("collection: {empty}"));
    let place = target(&*sink, F32X4);
    let (decision, _) = carry(&*sink, &place, 10..20).unwrap();
    assert!(decision.ours, "after a flush they can");
}

#[test]
fn aliases_and_databases_are_understood() {
    let server = Server::shared(Engine::Standalone);
    let (name, alias, shop) = (fresh("real"), fresh("alias"), fresh("shop"));
    python(
        server,
        "Collection(sys.argv[2], fields(ID, V))
utility.create_alias(sys.argv[2], sys.argv[3])
db.create_database(sys.argv[4])",
        &[&name, &alias, &shop],
    );
    let sink = on(server, &format!("collection: {alias}, mode: overwrite"));
    let place = target(&*sink, F32X4);
    let error = sink.decide(&place).unwrap_err();
    assert!(error.what().contains("is an alias of"), "{error}");
    let sink = on(server, &format!("collection: {alias}"));
    assert_eq!(carry(&*sink, &place, 0..10).unwrap().1, statistics(10));
    let direct = on(server, &format!("collection: {name}"));
    assert_eq!(direct.count(&target(&*direct, F32X4)).unwrap().rows, 10);

    let sink = on(server, &format!("collection: {name}, db: {shop}"));
    let place = target(&*sink, F32X4);
    let (decision, count) = carry(&*sink, &place, 0..7).unwrap();
    assert_eq!((decision.action, count), (Action::Create, statistics(7)));
    let error = open_milvus(
        &format!(
            "address: '{}', collection: c, db: nowhere",
            server.address()
        ),
        "",
    );
    let error = error.err().unwrap();
    assert!(error.what().contains("database"), "{error}");
    assert_eq!(error.kind(), Kind::Refused);
}

#[test]
fn a_collection_or_partition_dropped_midway_is_said_to_be_gone() {
    let server = Server::shared(Engine::Standalone);
    let name = fresh("midway");
    let sink = on(server, &format!("collection: {name}, partition: p"));
    let place = target(&*sink, F32X4);
    carry(&*sink, &place, 0..10).unwrap();
    python(
        server,
        "Collection(sys.argv[2]).drop_partition('p')",
        &[&name],
    );
    let error = deliver(&*sink, batch(F32X4, 5, 0..10), Attempt::First).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(
        error
            .what()
            .contains("the partition is not there (any more)"),
        "{error}"
    );
    python(server, "utility.drop_collection(sys.argv[2])", &[&name]);
    let error = deliver(&*sink, batch(F32X4, 5, 0..10), Attempt::First).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(
        error
            .what()
            .contains("the collection is not there (any more)"),
        "{error}"
    );
}

/// What pymilvus sends for the same rows says the same.
#[test]
fn an_insert_says_what_pymilvus_says() {
    use milvusdm::milvus::proto::InsertRequest;
    use prost::Message;
    let server = Server::shared(Engine::Standalone);
    let name = fresh("same");
    let sink = on(server, &format!("collection: {name}, partition: p"));
    let place = target(&*sink, F32X4);
    let decision = sink.decide(&place).unwrap();
    sink.prepare(&place, &decision, false).unwrap();
    let hex = python(
        server,
        "import struct
from pymilvus.client.prepare import Prepare
ids = [-5, 0, 300]
rows = [[float(i) + k / 1024 for k in range(4)] for i in ids]
entities = [dict(name='id', type=DataType.INT64, values=ids), dict(name='embedding', type=DataType.FLOAT_VECTOR, values=rows)]
info = Collection(sys.argv[2]).schema.to_dict()['fields']
print(Prepare.batch_insert_param(sys.argv[2], entities, 'p', info).SerializeToString().hex())",
        &[&name],
    );
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    let theirs = InsertRequest::decode(&*bytes).unwrap();
    let ids = vec![-5, 0, 300];
    let rows: Vec<u8> = ids.iter().flat_map(|id| vector(F32X4, *id)).collect();
    let parcel = sink
        .pack(batch_of(F32X4, 0, ids, rows), Buffers::default().take())
        .unwrap();
    let body: Vec<u8> = parcel.body.iter().flat_map(|b| b.to_vec()).collect();
    let ours = InsertRequest::decode(&body[5..]).unwrap();
    assert_eq!(ours, theirs);
}
