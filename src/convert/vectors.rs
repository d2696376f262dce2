//! What do vectors become on the way? They are scaled to length 1 and converted to a smaller type, if the job asks for
//! it. Reports how much was lost.

use std::fmt;

use std::sync::Arc;

use super::{Converted, misfitting};
use crate::batch::{Batch, LeftOut, Part};
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::job::{FieldSettings, NonFinite, Normalize, StoreAs};
use crate::limits;
use crate::schema::{Columns, Element, VectorType};
use crate::simd;

/// What a job wants made of its vectors. Only float32 vectors are converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conversion {
    normalize: Option<Normalize>,
    store_as: Option<StoreAs>,
}

/// The result of converting the vectors of a part.
pub(super) struct Rows {
    /// Rows that could not be converted, and may be left out.
    pub odd: Vec<usize>,
    /// The largest relative error of a component.
    pub relative_error: f32,
}

impl Conversion {
    /// What these settings ask for; `None`: rows travel as they are.
    pub fn asked(fields: &FieldSettings) -> Option<Conversion> {
        Conversion::new(fields.normalize, fields.store_as)
    }

    /// What these two ask for; `None`: rows travel as they are.
    pub(super) fn new(
        normalize: Option<Normalize>,
        store_as: Option<StoreAs>,
    ) -> Option<Conversion> {
        let conversion = Conversion {
            normalize,
            store_as,
        };
        (normalize.is_some() || store_as.is_some()).then_some(conversion)
    }

    /// What vectors of this type become; a sentence if that is impossible.
    pub fn becomes(self, vector: VectorType) -> std::result::Result<VectorType, String> {
        if vector.element != Element::Float32 {
            return Err(format!("only float32 vectors are converted, not {vector}"));
        }
        Ok(VectorType {
            element: self.store_as.map_or(Element::Float32, element),
            ..vector
        })
    }

    /// The former type of vectors that have this type now.
    pub fn was(self, vector: VectorType) -> VectorType {
        VectorType {
            element: Element::Float32,
            ..vector
        }
    }

    /// The key of the job that asks for it.
    pub fn key(self) -> &'static str {
        match self.store_as {
            Some(_) => "fields.vector.as",
            None => "fields.vector.normalize",
        }
    }

    /// Whether components may differ from what they were.
    pub fn is_cast(self) -> bool {
        self.store_as.is_some()
    }

    /// What is certainly lost without showing in the largest error.
    pub fn loses(self) -> Option<String> {
        let what = "`as: int8` has only one zero: a component of -0.0 arrives as 0";
        (self.store_as == Some(StoreAs::Int8)).then(|| what.to_owned())
    }

    /// Converts a batch as requested: its vectors go to a buffer, as rows of these columns; ids stay where they are.
    pub fn apply(
        self,
        columns: &Arc<Columns>,
        mut batch: Batch,
        non_finite: NonFinite,
        rooms: &Buffers,
    ) -> Result<Converted> {
        let after = columns.as_plain().expect("only plain rows are converted");
        let width = after.row_bytes() as usize;
        let (mut room, mut scratch) = (rooms.take(), rooms.take());
        room.bytes.reserve(batch.rows() as usize * width);
        let mut kept = Vec::with_capacity(batch.parts.len());
        let (mut left_out, mut relative_error) = (Vec::new(), 0f32);
        for part in &batch.parts {
            let rows = self.convert(part, 1, non_finite, &mut scratch.bytes, &mut room.bytes)?;
            part.without(&rows.odd, &mut kept);
            left_out.extend(rows.odd.iter().map(|row| LeftOut::of(part, *row)));
            relative_error = relative_error.max(rows.relative_error);
        }
        let bytes = room.freeze();
        let mut at = 0;
        for part in &mut kept {
            let end = at + part.len() * width;
            *part = part.with_vectors(columns, bytes.slice(at..end));
            at = end;
        }
        batch.parts = kept;
        Ok(Converted {
            batch,
            left_out,
            relative_error: self.is_cast().then_some(relative_error),
        })
    }

    /// Appends the vectors of a part to `out`, converted, without rows that cannot be.
    pub(super) fn convert(
        self,
        part: &Part,
        column: usize,
        non_finite: NonFinite,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Rows> {
        let vectors = part.vectors_of(column);
        let row_bytes = vectors.len() / part.len().max(1);
        let start = out.len();
        // Nearly always every row can be converted.
        if let Some(relative_error) = self.rows(vectors, row_bytes, scratch, out) {
            return Ok(Rows {
                odd: Vec::new(),
                relative_error,
            });
        }
        out.truncate(start);
        let (odd, relative_error) =
            self.one_by_one(part, column, row_bytes, non_finite, scratch, out)?;
        Ok(Rows {
            odd,
            relative_error,
        })
    }

    /// Appends converted rows to `out`, and returns the largest relative error. `None`: a row cannot be converted, and
    /// `out` is useless.
    fn rows(
        self,
        vectors: &[u8],
        row_bytes: usize,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<f32> {
        let step_rows = (limits::CHECK_STEP_BYTES / row_bytes).max(1);
        let mut largest = 0f32;
        for mut rows in vectors.chunks(step_rows * row_bytes) {
            if self.normalize.is_some() {
                if !simd::finite_f32(rows) {
                    return None;
                }
                scratch.clear();
                scratch.extend_from_slice(rows);
                if simd::normalize(scratch, row_bytes) > 0 {
                    return None;
                }
                rows = scratch;
            }
            largest = largest.max(self.cast(rows, out)?);
        }
        Some(largest)
    }

    /// Appends components of another type.
    fn cast(self, rows: &[u8], out: &mut Vec<u8>) -> Option<f32> {
        let start = out.len();
        match self.store_as {
            None => {
                out.extend_from_slice(rows);
                Some(0.0)
            }
            Some(StoreAs::Float16) => {
                out.resize(start + rows.len() / 2, 0);
                simd::f32_to_f16(rows, &mut out[start..]);
                relative_error(rows, &out[start..], simd::f16_to_f32)
            }
            Some(StoreAs::BFloat16) => {
                out.resize(start + rows.len() / 2, 0);
                simd::f32_to_bf16(rows, &mut out[start..]);
                relative_error(rows, &out[start..], simd::bf16_to_f32)
            }
            Some(StoreAs::Int8) => {
                let components = rows.as_chunks::<4>().0.iter();
                out.extend(components.map(|x| f32::from_le_bytes(*x) as i8 as u8));
                let pairs = rows.as_chunks::<4>().0.iter().zip(&out[start..]);
                let differs =
                    |(x, y): (&[u8; 4], &u8)| f32::from_le_bytes(*x) != f32::from(*y as i8);
                (!pairs.fold(false, |odd, pair| odd | differs(pair))).then_some(0.0)
            }
        }
    }

    /// The rows of a part that cannot be converted, if they may be left out; the others are appended to `out`.
    fn one_by_one(
        self,
        part: &Part,
        column: usize,
        row_bytes: usize,
        non_finite: NonFinite,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(Vec<usize>, f32)> {
        let (mut odd, mut largest) = (Vec::new(), 0f32);
        let vectors = part.vectors_of(column).chunks_exact(row_bytes);
        for (row, vector) in vectors.enumerate() {
            let before = out.len();
            if let Some(error) = self.rows(vector, row_bytes, scratch, out) {
                largest = largest.max(error);
                continue;
            }
            out.truncate(before);
            let obstacle = self.obstacle(vector, scratch);
            if non_finite == NonFinite::Fail || !obstacle.is_non_finite {
                return Err(obstacle.refused(part, row));
            }
            odd.push(row);
        }
        Ok((odd, largest))
    }

    /// Why a row cannot be converted.
    fn obstacle(self, vector: &[u8], scratch: &mut Vec<u8>) -> Obstacle {
        let has = |at: usize, value: f32| format!("has {value:?} as component {at},");
        let floats = |bytes: &[u8]| -> Vec<f32> {
            let words = bytes.as_chunks::<4>().0.iter();
            words.map(|word| f32::from_le_bytes(*word)).collect()
        };
        let values = floats(vector);
        // Halves hold NaN and infinity; the sink decides whether it takes them.
        let carries_all = self.normalize.is_none() && self.store_as != Some(StoreAs::Int8);
        let odd = values.iter().position(|x| !x.is_finite());
        if let Some(at) = odd.filter(|_| !carries_all) {
            return Obstacle {
                is_non_finite: true,
                what: format!("{} which cannot be {self}", has(at, values[at])),
                hint: SKIP,
            };
        }
        if self.normalize.is_some() && simd::norm(vector) == 0.0 {
            return Obstacle {
                is_non_finite: false,
                what: "is zero, and cannot be scaled to length 1".to_owned(),
                hint: "without `normalize: l2` it is migrated as it is",
            };
        }
        scratch.clear();
        scratch.extend_from_slice(vector);
        if self.normalize.is_some() {
            simd::normalize(scratch, vector.len());
        }
        let mut out = Vec::new();
        let values = floats(scratch);
        let words = scratch.as_chunks::<4>().0;
        let at = words
            .iter()
            .position(|word| self.cast(word, &mut out).is_none());
        let at = at.expect("the row was found not to be convertible");
        match self.store_as {
            Some(StoreAs::Int8) => Obstacle {
                is_non_finite: false,
                what: format!(
                    "{} which int8 cannot hold: only whole numbers from -128 to 127",
                    has(at, values[at])
                ),
                hint: "`as: float16` and `as: bfloat16` round",
            },
            _ => Obstacle {
                is_non_finite: true,
                what: format!(
                    "{} which would be infinite once {self}",
                    has(at, values[at])
                ),
                hint: SKIP,
            },
        }
    }
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.normalize, self.store_as) {
            (None, None) => f.write_str("left as it is"),
            (None, Some(store_as)) => write!(f, "stored as {}", store_as.word()),
            (Some(_), None) => f.write_str("scaled to length 1"),
            (Some(_), Some(store_as)) => {
                write!(f, "scaled to length 1 and stored as {}", store_as.word())
            }
        }
    }
}

const SKIP: &str = "`run.non_finite: skip` leaves such rows out where the target is not a file, and counts and lists them";

/// Why a row cannot be converted, and what can be done.
struct Obstacle {
    /// Whether `non_finite` is about it.
    is_non_finite: bool,
    what: String,
    hint: &'static str,
}

impl Obstacle {
    fn refused(self, part: &Part, row: usize) -> Error {
        misfitting(part, row, format!(" {}", self.what)).hint(self.hint)
    }
}

fn element(store_as: StoreAs) -> Element {
    match store_as {
        StoreAs::Float16 => Element::Float16,
        StoreAs::BFloat16 => Element::BFloat16,
        StoreAs::Int8 => Element::Int8,
    }
}

/// The largest relative error of narrow components; `None` if a finite one became infinite.
fn relative_error(before: &[u8], narrow: &[u8], widen: fn(&[u8], &mut [u8])) -> Option<f32> {
    const TOGETHER: usize = 1024;
    /// Independent accumulators, so that the compiler can vectorize.
    const LANES: usize = 16;
    let mut largest = [0f32; LANES];
    let mut room = [0u8; 4 * TOGETHER];
    for (before, narrow) in before.chunks(4 * TOGETHER).zip(narrow.chunks(2 * TOGETHER)) {
        let after = &mut room[..before.len()];
        widen(narrow, after);
        let blocks = before.chunks(4 * LANES).zip(after.chunks(4 * LANES));
        for (before, after) in blocks {
            let pairs = before
                .as_chunks::<4>()
                .0
                .iter()
                .zip(after.as_chunks::<4>().0);
            for (largest, (x, y)) in largest.iter_mut().zip(pairs) {
                let (x, y) = (f32::from_le_bytes(*x), f32::from_le_bytes(*y));
                // 0 / 0 is NaN, and so is what becomes of a NaN or an infinity: not larger than anything.
                let error = ((y - x) / x).abs();
                *largest = if error > *largest { error } else { *largest };
            }
        }
    }
    let largest = largest.into_iter().fold(0f32, f32::max);
    largest.is_finite().then_some(largest)
}
