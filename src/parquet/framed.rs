//! How do vectors become pages without a copy? Headers and levels are written; the vectors stay in memory and are only
//! referred to.
//! The pages are plain, uncompressed and cut between rows: their values are the bytes of the rows, one row after the
//! other.

use bytes::Bytes;

use crate::limits;

/// The pages of a column chunk.
pub struct Chunk {
    /// In order: the heads of pages, and the vectors as they were given.
    pub bytes: Vec<Bytes>,
    /// Their total length in bytes.
    pub len: u64,
}

/// The pages of vectors with this many components of 4 bytes, each of which has this definition level.
pub fn pages(stretches: &[Bytes], dimension: usize, definition: i16) -> Chunk {
    let width = 4 * dimension;
    let most = (limits::PARQUET_PAGE_BYTES / width).max(1) * width;
    let mut left: usize = stretches.iter().map(Bytes::len).sum();
    let mut chunk = Chunk {
        bytes: Vec::new(),
        len: 0,
    };
    let mut stretches = stretches.iter().cloned();
    let mut rest = Bytes::new();
    // All pages but the last have the same head.
    let mut known: Option<(usize, Bytes)> = None;
    while left > 0 {
        let page = left.min(most);
        let head = match &known {
            Some((bytes, head)) if *bytes == page => head.clone(),
            _ => head(page / width, dimension, definition).into(),
        };
        known = Some((page, head.clone()));
        chunk.len += (head.len() + page) as u64;
        chunk.bytes.push(head);
        let mut missing = page;
        while missing > 0 {
            if rest.is_empty() {
                rest = stretches.next().expect("their lengths were added up");
            }
            let some = rest.split_to(missing.min(rest.len()));
            missing -= some.len();
            chunk.bytes.extend((!some.is_empty()).then_some(some));
        }
        left -= page;
    }
    chunk
}

/// What precedes the vectors in a page: its header, and the levels.
fn head(rows: usize, dimension: usize, definition: i16) -> Vec<u8> {
    let mut row = Vec::new();
    run(&mut row, 1, 0);
    if dimension > 1 {
        run(&mut row, dimension - 1, 1);
    }
    let mut all = Vec::new();
    run(&mut all, rows * dimension, definition as u8);
    let mut levels = Vec::with_capacity(8 + row.len() * rows + all.len());
    levels.extend(((row.len() * rows) as u32).to_le_bytes());
    (0..rows).for_each(|_| levels.extend(&row));
    levels.extend((all.len() as u32).to_le_bytes());
    levels.extend(&all);
    let size = levels.len() + rows * dimension * 4;
    let mut head = header(size, rows * dimension);
    head.append(&mut levels);
    head
}

/// A run of identical levels, each of one byte.
fn run(out: &mut Vec<u8>, count: usize, level: u8) {
    varint(out, (count as u64) << 1);
    out.push(level);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The header of a plain, uncompressed page, in Thrift's compact protocol.
fn header(size: usize, values: usize) -> Vec<u8> {
    /// The next field is a 32-bit number or, two field numbers further on, a struct.
    const NUMBER: u8 = 0x15;
    const STRUCT_5: u8 = 0x2c;
    const DATA_PAGE: usize = 0;
    const PLAIN: usize = 0;
    const RLE: usize = 3;
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, value: usize| {
        out.push(NUMBER);
        varint(out, (value as u64) << 1);
    };
    for value in [DATA_PAGE, size, size] {
        number(&mut out, value);
    }
    out.push(STRUCT_5);
    for value in [values, PLAIN, RLE, RLE] {
        number(&mut out, value);
    }
    out.extend([0, 0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::header::{self, Kind};
    use ::parquet::basic::Encoding;

    #[test]
    fn a_head_says_what_stands_behind_it() {
        for (rows, dimension) in [(1, 1), (3, 1), (1, 7), (1000, 256), (2, 32_768)] {
            let head = head(rows, dimension, 1);
            let found = header::read(&head).unwrap();
            assert_eq!((found.kind, found.encoding), (Kind::Data, Encoding::PLAIN));
            assert_eq!(found.values as usize, rows * dimension);
            let behind = head.len() - found.len + rows * dimension * 4;
            assert_eq!(
                (found.stored, found.unpacked),
                (behind as u32, behind as u32)
            );
        }
    }

    #[test]
    fn pages_are_cut_between_rows_wherever_stretches_end() {
        let width = limits::PARQUET_PAGE_BYTES / 16;
        let (dimension, rows) = (width / 4, 41);
        let whole: Vec<u8> = (0..width * rows).map(|at| (at % 251) as u8).collect();
        let whole = Bytes::from(whole);
        for cuts in [
            vec![],
            vec![width],
            vec![width * 15, width * 17, width * 40],
        ] {
            let (mut stretches, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([whole.len()]) {
                stretches.push(whole.slice(from..cut));
                from = cut;
            }
            let chunk = pages(&stretches, dimension, 1);
            let bytes = chunk.bytes.concat();
            assert_eq!(bytes.len() as u64, chunk.len);
            let (mut at, mut found) = (0, Vec::new());
            while at < bytes.len() {
                let header = header::read(&bytes[at..]).unwrap();
                let end = at + header.len + header.stored as usize;
                found.extend(&bytes[end - 4 * header.values as usize..end]);
                at = end;
            }
            assert!(found == whole, "{} stretches", stretches.len());
        }
    }
}
