//! What packing costs compared with the least that could be done with the same bytes, from a warm mapped file whose
//! vectors begin at byte 45, as in a Faiss flat index.
//!
//! `cargo bench --bench pack`. The two sides take turns, since criterion times one after the other and a shared
//! machine drifts between; the ratio is the median of the turns' ratios. The answers are checked first.

#![allow(clippy::print_stdout, unsafe_code)]

#[path = "support/sum.rs"]
mod sum;

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Part, Position};
use milvusdm::buffers::Buffers;
use milvusdm::input::{Access, View};
use milvusdm::job::{Misfits, NonFinite};
use milvusdm::milvus::wire::Envelope;
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::simd;
use milvusdm::sink::Parcel;
use milvusdm::sink::milvus::pack::{Rules, pack};

use sum::sum;

const OFFSET: u64 = 45;
const ROW_BYTES: usize = 4 * 128;
const BATCH_ROWS: usize = (4 << 20) / (ROW_BYTES + 8);
const BATCHES: usize = 64;
const ROWS: usize = BATCHES * BATCH_ROWS;
const ROUNDS: usize = 9;

const RULES: Rules = Rules {
    non_finite: NonFinite::Fail,
    misfit: Misfits::Fail,
};

/// Rows of floats in a file, all in [-1, 1).
fn file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut state = 7u64;
    let values = (0..ROWS * ROW_BYTES / 4).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 8_388_608.0 - 1.0).to_le_bytes()
    });
    let bytes: Vec<u8> = std::iter::repeat_n(0, OFFSET as usize)
        .chain(values)
        .collect();
    file.write_all(&bytes).unwrap();
    file
}

fn copy(rows: &[u8], room: &mut Vec<u8>) {
    room.clear();
    room.extend_from_slice(rows);
}

/// Runs of rows between the deleted rows, 1 % of all, for each batch.
fn runs() -> Vec<Vec<std::ops::Range<usize>>> {
    let mut state = 9u64;
    let mut batch = || {
        let (mut runs, mut first) = (Vec::new(), 0);
        for row in 0..BATCH_ROWS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (state >> 33).is_multiple_of(100) {
                runs.push(first..row);
                first = row + 1;
            }
        }
        runs.push(first..BATCH_ROWS);
        runs
    };
    (0..BATCHES).map(|_| batch()).collect()
}

/// Times both alternately, batch by batch, each on its own half of the file, and prints their rates and their ratio.
fn compare(what: &str, least: f64, mut ours: impl FnMut(usize), mut theirs: impl FnMut(usize)) {
    let time = |run: &mut dyn FnMut(usize), batch: usize| {
        let start = Instant::now();
        run(batch);
        start.elapsed().as_secs_f64()
    };
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for batch in 0..BATCHES {
            let other = (batch + BATCHES / 2) % BATCHES;
            let x = time(&mut ours, batch);
            let y = time(&mut theirs, other);
            if round > 0 {
                a.push(x);
                b.push(y);
                ratios.push(y / x);
            }
        }
    }
    for values in [&mut a, &mut b, &mut ratios] {
        values.sort_by(f64::total_cmp);
    }
    let speed = |times: &[f64]| (BATCH_ROWS * ROW_BYTES) as f64 / times[times.len() / 2] / 1e9;
    let quarter = ratios.len() / 4;
    println!(
        "{what:<55} {:6.2} GB/s against {:6.2}: {:.2} ({:.2} to {:.2}), wanted {least:.2}",
        speed(&a),
        speed(&b),
        ratios[2 * quarter],
        ratios[quarter],
        ratios[3 * quarter],
    );
}

fn main() {
    let file = file();
    let view = View::open(file.path(), Access::Map).unwrap();
    let payload = view.cut(OFFSET, (ROWS * ROW_BYTES) as u64).unwrap();
    let whole: Bytes = payload.bytes().unwrap();
    let kind = VectorType {
        element: Element::Float32,
        dimension: 128,
    };
    let columns = Columns::plain("id", "embedding", kind).unwrap();
    let envelope = Envelope::plain("default", "products", "", Some("id"), ("embedding", kind));
    let part = |bytes: Bytes, first: usize| {
        let ids = (first..first + bytes.len() / ROW_BYTES).map(|id| id as i64);
        Part::of_vectors(&columns, ids.collect(), bytes, view.path(), first as u64).unwrap()
    };
    let batch = |index: usize, parts: Vec<Part>| Batch {
        id: BatchId {
            run: 1,
            shard: 0,
            index: index as u32,
        },
        target: 0,
        first_row: 0,
        parts,
        next: Position::Row(0),
    };
    let batch_bytes = BATCH_ROWS * ROW_BYTES;
    let rows = |index: usize| whole.slice(index * batch_bytes..(index + 1) * batch_bytes);
    let whole_batch = |index| batch(index, vec![part(rows(index), index * BATCH_ROWS)]);
    let with_gaps = |(index, runs): (usize, Vec<std::ops::Range<usize>>)| {
        let first = index * BATCH_ROWS;
        let (rows, parts) = (rows(index), runs.into_iter().filter(|r| !r.is_empty()));
        let cut = |r: std::ops::Range<usize>| {
            part(
                rows.slice(r.start * ROW_BYTES..r.end * ROW_BYTES),
                first + r.start,
            )
        };
        batch(index, parts.map(cut).collect())
    };
    let batches: Vec<Batch> = (0..BATCHES).map(whole_batch).collect();
    let gaps: Vec<Batch> = runs().into_iter().enumerate().map(with_gaps).collect();
    let rooms = Buffers::default();
    let pack = |batch: &Batch| -> Parcel {
        pack(&envelope, &[], RULES, batch.clone(), rooms.take()).unwrap()
    };

    // Checks the answers first.
    let scalar = simd::available()[0];
    for batch in batches.iter().chain(&gaps).step_by(31) {
        let parcel = pack(batch);
        let sums = batch
            .parts
            .iter()
            .map(|p| scalar.digest_rows(p.ids(), p.vectors(), ROW_BYTES));
        assert_eq!(parcel.digest, sums.fold(0, u64::wrapping_add));
        let vectors: Vec<u8> = batch
            .parts
            .iter()
            .flat_map(|p| p.vectors().to_vec())
            .collect();
        assert!(parcel.body.concat().ends_with(&vectors));
        assert!(sum(&vectors).is_finite());
    }

    println!(
        "kernels: {}; {BATCHES} batches of {BATCH_ROWS} rows",
        simd::kernels().name
    );
    println!("medians of the turns' ratios, and their quartiles:");
    compare(
        "pack / plain sum",
        0.60,
        |batch| _ = black_box(pack(&batches[batch])),
        |batch| _ = black_box(sum(&rows(batch))),
    );
    let mut room = Vec::with_capacity(batch_bytes);
    compare(
        "pack, 1 % of rows deleted / memcpy",
        0.75,
        |batch| _ = black_box(pack(&gaps[batch])),
        |batch| {
            copy(&rows(batch), &mut room);
            black_box(&room);
        },
    );
    // The same with pages faulted in and given back, as a run does it.
    let window = |index: usize| {
        let cut = payload.cut((index * batch_bytes) as u64, batch_bytes as u64);
        cut.unwrap().bytes().unwrap()
    };
    compare(
        "pack, pages faulted in and given back / plain sum",
        0.60,
        |index| {
            let part = part(window(index), index * BATCH_ROWS);
            black_box(pack(&batch(index, vec![part])));
        },
        |index| _ = black_box(sum(&window(index))),
    );
}
