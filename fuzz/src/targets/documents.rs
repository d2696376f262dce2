//! JSON documents as servers give them: what the scanner takes for JSON, and what it makes of it.

use arrow_array::cast::AsArray;
use milvusdm::json::is_json;
use milvusdm::schema::{Column, ColumnType, Element, VectorType};
use milvusdm::source::documents::{Layout, Profile, Rows, Scan};

/// A layout with vectors of every element that JSON has a spelling for.
fn layout() -> Layout {
    let vector = |name: &str, element| {
        let kind = VectorType {
            element,
            dimension: 8,
        };
        Column {
            nullable: true,
            ..Column::new(name, ColumnType::Vector(kind))
        }
    };
    let vectors = vec![
        vector("f", Element::Float32),
        vector("a.i", Element::Int8),
        vector("b", Element::Bit),
        vector("h", Element::BFloat16),
    ];
    Layout::new(
        Column::key("_id", ColumnType::VarChar { max_bytes: None }),
        vectors,
    )
    .expect("the names differ")
}

/// What is read as a document is JSON to everybody else, and so is the rest of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let layout = layout();
    let mut rows = Rows::new(&layout);
    let mut scan = Scan::new(text);
    let read = rows.read(&mut scan);
    if read.is_err() || scan.end().is_err() {
        return;
    }
    rows.keep("key");
    assert!(is_json(text), "read what is no JSON");
    let columns = rows.finish();
    let rest = columns[5].as_string::<i32>().value(0);
    assert!(is_json(rest), "the rest is no JSON: {rest}");
    let mut profile = Profile::default();
    if profile.note(rest).is_ok() {
        profile.lines();
    }
}

/// Documents of all shapes.
pub fn seeds() -> Vec<Vec<u8>> {
    let all = [
        r#"{"f": [0.1, -2e-3, 3, 4, 5, 6, 7, 1e38], "n": 1.50, "t": "ü\n\ud83d\ude00", "l": [1, [2, {}]], "z": null}"#,
        r#"{"a": {"i": [1, -128, 3, 4, 5, 6, 7, 127], "x": {}}, "a.y": true, "b": [255], "": "empty", "f": null}"#,
        r#" { "h" : [ 1 , 2 , 3 , 4 , 5 , 6 , 7 , 8 ] , "f" : "PczMzT3MzM09zMzNPczMzT3MzM09zMzNPczMzT3MzM0=" } "#,
        r#"{"b": "ff", "a.i": "0102030405060708", "big": 123456789012345678901234567890, "neg": -0.0e-400}"#,
    ];
    all.map(|text| text.as_bytes().to_vec()).to_vec()
}
