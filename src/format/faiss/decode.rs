//! From codes back to what an index took: the arithmetic. Loops over slices that the compiler turns into vector code.

use half::{bf16, f16};

use super::index::{Body, Node, Stored};
use super::lists::{Lists, Place};
use super::quantizer::{Codec, Product, Scalar};
use super::rows::Rows;
use super::undo::{Step, add, float, floats, size};
use crate::error::{Error, Kind, Result};
use crate::input::View;

/// Rows that go through the steps together: few enough to stay in the cache.
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
            if let Some((_, codes)) = &self.second {
                codes.give_back();
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
