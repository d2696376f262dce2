//! From codes back to vectors: the arithmetic. Loops over slices that the compiler turns into vector code.

use half::{bf16, f16};

use super::index::{Body, Node, Stored};
use super::lists::{Lists, Place};
use super::quantizer::{Codec, Product, Scalar};
use super::rows::Rows;
use super::transform::{Act, Transform};
use crate::error::{Error, Kind, Result};
use crate::input::View;

/// Rows that go through the steps together: few enough to stay in the cache.
const TOGETHER: usize = 64;

/// Products that are spent on finding out whether a matrix is a rotation.
const CHECKS_MAX: usize = 1 << 30;

/// Turns codes into vectors.
pub struct Decoder {
    code: Code,
    /// Components of a decoded code.
    width: usize,
    code_bytes: usize,
    centres: Option<Box<Centres>>,
    second: Option<(Table, View)>,
    steps: Vec<Step>,
    signs: bool,
}

enum Code {
    Float,
    Bits,
    Scalar { kind: u32, ranges: Vec<f32> },
    Product(Table),
}

/// The centroids of a product quantizer.
struct Table {
    centroids: Vec<f32>,
    bits: u32,
    /// Components of a part.
    part: usize,
    code_bytes: usize,
}

/// Centres of inverted lists.
enum Centres {
    Rows {
        decoder: Decoder,
        lists: Lists,
        file: View,
    },
    Combinations(Table),
}

/// What is done to decoded rows, in turn.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// x = Σ (y_i − bias_i) · scale_i · row_i of the matrix.
    Matrix {
        rows: Vec<f32>,
        bias: Vec<f32>,
        scale: Vec<f32>,
        from: usize,
    },
    /// Component `map[i]` is component i.
    Remap {
        map: Vec<Option<usize>>,
        from: usize,
    },
    /// A mean is added.
    Add(Vec<f32>),
    /// Three rounds of Walsh-Hadamard and signs.
    Hadamard { signs: [Vec<f32>; 3], from: usize },
}

/// How a transform is undone.
pub(super) enum Undo {
    Step {
        step: Step,
        /// What is lost.
        loss: Option<String>,
        /// Whether it moves the origin.
        shifts: bool,
    },
    Cannot(String),
}

fn floats(view: &View) -> Result<Vec<f32>> {
    let bytes = view.bytes()?;
    Ok(bytes.chunks_exact(4).map(float).collect())
}

#[inline(always)]
fn float(word: &[u8]) -> f32 {
    f32::from_le_bytes(word.try_into().expect("chunks_exact(4)"))
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Decoder {
    /// A decoder for these rows; loads codebooks and matrices, no rows.
    pub fn new(rows: &Rows) -> Result<Decoder> {
        let stored = &rows.stored;
        let mut decoder = Decoder::plain(&stored.codec, &stored.lists)?;
        decoder.steps.clone_from(&rows.steps);
        decoder.signs = rows.signs;
        if stored.lists.rows == 0 {
            return Ok(decoder);
        }
        if stored.by_residual {
            let quantizer = stored.quantizer.as_ref();
            decoder.centres = centres(&rows.file, quantizer)?.map(Box::new);
        }
        if let Some((second, codes)) = &stored.second {
            decoder.second = Some((Table::of(second)?, codes.clone()));
        }
        Ok(decoder)
    }

    fn plain(codec: &Codec, lists: &Lists) -> Result<Decoder> {
        let (code, width) = match codec {
            Codec::Float => (Code::Float, lists.code_bytes / 4),
            Codec::Bits => (Code::Bits, lists.code_bytes),
            Codec::Scalar(Scalar {
                kind,
                trained,
                dimension,
                ..
            }) => {
                let ranges = floats(trained)?;
                (
                    Code::Scalar {
                        kind: *kind,
                        ranges,
                    },
                    u64::from(*dimension),
                )
            }
            Codec::Product(pq) => (Code::Product(Table::of(pq)?), u64::from(pq.dimension)),
        };
        Ok(Decoder {
            code,
            width: size(width),
            code_bytes: size(lists.code_bytes),
            centres: None,
            second: None,
            steps: Vec::new(),
            signs: false,
        })
    }

    /// Appends the vectors of rows of one list, whose codes these are, to `out`.
    ///
    /// `ids` are those beside the codes, where there are any.
    pub fn decode(
        &self,
        list: u64,
        codes: &[u8],
        ids: Option<&[i64]>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if matches!(self.code, Code::Bits) {
            out.extend_from_slice(codes);
            return Ok(());
        }
        let centre = match &self.centres {
            Some(centres) => Some(centres.get(list)?),
            None => None,
        };
        let together = self.code_bytes.saturating_mul(TOGETHER).max(1);
        let mut ids = ids.map(|ids| ids.chunks(TOGETHER));
        let (mut values, mut room) = (Vec::new(), Vec::new());
        for codes in codes.chunks(together) {
            values.clear();
            self.values(codes, &mut values);
            if let Some(centre) = &centre {
                for row in values.chunks_exact_mut(self.width.max(1)) {
                    add(row, centre);
                }
            }
            if let Some((table, codes)) = &self.second {
                let ids = ids.as_mut().and_then(Iterator::next).unwrap_or_default();
                self.add_second(table, codes, ids, &mut values)?;
            }
            let mut width = self.width;
            for step in &self.steps {
                room.clear();
                width = step.apply(&values, width, &mut room);
                std::mem::swap(&mut values, &mut room);
            }
            if self.signs {
                pack_signs(&values, out);
            } else {
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        Ok(())
    }

    /// Components of some codes.
    fn values(&self, codes: &[u8], out: &mut Vec<f32>) {
        match &self.code {
            Code::Float => out.extend(codes.chunks_exact(4).map(float)),
            Code::Bits => {}
            Code::Scalar { kind, ranges } => {
                scalar(*kind, ranges, codes, self.width, self.code_bytes, out);
            }
            Code::Product(table) => {
                for code in codes.chunks_exact(table.code_bytes.max(1)) {
                    table.get(code, self.width, out);
                }
            }
        }
    }

    /// The second quantizer's codes stand by id, not by list.
    fn add_second(
        &self,
        table: &Table,
        codes: &View,
        ids: &[i64],
        values: &mut [f32],
    ) -> Result<()> {
        let mut code = vec![0; table.code_bytes];
        let mut rest = Vec::with_capacity(self.width);
        for (row, id) in values.chunks_exact_mut(self.width.max(1)).zip(ids) {
            let at = u64::try_from(*id)
                .ok()
                .and_then(|id| id.checked_mul(u64::try_from(table.code_bytes).ok()?));
            let Some(at) = at.filter(|at| *at < codes.len()) else {
                let what = format!(
                    "row {id} has no refine code: ids must be 0 and up, as Faiss numbers them"
                );
                return Err(codes.corrupt(0, what));
            };
            codes.read(at, &mut code)?;
            rest.clear();
            table.get(&code, self.width, &mut rest);
            add(row, &rest);
        }
        Ok(())
    }
}

#[inline(always)]
fn add(row: &mut [f32], other: &[f32]) {
    for (to, from) in row.iter_mut().zip(other) {
        *to += from;
    }
}

/// Bits of components: 1 where they are above 0, the lowest bit first.
fn pack_signs(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.chunks_exact(8).map(|eight| {
        let bits = eight.iter().rev();
        bits.fold(0u8, |byte, value| (byte << 1) | u8::from(*value > 0.0))
    }));
}

fn scalar(
    kind: u32,
    ranges: &[f32],
    codes: &[u8],
    width: usize,
    code_bytes: usize,
    out: &mut Vec<f32>,
) {
    match kind {
        4 => out.extend(
            codes
                .chunks_exact(2)
                .map(|half| f16::from_le_bytes(half.try_into().expect("chunks_exact(2)")).to_f32()),
        ),
        7 => {
            out.extend(codes.chunks_exact(2).map(|half| {
                bf16::from_le_bytes(half.try_into().expect("chunks_exact(2)")).to_f32()
            }))
        }
        5 => out.extend(codes.iter().map(|code| f32::from(*code))),
        8 => out.extend(codes.iter().map(|code| f32::from(*code) - 128.0)),
        _ => {
            let (minima, widths) = ranges.split_at(ranges.len() / 2);
            for code in codes.chunks_exact(code_bytes.max(1)) {
                let start = out.len();
                match kind {
                    0 | 2 => out.extend(code.iter().map(|c| (f32::from(*c) + 0.5) / 255.0)),
                    1 | 3 => {
                        let pairs = code.iter().flat_map(|c| [c & 15, c >> 4]);
                        out.extend(pairs.take(width).map(|c| (f32::from(c) + 0.5) / 15.0));
                    }
                    _ => {
                        let fields = code.chunks(3).flat_map(|three| {
                            let mut word = [0u8; 4];
                            for (to, from) in word.iter_mut().zip(three) {
                                *to = *from;
                            }
                            let word = u32::from_le_bytes(word);
                            [word & 63, (word >> 6) & 63, (word >> 12) & 63, word >> 18]
                        });
                        let fields = fields.take(width);
                        out.extend(fields.map(|c| (c as f32 + 0.5) / 63.0));
                    }
                }
                let row = out.get_mut(start..).unwrap_or_default();
                if let (2 | 3, [minimum, width]) = (kind, ranges) {
                    for value in row {
                        *value = minimum + *value * width;
                    }
                } else {
                    for ((value, minimum), width) in row.iter_mut().zip(minima).zip(widths) {
                        *value = minimum + *value * width;
                    }
                }
            }
        }
    }
}

impl Table {
    fn of(pq: &Product) -> Result<Table> {
        let part = u64::from(pq.dimension).checked_div(pq.parts).unwrap_or(0);
        Ok(Table {
            centroids: floats(&pq.centroids)?,
            bits: pq.bits,
            part: size(part),
            code_bytes: size(pq.code_bytes()),
        })
    }

    /// Appends the components that a code stands for.
    fn get(&self, code: &[u8], width: usize, out: &mut Vec<f32>) {
        let per_part = self.part.saturating_mul(1usize.wrapping_shl(self.bits));
        let mask = 1u64.wrapping_shl(self.bits).wrapping_sub(1);
        let (mut bytes, mut held, mut holds) = (code.iter(), 0u64, 0u32);
        for part in self.centroids.chunks_exact(per_part.max(1)) {
            while holds < self.bits {
                let byte = u64::from(bytes.next().copied().unwrap_or(0));
                held |= byte.wrapping_shl(holds);
                holds = holds.saturating_add(8);
            }
            let number = size(held & mask);
            held = held.wrapping_shr(self.bits);
            holds = holds.saturating_sub(self.bits);
            let start = number.saturating_mul(self.part);
            out.extend_from_slice(
                part.get(start..start.saturating_add(self.part))
                    .unwrap_or_default(),
            );
        }
        debug_assert!(out.len().checked_rem(width.max(1)) == Some(0));
    }
}

/// The rows of a quantizer, if its rows are in order and can be read.
fn centre_rows(quantizer: Option<&Node>) -> Option<&Stored> {
    let stored = match &quantizer?.body {
        Body::Rows(stored) => stored,
        Body::Graph { storage, .. } => return centre_rows(Some(storage)),
        Body::Refine { refine, .. } => return centre_rows(Some(refine)),
        _ => return None,
    };
    let lists = &stored.lists;
    let known = match &stored.codec {
        Codec::Scalar(scalar) => scalar.is_known(),
        Codec::Float | Codec::Product(_) => true,
        Codec::Bits => false,
    };
    let in_order =
        stored.quantizer.is_none() && lists.runs.len() == 1 && lists.place == Place::Here;
    (known && in_order).then_some(stored)
}

/// Whether the centres of a quantizer's lists can be read.
pub(super) fn has_centres(quantizer: Option<&Node>) -> bool {
    matches!(
        quantizer,
        Some(Node {
            body: Body::Combinations(_),
            ..
        })
    ) || centre_rows(quantizer).is_some()
}

fn centres(file: &View, quantizer: Option<&Node>) -> Result<Option<Centres>> {
    if let Some(Body::Combinations(pq)) = quantizer.map(|node| &node.body) {
        return Ok(Some(Centres::Combinations(Table::of(pq)?)));
    }
    let Some(stored) = centre_rows(quantizer) else {
        return Ok(None);
    };
    Ok(Some(Centres::Rows {
        decoder: Decoder::plain(&stored.codec, &stored.lists)?,
        lists: stored.lists.clone(),
        file: file.clone(),
    }))
}

impl Centres {
    fn get(&self, list: u64) -> Result<Vec<f32>> {
        let mut centre = Vec::new();
        match self {
            Centres::Combinations(table) => {
                let width = table.centroids.len() >> table.bits;
                table.get(&list.to_le_bytes(), width, &mut centre);
            }
            Centres::Rows {
                decoder,
                lists,
                file,
            } => {
                let run = lists.runs.first().filter(|run| list < run.rows);
                let Some(run) = run else {
                    let what = format!(
                        "list {list} has no centre: the quantizer has {} rows",
                        lists.rows
                    );
                    return Err(Error::path(Kind::Corrupt, file.path(), what));
                };
                let mut code = Vec::new();
                lists.fetch(file, run, list, 1, &mut code)?;
                decoder.values(&code, &mut centre);
            }
        }
        Ok(centre)
    }
}

/// How a transform is undone, if it can be.
pub(super) fn undo(transform: &Transform) -> Result<Undo> {
    let (from, to) = (size(transform.from.into()), size(transform.to.into()));
    let name = transform.name();
    if !transform.trained {
        return Ok(Undo::Cannot(format!("the {name} was never trained")));
    }
    let mut loss = None;
    let mut shifts = false;
    let step = match &transform.act {
        Act::Linear { matrix, bias } => {
            let rows = floats(matrix)?;
            let bias = match bias {
                Some(bias) => floats(bias)?,
                None => vec![0.0; to],
            };
            shifts = bias.iter().any(|b| *b != 0.0);
            let Some(scale) = inverse_scale(&rows, from, to) else {
                return Ok(Undo::Cannot(format!("its {name} is not a rotation")));
            };
            if to < from {
                loss = Some(format!("a {name} cut {from} dimensions down to {to}"));
            }
            Step::Matrix {
                rows,
                bias,
                scale,
                from,
            }
        }
        Act::Remap(map) => {
            let bytes = map.bytes()?;
            let entries = bytes.chunks_exact(4).map(|word| {
                let entry = i32::from_le_bytes(word.try_into().expect("chunks_exact(4)"));
                usize::try_from(entry).ok()
            });
            let map: Vec<_> = entries.collect();
            let mut seen = vec![false; from];
            for entry in map.iter().flatten() {
                match seen.get_mut(*entry) {
                    Some(seen) => *seen = true,
                    None => {
                        let what = format!("dimension {entry}, expected 0 to below {from}");
                        return Err(transform_error(transform, what));
                    }
                }
            }
            let lost = seen.iter().filter(|seen| !**seen).count();
            if lost > 0 {
                loss = Some(format!("a {name} left out {lost} of {from} dimensions"));
            }
            Step::Remap { map, from }
        }
        Act::Center(mean) => {
            shifts = true;
            Step::Add(floats(mean)?)
        }
        Act::Hadamard(seed) => Step::Hadamard {
            signs: hadamard_signs(*seed, to),
            from,
        },
        Act::Normalize => Step::Add(Vec::new()),
        Act::Itq => {
            return Ok(Undo::Cannot(
                "ITQ centres vectors and brings them to unit length".to_owned(),
            ));
        }
    };
    Ok(Undo::Step { step, loss, shifts })
}

fn transform_error(transform: &Transform, what: String) -> Error {
    Error::new(Kind::Corrupt, format!("{}: {what}", transform.name()))
}

/// For each row of a matrix, what its transpose must be scaled by to be its inverse; `None` where it is not.
///
/// Rows at right angles: for a square matrix that is an inverse, for fewer rows than columns the nearest to one.
/// More rows than columns: the columns must be at right angles, and of length 1.
fn inverse_scale(rows: &[f32], from: usize, to: usize) -> Option<Vec<f32>> {
    if from == 0 || to == 0 {
        return None;
    }
    if to > from {
        let columns = transpose(rows, from);
        let lengths = right_angles(&columns, to)?;
        let unit = lengths.iter().all(|length| (length - 1.0).abs() < 1e-4);
        return unit.then(|| vec![1.0; to]);
    }
    let lengths = right_angles(rows, from)?;
    Some(lengths.iter().map(|length| 1.0 / *length as f32).collect())
}

fn transpose(rows: &[f32], from: usize) -> Vec<f32> {
    let mut columns = Vec::with_capacity(rows.len());
    for column in 0..from {
        columns.extend(rows.iter().skip(column).step_by(from));
    }
    columns
}

/// Squared lengths of rows that are all at right angles; `None` where they are not, or one has no length.
fn right_angles(rows: &[f32], width: usize) -> Option<Vec<f64>> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        products.sum()
    };
    let all: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let lengths: Vec<f64> = all.iter().map(|row| dot(row, row)).collect();
    if !lengths.iter().all(|n| n.is_finite() && *n > 1e-12) {
        return None;
    }
    // Very large matrices are checked by every so many pairs: all pairs would take hours.
    let pairs = all.len().saturating_mul(all.len()) / 2;
    let stride = pairs.saturating_mul(width) / CHECKS_MAX;
    let stride = stride.saturating_add(1);
    let mut left = 0usize;
    for (i, (row, length)) in all.iter().zip(&lengths).enumerate() {
        let others = all.iter().zip(&lengths).skip(i.saturating_add(1));
        for (other, other_length) in others {
            if left > 0 {
                left = left.saturating_sub(1);
                continue;
            }
            left = stride.saturating_sub(1);
            if dot(row, other).abs() > 1e-4 * (length * other_length).sqrt() {
                return None;
            }
        }
    }
    Some(lengths)
}

impl Step {
    /// Appends rows, each undone, and says how long they are now.
    fn apply(&self, values: &[f32], width: usize, out: &mut Vec<f32>) -> usize {
        let rows = values.chunks_exact(width.max(1));
        match self {
            Step::Matrix {
                rows: matrix,
                bias,
                scale,
                from,
            } => {
                out.resize(rows.len().saturating_mul(*from), 0.0);
                turn_back(values, width, matrix, bias, scale, *from, out);
                *from
            }
            Step::Remap { map, from } => {
                for row in rows {
                    let start = out.len();
                    out.resize(start.saturating_add(*from), 0.0);
                    let room = out.get_mut(start..).unwrap_or_default();
                    for (value, place) in row.iter().zip(map) {
                        if let Some(to) = place.and_then(|place| room.get_mut(place)) {
                            *to = *value;
                        }
                    }
                }
                *from
            }
            Step::Add(mean) => {
                for row in rows {
                    let start = out.len();
                    out.extend_from_slice(row);
                    add(out.get_mut(start..).unwrap_or_default(), mean);
                }
                width
            }
            Step::Hadamard { signs, from } => {
                for row in rows {
                    let mut room = row.to_vec();
                    undo_hadamard(&mut room, signs);
                    out.extend_from_slice(room.get(..*from).unwrap_or_default());
                }
                *from
            }
        }
    }
}

/// out += Σ (y_i − bias_i) · scale_i · row_i, four rows of the matrix at a time so that `out` is touched less.
fn turn_back(
    values: &[f32],
    width: usize,
    matrix: &[f32],
    bias: &[f32],
    scale: &[f32],
    from: usize,
    out: &mut [f32],
) {
    let (from, width) = (from.max(1), width.max(1));
    let shifts = bias.chunks(4).zip(scale.chunks(4));
    let four = matrix.chunks(from.saturating_mul(4)).zip(shifts);
    for (block, (matrix, (bias, scale))) in four.enumerate() {
        let first = block.saturating_mul(4);
        for (y, x) in values.chunks_exact(width).zip(out.chunks_exact_mut(from)) {
            let mut factors = [0f32; 4];
            let y = y.get(first..).unwrap_or_default();
            for (((factor, y), b), s) in factors.iter_mut().zip(y).zip(bias).zip(scale) {
                *factor = (y - b) * s;
            }
            let mut rows = matrix.chunks_exact(from);
            let [f0, f1, f2, f3] = factors;
            if let (Some(a), Some(b), Some(c), Some(d)) =
                (rows.next(), rows.next(), rows.next(), rows.next())
            {
                for ((((x, a), b), c), d) in x.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *x += (f0 * a + f1 * b) + (f2 * c + f3 * d);
                }
            } else {
                for (row, factor) in matrix.chunks_exact(from).zip(factors) {
                    for (x, a) in x.iter_mut().zip(row) {
                        *x += factor * a;
                    }
                }
            }
        }
    }
}

/// The signs Faiss grows from a seed: SplitMix64, one draw for each, three times over.
fn hadamard_signs(seed: u32, width: usize) -> [Vec<f32>; 3] {
    let mut state = u64::from(seed);
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z % 2 == 0 { -1.0 } else { 1.0 }
    };
    [(); 3].map(|()| (0..width).map(|_| draw()).collect())
}

/// A Walsh-Hadamard transform is its own inverse but for a factor: the same three rounds, the last first.
fn undo_hadamard(row: &mut [f32], signs: &[Vec<f32>; 3]) {
    let width = row.len() as f32;
    for signs in signs.iter().rev() {
        walsh_hadamard(row);
        for (value, sign) in row.iter_mut().zip(signs) {
            *value *= sign;
        }
    }
    let scale = 1.0 / (width * width.sqrt());
    row.iter_mut().for_each(|value| *value *= scale);
}

fn walsh_hadamard(row: &mut [f32]) {
    let mut step = 1;
    while step < row.len() {
        for pair in row.chunks_exact_mut(step.saturating_mul(2)) {
            let (left, right) = pair.split_at_mut(step);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        step = step.saturating_mul(2);
    }
}
