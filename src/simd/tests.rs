//! What every table must return: the same as the scalar one, to the last bit, at every length and alignment.

use super::*;

/// The plain loops without any feature: `neon.rs` consists of them, so they are tested here.
mod plain {
    use super::super::Kernels;
    use super::super::loops::*;

    pub const KERNELS: Kernels = table!("plain");
}

fn tables() -> Vec<&'static Kernels> {
    let mut tables = available();
    tables.push(&plain::KERNELS);
    tables
}

/// SplitMix64.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(len).collect()
    }

    /// Ordinary numbers.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        let one = |x: u64| (x as i32 as f32) / 1e9;
        (0..count).map(|_| one(self.next())).collect()
    }
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// All lengths up to a few registers, and some long ones; the shortest at all 64 alignments, the others at some
/// alternately.
fn places() -> impl Iterator<Item = (usize, usize)> {
    let lengths = (0..200).chain([255, 256, 257, 1000, 1023, 1024, 2047, 5000]);
    let alignments = |len: usize| (0..64).skip(len % (1 + len / 6) % 64).step_by(1 + len / 6);
    lengths.flat_map(move |len| alignments(len).map(move |at| (len, at)))
}

/// `bytes` at `at` past an address that is a multiple of 64.
fn placed(bytes: &[u8], at: usize) -> (Vec<u8>, std::ops::Range<usize>) {
    let mut room = vec![0xffu8; bytes.len() + 192];
    let start = room.as_ptr().align_offset(64) + at;
    room[start..start + bytes.len()].copy_from_slice(bytes);
    (room, start..start + bytes.len())
}

#[test]
fn one_odd_float_anywhere_is_found() {
    const F32: [u32; 4] = [0x7fc0_0000, 0xff80_0001, 0x7f80_0000, 0xff80_0000];
    let mut seeded = Seeded(1);
    for (count, at) in places() {
        for (kind, width) in [(Floats::F32, 4), (Floats::F16, 2), (Floats::Bf16, 2)] {
            // Without the exponent's last bit, every float is finite.
            let mut bytes = seeded.bytes(count * width);
            bytes.chunks_exact_mut(width).for_each(|w| match kind {
                Floats::F32 | Floats::Bf16 => w[width - 2] &= 0x7f,
                _ => w[1] &= 0xfb,
            });
            let (mut room, range) = placed(&bytes, at);
            for kernels in tables() {
                assert!(
                    kernels.finite(kind, &room[range.clone()]),
                    "{} {kind:?} {count} {at}",
                    kernels.name
                );
            }
            if count == 0 {
                continue;
            }
            let odd = seeded.next() as usize % count;
            let value = F32[seeded.next() as usize % 4] >> if kind == Floats::F16 { 3 } else { 0 };
            let value = match kind {
                Floats::F32 => value.to_le_bytes().to_vec(),
                Floats::F16 => ((value >> 16) as u16 | 0x7c00).to_le_bytes().to_vec(),
                _ => ((value >> 16) as u16 | 0x7f80).to_le_bytes().to_vec(),
            };
            let from = range.start + odd * width;
            room[from..from + width].copy_from_slice(&value);
            for kernels in tables() {
                assert!(
                    !kernels.finite(kind, &room[range.clone()]),
                    "{} {kind:?} {odd} of {count} {at}",
                    kernels.name
                );
            }
        }
    }
}

#[test]
fn every_two_byte_float_is_judged_and_widened_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for kernels in tables() {
        let (mut f16, mut bf16) = (vec![0; 4 << 16], vec![0; 4 << 16]);
        kernels.f16_to_f32(&all, &mut f16);
        kernels.bf16_to_f32(&all, &mut bf16);
        let wide = f16.chunks(4).zip(bf16.chunks(4));
        for (bits, (f16, bf16)) in (0..=u16::MAX).zip(wide) {
            let exact = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
            let (name, word) = (kernels.name, u32::from(bits));
            let expected = wide_half(word).to_le_bytes();
            assert_eq!(f16, expected, "{name} f16 {bits:04x}");
            let expected = (word << 16).to_le_bytes();
            assert_eq!(bf16, expected, "{name} bf16 {bits:04x}");
            let bytes = bits.to_le_bytes();
            assert_eq!(kernels.finite_f16(&bytes), exact.0.is_finite());
            assert_eq!(kernels.finite_bf16(&bytes), exact.1.is_finite());
        }
    }
}

/// The f32 value of a half, by IEEE 754 alone: conversions of libraries and processors quiet NaNs.
fn wide_half(bits: u32) -> u32 {
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, bits >> 10 & 0x1f, bits & 0x3ff);
    sign | match (exponent, fraction) {
        (0, 0) => 0,
        (0, _) => {
            // A denormal's highest bit becomes the one that is not stored.
            let shift = fraction.leading_zeros() - 21;
            (113 - shift) << 23 | (fraction << shift & 0x3ff) << 13
        }
        (31, _) => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    }
}

#[test]
fn the_largest_finite_floats_are_finite() {
    for kernels in tables() {
        assert!(kernels.finite_f32(&le(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e-45])));
        assert!(kernels.finite_f32(&[]));
    }
}

type Narrow = fn(&Kernels, &[u8], &mut [u8]);

#[test]
fn floats_are_narrowed_as_half_does_at_every_edge() {
    // Each two-byte float, its neighbours, and the midpoint between it and the next, where ties occur.
    let mut edges = Vec::new();
    for bits in 0..=u16::MAX {
        let f16 = half::f16::from_bits(bits).to_f32().to_bits();
        let next = half::f16::from_bits(bits.wrapping_add(1))
            .to_f32()
            .to_bits();
        let middle = f16 / 2 + next / 2;
        let bf16 = u32::from(bits) << 16;
        for word in [f16, middle, bf16, bf16 | 0x8000] {
            edges.extend([word.wrapping_sub(1), word, word.wrapping_add(1)]);
        }
    }
    let mut seeded = Seeded(2);
    edges.extend((0..100_000).map(|_| seeded.next() as u32));
    let bytes: Vec<u8> = edges.iter().flat_map(|w| w.to_le_bytes()).collect();
    for narrow in [Kernels::f32_to_f16 as Narrow, Kernels::f32_to_bf16] {
        let mut expected = vec![0; bytes.len() / 2];
        narrow(&scalar::KERNELS, &bytes, &mut expected);
        for kernels in tables() {
            let mut narrowed = vec![0; bytes.len() / 2];
            narrow(kernels, &bytes, &mut narrowed);
            for (at, (a, b)) in narrowed.chunks(2).zip(expected.chunks(2)).enumerate() {
                assert_eq!(a, b, "{} {:08x}", kernels.name, edges[at]);
            }
        }
    }
    let mut one = [0; 2];
    f32_to_bf16(&1e-40f32.to_le_bytes(), &mut one);
    assert_ne!(one, [0; 2], "denormals are not flushed");
}

#[test]
fn conversions_agree_at_every_length_and_alignment() {
    let kinds: [(Narrow, usize, usize); 8] = [
        (Kernels::f32_to_f16, 4, 2),
        (Kernels::f32_to_bf16, 4, 2),
        (Kernels::f16_to_f32, 2, 4),
        (Kernels::bf16_to_f32, 2, 4),
        (
            |k, s, t| {
                let fits = k.f64_to_f32(s, t);
                t.iter_mut().for_each(|b| *b ^= u8::from(fits))
            },
            8,
            4,
        ),
        (|k, s, t| _ = k.f64_to_f32(s, t), 8, 4),
        (
            |k, s, t| {
                t.copy_from_slice(s);
                k.swap_bytes(4, t)
            },
            4,
            4,
        ),
        (
            |k, s, t| {
                t.copy_from_slice(s);
                k.swap_bytes(8, t);
                k.swap_bytes(2, t)
            },
            8,
            8,
        ),
    ];
    let mut seeded = Seeded(3);
    for (count, at) in places() {
        for (kind, (convert, from, to)) in kinds.iter().enumerate() {
            let (source, range) = placed(&seeded.bytes(count * from), at);
            let source = &source[range];
            let mut expected = vec![0; count * to];
            convert(&scalar::KERNELS, source, &mut expected);
            for kernels in tables() {
                let (mut room, range) = placed(&vec![0; count * to], at * 7 % 64);
                convert(kernels, source, &mut room[range.clone()]);
                assert_eq!(
                    room[range.clone()],
                    expected,
                    "{} {kind} {count} {at}",
                    kernels.name
                );
                let mut around = room[..range.start].iter().chain(&room[range.end..]);
                assert!(
                    around.all(|b| *b == 0xff),
                    "{} {kind} writes outside",
                    kernels.name
                );
            }
        }
    }
}

#[test]
fn doubles_that_are_too_large_are_noticed_and_infinities_are_not() {
    let most = f64::from(f32::MAX);
    let cases = [
        (most, true),
        (most * 1.000_000_01, true),
        (most * 1.000_000_1, false),
        (-1e39, false),
        (f64::INFINITY, true),
        (f64::NAN, true),
        (1e-300, true),
    ];
    for kernels in tables() {
        for (value, fits) in cases {
            for at in 0..40 {
                let mut doubles = vec![1.5f64; 40];
                doubles[at] = value;
                let bytes: Vec<u8> = doubles.iter().flat_map(|x| x.to_le_bytes()).collect();
                let mut floats = vec![0; 160];
                assert_eq!(
                    kernels.f64_to_f32(&bytes, &mut floats),
                    fits,
                    "{} {value}",
                    kernels.name
                );
                assert_eq!(floats[at * 4..at * 4 + 4], (value as f32).to_le_bytes());
            }
        }
    }
}

#[test]
fn a_digest_tells_ids_bytes_places_and_lengths_apart() {
    for kernels in tables() {
        for len in [1, 7, 8, 63, 64, 65, 100, 512] {
            let row: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let digest = kernels.row_digest(7, &row);
            assert_eq!(digest, kernels.row_digest(7, &row.clone()));
            assert_ne!(digest, kernels.row_digest(8, &row));
            for at in 0..row.len() {
                for bit in 0..8 {
                    let mut other = row.clone();
                    other[at] ^= 1 << bit;
                    assert_ne!(digest, kernels.row_digest(7, &other), "byte {at}");
                }
            }
            for turn in 1..len.min(130) {
                let mut other = row.clone();
                other.rotate_left(turn);
                assert!(
                    row == other || digest != kernels.row_digest(7, &other),
                    "{len} {turn}"
                );
            }
            assert_ne!(
                kernels.row_digest(7, &vec![0; len]),
                kernels.row_digest(7, &vec![0; len + 1])
            );
        }
        assert_ne!(kernels.row_digest(0, &[]), kernels.row_digest(1, &[]));
    }
}

#[test]
fn digests_of_rows_that_are_much_alike_do_not_meet() {
    // Small whole numbers, one-hot rows, and the same rows under other ids.
    let mut seen = std::collections::HashSet::new();
    let mut rows = 0;
    for id in 0..20 {
        for place in 0..128 {
            for value in 1..40u8 {
                let mut row = [0f32; 128];
                row[place] = f32::from(value);
                seen.insert(row_digest(id, &le(&row)));
                rows += 1;
            }
        }
    }
    assert_eq!(seen.len(), rows);
    // Digests are summed: each bit of one must behave like a fair coin.
    for bit in 0..64 {
        let ones = seen.iter().filter(|d| **d >> bit & 1 == 1).count();
        let expected = rows / 2;
        assert!(
            ones.abs_diff(expected) < expected / 50,
            "bit {bit}: {ones} of {rows}"
        );
    }
}

#[test]
fn a_digest_stays_what_it_was() {
    // Digests are kept in checkpoints and reports: changing them breaks those.
    let row: Vec<u8> = (0..=255).collect();
    let digests = [
        row_digest(0, &[]),
        row_digest(1, &[2]),
        row_digest(-3, &row),
        row_digest(7, &row[..100]),
    ];
    assert_eq!(digests, EXPECTED_DIGESTS);
}

const EXPECTED_DIGESTS: [u64; 4] = [
    5_730_292_090_795_119_843,
    3_349_683_920_356_130_700,
    2_922_193_982_010_994_110,
    3_876_560_092_904_199_170,
];

#[test]
fn rows_are_checked_and_digested_alike_by_all() {
    let mut seeded = Seeded(4);
    for (row_bytes, at) in places().filter(|(len, at)| at % 4 == 1 || *len < 3) {
        let rows = 1 + seeded.next() as usize % 70;
        let ids: Vec<i64> = (0..rows).map(|_| seeded.next() as i64).collect();
        let (room, range) = placed(&seeded.bytes(rows * row_bytes), at);
        let bytes = &room[range];
        let expected = scalar::KERNELS.digest_rows(&ids, bytes, row_bytes);
        for kernels in tables() {
            assert_eq!(
                kernels.digest_rows(&ids, bytes, row_bytes),
                expected,
                "{} {rows} × {row_bytes}",
                kernels.name
            );
        }
    }
}

#[test]
fn the_first_row_that_is_not_finite_is_named_and_those_before_it_digested() {
    let mut seeded = Seeded(5);
    for (dimension, rows) in [
        (1, 1),
        (1, 5000),
        (3, 700),
        (16, 300),
        (128, 300),
        (1000, 40),
        (20_000, 3),
    ] {
        for (kind, width, odd) in [
            (Floats::F32, 4, &f32::NAN.to_le_bytes()[..]),
            (Floats::F16, 2, &half::f16::INFINITY.to_le_bytes()[..]),
            (Floats::Bf16, 2, &half::bf16::NEG_INFINITY.to_le_bytes()[..]),
        ] {
            let row_bytes = dimension * width;
            let ids: Vec<i64> = (0..rows).map(|_| seeded.next() as i64).collect();
            let mut bytes = vec![0x11; rows * row_bytes];
            let all: u64 = scalar::KERNELS.digest_rows(&ids, &bytes, row_bytes);
            for kernels in tables() {
                assert_eq!(
                    kernels.check_and_digest(kind, &ids, &bytes, row_bytes),
                    (all, None)
                );
            }
            for last in [rows - 1, seeded.next() as usize % rows, 0] {
                let at = last * row_bytes + (seeded.next() as usize % dimension) * width;
                bytes[at..at + width].copy_from_slice(odd);
                let before_bytes = bytes[..last * row_bytes].to_vec();
                let before = scalar::KERNELS.digest_rows(
                    &ids[..last],
                    &bytes[..last * row_bytes],
                    row_bytes,
                );
                for kernels in tables() {
                    let answer = kernels.check_and_digest(kind, &ids, &bytes, row_bytes);
                    assert_eq!(
                        answer,
                        (before, Some(last)),
                        "{} {kind:?} {rows} × {dimension}",
                        kernels.name
                    );
                }
                let mut out = vec![9];
                let answer = check_and_gather(kind, &ids, &bytes, row_bytes, &mut out);
                assert_eq!(answer, (before, Some(last)));
                assert!(out[0] == 9 && out[1..] == before_bytes);
                bytes[at..at + width].fill(0x11);
                out.clear();
                let answer = check_and_gather(kind, &ids, &bytes, row_bytes, &mut out);
                assert_eq!((answer, &out), ((all, None), &bytes));
            }
        }
    }
}

#[test]
fn norms_agree_and_zero_rows_stay_zero() {
    let mut seeded = Seeded(6);
    for (dimension, at) in places().filter(|(dimension, _)| *dimension > 0) {
        let mut values = seeded.floats(3 * dimension);
        values[dimension..2 * dimension].fill(-0.0);
        values[2 * dimension] = [1e-42, 3e38, 1.0][at % 3];
        let (room, range) = placed(&le(&values), at);
        let mut expected = room[range.clone()].to_vec();
        assert_eq!(scalar::KERNELS.normalize(&mut expected, 4 * dimension), 1);
        for kernels in tables() {
            let row = &room[range.clone()][..4 * dimension];
            assert_eq!(
                kernels.norm(row).to_bits(),
                scalar::KERNELS.norm(row).to_bits()
            );
            let mut room = room.clone();
            assert_eq!(
                kernels.normalize(&mut room[range.clone()], 4 * dimension),
                1
            );
            assert_eq!(
                room[range.clone()],
                expected,
                "{} {dimension} {at}",
                kernels.name
            );
        }
        let last = scalar::KERNELS.norm(&expected[8 * dimension..]);
        assert!((last - 1.0).abs() < 1e-6, "{last}");
    }
}

#[test]
fn every_code_is_decoded_as_faiss_computes_it() {
    type Decode = fn(&Kernels, &[u8], &[f32], &[f32], &mut [f32]);
    let kinds = [
        (Kernels::sq8 as Decode, 8),
        (Kernels::sq6, 6),
        (Kernels::sq4, 4),
    ];
    let mut seeded = Seeded(7);
    // Dimensions that are a multiple of 256 have every code.
    let dimensions = (1..140).chain([255, 256, 257, 511, 512, 513, 1000, 1536]);
    for dimension in dimensions {
        let (minima, widths) = (seeded.floats(dimension), seeded.floats(dimension));
        for (decode, bits) in kinds {
            let code_bytes = (dimension * bits).div_ceil(8);
            let codes: Vec<u8> = match dimension {
                512 => (0..3 * code_bytes).map(|i| i as u8).collect(),
                _ => seeded.bytes(3 * code_bytes),
            };
            let (room, range) = placed(&codes, dimension % 64);
            let mut expected = vec![0f32; 3 * dimension];
            decode(&scalar::KERNELS, &codes, &minima, &widths, &mut expected);
            for kernels in tables() {
                let mut target = vec![f32::NAN; 3 * dimension];
                decode(kernels, &room[range.clone()], &minima, &widths, &mut target);
                assert_eq!(
                    le(&target),
                    le(&expected),
                    "{} {bits} bits, {dimension}",
                    kernels.name
                );
            }
        }
    }
}

#[test]
fn a_code_of_each_kind_by_hand() {
    for kernels in tables() {
        let mut x = [0f32; 4];
        kernels.sq8(&[0, 255, 7, 128], &[1.0; 4], &[2.0; 4], &mut x);
        assert_eq!(
            x,
            [0.5f32, 255.5, 7.5, 128.5].map(|c| 1.0 + c / 255.0 * 2.0)
        );
        kernels.sq4(&[0x21, 0x43], &[1.0; 4], &[2.0; 4], &mut x);
        assert_eq!(x, [1.5f32, 2.5, 3.5, 4.5].map(|c| 1.0 + c / 15.0 * 2.0));
        // Fields 1, 2, 3, 4 of six bits: 000001 | 000010 << 6 | 000011 << 12 | 000100 << 18.
        kernels.sq6(&[0x81, 0x30, 0x10], &[1.0; 4], &[2.0; 4], &mut x);
        assert_eq!(x, [1.5f32, 2.5, 3.5, 4.5].map(|c| 1.0 + c / 63.0 * 2.0));
    }
}

fn check_varints(ids: &[i64]) {
    let mut expected = vec![0; 10 * ids.len()];
    let len = scalar::varints(ids, &mut expected);
    for kernels in tables() {
        let mut out = vec![9];
        kernels.varints(ids, &mut out);
        assert_eq!(out[0], 9);
        assert_eq!(out[1..], expected[..len], "{} {ids:?}", kernels.name);
        assert_eq!(kernels.varints_len(ids), len, "{}", kernels.name);
    }
}

#[test]
fn varints_of_every_length_and_their_edges() {
    check_varints(&[]);
    check_varints(&[-1, i64::MIN, i64::MAX, 0]);
    let mut all = Vec::new();
    for bits in 0..64 {
        let edge = 1u64 << bits;
        let edges = [edge as i64, (edge - 1) as i64, (edge | 1) as i64];
        check_varints(&edges);
        all.extend(edges);
    }
    check_varints(&all);
    let mut seeded = Seeded(8);
    for round in 0..2000 {
        let count = seeded.next() as usize % 100;
        // Ids mostly of one length, or of all lengths.
        let bits = |x: u64| {
            if round % 2 == 0 {
                x >> (round % 64)
            } else {
                x >> (x % 64)
            }
        };
        let ids: Vec<i64> = (0..count).map(|_| bits(seeded.next()) as i64).collect();
        check_varints(&ids);
    }
}

#[test]
fn runs_are_gathered_in_order() {
    let bytes: Vec<u8> = (0..40).collect();
    let mut out = vec![9];
    gather(&bytes, 4, [1..3, 5..5, 9..10], &mut out);
    assert_eq!(out, [9, 4, 5, 6, 7, 8, 9, 10, 11, 36, 37, 38, 39]);
}

#[test]
fn a_name_chooses_a_table_and_a_wrong_one_does_not() {
    let best = available().last().unwrap().name;
    let check = |wanted: Option<&str>, name: &str, found: bool| {
        let (kernels, was) = choose(wanted);
        assert_eq!((kernels.name, was), (name, found));
    };
    check(None, best, true);
    check(Some(""), best, true);
    check(Some("scalar"), "scalar", true);
    check(Some(best), best, true);
    check(Some("avx9"), best, false);
}
