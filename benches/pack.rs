//! What packing costs beside the least that could be done with the same bytes, from a warm mapped file whose
//! vectors begin at byte 45, as in a Faiss flat index.
//!
//! `cargo bench --bench pack`. The two sides take turns, since criterion times one after the other and a shared
//! machine drifts between; the ratio is the median of the turns' ratios. The answers are checked first.

#![allow(clippy::print_stdout, unsafe_code)]

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use bytes::Bytes;
use milvusdm::input::{Access, View};
use milvusdm::simd::{self, Floats};

const OFFSET: u64 = 45;
const ROW_BYTES: usize = 4 * 128;
const BATCH_ROWS: usize = (4 << 20) / (ROW_BYTES + 8);
const BATCHES: usize = 64;
const ROWS: usize = BATCHES * BATCH_ROWS;
const ROUNDS: usize = 9;

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

/// The least one can do with all the bytes: their sum as floats, kept in 32 places.
#[inline(always)]
fn sum_loop(bytes: &[u8]) -> f32 {
    let mut sums = [0f32; 32];
    for block in bytes.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            *sum += f32::from_le_bytes(*word);
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> f32 {
    sum_loop(bytes)
}

fn sum(bytes: &[u8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: avx2 was detected on the line above.
        return unsafe { sum_avx2(bytes) };
    }
    sum_loop(bytes)
}

/// What packing does to rows that travel as they lie: the digest of the batch, its ids in the room.
fn pack(ids: &[i64], rows: &[u8], room: &mut Vec<u8>) -> u64 {
    room.clear();
    simd::varints(ids, room);
    let (digest, odd) = simd::check_and_digest(Floats::F32, ids, rows, ROW_BYTES);
    assert_eq!(odd, None);
    digest
}

/// What packing does to rows with gaps between: each run is checked and copied.
fn gather(ids: &[i64], rows: &[u8], runs: &[std::ops::Range<usize>], room: &mut Vec<u8>) -> u64 {
    room.clear();
    let mut digest = 0u64;
    for run in runs {
        simd::varints(&ids[run.clone()], room);
    }
    for run in runs {
        let rows = &rows[run.start * ROW_BYTES..run.end * ROW_BYTES];
        let (part, odd) =
            simd::check_and_gather(Floats::F32, &ids[run.clone()], rows, ROW_BYTES, room);
        assert_eq!(odd, None);
        digest = digest.wrapping_add(part);
    }
    digest
}

fn copy(rows: &[u8], room: &mut Vec<u8>) {
    room.clear();
    room.extend_from_slice(rows);
}

/// Runs of rows between the 1 % that are deleted, for each batch.
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

/// Times both in turns, batch by batch, each on the other half of the file, and prints how fast they were and how the
/// first compares to the second.
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
    let ids: Vec<i64> = (0..ROWS as i64).collect();
    let runs = runs();
    let mut room = Vec::with_capacity(8 << 20);
    let mut other = Vec::with_capacity(8 << 20);
    let ids = |batch: usize| &ids[batch * BATCH_ROWS..][..BATCH_ROWS];
    let rows = |batch: usize| &whole[batch * BATCH_ROWS * ROW_BYTES..][..BATCH_ROWS * ROW_BYTES];

    // The answers first.
    let scalar = simd::available()[0];
    for (batch, runs) in runs.iter().enumerate().take(3) {
        let (ids, rows) = (ids(batch), rows(batch));
        assert!(sum(rows).is_finite());
        assert_eq!(
            pack(ids, rows, &mut room),
            scalar.digest_rows(ids, rows, ROW_BYTES)
        );
        let mut expected = Vec::new();
        let live: Vec<i64> = runs.iter().flat_map(|r| ids[r.clone()].to_vec()).collect();
        scalar.varints(&live, &mut expected);
        let head = expected.len();
        simd::gather(rows, ROW_BYTES, runs.iter().cloned(), &mut expected);
        let digest = gather(ids, rows, runs, &mut room);
        assert_eq!(
            digest,
            scalar.digest_rows(&live, &expected[head..], ROW_BYTES)
        );
        assert_eq!(room, expected);
    }

    println!(
        "kernels: {}; {BATCHES} batches of {BATCH_ROWS} rows",
        simd::kernels().name
    );
    println!("medians of the turns' ratios, and their quartiles:");
    compare(
        "pack: check, digest, ids / plain sum",
        0.60,
        |batch| _ = black_box(pack(ids(batch), rows(batch), &mut room)),
        |batch| _ = black_box(sum(rows(batch))),
    );
    compare(
        "pack, 1 % deleted: check, digest, ids, gather / memcpy",
        0.75,
        |batch| _ = black_box(gather(ids(batch), rows(batch), &runs[batch], &mut other)),
        |batch| {
            copy(rows(batch), &mut room);
            black_box(&room);
        },
    );
    // The same with pages faulted in and given back, as a run does it.
    let window = |batch: usize| {
        let bytes = BATCH_ROWS * ROW_BYTES;
        let cut = payload.cut((batch * bytes) as u64, bytes as u64);
        cut.unwrap().bytes().unwrap()
    };
    compare(
        "pack, pages faulted in and given back / plain sum",
        0.60,
        |batch| _ = black_box(pack(ids(batch), &window(batch), &mut room)),
        |batch| _ = black_box(sum(&window(batch))),
    );
}
