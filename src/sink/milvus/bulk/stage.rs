//! How do the rows of a batch become files that the server's import reads correctly? In C order, without nulls where
//! none are allowed, lists as `list.element`. Rows that the import would accept but store incorrectly were refused
//! before.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::ArrayRef;

use crate::batch::{Batch, Part};
use crate::error::{Error, Result};
use crate::limits;
use crate::parquet::{MAGIC, Writer};
use crate::schema::{Column, ColumnType, Element, Role};

use super::settings::Format;

/// The name of the only file in a set of Parquet.
const PARQUET: &str = "rows.parquet";

/// How rows of a target are staged.
pub struct Staging {
    /// The format of the files.
    pub format: Format,
    /// The numbers of the columns that are sent, with the names of their fields.
    pub columns: Vec<(usize, Column)>,
}

impl Staging {
    /// The names of the files of a set.
    pub fn files(&self) -> Vec<String> {
        match self.format {
            Format::Parquet => vec![PARQUET.to_owned()],
            Format::Npy => {
                let columns = self.columns.iter();
                columns
                    .map(|(_, column)| format!("{}.npy", column.name))
                    .collect()
            }
        }
    }

    /// Writes the files of a batch into a new directory, and syncs them.
    pub fn write(&self, directory: &Path, batch: &Batch) -> Result<()> {
        std::fs::create_dir(directory)
            .map_err(|e| Error::io(directory, "create the directory", &e))?;
        match self.format {
            Format::Parquet => self.parquet(&directory.join(PARQUET), batch),
            Format::Npy => self.columns.iter().try_for_each(|(number, column)| {
                npy(
                    &directory.join(format!("{}.npy", column.name)),
                    *number,
                    column,
                    batch,
                )
            }),
        }
    }

    fn parquet(&self, path: &Path, batch: &Batch) -> Result<()> {
        let columns: Vec<Column> = self
            .columns
            .iter()
            .map(|(_, column)| column.clone())
            .collect();
        let writer = Writer::new(&columns, Some("none"))?;
        let mut out = Out::create(path)?;
        out.write(MAGIC)?;
        let mut footers = Vec::new();
        for stretches in groups(batch) {
            let arrays = stretches.iter().map(|part| self.arrays(part));
            let group = writer.group(&arrays.collect::<Vec<_>>())?;
            footers.push((out.len, group.footer));
            group.bytes.iter().try_for_each(|bytes| out.write(bytes))?;
        }
        let footers: Vec<(u64, &[u8])> = footers.iter().map(|(at, f)| (*at, &**f)).collect();
        out.write(&writer.footer(&footers)?)?;
        out.finish()
    }

    fn arrays(&self, part: &Part) -> Vec<ArrayRef> {
        self.columns
            .iter()
            .map(|(number, _)| part.column(*number))
            .collect()
    }
}

/// Splits rows into row groups.
fn groups(batch: &Batch) -> Vec<Vec<Part>> {
    let row_bytes = (batch.bytes() / batch.rows().max(1)).max(1);
    let most = (limits::BULK_GROUP_BYTES / row_bytes).max(1) as usize;
    let mut groups: Vec<(usize, Vec<Part>)> = Vec::new();
    for part in &batch.parts {
        let mut from = 0;
        while from < part.len() {
            match groups.last_mut().filter(|(rows, _)| *rows < most) {
                Some((rows, parts)) => {
                    let count = (most - *rows).min(part.len() - from);
                    parts.push(part.slice(from, count));
                    (*rows, from) = (*rows + count, from + count);
                }
                None => groups.push((0, Vec::new())),
            }
        }
    }
    groups.into_iter().map(|(_, parts)| parts).collect()
}

/// An array of a column: int64 keys, or vectors of floats or bits.
fn npy(path: &Path, number: usize, column: &Column, batch: &Batch) -> Result<()> {
    let rows = batch.rows();
    let (values, shape) = match column.kind {
        ColumnType::Vector(kind) if kind.element == Element::Bit => {
            ("|u1", format!("({rows}, {})", kind.row_bytes()))
        }
        ColumnType::Vector(kind) => ("<f4", format!("({rows}, {})", kind.dimension)),
        _ => ("<i8", format!("({rows},)")),
    };
    let mut out = Out::create(path)?;
    out.write(&header(values, &shape))?;
    for part in &batch.parts {
        match column.role {
            Role::Key => {
                for some in part.ids().chunks(8192) {
                    let bytes = some.iter().flat_map(|id| id.to_le_bytes());
                    out.write(&bytes.collect::<Vec<u8>>())?;
                }
            }
            _ => out.write(part.vectors_of(number))?,
        }
    }
    out.finish()
}

/// The header of an array in C order, padded so that values begin at a multiple of 64.
fn header(values: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{values}', 'fortran_order': False, 'shape': {shape}, }}");
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(10 + length - 1, b' ');
    header.push(b'\n');
    header
}

/// A file written from its beginning.
struct Out {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
}

impl Out {
    fn create(path: &Path) -> Result<Out> {
        let file = File::create_new(path).map_err(|e| Error::io(path, "create the file", &e))?;
        Ok(Out {
            path: path.to_owned(),
            file: BufWriter::with_capacity(limits::BULK_WRITE_BYTES, file),
            len: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        self.len += bytes.len() as u64;
        written.map_err(|e| Error::io(&self.path, "write", &e))
    }

    fn finish(mut self) -> Result<()> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| Error::io(&self.path, "write", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_at_a_multiple_of_64_behind_a_header_of_version_1() {
        for shape in ["(7,)", "(1000000000, 768)", "(1, 1)"] {
            let header = header("<f4", shape);
            assert_eq!(header.len() % 64, 0, "{shape}");
            assert_eq!(&header[..8], b"\x93NUMPY\x01\x00");
            let length = u16::from_le_bytes([header[8], header[9]]);
            assert_eq!(usize::from(length), header.len() - 10);
            assert_eq!(header.last(), Some(&b'\n'));
        }
    }
}
