//! Servers that misbehave, and servers of versions that cannot be had here.

mod differs;
mod replaced;

use crate::support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Keys, Part, Position};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Kind, Result};
use milvusdm::milvus::proto::{CollectionSchema, FieldSchema, KeyValue, ValueField, data_type};
use milvusdm::milvus::{Client, Deadlines, Login, Settings, Write};
use milvusdm::schema::{Columns, Element, Metric, VectorType};
use milvusdm::sink::{Action, Attempt, Redelivery, Sink};

use support::fake_milvus::{Fake, Misbehave};
use support::{open_milvus, target};

fn open(fake: &Fake, sink: &str, run: &str) -> Result<Box<dyn Sink>> {
    let address = &fake.address;
    open_milvus(&format!("address: '{address}', collection: c, {sink}"), run)
}

const F32X4: VectorType = VectorType {
    element: Element::Float32,
    dimension: 4,
};

fn batch(kind: VectorType, rows: usize) -> Batch {
    let columns = Columns::plain("id", "embedding", kind).unwrap();
    let bytes = vec![0x3d; kind.row_bytes() as usize * rows];
    let file: Arc<Path> = Path::new("x").into();
    let ids = (0..rows as i64).collect();
    Batch {
        id: BatchId {
            run: 7,
            shard: 1,
            index: 2,
        },
        target: 0,
        first_row: 100,
        parts: vec![Part::of_vectors(&columns, ids, Bytes::from(bytes), &file, 0).unwrap()],
        next: Position::Row(0),
    }
}

/// A sink with a target made ready.
fn ready(fake: &Fake, sink: &str, run: &str, kind: VectorType) -> Box<dyn Sink> {
    let sink = open(fake, sink, run).unwrap();
    let target = target(&*sink, kind);
    let decision = sink.decide(&target).unwrap();
    sink.prepare(&target, &decision, false).unwrap();
    sink
}

fn deliver(sink: &dyn Sink, kind: VectorType, attempt: Attempt) -> Result<u32> {
    let parcel = sink.pack(batch(kind, 3), Buffers::default().take())?;
    Ok(sink.deliver(&parcel, attempt)?.rows)
}

#[test]
fn every_answer_is_sorted_by_what_happens_next() {
    let fake = Fake::start("v2.3.5");
    let sink = ready(&fake, "", "", F32X4);
    let check = |misbehave: Misbehave, kind: Kind, words: &str| {
        fake.next(misbehave.clone());
        let error = deliver(&*sink, F32X4, Attempt::First).unwrap_err();
        assert_eq!(error.kind(), kind, "{misbehave:?}: {error}");
        let said = error.to_string();
        assert!(said.contains(words), "{misbehave:?}: {said}");
        assert!(
            said.contains("0000000000000007/00001/000002"),
            "no batch in {said}"
        );
    };
    use Misbehave::*;
    check(
        Status(49, 8, "rate limit exceeded"),
        Kind::Busy,
        "rate limit exceeded",
    );
    check(
        Status(48, 9, "disk quota exceeded"),
        Kind::Full,
        "disk quota exceeded",
    );
    check(
        Status(4, 100, "collection not found"),
        Kind::Refused,
        "dropped or renamed",
    );
    check(
        Status(15, 200, "partition not found"),
        Kind::Refused,
        "partition is not there",
    );
    check(
        Status(0, 1100, "only code is set"),
        Kind::Refused,
        "only code is set",
    );
    check(
        Status(5, 0, "only error_code is set"),
        Kind::Refused,
        "only error_code is set",
    );
    check(
        Grpc(8, "larger than max (9 vs. 8)"),
        Kind::TooMuch,
        "larger than max (9 vs. 8)",
    );
    check(
        Grpc(16, "auth check failure"),
        Kind::Refused,
        "check `user` and `password`",
    );
    check(
        Grpc(7, "PrivilegeInsert"),
        Kind::Refused,
        "lacks a privilege",
    );
    check(
        Grpc(14, "going down"),
        Kind::Lost,
        "may or may not have arrived",
    );
    check(
        Grpc(13, "internal%20error"),
        Kind::Refused,
        "internal error",
    );
    check(
        Acknowledge(2),
        Kind::Differs,
        "3 rows were sent, but 2 were acknowledged",
    );
    check(Garbage, Kind::Refused, "cannot be read");
    check(TakeAndCut, Kind::Lost, "may or may not have arrived");
    assert_eq!(
        deliver(&*sink, F32X4, Attempt::First).unwrap(),
        3,
        "and then continues"
    );
}

#[test]
fn a_server_that_never_answers_is_given_up_after_the_deadline() {
    let fake = Fake::start("v2.3.5");
    let settings = Settings {
        address: format!("http://{}", fake.address),
        login: Login::None,
        db: String::new(),
        tls: None,
        deadlines: Deadlines {
            write: Duration::from_millis(200),
            ..Deadlines::default()
        },
    };
    let client = Client::open(&settings, 1).unwrap();
    fake.next(Misbehave::Hang);
    let began = Instant::now();
    let body = [Bytes::from_static(&[0, 0, 0, 0, 0])];
    let error = client.write(Write::Insert, &body, "k").unwrap_err();
    assert_eq!(error.kind(), Kind::Slow, "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_nobody_listens_to_is_unreachable() {
    let mut fake = Fake::start("v2.3.5");
    fake.address = "127.0.0.1:1".into();
    let error = open(&fake, "", "").err().unwrap();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_milvus_1_server_is_told_apart_and_spoken_to_in_its_own_words() {
    let fake = Fake::start("1.1.1");
    let sink = open(&fake, "", "").unwrap();
    assert!(
        sink.describe().starts_with("Milvus 1.1.1 at "),
        "{}",
        sink.describe()
    );
    let error = open(&fake, "token: secret", "").err().unwrap();
    assert_eq!(error.kind(), Kind::Job);
    assert!(
        error
            .what()
            .contains("is Milvus 1.1.1, which has no logins"),
        "{error}"
    );
}

#[test]
fn old_servers_and_named_ones_say_what_they_are() {
    for (version, shown) in [
        ("v2.1.4", "Milvus v2.1.4"),
        ("milvus_lite-9.1", "Milvus Lite 9.1"),
    ] {
        let fake = Fake::start(version);
        let described = open(&fake, "", "").unwrap().describe();
        assert_eq!(described, format!("{shown} at http://{}", fake.address));
    }
}

#[test]
fn requests_bear_login_database_and_key() {
    let fake = Fake::start("v2.3.5");
    let sink = ready(&fake, "user: root, password: Milvus, db: shop", "", F32X4);
    deliver(&*sink, F32X4, Attempt::First).unwrap();
    let arrived = fake.arrived().remove(0);
    assert_eq!(
        arrived.headers,
        [
            "0000000000000007/00001/000002/100+3",
            "cm9vdDpNaWx2dXM=",
            "shop"
        ]
    );
    assert_eq!(arrived.request.db_name, "shop");
    assert!(!sink.describe().contains("Milvus:"), "{}", sink.describe());

    let error = open(&fake, "db: nowhere", "").err().unwrap();
    assert_eq!(
        (error.kind(), error.what(), error.hint_text()),
        (
            Kind::Refused,
            "there is no database `nowhere`",
            Some("there are: default, shop")
        )
    );
}

#[test]
fn a_batch_in_doubt_goes_as_an_upsert_unless_the_job_says_resend() {
    let cases = [
        ("", "", "Upsert"),
        ("", "on_doubt: resend", "Insert"),
        ("auto_id: true", "on_doubt: resend", "Insert"),
    ];
    for (sink, run, method) in cases {
        let fake = Fake::start("v2.3.5");
        let sink = ready(&fake, sink, run, F32X4);
        deliver(&*sink, F32X4, Attempt::First).unwrap();
        deliver(&*sink, F32X4, Attempt::Again).unwrap();
        let arrived = fake.arrived();
        assert_eq!(arrived[0].method, "Insert");
        assert_eq!(arrived[1].method, method);
        assert_eq!(
            arrived[0].request, arrived[1].request,
            "the very same bytes"
        );
    }
}

#[test]
fn what_a_second_arrival_does_depends_on_keys_and_on_whose_rows_are_there() {
    let fake = Fake::start("v2.3.5");
    let check = |sink: &str, run: &str, keys: Keys, harmless: bool| {
        let sink = open(&fake, sink, run).unwrap();
        let mut target = target(&*sink, F32X4);
        target.keys = keys;
        let decision = sink.decide(&target).unwrap();
        let redelivery = sink.redelivery(&target, &decision);
        assert_eq!(
            redelivery == Redelivery::Harmless,
            harmless,
            "{redelivery:?}"
        );
    };
    check("", "", Keys::Stored, true);
    check("auto_id: true", "", Keys::Stored, false);
    check("", "id_collision: keep", Keys::Stored, false);
    check("", "id_collision: keep", Keys::RowNumbers, true);
    fake.has(collection(vec![key(), embedding(4)]), 10);
    check("", "", Keys::Stored, false);
    check("mode: overwrite", "", Keys::Stored, true);
}

#[test]
fn types_that_a_version_has_are_sent_as_they_are_and_others_refused() {
    let cases = [
        (Element::Float16, "v2.3.5", "v2.4.0"),
        (Element::BFloat16, "v2.3.5", "v2.4.0"),
        (Element::Int8, "v2.5.1", "v2.6.0"),
    ];
    for (element, without, with) in cases {
        let kind = VectorType {
            element,
            dimension: 8,
        };
        let fake = Fake::start(without);
        let sink = open(&fake, "", "").unwrap();
        let error = sink.decide(&target(&*sink, kind)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert_eq!(fake.calls("CreateCollection"), 0);

        let fake = Fake::start(with);
        let sink = ready(&fake, "", "", kind);
        deliver(&*sink, kind, Attempt::First).unwrap();
        let field = fake.arrived()[0].request.fields_data[1].clone();
        let vectors = field.vectors.unwrap();
        assert_eq!(vectors.dim, 8);
        let bytes = match element {
            Element::Float16 => vectors.float16_vector,
            Element::BFloat16 => vectors.bfloat16_vector,
            _ => vectors.int8_vector,
        };
        assert_eq!(bytes.unwrap(), vec![0x3d; kind.row_bytes() as usize * 3]);
    }
}

fn collection(fields: Vec<FieldSchema>) -> CollectionSchema {
    CollectionSchema {
        name: "c".into(),
        fields,
        ..CollectionSchema::default()
    }
}

fn field(name: &str, data_type: i32) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        data_type,
        ..FieldSchema::default()
    }
}

fn key() -> FieldSchema {
    FieldSchema {
        is_primary_key: true,
        ..field("id", data_type::INT64)
    }
}

fn embedding(dimension: u32) -> FieldSchema {
    FieldSchema {
        type_params: vec![KeyValue::new("dim", dimension.to_string())],
        ..field("embedding", data_type::FLOAT_VECTOR)
    }
}

/// The three requests that real servers acknowledge and die of, and those that are merely wrong: none is sent.
#[test]
fn a_collection_that_does_not_fit_gets_not_a_byte() {
    let varchar_key = FieldSchema {
        data_type: data_type::VARCHAR,
        ..key()
    };
    let auto_key = FieldSchema {
        auto_id: true,
        ..key()
    };
    let other_key = FieldSchema {
        name: "pk".into(),
        ..key()
    };
    let other_vector = FieldSchema {
        name: "vec".into(),
        ..embedding(4)
    };
    let binary = FieldSchema {
        data_type: data_type::BINARY_VECTOR,
        ..embedding(8)
    };
    let no_dimension = field("embedding", data_type::FLOAT_VECTOR);
    let cases = [
        (
            vec![key(), embedding(2)],
            "has embedding FLOAT_VECTOR(2), but the vectors of the source are FLOAT_VECTOR(4)",
        ),
        (
            vec![key(), no_dimension],
            "has embedding FLOAT_VECTOR, but the vectors",
        ),
        (vec![key(), binary], "has embedding BINARY_VECTOR(8)"),
        (
            vec![varchar_key, embedding(4)],
            "has a VARCHAR primary key `id`, but the ids of the source are INT64",
        ),
        (vec![auto_key, embedding(4)], "generates its own ids"),
        (
            vec![other_key, embedding(4)],
            "has its ids in `pk`, not in `id`",
        ),
        (vec![key(), other_vector], "has no field `embedding`"),
        (vec![embedding(4)], "has no primary key"),
        (
            vec![key(), embedding(4), field("price", 10)],
            "needs values that the source does not have: price FLOAT",
        ),
    ];
    for (fields, words) in cases {
        let fake = Fake::start("v2.3.5");
        fake.has(collection(fields), 0);
        let sink = open(&fake, "", "").unwrap();
        let target = target(&*sink, F32X4);
        let error = sink.decide(&target).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        // Nor if it came to be so after the decision.
        let decision = milvusdm::sink::Decision {
            removes: None,
            replaces: 0,
            action: Action::Append,
            rows_before: 0,
            ours: false,
            why: String::new(),
        };
        for begun in [false, true] {
            assert!(sink.prepare(&target, &decision, begun).is_err());
        }
        assert_eq!(fake.arrived().len(), 0);
    }
}

#[test]
fn fields_that_fill_themselves_are_no_hindrance() {
    let fake = Fake::start("v2.6.0");
    let fields = vec![
        key(),
        embedding(4),
        FieldSchema {
            nullable: true,
            ..field("a", 10)
        },
        FieldSchema {
            default_value: Some(ValueField::default()),
            ..field("b", 10)
        },
        FieldSchema {
            is_dynamic: true,
            ..field("$meta", 23)
        },
        FieldSchema {
            is_function_output: true,
            ..field("d", data_type::SPARSE_FLOAT_VECTOR)
        },
    ];
    fake.has(collection(fields), 0);
    let sink = ready(&fake, "", "", F32X4);
    deliver(&*sink, F32X4, Attempt::First).unwrap();
}

#[test]
fn names_that_milvus_does_not_have_are_refused_before_anything_is_made() {
    let fake = Fake::start("v2.3.5");
    let check = |sink: &str, words: &str| {
        let sink = open(&fake, sink, "").unwrap();
        let error = sink.decide(&target(&*sink, F32X4)).unwrap_err();
        assert_eq!(error.kind(), Kind::Job);
        assert!(error.what().contains(words), "{error}");
    };
    check(
        "mode: overwrite, partition: _default",
        "partition cannot be dropped",
    );
    let sink = open(&fake, "", "").unwrap();
    // One that the job names is refused when the job is read.
    let mut part = target(&*sink, F32X4);
    part.name.partition = "a-b".to_owned();
    let error = sink.decide(&part).unwrap_err();
    assert_eq!(error.kind(), Kind::Job);
    let words = "does not allow the partition name `a-b`";
    assert!(error.what().contains(words), "{error}");
    for name in ["1st", "a b", "", "größe", &"x".repeat(256)] {
        let mut target = target(&*sink, F32X4);
        target.name.collection = name.to_owned();
        assert_eq!(
            sink.decide(&target).unwrap_err().kind(),
            Kind::Job,
            "{name}"
        );
    }
    assert_eq!(fake.calls("CreateCollection"), 0);
}

#[test]
fn metrics_and_indexes_that_cannot_be_are_refused_before_any_call() {
    let fake = Fake::start("v2.3.5");
    let bits = VectorType {
        element: Element::Bit,
        dimension: 8,
    };
    let check = |sink: &str, metric: Option<Metric>, kind: VectorType, expected: Option<Kind>| {
        let sink = open(&fake, sink, "").unwrap();
        let mut target = target(&*sink, kind);
        target.columns = target.columns.measured(metric.clone(), None);
        let got = sink.decide(&target).err().map(|e| e.kind());
        assert_eq!(got, expected, "{metric:?} {kind}");
    };
    let other = || Some(Metric::Other("L1".into()));
    check("", other(), F32X4, Some(Kind::Unsupported));
    check("metric: L2", other(), F32X4, None);
    check("metric: HAMMING", None, F32X4, Some(Kind::Job));
    check("", Some(Metric::L2), bits, Some(Kind::Job));
    check(
        "metric: TANIMOTO, index: {type: BIN_FLAT}",
        None,
        bits,
        None,
    );
    check(
        "metric: TANIMOTO, index: {type: HNSW}",
        None,
        bits,
        Some(Kind::Job),
    );
    check(
        "index: {type: BIN_FLAT}",
        Some(Metric::L2),
        F32X4,
        Some(Kind::Job),
    );
    check("index: {type: HNSW}", None, F32X4, Some(Kind::Job));
    check("index: source", None, F32X4, None);
    check("load: true", Some(Metric::L2), F32X4, Some(Kind::Job));
    check("auto_id: true", None, F32X4, None);
}

#[test]
fn what_cannot_be_carried_is_refused_before_anything_is_made() {
    let fake = Fake::start("v2.3.5");
    let sink = open(&fake, "", "").unwrap();
    let kind = |element, dimension| VectorType { element, dimension };
    for kind in [
        kind(Element::Float32, 32_769),
        kind(Element::Float16, 8),
        kind(Element::Bit, 65_536),
    ] {
        let error = sink.decide(&target(&*sink, kind)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    }
    assert_eq!(fake.calls("CreateCollection"), 0);
}

#[test]
fn what_is_left_behind_is_named() {
    let fake = Fake::start("v2.3.5");
    let sink = ready(&fake, "", "", F32X4);
    let place = target(&*sink, F32X4);
    deliver(&*sink, F32X4, Attempt::First).unwrap();
    let decision = sink.decide(&place).unwrap();
    let said = sink.abandon(&place, &decision).unwrap();
    assert!(
        said.contains("collection c") && said.contains("3 rows"),
        "{said}"
    );
}
