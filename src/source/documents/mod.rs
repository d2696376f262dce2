//! Documents: how do JSON documents become rows? Vectors go straight into their columns, the rest, as it is written,
//! into the dynamic field, from where a job's `fields:` take what they name. Pure: asks no server.
//!
//! ```text
//! {"title": "a", "v": [0.5, 1], "n": 7}   ──►   v: 0.5 1      $meta: {"title":"a","n":7}
//! ```

mod profile;
mod scan;
mod vector;

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::{Buffer, NullBuffer};

use crate::error::Result;
use crate::schema::{Column, ColumnType, Columns, Role, VectorType};

pub use profile::{Profile, SAMPLE, profile, sample};
pub use scan::{Read, Scan};
pub use vector::{Found, vector};

/// What the dynamic field is called.
pub const REST: &str = "$meta";

/// The columns that documents become: a text key, vectors, and the rest.
#[derive(Clone, Debug)]
pub struct Layout {
    columns: Arc<Columns>,
    vectors: Vec<VectorType>,
}

impl Layout {
    /// Rows known by this key, with these columns of dense vectors, which are called as they are in documents: a dot in a
    /// name stands between the keys of objects in one another, as well as in a key.
    pub fn new(key: Column, vectors: Vec<Column>) -> Result<Layout> {
        let kinds = vectors.iter().filter_map(|column| match column.kind {
            ColumnType::Vector(kind) => Some(kind),
            _ => None,
        });
        let kinds = kinds.collect();
        let rest = Column {
            role: Role::Dynamic,
            ..Column::new(REST, ColumnType::Json)
        };
        let all = [key].into_iter().chain(vectors).chain([rest]);
        Ok(Layout {
            columns: Columns::new(all.collect())?,
            vectors: kinds,
        })
    }

    /// The columns: the key, the vectors, the rest.
    pub fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    fn vector_columns(&self) -> &[Column] {
        &self.columns.all()[1..=self.vectors.len()]
    }

    /// The number of the vector of this name, and whether a name of one begins with this and a dot.
    fn vector(&self, name: &str) -> (Option<usize>, bool) {
        let mut within = false;
        for (number, column) in self.vector_columns().iter().enumerate() {
            if column.name == name {
                return (Some(number), false);
            }
            let rest = column.name.strip_prefix(name);
            within |= rest.is_some_and(|rest| rest.starts_with('.'));
        }
        (None, within)
    }
}

/// Rows that are made of documents, one after another.
pub struct Rows<'l> {
    layout: &'l Layout,
    keys: StringBuilder,
    vectors: Vec<Values>,
    rest: StringBuilder,
    /// The rest of the document at hand.
    text: String,
    len: usize,
    /// Bytes of texts so far.
    texts: u64,
}

/// Vectors of a column.
struct Values {
    bytes: Vec<u8>,
    valid: Vec<bool>,
}

impl<'l> Rows<'l> {
    /// No rows yet.
    pub fn new(layout: &'l Layout) -> Rows<'l> {
        let none = |_| Values {
            bytes: Vec::new(),
            valid: Vec::new(),
        };
        Rows {
            layout,
            keys: StringBuilder::new(),
            vectors: layout.vectors.iter().map(none).collect(),
            rest: StringBuilder::new(),
            text: String::new(),
            len: 0,
            texts: 0,
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads the document that stands next, and holds it back until [`Rows::keep`] or [`Rows::drop_last`]. The name of the
    /// first vector that it lacks, if it lacks one; a sentence where something in it cannot be read.
    pub fn read(&mut self, scan: &mut Scan<'_>) -> Read<Option<&'l str>> {
        self.drop_last();
        self.text.clear();
        let mut object = Object {
            layout: self.layout,
            vectors: &mut self.vectors,
            rows: self.len,
            text: &mut self.text,
        };
        object.read(scan, "")?;
        let mut missing = None;
        for (values, column) in self.vectors.iter_mut().zip(self.layout.vector_columns()) {
            if values.valid.len() == self.len {
                values.valid.push(false);
                let width = column.kind.value_bytes().unwrap_or(0) as usize;
                values.bytes.resize(values.bytes.len() + width, 0);
                missing = missing.or(Some(&*column.name));
            }
        }
        Ok(missing)
    }

    /// The document that was read is a row with this key.
    pub fn keep(&mut self, key: &str) {
        self.keys.append_value(key);
        self.rest.append_value(&self.text);
        self.texts += (key.len() + self.text.len()) as u64;
        self.len += 1;
    }

    /// The document that was read is no row.
    pub fn drop_last(&mut self) {
        for (values, kind) in self.vectors.iter_mut().zip(&self.layout.vectors) {
            values.valid.truncate(self.len);
            values.bytes.truncate(self.len * kind.row_bytes() as usize);
        }
    }

    /// The columns of all rows that were kept.
    pub fn finish(mut self) -> Vec<ArrayRef> {
        self.drop_last();
        let mut all: Vec<ArrayRef> = vec![Arc::new(self.keys.finish())];
        for (values, column) in self.vectors.into_iter().zip(self.layout.vector_columns()) {
            let width = column.kind.value_bytes().unwrap_or(0);
            let width = i32::try_from(width).expect("Columns::new checked the width");
            let nulls = column.nullable.then(|| NullBuffer::from(values.valid));
            let bytes = Buffer::from_vec(values.bytes);
            all.push(Arc::new(FixedSizeBinaryArray::new(width, bytes, nulls)));
        }
        all.push(Arc::new(self.rest.finish()));
        all
    }
}

/// An object of a document: its vectors go to their columns, the rest to a text.
struct Object<'r> {
    layout: &'r Layout,
    vectors: &'r mut [Values],
    /// Rows before this document.
    rows: usize,
    text: &'r mut String,
}

impl Object<'_> {
    /// Reads an object whose members are called `before` and their own name.
    fn read(&mut self, scan: &mut Scan<'_>, before: &str) -> Read<()> {
        self.text.push('{');
        let mut first = true;
        let mut name = String::new();
        scan.members(|key, raw, scan| {
            name.clear();
            name.push_str(before);
            name.push_str(key);
            let (number, within) = self.layout.vector(&name);
            if let Some(number) = number {
                return self.vector(number, scan);
            }
            if !std::mem::take(&mut first) {
                self.text.push(',');
            }
            self.text.push_str(raw);
            self.text.push(':');
            if within && scan.peek() == Some(b'{') {
                name.push('.');
                return self.read(scan, &name);
            }
            let value = scan.value()?;
            self.text.push_str(value);
            Ok(())
        })?;
        self.text.push('}');
        Ok(())
    }

    fn vector(&mut self, number: usize, scan: &mut Scan<'_>) -> Read<()> {
        let (kind, column) = (
            self.layout.vectors[number],
            &self.layout.vector_columns()[number],
        );
        let values = &mut self.vectors[number];
        if values.valid.len() > self.rows {
            return Err(format!("`{}` is there twice", column.name));
        }
        match vector(scan, kind, &mut values.bytes) {
            Ok(Found::Vector) => values.valid.push(true),
            Ok(Found::Nothing) => {}
            Err(what) => return Err(format!("`{}` {what}", column.name)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
