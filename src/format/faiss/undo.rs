//! Undoing transforms: from the vectors inside an index to those that were added.
//! Loops over slices, which the compiler vectorizes.

use super::transform::{Act, Transform};
use crate::error::Result;
use crate::input::View;

/// The most multiplications spent on finding out whether a matrix is a rotation.
const CHECKS_MAX: usize = 1 << 30;

/// A step that is applied to decoded rows.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// x = Σ (y_i − bias_i) · row_i of the matrix.
    Matrix {
        rows: Vec<f32>,
        bias: Vec<f32>,
        from: usize,
    },
    /// Component i moves to place `map[i]`.
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

pub(super) fn floats(view: &View) -> Result<Vec<f32>> {
    let bytes = view.bytes()?;
    Ok(bytes.chunks_exact(4).map(float).collect())
}

#[inline(always)]
pub(super) fn float(word: &[u8]) -> f32 {
    f32::from_le_bytes(word.try_into().expect("chunks_exact(4)"))
}

pub(super) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[inline(always)]
pub(super) fn add(row: &mut [f32], other: &[f32]) {
    for (to, from) in row.iter_mut().zip(other) {
        *to += from;
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
            let Some(rows) = inverse(rows, from, to) else {
                return Ok(Undo::Cannot(format!("its {name} is not a rotation")));
            };
            if to < from {
                loss = Some(format!("a {name} cut {from} dimensions down to {to}"));
            }
            Step::Matrix { rows, bias, from }
        }
        Act::Remap(stored) => {
            let bytes = stored.bytes()?;
            let entries = bytes.chunks_exact(4).map(|word| {
                let entry = i32::from_le_bytes(word.try_into().expect("chunks_exact(4)"));
                usize::try_from(entry).ok()
            });
            let map: Vec<_> = entries.collect();
            let mut seen = vec![false; from];
            for (index, entry) in map.iter().enumerate() {
                let Some(entry) = entry else { continue };
                match seen.get_mut(*entry) {
                    Some(seen) => *seen = true,
                    None => {
                        let what = format!("{name}: dimension {entry}, expected 0 to below {from}");
                        let at = (index as u64).saturating_mul(4);
                        return Err(stored.corrupt(at, what));
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
                "ITQ centres vectors and scales them to unit length".to_owned(),
            ));
        }
    };
    Ok(Undo::Step { step, loss, shifts })
}

/// The matrix whose transpose undoes this one, row for row; `None` if there is no simple one.
///
/// Rows at right angles, each divided by its squared length: for a square matrix that is the inverse, for fewer rows
/// than columns the nearest to one. More rows than columns: the columns must be at right angles, of length 1.
fn inverse(mut rows: Vec<f32>, from: usize, to: usize) -> Option<Vec<f32>> {
    if from == 0 || to == 0 {
        return None;
    }
    if to > from {
        let lengths = right_angles(&transpose(&rows, from), to)?;
        let unit = lengths.iter().all(|length| (length - 1.0).abs() < 1e-4);
        return unit.then_some(rows);
    }
    let original = rows.clone();
    let lengths = right_angles(&rows, from)?;
    for (row, length) in rows.chunks_exact_mut(from).zip(lengths) {
        let scale = (1.0 / length) as f32;
        row.iter_mut().for_each(|value| *value *= scale);
    }
    let work = to.saturating_mul(to).saturating_mul(from);
    if from == to && work <= CHECKS_MAX {
        rows = refined(&rows, &original, from);
    }
    Some(rows)
}

/// One step of Newton's method: Faiss's matrices are rotations to float32 precision only, and the transpose alone would
/// amplify that error (measured: 1e-5 after OPQ of 128 dimensions, 2e-6 with the step).
fn refined(rows: &[f32], original: &[f32], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for (i, row) in rows.chunks_exact(width).enumerate() {
        let mut sum: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
        let pairs = rows
            .chunks_exact(width)
            .zip(original.chunks_exact(width))
            .enumerate();
        for (j, (other, other_original)) in pairs {
            let off = dot(row, other_original) - if i == j { 1.0 } else { 0.0 };
            for (to, value) in sum.iter_mut().zip(other) {
                *to -= off * f64::from(*value);
            }
        }
        out.extend(sum.into_iter().map(|value| value as f32));
    }
    out
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 4];
    for (a, b) in a.chunks(4).zip(b.chunks(4)) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*x) * f64::from(*y);
        }
    }
    sums.iter().sum()
}

fn transpose(rows: &[f32], from: usize) -> Vec<f32> {
    let mut columns = Vec::with_capacity(rows.len());
    for column in 0..from {
        columns.extend(rows.iter().skip(column).step_by(from));
    }
    columns
}

/// Squared lengths of rows that are all at right angles; `None` if they are not, or if a row is zero.
fn right_angles(rows: &[f32], width: usize) -> Option<Vec<f64>> {
    let all: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let lengths: Vec<f64> = all.iter().map(|row| dot(row, row)).collect();
    if !lengths.iter().all(|n| n.is_finite() && *n > 1e-12) {
        return None;
    }
    // Of very large matrices only some pairs are checked: all of them would take hours.
    let pairs = all.len().saturating_mul(all.len()) / 2;
    let stride = pairs.saturating_mul(width) / CHECKS_MAX;
    let mut left = 0usize;
    for (i, (row, length)) in all.iter().zip(&lengths).enumerate() {
        let others = all.iter().zip(&lengths).skip(i.saturating_add(1));
        for (other, other_length) in others {
            if left > 0 {
                left = left.saturating_sub(1);
                continue;
            }
            left = stride;
            if dot(row, other).abs() > 1e-4 * (length * other_length).sqrt() {
                return None;
            }
        }
    }
    Some(lengths)
}

impl Step {
    /// Appends the rows with the transform undone, and returns their new length.
    pub(super) fn apply(&self, values: &[f32], width: usize, out: &mut Vec<f32>) -> usize {
        let rows = values.chunks_exact(width.max(1));
        match self {
            Step::Matrix {
                rows: matrix,
                bias,
                from,
            } => {
                out.resize(rows.len().saturating_mul(*from), 0.0);
                turn_back(values, width, matrix, bias, *from, out);
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

/// out += Σ (y_i − bias_i) · row_i, four rows of the matrix at a time so that `out` is touched less.
fn turn_back(
    values: &[f32],
    width: usize,
    matrix: &[f32],
    bias: &[f32],
    from: usize,
    out: &mut [f32],
) {
    let (from, width) = (from.max(1), width.max(1));
    let four = matrix.chunks(from.saturating_mul(4)).zip(bias.chunks(4));
    for (block, (matrix, bias)) in four.enumerate() {
        let first = block.saturating_mul(4);
        for (y, x) in values.chunks_exact(width).zip(out.chunks_exact_mut(from)) {
            let mut factors = [0f32; 4];
            let y = y.get(first..).unwrap_or_default();
            for ((factor, y), b) in factors.iter_mut().zip(y).zip(bias) {
                *factor = y - b;
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

/// The signs Faiss derives from a seed: SplitMix64, one draw for each, three times over.
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

/// A Walsh-Hadamard transform is its own inverse up to a factor: the same three rounds in reverse order.
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
