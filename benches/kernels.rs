//! Kernels: each table that this CPU can run, in the second-level cache and from memory. Each answer is compared with
//! the scalar one before it is timed. Throughput counts the bytes read, unless a line below says otherwise.
//!
//! `cargo bench --bench kernels -- f32_to_f16/L2` runs one; only ratios within a run are meaningful.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use milvusdm::simd::{Floats, Kernels, available};

/// Bytes of f32, and the name of the memory they fit into. Not a multiple of a page, and not aligned.
const SIZES: [(&str, usize); 2] = [("L2", 256 << 10), ("DRAM", 128 << 20)];
const OFFSET: usize = 45;
const DIMENSION: usize = 128;

fn floats(count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let values = (0..count).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 8_388_608.0 - 1.0).to_le_bytes()
    });
    values.collect()
}

/// Where a kernel writes, and what it returns.
#[derive(Default, Clone, PartialEq, Debug)]
struct Answer {
    bytes: Vec<u8>,
    floats: Vec<f32>,
    number: u64,
}

type Run = fn(&Kernels, &Input, &mut Answer);

struct Input {
    bytes: Vec<u8>,
    /// As many bytes of half-precision floats.
    halves: Vec<u8>,
    ids: Vec<i64>,
    minima: Vec<f32>,
    widths: Vec<f32>,
}

impl Input {
    fn bytes(&self) -> &[u8] {
        &self.bytes[OFFSET..]
    }

    fn halves(&self) -> &[u8] {
        &self.halves[OFFSET..]
    }
}

/// Name, bytes of the answer for 4 bytes of input, whether it writes in place, and the call.
const KERNELS: &[(&str, usize, Run)] = &[
    ("finite_f32", 0, |k, i, a| {
        a.number = k.finite_f32(i.bytes()).into()
    }),
    ("finite_f16", 0, |k, i, a| {
        a.number = k.finite_f16(i.halves()).into()
    }),
    ("digest", 0, |k, i, a| {
        a.number = k.digest_rows(&i.ids, i.bytes(), 4 * DIMENSION)
    }),
    ("check_and_digest", 0, |k, i, a| {
        a.number = k
            .check_and_digest(Floats::F32, &i.ids, i.bytes(), 4 * DIMENSION)
            .0;
    }),
    ("f32_to_f16", 2, |k, i, a| {
        k.f32_to_f16(i.bytes(), &mut a.bytes)
    }),
    ("f32_to_bf16", 2, |k, i, a| {
        k.f32_to_bf16(i.bytes(), &mut a.bytes)
    }),
    ("f16_to_f32", 8, |k, i, a| {
        k.f16_to_f32(i.halves(), &mut a.bytes)
    }),
    ("bf16_to_f32", 8, |k, i, a| {
        k.bf16_to_f32(i.halves(), &mut a.bytes)
    }),
    ("f64_to_f32", 2, |k, i, a| {
        a.number = k.f64_to_f32(i.bytes(), &mut a.bytes).into()
    }),
    ("swap2", 4, |k, _, a| k.swap_bytes(2, &mut a.bytes)),
    ("swap4", 4, |k, _, a| k.swap_bytes(4, &mut a.bytes)),
    ("swap8", 4, |k, _, a| k.swap_bytes(8, &mut a.bytes)),
    ("norm", 0, |k, i, a| {
        let norms = i.bytes().chunks_exact(4 * DIMENSION).map(|row| k.norm(row));
        a.number = norms.sum::<f64>().to_bits();
    }),
    ("normalize", 4, |k, _, a| {
        a.number = k.normalize(&mut a.bytes, 4 * DIMENSION)
    }),
];

/// Decoders: what they write is as large as the others' input. Name, bits, call.
const DECODERS: &[(&str, usize, Run)] = &[
    ("sq8", 8, |k, i, a| {
        k.sq8(i.bytes(), &i.minima, &i.widths, &mut a.floats)
    }),
    ("sq6", 6, |k, i, a| {
        k.sq6(i.bytes(), &i.minima, &i.widths, &mut a.floats)
    }),
    ("sq4", 4, |k, i, a| {
        k.sq4(i.bytes(), &i.minima, &i.widths, &mut a.floats)
    }),
];

fn bench(
    criterion: &mut Criterion,
    name: &str,
    place: &str,
    bytes: usize,
    input: &Input,
    start: &Answer,
    run: Run,
) {
    let mut group = criterion.benchmark_group(format!("{name}/{place}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    let mut expected = start.clone();
    run(available()[0], input, &mut expected);
    for kernels in available() {
        let mut answer = start.clone();
        run(kernels, input, &mut answer);
        assert!(
            answer == expected,
            "{name}: {} differs from scalar",
            kernels.name
        );
        group.bench_function(BenchmarkId::from_parameter(kernels.name), |b| {
            // The best of a sample's turns: on a shared machine, means reflect the other load.
            b.iter_custom(|turns| {
                let best = (0..turns).map(|_| {
                    let start = Instant::now();
                    run(kernels, black_box(input), black_box(&mut answer));
                    start.elapsed()
                });
                best.min().unwrap_or_default() * turns as u32
            });
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    for (place, size) in SIZES {
        let mut bytes = vec![0; OFFSET];
        bytes.extend(floats(size / 4));
        let ids: Vec<i64> = (0..(size / 4 / DIMENSION) as i64).collect();
        let mut halves = vec![0; OFFSET + size];
        let (left, right) = halves[OFFSET..].split_at_mut(size / 2);
        available()[0].f32_to_f16(&bytes[OFFSET..], left);
        right.copy_from_slice(left);
        let mut input = Input {
            bytes,
            halves,
            ids,
            minima: vec![-0.5; DIMENSION],
            widths: vec![1.5; DIMENSION],
        };
        for (name, per_four, run) in KERNELS {
            let bytes = match per_four {
                4 => input.bytes().to_vec(),
                _ => vec![0; size / 4 * per_four],
            };
            let start = Answer {
                bytes,
                ..Answer::default()
            };
            bench(criterion, name, place, size, &input, &start, *run);
        }
        let start = Answer {
            bytes: vec![0; size],
            ..Answer::default()
        };
        bench(
            criterion,
            "memcpy",
            place,
            size,
            &input,
            &start,
            |_, i, a| a.bytes.copy_from_slice(i.bytes()),
        );
        for (name, bits, run) in DECODERS {
            input.bytes.truncate(OFFSET + size / 4 / 8 * bits);
            let start = Answer {
                floats: vec![0.0; size / 4],
                ..Answer::default()
            };
            bench(criterion, name, place, size, &input, &start, *run);
        }
        // Ids of two to four bytes, and of nine, as other systems make them.
        input.ids = (0..(size / 8) as i64).map(|i| i * 3).collect();
        let out = Answer::default();
        let write: Run = |k, i, a| {
            a.bytes.clear();
            k.varints(&i.ids, &mut a.bytes);
        };
        bench(criterion, "varints", place, size, &input, &out, write);
        input
            .ids
            .iter_mut()
            .for_each(|id| *id += 445_000_000_000_000_000);
        bench(criterion, "varints_long", place, size, &input, &out, write);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    targets = kernels
}
criterion_main!(benches);
