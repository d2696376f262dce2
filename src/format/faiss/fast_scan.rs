//! Product quantizer codes of 4 bits, packed so that a processor can look up 32 at once.
//!
//! ```text
//! block of n rows, n a multiple of 32: for each two parts, for each 32 rows, 32 bytes:
//! | first part: 16 bytes | second part: 16 bytes |, byte k: row o in its low half, row o + 16 in its high half,
//!                                                 o = 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15
//! ```
//!
//! `pq4_pack_codes` of Faiss (impl/pq4_fast_scan.cpp). An odd number of parts is padded with an empty one.

use super::header::{FourCc, bytes_of, expect, header};
use super::index::{Body, Node, Stored};
use super::ivf;
use super::lists::{Layout, Lists, Place, lists};
use super::quantizer::{self, Codec, Product};
use crate::error::Result;
use crate::input::Cursor;

/// Rows that are packed together.
pub(super) const TOGETHER: u64 = 32;

/// Reads one without lists.
pub(super) fn flat(c: &mut Cursor, fourcc: FourCc, at: u64) -> Result<Node> {
    let header = header(c)?;
    let pq = product(c, header.dimension)?;
    c.i32("implem")?;
    let layout = layout(c, &pq)?;
    c.i32("qbs")?;
    // Rows in whole blocks; emptied indexes keep the number they had.
    c.u64("ntotal2")?;
    pairs(c, &pq)?;
    let at_codes = c.at();
    let codes = c.vector("codes", 1)?.len();
    let expected = block_bytes(c, at_codes, header.rows, &layout, &pq)?;
    expect(c, at_codes, "bytes of codes", codes, expected)?;
    let mut lists = Lists::one(pq.code_bytes(), header.rows, at_codes.saturating_add(8));
    lists.layout = layout;
    let class = "product quantizer for FastScan (IndexPQFastScan)";
    let body = Stored::body(Codec::Product(pq), lists);
    Ok(Node::new(fourcc, class, at, header, body))
}

/// Reads an inverted file of them.
pub(super) fn inverted(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let head = ivf::head(c, depth)?;
    let by_residual = c.bool("by_residual")?;
    c.u64("code_size")?;
    // The quantizer, which says how many parts there are, comes later.
    let mut ahead = c.clone();
    c.i32("bbs")?;
    c.u64("M2")?;
    c.i32("implem")?;
    c.u64("qbs2")?;
    let pq = product(c, head.header.dimension)?;
    let layout = layout(&mut ahead, &pq)?;
    pairs(&mut ahead, &pq)?;
    let at_lists = c.at();
    let mut found = lists(c, head.lists, None)?;
    if let Place::Packed { rows, bytes } = found.place {
        let Layout::Blocks { batch, .. } = layout else {
            unreachable!("layout() makes blocks")
        };
        expect(c, at_lists, "lists.n_per_block", rows, batch)?;
        let expected = block_bytes(c, at_lists, batch, &layout, &pq)?;
        expect(c, at_lists, "lists.block_size", bytes, expected)?;
        found.code_bytes = pq.code_bytes();
        found.layout = layout;
        found.place = Place::Here;
    }
    let mut stored = Stored::new(Codec::Product(pq), found);
    stored.quantizer = Some(head.quantizer);
    stored.by_residual = by_residual;
    let class = "inverted file of product quantizer codes for FastScan (IndexIVFPQFastScan)";
    let body = Body::Rows(std::sync::Arc::new(stored));
    Ok(Node::new(fourcc, class, at, head.header, body))
}

fn product(c: &mut Cursor, dimension: u32) -> Result<Product> {
    let at = c.at();
    let pq = quantizer::product(c, dimension)?;
    expect(c, at, "pq.nbits of FastScan", pq.bits.into(), 4)?;
    Ok(pq)
}

fn layout(c: &mut Cursor, pq: &Product) -> Result<Layout> {
    let at = c.at();
    let rows = c.i32("bbs")?;
    match u64::try_from(rows) {
        Ok(batch) if batch > 0 && batch.is_multiple_of(TOGETHER) => Ok(Layout::Blocks {
            pairs: pq.parts.div_ceil(2),
            batch,
        }),
        _ => Err(c.corrupt(
            at,
            format!("bbs = {rows}, expected a multiple of {TOGETHER}"),
        )),
    }
}

fn pairs(c: &mut Cursor, pq: &Product) -> Result<()> {
    let at = c.at();
    let parts = c.u64("M2")?;
    expect(c, at, "M2", parts, pq.parts.div_ceil(2).saturating_mul(2))
}

/// Bytes that this many rows take in whole blocks.
fn block_bytes(c: &Cursor, at: u64, rows: u64, layout: &Layout, pq: &Product) -> Result<u64> {
    let batch = match layout {
        Layout::Blocks { batch, .. } => *batch,
        _ => TOGETHER,
    };
    let slots = super::lists::slots(c, at, rows, batch)?;
    bytes_of(c, at, "rows", slots, pq.parts.div_ceil(2))
}

/// Unpacks the bytes of up to 32 rows for one pair of parts into that pair's byte of each row of `room`.
///
/// `first` is the position of the first of these rows among the 32.
pub(super) fn unpack(bytes: &[u8], first: usize, pair: usize, row_bytes: usize, room: &mut [u8]) {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    for (row, code) in (first..).zip(room.chunks_exact_mut(row_bytes.max(1))) {
        let within = row % 16;
        let place = (within % 8).saturating_mul(2).saturating_add(within / 8);
        let shift = if row < 16 { 0 } else { 4 };
        let half = |bytes: &[u8]| bytes.get(place).map_or(0, |byte| (byte >> shift) & 15);
        if let Some(to) = code.get_mut(pair) {
            *to = half(one) | (half(two) << 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `pq4_pack_codes` does it, in its own words: from columns of codes to 32 bytes.
    fn pack(codes: &[u8; 32]) -> [u8; 32] {
        const ORDER: [usize; 16] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15];
        let mut packed = [0; 32];
        for (j, o) in ORDER.into_iter().enumerate() {
            packed[j] = codes[o] & 15 | (codes[o + 16] & 15) << 4;
            packed[j + 16] = codes[o] >> 4 | codes[o + 16] >> 4 << 4;
        }
        packed
    }

    #[test]
    fn what_was_packed_comes_back_from_any_row_on() {
        let codes: [u8; 32] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let packed = pack(&codes);
        for first in 0..32 {
            for rows in 0..=32 - first {
                let mut room = vec![0; rows * 3];
                unpack(&packed, first, 1, 3, &mut room);
                let found: Vec<u8> = room.iter().skip(1).step_by(3).copied().collect();
                assert_eq!(found, codes[first..first + rows]);
                assert!(room.iter().step_by(3).all(|byte| *byte == 0));
            }
        }
    }
}
