//! Vectors whose pages hold their components one after the other, as they are sent, are taken directly from the file or
//! the decompressed page. Levels are compared with those of rows that all have the same number of components;
//! where they differ, or a page is encoded differently, the crate reads the column from that row on.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use bytes::Bytes;

use ::parquet::basic::{Encoding, Type};
use ::parquet::column::page::Page;
use ::parquet::schema::types::ColumnDescriptor;

use super::pages::Pages;
use super::{File, Stored};
use crate::limits;
use crate::schema::{Column, ColumnType, Element, VectorType};

/// The vectors of one row group, in order.
pub struct Vectors {
    pages: Pages,
    /// Bytes of a row, and values in it: 1 if each row is one value.
    width: usize,
    values: usize,
    max_repetition: i16,
    max_definition: i16,
    /// Values in the pages so far.
    read: usize,
    /// Complete rows that are ready, and the rest of the page after them.
    ready: Bytes,
    rest: Bytes,
    /// The start of a row that continues in the next page, and rows of pages that are too small to pass on alone.
    joined: Vec<u8>,
    /// Whether the crate has to read what comes next, or nothing comes.
    is_over: bool,
}

impl Vectors {
    /// The vectors of a column in a row group; `None` if their bytes are not the ones to send.
    pub fn new(file: &File, stored: &Stored, column: &Column, group: usize) -> Option<Vectors> {
        let ColumnType::Vector(vector) = column.kind else {
            return None;
        };
        let chunk = file.metadata.row_group(group).column(stored.leaves.start);
        let leaf = chunk.column_descr();
        let values = values(stored, leaf, vector)?;
        let rows = file.group_rows(group);
        if u64::try_from(chunk.num_values()).ok()? != rows.checked_mul(values as u64)? {
            return None;
        }
        Some(Vectors {
            pages: Pages::new(&file.view, chunk).ok()?,
            width: vector.row_bytes() as usize,
            values,
            max_repetition: leaf.max_rep_level(),
            max_definition: leaf.max_def_level(),
            read: 0,
            ready: Bytes::new(),
            rest: Bytes::new(),
            joined: Vec::new(),
            is_over: false,
        })
    }

    /// How many rows can be taken at once; 0 if the crate has to continue, or at the end.
    pub fn ready(&mut self) -> usize {
        while self.ready.is_empty() && !(self.is_over && self.joined.len() < self.width) {
            self.advance();
        }
        self.ready.len() / self.width
    }

    /// Takes rows that are ready.
    pub fn take(&mut self, rows: usize) -> ArrayRef {
        let bytes = self.ready.split_to(rows * self.width);
        let array = FixedSizeBinaryArray::new(self.width as i32, Buffer::from(bytes), None);
        Arc::new(array)
    }

    /// The same after skipping this many rows; `None` if the crate has to read some of them.
    pub fn after(mut self, mut rows: u64) -> Option<Vectors> {
        while rows > 0 {
            let some = (self.ready() as u64).min(rows);
            if some == 0 {
                return None;
            }
            drop(self.ready.split_to(some as usize * self.width));
            rows -= some;
        }
        Some(self)
    }

    /// Whether no rows are left.
    pub fn is_done(&mut self) -> bool {
        self.ready() == 0 && self.joined.is_empty()
    }

    /// Makes rows ready, or gets one page closer to that.
    fn advance(&mut self) {
        let mut page = std::mem::take(&mut self.rest);
        if page.is_empty() && !self.is_over {
            match self.next_values() {
                Some(values) => page = values,
                None => self.is_over = true,
            }
        }
        let is_large = page.len() >= limits::PARQUET_PAGE_ALONE_BYTES;
        if self.joined.is_empty() && is_large {
            self.ready = page.split_to(page.len() / self.width * self.width);
            self.joined.extend_from_slice(&page);
            return;
        }
        // From a large page, only the rest of a row that has begun is taken.
        let missing = (self.width - self.joined.len() % self.width) % self.width;
        let some = if is_large {
            missing.min(page.len())
        } else {
            page.len()
        };
        self.joined.extend_from_slice(&page.split_to(some));
        self.rest = page;
        let is_enough =
            self.is_over || is_large || self.joined.len() >= limits::PARQUET_PAGE_ALONE_BYTES;
        if is_enough && self.joined.len() >= self.width {
            let mut joined = Bytes::from(std::mem::take(&mut self.joined));
            self.ready = joined.split_to(joined.len() / self.width * self.width);
            self.joined.extend_from_slice(&joined);
        }
    }

    /// The values of the next page; `None` if it is not as expected, or there is none. Errors in a page are left to the
    /// crate, which reads it again and reports them.
    fn next_values(&mut self) -> Option<Bytes> {
        loop {
            let (buf, count, encoding, levels) = match self.pages.next_page().ok()?? {
                Page::DataPage {
                    buf,
                    num_values,
                    encoding,
                    def_level_encoding,
                    rep_level_encoding,
                    ..
                } => {
                    let rle = |max: i16, encoding| max == 0 || encoding == Encoding::RLE;
                    if !rle(self.max_repetition, rep_level_encoding)
                        || !rle(self.max_definition, def_level_encoding)
                    {
                        return None;
                    }
                    let repetition = sized(&buf, 0, self.max_repetition)?;
                    let definition = sized(&buf, repetition.end, self.max_definition)?;
                    (buf, num_values, encoding, [repetition, definition])
                }
                Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    ..
                } => {
                    let first = rep_levels_byte_len as usize;
                    let end = first.checked_add(def_levels_byte_len as usize)?;
                    (buf, num_values, encoding, [0..first, first..end])
                }
                Page::DictionaryPage { .. } => return None,
            };
            let [repetition, definition] = levels;
            let (count, start) = (count as usize, definition.end);
            let bytes = count.checked_mul(self.width)? / self.values;
            if encoding != Encoding::PLAIN || buf.len().checked_sub(start)? != bytes {
                return None;
            }
            let (first, each) = (self.read, self.values);
            let begins = |at: usize| u8::from(!(first + at).is_multiple_of(each));
            if self.max_repetition > 0 && !repeat(buf.get(repetition)?, count, first, each, begins)
            {
                return None;
            }
            let max = self.max_definition;
            if max > 0 && !all(buf.get(definition)?, count, max) {
                return None;
            }
            self.read += count;
            if count > 0 {
                return Some(buf.slice(start..));
            }
        }
    }
}

/// Values in a row if they are stored as they are sent.
fn values(stored: &Stored, leaf: &ColumnDescriptor, vector: VectorType) -> Option<usize> {
    let bytes = vector.row_bytes() as usize;
    let fixed = usize::try_from(leaf.type_length()).ok();
    match (&stored.arrow, vector.element, leaf.physical_type()) {
        (DataType::FixedSizeBinary(_), _, Type::FIXED_LEN_BYTE_ARRAY) => {
            (fixed == Some(bytes) && leaf.max_rep_level() == 0).then_some(1)
        }
        (DataType::List(of), element, physical) if leaf.max_rep_level() == 1 => {
            let fits = match (of.data_type(), element, physical) {
                (DataType::Float32, Element::Float32, Type::FLOAT) => true,
                (DataType::Float16, Element::Float16, Type::FIXED_LEN_BYTE_ARRAY) => {
                    fixed == Some(2)
                }
                _ => false,
            };
            fits.then_some(vector.dimension as usize)
        }
        _ => None,
    }
}

/// Where the length-prefixed levels are: nowhere if there is only one level.
fn sized(buf: &[u8], at: usize, max: i16) -> Option<Range<usize>> {
    if max == 0 {
        return Some(at..at);
    }
    let len = buf.get(at..at.checked_add(4)?)?.try_into().ok()?;
    let start = at + 4;
    let end = start.checked_add(u32::from_le_bytes(len) as usize)?;
    (end <= buf.len()).then_some(start..end)
}

/// A run of levels: one level repeated, or groups of eight, packed into as many bytes as a level has bits.
enum Run<'b> {
    Same(u8, usize),
    Packed(&'b [u8], usize),
}

/// The runs of this many levels; ends if `look` returns `false`, or if the bytes are not runs.
fn runs(
    mut bytes: &[u8],
    count: usize,
    bits: usize,
    mut look: impl FnMut(usize, Run) -> bool,
) -> bool {
    let mut at = 0;
    while at < count {
        let (mut head, mut shift) = (0u64, 0);
        loop {
            let Some((byte, rest)) = bytes.split_first() else {
                return false;
            };
            bytes = rest;
            head |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            match byte & 0x80 {
                0 => break,
                _ if shift > 28 => return false,
                _ => {}
            }
        }
        let len = (head >> 1) as usize;
        let (run, levels) = if head & 1 == 0 {
            let Some((value, rest)) = bytes.split_first() else {
                return false;
            };
            bytes = rest;
            let levels = len.min(count - at);
            (Run::Same(*value, levels), levels)
        } else {
            let size = (len * bits).min(bytes.len());
            let (packed, rest) = bytes.split_at(size);
            bytes = rest;
            let levels = (len * 8).min(count - at);
            if packed.len() < (levels * bits).div_ceil(8) {
                return false;
            }
            (Run::Packed(packed, levels), levels)
        };
        if levels == 0 || !look(at, run) {
            return false;
        }
        at += levels;
    }
    true
}

/// Whether the 1-bit levels are 0 where a row begins, every `each` values, and 1 elsewhere; `first` values came before.
fn repeat(
    bytes: &[u8],
    count: usize,
    first: usize,
    each: usize,
    level: impl Fn(usize) -> u8,
) -> bool {
    runs(bytes, count, 1, |at, run| match run {
        Run::Same(1, levels) => {
            let into = (first + at) % each;
            into != 0 && into + levels <= each
        }
        Run::Same(_, levels) => (0..levels).all(|i| level(at + i) == 0),
        Run::Packed(packed, levels) => {
            (0..levels).all(|i| packed[i / 8] >> (i % 8) & 1 == level(at + i))
        }
    })
}

/// Whether all levels are the highest: no row and no component is missing.
fn all(bytes: &[u8], count: usize, max: i16) -> bool {
    let bits = (i16::BITS - max.leading_zeros()) as usize;
    if bits > 8 {
        return false;
    }
    let max = max as u8;
    runs(bytes, count, bits, |_, run| match run {
        Run::Same(value, _) => value == max,
        Run::Packed(packed, levels) => (0..levels * bits).all(|bit| {
            let is_set = packed[bit / 8] >> (bit % 8) & 1;
            is_set == max >> (bit % bits) & 1
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels as runs, encoded as the bits require.
    fn encoded(levels: &[u8], bits: usize, longest: usize) -> Vec<u8> {
        let (mut bytes, mut at) = (Vec::new(), 0);
        while at < levels.len() {
            let same = levels[at..]
                .iter()
                .take_while(|l| **l == levels[at])
                .count();
            if same >= 8 {
                let same = same.min(longest);
                let mut head = (same << 1) as u64;
                while head >= 0x80 {
                    bytes.push(head as u8 | 0x80);
                    head >>= 7;
                }
                bytes.extend([head as u8, levels[at]]);
                at += same;
            } else {
                let mut packed = vec![0u8; bits];
                for (i, level) in levels[at..].iter().take(8).enumerate() {
                    for bit in 0..bits {
                        packed[(i * bits + bit) / 8] |=
                            (level >> bit & 1) << ((i * bits + bit) % 8);
                    }
                }
                bytes.push(1 << 1 | 1);
                bytes.extend(packed);
                at += 8;
            }
        }
        bytes
    }

    #[test]
    fn levels_of_rows_with_as_many_components_are_known_and_others_are_not() {
        for each in [1usize, 2, 3, 7, 8, 9, 12, 40, 129] {
            for first in [0, 1, each / 2, each * 3 - 1] {
                let count = 3 * each + 5;
                let begins = |at: usize| u8::from(!(first + at).is_multiple_of(each));
                let levels: Vec<u8> = (0..count).map(begins).collect();
                for longest in [8, 9, 4096] {
                    let good = encoded(&levels, 1, longest);
                    assert!(repeat(&good, count, first, each, begins), "{each} {first}");
                    for cut in 0..good.len() {
                        assert!(!repeat(&good[..cut], count, first, each, begins));
                    }
                    for wrong in 0..count {
                        let mut levels = levels.clone();
                        levels[wrong] ^= 1;
                        let bad = encoded(&levels, 1, longest);
                        assert!(
                            !repeat(&bad, count, first, each, begins),
                            "{each} {first} {wrong}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_level_below_the_highest_is_seen_wherever_it_is() {
        for (max, bits) in [(1i16, 1), (2, 2), (3, 2), (5, 3)] {
            for count in [1usize, 7, 8, 9, 100] {
                let levels = vec![max as u8; count];
                assert!(all(&encoded(&levels, bits, 4096), count, max));
                for wrong in 0..count {
                    let mut levels = levels.clone();
                    levels[wrong] = max as u8 - 1;
                    assert!(
                        !all(&encoded(&levels, bits, 4096), count, max),
                        "{max} {wrong}"
                    );
                }
            }
        }
        assert!(!all(&[0x80; 20], 4, 1), "a length without an end");
    }
}
