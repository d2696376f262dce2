//! Columns of every type, and how pymilvus gives their values.

use std::sync::Arc;

use arrow_array::{ArrayRef, LargeBinaryArray, ListArray, StringArray};
use milvusdm::schema::{Column, ColumnType, Element, Role, Scalar, VectorType};
use serde_json::{Value, json};

/// A column, and how pymilvus gives its values.
pub struct Case {
    pub column: Column,
    pub values: ArrayRef,
    pub given: Vec<Value>,
}

impl Case {
    pub fn new(name: &str, kind: ColumnType, values: ArrayRef, given: Vec<Value>) -> Case {
        let column = Column::new(name, kind);
        Case {
            column,
            values,
            given,
        }
    }
}

pub fn scalar<T, A>(name: &str, scalar: Scalar, values: Vec<T>) -> Case
where
    T: Clone + Into<Value>,
    A: From<Vec<T>> + arrow_array::Array + 'static,
{
    let given = values.iter().cloned().map(Into::into).collect();
    Case::new(
        name,
        ColumnType::Scalar(scalar),
        Arc::new(A::from(values)),
        given,
    )
}

/// As many values as there are rows, these over and over.
pub fn cycle<T: Clone>(rows: usize, values: &[T]) -> Vec<T> {
    values.iter().cloned().cycle().take(rows).collect()
}

pub fn texts(values: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Lists of `lengths[row % 3]` of these values: empty ones among them.
pub fn lists(
    of: Scalar,
    rows: usize,
    values: ArrayRef,
    each: Vec<Value>,
) -> (ArrayRef, Vec<Value>) {
    let lengths: Vec<usize> = cycle(rows, &[0, 2, 1]);
    let total: usize = lengths.iter().sum();
    let kind = ColumnType::Array {
        of,
        capacity: None,
        max_bytes: None,
    };
    let arrow_schema::DataType::List(field) = kind.arrow() else {
        panic!("arrays are lists");
    };
    let mut at = 0;
    let given = lengths.iter().map(|len| {
        at += len;
        Value::from(each[at - len..at].to_vec())
    });
    let given = given.collect();
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths.iter().copied());
    (
        Arc::new(ListArray::new(field, offsets, values.slice(0, total), None)),
        given,
    )
}

pub fn array(of: Scalar, rows: usize, values: ArrayRef, each: Vec<Value>) -> Case {
    let kind = ColumnType::Array {
        of,
        capacity: Some(8),
        max_bytes: Some(64),
    };
    let (values, given) = lists(of, rows, values, each);
    Case::new(&format!("a_{}", of.name()), kind, values, given)
}

/// Scalars, texts, JSON and arrays: what all three servers have.
pub fn common(rows: usize) -> Vec<Case> {
    use arrow_array::{
        BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    };
    let floats = cycle(rows, &[0.5f32, -0.0, f32::MAX, f32::MIN_POSITIVE / 4.0]);
    let doubles = cycle(rows, &[0.1f64, -0.0, f64::MAX, 5e-324]);
    let words: Vec<String> = cycle(rows, &["", "a\"\\\n", "ü😀", "\u{0}nul"].map(str::to_owned));
    let mut long = words.clone();
    long[1] = "x".repeat(65_535);
    let json = [
        r#"{"k": [1, null, "ü"]}"#,
        r#"{"big": 12345678901234567890}"#,
        "{}",
    ];
    let json: Vec<String> = cycle(rows, &json.map(str::to_owned));
    let dynamic = [r#"{"extra": 1, "n": {"x": [true]}}"#, "{}"].map(str::to_owned);
    let dynamic: Vec<String> = cycle(rows, &dynamic);
    let parsed = |texts: &[String]| -> Vec<Value> {
        texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    };
    let given =
        |texts: &[String]| -> Vec<Value> { texts.iter().cloned().map(Value::from).collect() };
    let mut all = vec![
        scalar::<bool, BooleanArray>("c_bool", Scalar::Bool, cycle(rows, &[true, false])),
        scalar::<i8, Int8Array>("c_int8", Scalar::Int8, cycle(rows, &[i8::MIN, -1, i8::MAX])),
        scalar::<i16, Int16Array>(
            "c_int16",
            Scalar::Int16,
            cycle(rows, &[i16::MIN, -1, i16::MAX]),
        ),
        scalar::<i32, Int32Array>(
            "c_int32",
            Scalar::Int32,
            cycle(rows, &[i32::MIN, -1, i32::MAX]),
        ),
        scalar::<i64, Int64Array>(
            "c_int64",
            Scalar::Int64,
            cycle(rows, &[i64::MIN, -1, i64::MAX]),
        ),
        scalar::<f32, Float32Array>("c_float", Scalar::Float, floats.clone()),
        scalar::<f64, Float64Array>("c_double", Scalar::Double, doubles.clone()),
        Case::new(
            "c_text",
            ColumnType::VarChar { max_bytes: None },
            texts(&long),
            given(&long),
        ),
        Case::new("c_json", ColumnType::Json, texts(&json), parsed(&json)),
    ];
    let mut rest = Case::new("rest", ColumnType::Json, texts(&dynamic), parsed(&dynamic));
    rest.column.role = Role::Dynamic;
    all.push(rest);
    fn each<T: Clone + Into<Value>>(values: &[T]) -> Vec<Value> {
        values.iter().cloned().map(Into::into).collect()
    }
    macro_rules! arrays {
        ($($of:ident $array:ident $values:expr;)*) => {
            $(
                let values = $values;
                all.push(array(Scalar::$of, rows, Arc::new($array::from(values.clone())), each(&values)));
            )*
        };
    }
    arrays!(
        Bool BooleanArray cycle(rows, &[true, false]);
        Int8 Int8Array cycle(rows, &[i8::MIN, -1, 7]);
        Int16 Int16Array cycle(rows, &[i16::MIN, -1, 7]);
        Int32 Int32Array cycle(rows, &[i32::MIN, -1, 7]);
        Int64 Int64Array cycle(rows, &[i64::MIN, -1, i64::MAX]);
        Float Float32Array floats;
        Double Float64Array doubles;
        VarChar StringArray words.iter().map(|w| w.as_str()).collect::<Vec<_>>();
    );
    all
}

/// Dense vectors of a type: any bytes that are finite.
pub fn vectors(name: &str, element: Element, rows: usize) -> Case {
    let kind = VectorType {
        element,
        dimension: 8,
    };
    let width = kind.row_bytes() as usize;
    let bytes: Vec<u8> = match element {
        Element::Float32 => (0..rows * 8)
            .flat_map(|i| (i as f32 / 3.0).to_le_bytes())
            .collect(),
        _ => (0..rows * width).map(|i| (i * 7) as u8 & 0x3f).collect(),
    };
    let given = bytes.chunks_exact(width).map(|row| {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        Value::from(hex.concat())
    });
    let given = given.collect();
    let array = arrow_array::FixedSizeBinaryArray::new(width as i32, bytes.into(), None);
    Case::new(name, ColumnType::Vector(kind), Arc::new(array), given)
}

/// Sparse vectors, an empty one among them where the server has such.
pub fn sparse(rows: usize, with_empty: bool) -> Case {
    let row = |pairs: &[(u32, f32)]| -> Vec<u8> {
        let words = pairs
            .iter()
            .flat_map(|(i, v)| [i.to_le_bytes(), v.to_le_bytes()]);
        words.flatten().collect()
    };
    let first: &[(u32, f32)] = if with_empty { &[] } else { &[(1, 0.5)] };
    let pairs = cycle(
        rows,
        &[first, &[(3, 1.5), (70_000, 2.0)], &[(u32::MAX - 1, 0.25)]],
    );
    let given = pairs
        .iter()
        .map(|pairs| Value::from(pairs.iter().map(|(i, v)| json!([i, v])).collect::<Vec<_>>()));
    let given = given.collect();
    let bytes: Vec<Vec<u8>> = pairs.iter().map(|pairs| row(pairs)).collect();
    let array = LargeBinaryArray::from_iter_values(bytes);
    Case::new("v_sparse", ColumnType::Sparse, Arc::new(array), given)
}
