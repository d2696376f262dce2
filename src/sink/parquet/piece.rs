//! How is a batch divided into row groups, and how are these written to a file? Directly from memory, without a copy.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};

use bytes::Bytes;

use super::journal::Written;
use crate::batch::{Batch, Part};
use crate::error::Result;
use crate::parquet::{Group, Writer};

/// Rows that are one row group.
pub struct Piece {
    pub first: u64,
    pub rows: u64,
    pub digest: u64,
    pub content: Content,
}

pub enum Content {
    /// An earlier attempt wrote exactly these rows.
    Written(Vec<Part>),
    Encoded(Encoded),
}

/// A row group ready to be written.
pub struct Encoded {
    pub group: Group,
    pub len: u64,
    pub sum: crc32fast::Hasher,
}

impl Piece {
    /// Whether these are the rows of a row group that an earlier attempt wrote.
    pub fn is(&self, group: &Written) -> bool {
        (self.first, self.rows, self.digest) == (group.first, group.rows, group.digest)
    }

    /// Bytes to write.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Written(_) => 0,
            Content::Encoded(encoded) => encoded.len,
        }
    }
}

impl Encoded {
    /// Encodes rows as a row group, with the checksum of its bytes.
    pub fn new(writer: &Writer, parts: &[Part]) -> Result<Encoded> {
        let arrays = parts.iter().map(|part| {
            let columns = 0..part.columns().all().len();
            columns.map(|number| part.column(number)).collect()
        });
        let group = writer.group(&arrays.collect::<Vec<_>>())?;
        let mut sum = crc32fast::Hasher::new();
        group.bytes.iter().for_each(|bytes| sum.update(bytes));
        let len = group.bytes.iter().map(|bytes| bytes.len() as u64).sum();
        Ok(Encoded { group, len, sum })
    }
}

/// Writes ranges of bytes directly from memory.
pub fn write_all(file: &mut File, bytes: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The rows of a batch, divided where a file ends.
pub fn pieces(batch: &Batch, rows_per_file: u64) -> Vec<(u64, Vec<Part>)> {
    let mut pieces: Vec<(u64, Vec<Part>)> = Vec::new();
    let mut row = batch.first_row;
    for part in &batch.parts {
        let mut from = 0;
        while from < part.len() {
            let room = rows_per_file - row % rows_per_file;
            let count = room.min((part.len() - from) as u64) as usize;
            let begins = pieces.is_empty() || row.is_multiple_of(rows_per_file);
            match pieces.last_mut().filter(|_| !begins) {
                Some((_, parts)) => parts.push(part.slice(from, count)),
                None => pieces.push((row, vec![part.slice(from, count)])),
            }
            (from, row) = (from + count, row + count as u64);
        }
    }
    pieces
}
