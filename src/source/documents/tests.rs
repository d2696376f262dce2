//! Documents of all shapes, and invalid ones.

use arrow_array::cast::AsArray;

use super::*;
use crate::schema::Element;

fn kind(element: Element, dimension: u32) -> VectorType {
    VectorType { element, dimension }
}

fn layout(vectors: &[(&str, VectorType)]) -> Layout {
    let text = ColumnType::VarChar {
        max_bytes: Some(512),
    };
    let vectors = vectors
        .iter()
        .map(|(name, kind)| Column::new(*name, ColumnType::Vector(*kind)));
    Layout::new(Column::key("_id", text), vectors.collect()).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn vectors_go_to_their_columns_and_the_rest_stays_as_it_is_written() {
    let layout = layout(&[
        ("v", kind(Element::Float32, 2)),
        ("a.w", kind(Element::Int8, 2)),
    ]);
    let mut rows = Rows::new(&layout);
    let documents = [
        r#"{"title": "a\u00fc", "v": [0.5, -1e-3], "n": 1.50, "a": {"w": [1, -128], "x": [ 1 ]}}"#,
        r#"{"a.w": [3, 4], "v":[1,2], "a": {}, "v2": [1]}"#,
        r#" {"v" : [ 1 , 2 ] , "a" : { "w" : [5,6] } } "#,
    ];
    for (number, document) in documents.iter().enumerate() {
        let mut scan = Scan::new(document);
        assert_eq!(rows.read(&mut scan).unwrap(), None, "{document}");
        scan.end().unwrap();
        rows.keep(&format!("k{number}"));
    }
    let columns = rows.finish();
    let bytes = |n: usize| columns[n].as_fixed_size_binary().value_data().to_vec();
    assert_eq!(floats(&bytes(1)), [0.5, -1e-3, 1.0, 2.0, 1.0, 2.0]);
    assert_eq!(bytes(2), [1, 128, 3, 4, 5, 6]);
    let rest = columns[3].as_string::<i32>();
    assert_eq!(
        rest.value(0),
        r#"{"title":"a\u00fc","n":1.50,"a":{"x":[ 1 ]}}"#
    );
    assert_eq!(rest.value(1), r#"{"a":{},"v2":[1]}"#);
    assert_eq!(rest.value(2), r#"{"a":{}}"#);
    assert_eq!(columns[0].as_string::<i32>().value(2), "k2");
}

#[test]
fn a_document_without_its_vector_is_kept_or_dropped_as_one_likes() {
    let layout = layout(&[("v", kind(Element::Float32, 1))]);
    let mut rows = Rows::new(&layout);
    for (document, missing) in [
        (r#"{"v":[1]}"#, None),
        (r#"{"v":null}"#, Some("v")),
        (r#"{"v":[]}"#, Some("v")),
        (r#"{}"#, Some("v")),
        (r#"{"v":[2]}"#, None),
    ] {
        assert_eq!(
            rows.read(&mut Scan::new(document)).unwrap(),
            missing,
            "{document}"
        );
        match missing {
            None => rows.keep("k"),
            Some(_) => rows.drop_last(),
        }
    }
    assert_eq!(rows.len(), 2);
    let columns = rows.finish();
    assert_eq!(
        floats(columns[1].as_fixed_size_binary().value_data()),
        [1.0, 2.0]
    );
}

#[test]
fn what_is_wrong_with_a_vector_is_said_and_nothing_of_it_stays() {
    let layout = layout(&[("v", kind(Element::Float32, 2))]);
    let mut rows = Rows::new(&layout);
    for (document, expected) in [
        (r#"{"v":[1]}"#, "`v` has 1 dimensions, not 2"),
        (r#"{"v":[1,2,3,4,5]}"#, "`v` has 3 dimensions, not 2"),
        (r#"{"v":[1,"2"]}"#, "not JSON at byte"),
        (r#"{"v":7}"#, "`v` is 7, not a list of numbers"),
        (r#"{"v":[1,1e39]}"#, "which no float holds"),
        (r#"{"v":[1,2],"v":[1,2]}"#, "`v` appears twice"),
        (r#"{"v":[1,2]"#, "`}` is missing"),
        (r#"{"v":[01,2]}"#, "no such number"),
        (r#"{"v":[1.,2]}"#, "no such number"),
        (r#"{"v":[NaN,2]}"#, "no such number"),
        (r#"{"v":"zzzz!"}"#, "neither base64 nor hexadecimal"),
    ] {
        let said = rows.read(&mut Scan::new(document)).unwrap_err();
        assert!(said.contains(expected), "{document}: {said}");
    }
    rows.read(&mut Scan::new(r#"{"v":[3,4]}"#)).unwrap();
    rows.keep("k");
    let columns = rows.finish();
    assert_eq!(
        floats(columns[1].as_fixed_size_binary().value_data()),
        [3.0, 4.0]
    );
}

#[test]
fn vectors_of_every_element_are_read_from_lists_and_texts() {
    let read = |element, dimension, text: &str| {
        let mut out = Vec::new();
        vector(&mut Scan::new(text), kind(element, dimension), &mut out).map(|_| out)
    };
    // Elasticsearch 9.3 writes 1.0 and -2.5 as base64 of 3f800000 c0200000.
    assert_eq!(
        floats(&read(Element::Float32, 2, r#""P4AAAMAgAAA=""#).unwrap()),
        [1.0, -2.5]
    );
    assert_eq!(
        read(Element::BFloat16, 2, r#""P4DAIA==""#).unwrap(),
        [0x80, 0x3f, 0x20, 0xc0]
    );
    assert_eq!(
        read(Element::BFloat16, 2, "[1.0, 1.00390625]").unwrap(),
        [0x80, 0x3f, 0x80, 0x3f]
    );
    assert_eq!(read(Element::Bit, 16, "[-127, 255]").unwrap(), [129, 255]);
    assert_eq!(read(Element::Bit, 16, r#""81fF""#).unwrap(), [0x81, 0xff]);
    assert_eq!(read(Element::Int8, 2, r#""80ff""#).unwrap(), [0x80, 0xff]);
    assert_eq!(read(Element::Int8, 2, "[1.0, 2]").unwrap(), [1, 2]);
    assert!(
        read(Element::Int8, 1, "[128]")
            .unwrap_err()
            .contains("no byte")
    );
    assert!(
        read(Element::Int8, 1, "[1.5]")
            .unwrap_err()
            .contains("no byte")
    );
}

#[test]
fn numbers_are_the_nearest_doubles() {
    let mut random = 88_172_645_463_325_252u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..50_000 {
        let text = match round % 5 {
            0 => format!("{:?}", f64::from_bits(next())),
            4 => format!(
                "{}{}.{:0width$}",
                ["", "-"][next() as usize % 2],
                next() % 12,
                next() % 10u64.pow(1 + (next() % 17) as u32),
                width = 1 + (next() % 17) as usize
            ),
            1 => format!("{:?}", f32::from_bits(next() as u32)),
            2 => format!(
                "-{}.{:07}e-{}",
                next() % 1000,
                next() % 10_000_000,
                next() % 40
            ),
            _ => format!("{}", next() as i64),
        };
        let Ok(expected) = text.parse::<f64>() else {
            continue;
        };
        if !expected.is_finite() || text.contains("inf") || text.contains("NaN") {
            continue;
        }
        // What follows is not part of the number, however long it is.
        for next in ["", ",", "] ", "}, 0.5, 0.25, 0.125, 0.0625"] {
            let text = format!("{text}{next}");
            let mut scan = Scan::new(&text);
            let read = scan.number().unwrap();
            assert_eq!(read.to_bits(), expected.to_bits(), "{text}");
            assert_eq!(scan.peek(), next.bytes().next(), "{text}");
        }
    }
    for (text, expected) in [
        ("0.5e1, 0.25, 0.125, 0.0625", 5.0),
        ("-0.000000000000000, 0.5, 0.25", -0.0),
        ("9.999999999999999, 0.5, 0.25", 9.999999999999999),
        ("0.1234567890123456, 0.5, 0.25", 0.1234567890123456),
    ] {
        let read = Scan::new(text).number().unwrap();
        assert_eq!(read.to_bits(), f64::to_bits(expected), "{text}");
    }
    // Components of vectors as servers write them, and numbers about half-way between two floats.
    for round in 0..100_000 {
        let float = (next() as u32 >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let half = f64::from(float).to_bits() + (1 << 28) + next() % 17 - 8;
        let half = f64::from_bits(half);
        let text = match round % 4 {
            0 => format!("{float}"),
            1 => format!("{}", f64::from(float)),
            2 => format!("{half}"),
            _ => format!("{half:.*}", (next() % 24) as usize),
        };
        let expected = text.parse::<f64>().unwrap() as f32;
        let more = format!("{text}, 0.5, 0.25, 0.125, 0.0625, 0.03125");
        let read = Scan::new(&more).float().unwrap();
        assert_eq!(read.to_bits(), expected.to_bits(), "{text}");
    }
    assert_eq!(
        Scan::new("-0").number().unwrap().to_bits(),
        (-0f64).to_bits()
    );
    assert_eq!(Scan::new("9223372036854775807").whole().unwrap(), i64::MAX);
    assert!(Scan::new("9223372036854775808").whole().is_err());
}

#[test]
fn what_serde_takes_for_json_is_taken_and_nothing_else() {
    let texts = [
        "{}",
        "[]",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\u{1}\"",
        "tru",
        "nul",
        "-",
        "1e",
        "1.e5",
        "\"a\\\"b\"",
        "[[[1]]]",
        "{\"a\":{\"b\":[null,true,false,-0.1e+5]}}",
        "+1",
        ".5",
        "0x1",
        "\"",
        "[1 2]",
        "{1:2}",
        "\"\\u00e9\\n\"",
        " 1 ",
        "",
        "{\"a\":1}}",
        "\"\u{7f}\"",
        "00",
        "-01",
        "1e5",
        "truex",
    ];
    for text in texts {
        let mut scan = Scan::new(text);
        let ours = scan.value().is_ok() && scan.end().is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        assert_eq!(ours, theirs, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(Scan::new(&deep).value().unwrap_err().contains("too deep"));
}

#[test]
fn a_profile_is_a_block_that_a_job_may_have() {
    let mut profile = Profile::default();
    for document in [
        r#"{"title":"abc","n":1,"tags":["a","bc"],"x-y":true,"mixed":1,"o":{"p":1},"none":null,"p.q":1}"#,
        r#"{"title":"abcde","n":2.5,"tags":[],"mixed":"a"}"#,
        r#"{"n":3,"some":1,"tags":["d"]}"#,
        r#"{"some":[1,2]}"#,
    ] {
        profile.note(document).unwrap();
    }
    let lines = profile.lines();
    let expected = [
        "fields:",
        "  columns:",
        "    mixed: {type: json}  # in 2 of 4 rows",
        "    n: {type: double}  # in 3 of 4 rows",
        "    o: {type: json}  # in 1 of 4 rows",
        "    # \"p.q\" stays in the dynamic field",
        "    some: {type: json}  # in 2 of 4 rows, 1 of them lists",
        "    tags: {type: array<varchar>, max_capacity: 16, max_length: 64}  # in 3 of 4 rows, lists of up to 2, texts of up to 2 bytes",
        "    title: {type: varchar, max_length: 64}  # in 2 of 4 rows, texts of up to 5 bytes",
        "    x_y: {from: \"x-y\", type: bool}  # in 1 of 4 rows",
    ];
    assert_eq!(lines, expected);
    let _: serde_yaml::Value = serde_yaml::from_str(&lines.join("\n")).unwrap();
}
