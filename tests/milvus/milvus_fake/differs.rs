//! A collection that differs in several ways, and an index that is for other vectors: all is told in one go.

use std::sync::Arc;

use milvusdm::batch::Target;
use milvusdm::error::Kind;
use milvusdm::milvus::proto::{FieldSchema, data_type};
use milvusdm::schema::{Column, ColumnType, Columns, Element, Metric, Scalar, VectorType};

use super::support::fake_milvus::Fake;
use super::support::target;
use super::{F32X4, collection, embedding, field, key, open};

const BITS: VectorType = VectorType {
    element: Element::Bit,
    dimension: 32,
};

/// A target with more columns than a key and a vector.
fn with(target: Target, columns: Vec<Column>) -> Target {
    let all = target.columns.all().iter().cloned().chain(columns);
    let columns: Arc<Columns> = Columns::new(all.collect()).unwrap();
    Target { columns, ..target }
}

#[test]
fn all_that_differs_is_told_in_one_error() {
    let text_key = FieldSchema {
        data_type: data_type::VARCHAR,
        ..key()
    };
    let fields = vec![
        text_key,
        embedding(2),
        field("price", data_type::DOUBLE),
        field("owner", data_type::INT64),
    ];
    let fake = Fake::start("v2.3.5");
    fake.has(collection(fields), 10);
    let sink = open(&fake, "", "").unwrap();
    let scalar = |name: &str, scalar| Column::new(name, ColumnType::Scalar(scalar));
    let columns = vec![
        scalar("price", Scalar::Int64),
        scalar("stock", Scalar::Int32),
        scalar("size", Scalar::Float),
    ];
    let target = with(target(&*sink, F32X4), columns);
    let error = sink.decide(&target).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    let said = error.to_string();
    for part in [
        "5 mistakes",
        "has a VARCHAR primary key `id`, but the ids of the source are INT64",
        "has embedding FLOAT_VECTOR(2), but the vectors of the source are FLOAT_VECTOR(4)",
        "has price DOUBLE, but column `price` is int64",
        "has no fields `stock`, `size`",
        "needs values that the source does not have: owner INT64",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert_eq!(fake.arrived().len(), 0);
}

#[test]
fn an_index_for_other_vectors_is_refused_with_what_would_do() {
    let fake = Fake::start("v2.3.5");
    let int8 = VectorType {
        element: Element::Int8,
        ..F32X4
    };
    for (kind, settings, parts) in [
        (
            F32X4,
            "metric: L2, index: {type: BIN_FLAT}",
            &[
                "BIN_FLAT cannot hold float32 vectors",
                "FLAT, IVF_FLAT",
                "`pack: bits`",
            ][..],
        ),
        (
            int8,
            "metric: L2, index: {type: BIN_IVF_FLAT, params: {nlist: 8}}",
            &["BIN_IVF_FLAT cannot hold int8 vectors"],
        ),
        (
            BITS,
            "metric: HAMMING, index: {type: IVF_FLAT, params: {nlist: 8}}",
            &[
                "IVF_FLAT cannot hold binary vectors",
                "BIN_FLAT",
                "`as: float32`",
            ],
        ),
        (
            BITS,
            "metric: L2, index: {type: HNSW}",
            &[
                "metric L2 does not apply to",
                "HNSW cannot hold binary vectors",
            ],
        ),
    ] {
        let sink = open(&fake, settings, "").unwrap();
        let error = sink.decide(&target(&*sink, kind)).unwrap_err();
        let said = error.to_string();
        for part in parts {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
    }
    // Of several vectors, some have to be such as it is for.
    let fake = Fake::start("v2.5.0");
    let vector = |kind| vec![Column::new("other", ColumnType::Vector(kind))];
    let sink = open(&fake, "metric: L2, index: {type: BIN_FLAT}", "").unwrap();
    let error = sink.decide(&with(target(&*sink, F32X4), vector(F32X4)));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Job);
    assert!(error.to_string().contains("cannot hold"), "{error}");
    let sink = open(&fake, "metric: HAMMING, index: {type: BIN_FLAT}", "").unwrap();
    let mut columns = target(&*sink, F32X4).columns.all().to_vec();
    columns[1].metric = Some(Metric::L2);
    columns.extend(vector(BITS));
    let columns = Columns::new(columns).unwrap();
    let both = Target {
        columns,
        ..target(&*sink, F32X4)
    };
    sink.decide(&both).unwrap();
}
