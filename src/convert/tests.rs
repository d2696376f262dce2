//! Columns of a source become those of a target: names, types, values out of JSON, what does not fit.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use bytes::Bytes;

use super::*;
use crate::batch::{BatchId, Keys, Position, Target, TargetName};
use crate::buffers::Buffers;
use crate::job::{FieldSettings, Job, Misfits, NonFinite};
use crate::schema::{Column, ColumnType, Element, Role, Scalar, VectorType};

const F32: VectorType = VectorType {
    element: Element::Float32,
    dimension: 2,
};

/// `doc` int64 key, `vec`, `name` varchar, `price` double that may be null, `meta` JSON, `rest` dynamic.
fn source() -> Arc<Columns> {
    let nullable = |column: Column| Column {
        nullable: true,
        ..column
    };
    let text = ColumnType::VarChar { max_bytes: None };
    let mut rest = Column::new("rest", ColumnType::Json);
    rest.role = Role::Dynamic;
    let price = ColumnType::Scalar(Scalar::Double);
    Columns::new(vec![
        Column::key("doc", ColumnType::Scalar(Scalar::Int64)),
        Column::new("vec", ColumnType::Vector(F32)),
        Column::new("name", text),
        nullable(Column::new("price", price)),
        nullable(Column::new("meta", ColumnType::Json)),
        rest,
    ])
    .unwrap()
}

fn rows() -> Part {
    let vectors: Vec<u8> = (1..=6u8).flat_map(|x| f32::from(x).to_le_bytes()).collect();
    let vectors = arrow_array::FixedSizeBinaryArray::new(8, Bytes::from(vectors).into(), None);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![7, 8, 9])),
        Arc::new(vectors),
        Arc::new(StringArray::from(vec!["12", "x", "3"])),
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(3.0)])),
        Arc::new(StringArray::from(vec![
            Some(r#"{"a": {"title": "one", "n": 12345678901234567890123}}"#),
            None,
            Some(r#"{"a": [1]}"#),
        ])),
        Arc::new(StringArray::from(vec![
            r#"{"color": "red", "size": 3}"#,
            r#"{"color": 5}"#,
            r#"{ }"#,
        ])),
    ];
    let file: Arc<Path> = Path::new("/data/x").into();
    Part::new(&source(), arrays, &file, 100).unwrap()
}

fn batch() -> Batch {
    Batch {
        id: BatchId {
            run: 1,
            shard: 0,
            index: 0,
        },
        target: 0,
        first_row: 0,
        parts: vec![rows()],
        next: Position::Row(3),
    }
}

fn fields(yaml: &str) -> FieldSettings {
    let text = format!("source: {{hdf5: {{}}}}\nsink: {{hdf5: {{}}}}\nfields: {yaml}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    job.check().unwrap();
    job.fields
}

fn rules(misfit: Misfits) -> Rules {
    Rules {
        non_finite: NonFinite::Fail,
        misfit,
    }
}

fn shape(yaml: &str, misfit: Misfits) -> Shape {
    let shape = Shape::of(&source(), &fields(yaml), misfit);
    shape.unwrap_or_else(|wrong| panic!("{wrong:?}")).unwrap()
}

fn converted(yaml: &str, misfit: Misfits) -> crate::error::Result<Converted> {
    shape(yaml, misfit).apply(batch(), rules(misfit), &Buffers::default())
}

fn wrong(yaml: &str) -> Vec<String> {
    let wrong = Shape::of(&source(), &fields(yaml), Misfits::Fail).unwrap_err();
    wrong
        .into_iter()
        .map(|(key, e)| format!("{key}: {e}"))
        .collect()
}

fn texts(part: &Part, name: &str) -> Vec<Option<String>> {
    let (number, _) = part.columns().named(name).unwrap();
    let array = part.column(number);
    let texts = array.as_string::<i32>().iter();
    texts.map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn a_job_that_says_nothing_leaves_columns_as_they_are() {
    assert!(
        Shape::of(&source(), &FieldSettings::unsaid(), Misfits::Fail)
            .unwrap()
            .is_none()
    );
}

#[test]
fn columns_get_names_types_and_values_out_of_json() {
    let yaml = "{id: pk, vector: v, columns: {title: {from: meta.a.title, type: varchar, max_length: 9},
        n: {from: meta.a.n, type: json}, color: {type: json}, size: {type: int32, nullable: true}, price: float, name: false}}";
    let made = converted(yaml, Misfits::Fail).unwrap();
    let part = &made.batch.parts[0];
    assert_eq!(
        part.columns().to_string(),
        "pk int64 key, v float32 × 2, price float null, meta json null, title varchar(9) null, n json null, color json null, \
         size int32 null, rest json dynamic"
    );
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(texts(part, "title"), [some("one"), None, None]);
    assert_eq!(
        texts(part, "n"),
        [some("12345678901234567890123"), None, None]
    );
    assert_eq!(texts(part, "color"), [some("\"red\""), some("5"), None]);
    assert_eq!(texts(part, "rest"), [some("{}"), some("{}"), some("{}")]);
    let size = part.column(7);
    assert_eq!(size.as_primitive::<Int32Type>().value(0), 3);
    assert_eq!(size.null_count(), 2);
    assert_eq!(part.ids(), [7, 8, 9]);
    assert_eq!(part.vectors_of(1), rows().vectors_of(1), "not converted");
    let shape = shape(yaml, Misfits::Fail);
    let told: Vec<&str> = shape.told().iter().map(|told| &*told.from).collect();
    assert_eq!(told[1], "vec float32 × 2");
    assert_eq!(told[4], "meta.a.title");
    assert_eq!(shape.name_of("vec").as_deref(), Some("v"));
    assert_eq!(shape.name_of("name"), None);
    let lost = [
        "left behind: name",
        "`price`: doubles are rounded to floats",
    ];
    assert!(
        lost.iter().all(|l| shape.lost().iter().any(|s| s == l)),
        "{:?}",
        shape.lost()
    );
}

#[test]
fn what_a_type_does_not_hold_is_refused_nulled_skipped_or_kept_beside() {
    let number = "{columns: {name: {type: int64, nullable: true}}}";
    let error = converted(number, Misfits::Fail).err().unwrap().to_string();
    let said = "/data/x: row 101 (id 8): `name` is \"x\", which int64 cannot hold\n";
    assert!(error.starts_with(said), "{error}");
    let ints = |part: &Part, name: &str| -> Vec<Option<i64>> {
        let (number, _) = part.columns().named(name).unwrap();
        part.column(number)
            .as_primitive::<Int64Type>()
            .iter()
            .collect()
    };
    let nulled = converted(number, Misfits::Null).unwrap();
    let part = &nulled.batch.parts[0];
    assert_eq!(ints(part, "name"), [Some(12), None, Some(3)]);
    let kept = converted(number, Misfits::Dynamic).unwrap();
    let part = &kept.batch.parts[0];
    assert_eq!(
        texts(part, "rest")[1].as_deref(),
        Some(r#"{"color":5,"name_misfit":"x"}"#)
    );
    let strict = "{columns: {name: int64, price: {nullable: false}}}";
    for rule in [Misfits::Null, Misfits::Dynamic, Misfits::Fail] {
        let error = converted(strict, rule).err().unwrap().to_string();
        assert!(error.contains("`name` is \"x\""), "{error}");
    }
    let skipped = converted(strict, Misfits::Skip).unwrap();
    let out: Vec<String> = skipped.left_out.iter().map(|l| l.key.to_string()).collect();
    assert_eq!(out, ["8"]);
    let parts = &skipped.batch.parts;
    assert_eq!(
        parts.iter().map(|p| p.ids().to_vec()).collect::<Vec<_>>(),
        [[7], [9]]
    );
    assert_eq!((parts[0].row, parts[1].row), (100, 102));
    let odd = "{columns: {x: {from: name.x, type: varchar}}}";
    let error = converted(odd, Misfits::Fail).err().unwrap().to_string();
    assert!(
        error.contains("(id 8): `x` is \"x\", which varchar cannot hold"),
        "{error}"
    );
    let price = "{columns: {price: {nullable: false}}}";
    let error = converted(price, Misfits::Fail).err().unwrap().to_string();
    assert!(
        error.contains("row 101 (id 8): `price` has no value"),
        "{error}"
    );
}

#[test]
fn the_rest_goes_where_the_job_says() {
    let names = |yaml: &str| shape(yaml, Misfits::Fail).to().to_string();
    assert_eq!(
        names("{rest: drop, columns: {price: double}}"),
        "doc int64 key, vec float32 × 2, price double null"
    );
    assert_eq!(names("{rest: drop}"), "float32 × 2", "plain");
    let made = converted("{rest: dynamic, columns: {price: double}}", Misfits::Fail).unwrap();
    assert_eq!(
        texts(&made.batch.parts[0], "rest")[0].as_deref(),
        Some(
            r#"{"color":"red","size":3,"name":"12","meta":{"a": {"title": "one", "n": 12345678901234567890123}}}"#
        )
    );
    assert_eq!(
        wrong("{rest: fail, columns: {price: double}}"),
        ["fields.rest: the job does not name name, meta, rest"]
    );
}

#[test]
fn what_cannot_be_is_told_with_its_key() {
    for (yaml, expected) in [
        (
            "{columns: {x: {from: price.a, type: json}}}",
            "fields.columns.x: `price` is double, not JSON",
        ),
        (
            "{columns: {x: {from: meta.a}}}",
            "fields.columns.x.type: a value from JSON needs a `type`",
        ),
        (
            "{columns: {price: 'array<int8>'}}",
            "fields.columns.price.type: price double cannot become array<int8>",
        ),
        (
            "{columns: {price: {as: float16}}}",
            "fields.columns.price: `as` and `normalize` are for vectors",
        ),
        (
            "{columns: {v: {from: vec, type: float_vector, as: int8}, x: {from: vec, type: binary_vector}}}",
            "fields.columns.x: float32 × 2 cannot become binary_vector",
        ),
        (
            "{columns: {doc: varchar}}",
            "fields.columns.doc: is the key",
        ),
        (
            "{columns: {x: {from: meta.a, type: sparse_float_vector}}}",
            "fields.columns.x.type: meta.a cannot become sparse",
        ),
    ] {
        let said = wrong(yaml);
        assert!(said[0].starts_with(expected), "{said:?}");
    }
}

#[test]
fn vectors_are_converted_each_as_its_column_says() {
    let made = converted(
        "{columns: {a: {from: vec, as: float16}, b: {from: vec, normalize: l2}}}",
        Misfits::Fail,
    )
    .unwrap();
    let part = &made.batch.parts[0];
    assert!(
        part.columns()
            .to_string()
            .contains("a float16 × 2, b float32 × 2")
    );
    assert_eq!(part.vectors_of(1).len(), 3 * 4);
    let b: Vec<f32> = part.vectors_of(2)[..8]
        .chunks(4)
        .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
        .collect();
    assert!((b[0] - 1.0 / 5f32.sqrt()).abs() < 1e-6, "{b:?}");
    assert_eq!(made.relative_error, Some(0.0));
}

#[test]
fn keys_are_made_of_columns_json_and_row_numbers() {
    let target = Target {
        number: 0,
        name: TargetName {
            collection: String::new(),
            partition: String::new(),
        },
        columns: source(),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: true,
        rows: 3,
        rows_deleted: 0,
        source: "/data/x".to_owned(),
    };
    let keying = |yaml: &str| {
        Keying::of(&target, &fields(&format!("{{id: {yaml}}}")))
            .map_err(|(key, e)| format!("{key}: {e}"))
    };
    let keyed = |yaml: &str| keying(yaml).unwrap().unwrap();
    let keys = |yaml: &str| {
        keyed(yaml)
            .apply(&rows(), 5)
            .map(|part| part.keys().map(|k| k.to_string()).collect::<Vec<_>>())
    };
    assert!(keying("{name: pk}").unwrap().is_none());
    assert_eq!(
        keys("{type: varchar, max_length: 20}").unwrap(),
        ["\"7\"", "\"8\"", "\"9\""]
    );
    assert_eq!(keys("{from: row_number}").unwrap(), ["5", "6", "7"]);
    assert_eq!(
        keyed("{from: row_number}").target(target.clone()).keys,
        Keys::RowNumbers
    );
    let by_name = keyed("{from: name}");
    let part = by_name.apply(&rows(), 0).unwrap();
    assert_eq!(
        part.columns().to_string(),
        "name varchar key, doc int64, vec float32 × 2, price double null, meta json null, rest json dynamic"
    );
    assert_eq!(part.key(1).to_string(), "\"x\"");
    let error = keys("{from: name, type: int64}").unwrap_err().to_string();
    assert_eq!(
        error,
        "/data/x: row 101: `name` is \"x\", which is not a valid int64 key"
    );
    let error = keys("{from: meta.a.title, type: varchar}")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/data/x: row 101: `meta.a.title` has no value, but each row needs a key"
    );
    let error = keys("{from: price, type: int64}").unwrap_err().to_string();
    assert!(
        error.contains("`price` is 1.5, which is not a valid int64 key"),
        "{error}"
    );
    assert!(
        keying("{from: price}")
            .unwrap_err()
            .starts_with("fields.id.from: `price` is double")
    );
    let error = keying("{from: price.x}").unwrap_err();
    assert!(error.contains("`price` is double, not JSON"), "{error}");
}
