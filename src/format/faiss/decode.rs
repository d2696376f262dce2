//! Decoding arithmetic: from codes back to the vectors that an index took in. Kernels where there are any, else loops
//! that the compiler vectorizes.

use super::index::{Body, Node, Stored};
use super::lists::{Lists, Place};
use super::quantizer::{Codec, Product, Scalar};
use super::rows::Rows;
use super::undo::{Step, add, float, floats, size};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::simd;

/// Rows that are decoded at a time: few enough to stay in the cache.
const TOGETHER: usize = 64;

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

/// Codes, minima, widths, and where the components go.
type Unquantize = fn(&[u8], &[f32], &[f32], &mut [f32]);

enum Code {
    Float,
    Bits,
    /// Floats of two bytes, and the function that widens them.
    Half(fn(&[u8], &mut [u8])),
    /// Integers that are `zero` above their value.
    Byte {
        zero: f32,
    },
    /// Fractions of a range, one for each component.
    Ranges {
        decode: Unquantize,
        minima: Vec<f32>,
        widths: Vec<f32>,
    },
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
        decoder: Box<Decoder>,
        rows: Box<Rows>,
    },
    Combinations(Table),
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
            Codec::Scalar(scalar) => (
                Code::scalar(scalar, lists.rows)?,
                u64::from(scalar.dimension),
            ),
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

    /// Decodes codes of one list, and appends the vectors to `out`.
    ///
    /// `ids` are the ids stored with the codes, if there are any.
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
            if let Some((_, codes)) = &self.second {
                codes.give_back();
            }
            if self.signs {
                pack_signs(&values, out);
            } else {
                out.extend_from_slice(bytemuck::cast_slice(&values));
            }
        }
        Ok(())
    }

    /// Decodes codes into components.
    fn values(&self, codes: &[u8], out: &mut Vec<f32>) {
        match &self.code {
            Code::Float => out.extend(codes.chunks_exact(4).map(float)),
            Code::Bits => {}
            Code::Half(widen) => widen(codes, bytemuck::cast_slice_mut(self.room(codes, out))),
            Code::Byte { zero } => out.extend(codes.iter().map(|code| f32::from(*code) - zero)),
            Code::Ranges {
                decode,
                minima,
                widths,
            } => decode(codes, minima, widths, self.room(codes, out)),
            Code::Product(table) => {
                for code in codes.chunks_exact(table.code_bytes.max(1)) {
                    table.get(code, self.width, out);
                }
            }
        }
    }

    /// Makes room for the components of some codes at the end of `out`.
    fn room<'o>(&self, codes: &[u8], out: &'o mut Vec<f32>) -> &'o mut [f32] {
        let rows = codes.len().checked_div(self.code_bytes).unwrap_or(0);
        let start = out.len();
        out.resize(start.saturating_add(rows.saturating_mul(self.width)), 0.0);
        out.get_mut(start..).unwrap_or_default()
    }

    /// Adds what the second quantizer encodes. Its codes are stored by id, not by list.
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

/// Packs components into bits, the lowest bit first: 1 if a component is above 0.
fn pack_signs(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.chunks_exact(8).map(|eight| {
        let bits = eight.iter().rev();
        bits.fold(0u8, |byte, value| (byte << 1) | u8::from(*value > 0.0))
    }));
}

impl Code {
    /// How the codes of a scalar quantizer are decoded.
    fn scalar(scalar: &Scalar, rows: u64) -> Result<Code> {
        let decode = match scalar.kind {
            4 => return Ok(Code::Half(simd::f16_to_f32)),
            7 => return Ok(Code::Half(simd::bf16_to_f32)),
            5 => return Ok(Code::Byte { zero: 0.0 }),
            8 => return Ok(Code::Byte { zero: 128.0 }),
            0 | 2 => simd::sq8,
            1 | 3 => simd::sq4,
            6 => simd::sq6,
            // A kind that we do not decode gets here only if it has no rows.
            _ => return Ok(Code::Float),
        };
        let dimension = size(scalar.dimension.into());
        let ranges = floats(&scalar.trained)?;
        let (minima, widths) = match (scalar.kind, &ranges[..]) {
            (2 | 3, [minimum, width]) => (vec![*minimum; dimension], vec![*width; dimension]),
            (_, ranges) => {
                let (minima, widths) = ranges.split_at(ranges.len() / 2);
                (minima.to_vec(), widths.to_vec())
            }
        };
        if rows > 0 && minima.len() != dimension {
            let what = format!("{rows} rows are encoded by a quantizer that was never trained");
            return Err(scalar.trained.corrupt(0, what));
        }
        Ok(Code::Ranges {
            decode,
            minima,
            widths,
        })
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
        Body::Graph { storage: inner, .. } | Body::Transformed { inner, .. } => {
            return centre_rows(Some(inner));
        }
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
    let Some(quantizer) = quantizer.filter(|node| centre_rows(Some(node)).is_some()) else {
        return Ok(None);
    };
    let rows = Rows::of(file, quantizer)?;
    Ok(Some(Centres::Rows {
        decoder: Box::new(Decoder::new(&rows)?),
        rows: Box::new(rows),
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
            Centres::Rows { decoder, rows } => {
                let lists = &rows.stored.lists;
                let run = lists.runs.first().filter(|run| list < run.rows);
                let Some(run) = run else {
                    let what = format!(
                        "list {list} has no centre: the quantizer has {} rows",
                        lists.rows
                    );
                    return Err(Error::path(Kind::Corrupt, rows.file.path(), what));
                };
                let (mut code, mut vector) = (Vec::new(), Vec::new());
                lists.fetch(&rows.file, run, list, 1, &mut code)?;
                decoder.decode(0, &code, None, &mut vector)?;
                centre.extend(vector.chunks_exact(4).map(float));
            }
        }
        Ok(centre)
    }
}
