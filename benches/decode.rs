//! What decoding servers' answers costs one core, without the servers: points of Qdrant, and the JSON of OpenSearch and
//! Chroma. The decoded values are compared with the encoded ones before the clock starts.
//!
//! `cargo bench --bench decode [-- ROUNDS]`: medians.

#![allow(clippy::print_stdout)]

use std::fmt::{Display, Write};
use std::hint::black_box;
use std::time::Instant;

use arrow_array::cast::AsArray;
use milvusdm::schema::{Column, ColumnType, Element, VectorType};
use milvusdm::source::documents::{Layout, Rows, Scan, vector};
use milvusdm::source::qdrant::scrolled;

/// Rows of an answer.
const ROWS: usize = 1000;
const DIMENSION: usize = 384;

const KIND: VectorType = VectorType {
    element: Element::Float32,
    dimension: DIMENSION as u32,
};

/// Components from -1 to 1.
fn components() -> Vec<f32> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..ROWS * DIMENSION).map(next).collect()
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field that has a length.
fn field(number: usize, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 8);
    varint(number << 3 | 2, &mut out);
    varint(body.len(), &mut out);
    out.extend_from_slice(body);
    out
}

/// A field that is a number.
fn number(field: usize, number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(number, &mut out);
    out
}

/// An answer with points that have a number and a text.
fn points(bytes: &[u8]) -> Vec<u8> {
    let point = |(id, vector): (usize, &[u8])| {
        let n = [field(1, b"n"), field(2, &number(3, id))].concat();
        let text = field(4, format!("text {id}").as_bytes());
        let text = [field(1, b"text"), field(2, &text)].concat();
        let vector = field(101, &field(1, vector));
        let id = field(1, &number(1, id));
        let payload = [field(2, &n), field(2, &text)].concat();
        field(2, &[id, payload, field(4, &field(1, &vector))].concat())
    };
    let rows = bytes.chunks(DIMENSION * 4).enumerate();
    rows.flat_map(point).collect()
}

/// A vector in JSON.
fn list(vector: impl Iterator<Item = impl Display>, out: &mut String) {
    out.push('[');
    for (at, component) in vector.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{component}").expect("memory takes what is written");
    }
    out.push(']');
}

fn layout() -> Layout {
    let key = Column::key("_id", ColumnType::VarChar { max_bytes: None });
    Layout::new(key, vec![Column::new("v", ColumnType::Vector(KIND))]).expect("the names differ")
}

/// Vectors of documents, one after the other.
fn documents(layout: &Layout, text: &str) -> Vec<u8> {
    let mut rows = Rows::new(layout);
    let read = Scan::new(text).elements(|scan| {
        rows.read(scan)?;
        rows.keep("key");
        Ok(())
    });
    read.expect("it was written so");
    rows.finish()[1]
        .as_fixed_size_binary()
        .value_data()
        .to_vec()
}

/// Vectors of a list of vectors.
fn lists(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let read = Scan::new(text).elements(|scan| vector(scan, KIND, &mut out).map(|_| ()));
    read.expect("it was written so");
    out
}

fn main() {
    let rounds = std::env::args().filter(|a| a != "--bench").nth(1);
    let rounds: usize = rounds.map_or(31, |rounds| rounds.parse().expect("how many rounds"));
    let rounds = rounds.max(1);
    let floats = components();
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    let answer = points(&bytes);
    let (mut page, mut vectors) = (String::from("["), String::from("["));
    for (row, vector) in floats.chunks(DIMENSION).enumerate() {
        let comma = if row == 0 { "" } else { "," };
        write!(page, "{comma}{{\"n\":{row},\"t\":\"text {row}\",\"v\":").expect("it is memory");
        // Documents are as their users wrote them: by Python, as doubles.
        list(vector.iter().copied().map(f64::from), &mut page);
        page.push('}');
        vectors.push_str(comma);
        list(vector.iter(), &mut vectors);
    }
    page.push(']');
    vectors.push(']');
    let layout = layout();
    let scrolled_bytes = || {
        let columns = scrolled(DIMENSION as u64, &answer).expect("it was written so");
        columns[1].as_fixed_size_binary().value_data().to_vec()
    };
    assert!(
        scrolled_bytes() == bytes && documents(&layout, &page) == bytes && lists(&vectors) == bytes
    );
    let timed = |name: &str, wanted: f64, of: usize, read: &dyn Fn()| {
        let time = |_| {
            let start = Instant::now();
            read();
            start.elapsed().as_secs_f64()
        };
        let mut all: Vec<f64> = (0..rounds).map(time).collect();
        all.sort_by(f64::total_cmp);
        let rate = |bytes: usize| bytes as f64 / all[rounds / 2] / 1e6;
        println!(
            "{name:<24} {:>7.0} MB/s of float32 a core (wanted {wanted:.0}), {:>7.0} MB/s of its answer",
            rate(bytes.len()),
            rate(of)
        );
    };
    timed("Qdrant, points", 1000.0, answer.len(), &|| {
        black_box(scrolled(DIMENSION as u64, &answer).expect("it was read before"));
    });
    timed("OpenSearch, documents", 200.0, page.len(), &|| {
        black_box(documents(&layout, &page));
    });
    timed("Chroma, embeddings", 200.0, vectors.len(), &|| {
        black_box(lists(&vectors));
    });
}
