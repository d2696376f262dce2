//! Documents: how do JSON documents become rows? Vectors go straight into their columns; the rest goes unchanged into
//! the dynamic field, from which a job's `fields:` take what they name. Pure: calls no server.
//!
//! ```text
//! {"title": "a", "v": [0.5, 1], "n": 7}   ──►   v: 0.5 1      $meta: {"title":"a","n":7}
//! ```

mod profile;
mod scan;
mod typed;
mod vector;

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::{Buffer, NullBuffer};

use typed::Value;

use crate::error::Result;
use crate::schema::{Column, ColumnType, Columns, Role, VectorType};

pub use profile::{Profile, SAMPLE, profile, sample};
pub use scan::{Read, Scan};
pub use typed::Typed;
pub use vector::{Found, vector};

/// The name of the dynamic field.
pub const REST: &str = "$meta";

/// The columns that documents become: a text key, vectors, fields, and the rest.
#[derive(Clone, Debug)]
pub struct Layout {
    columns: Arc<Columns>,
    vectors: Vec<VectorType>,
    typed: Vec<Typed>,
}

/// What a member of a document becomes.
#[derive(Clone, Copy)]
enum Place {
    /// The vector with this number.
    Vector(usize),
    /// The field with this number.
    Typed(usize),
    Rest,
}

impl Layout {
    /// A layout with this key and these columns of dense vectors, named as in the documents: a dot in a
    /// name may separate the keys of nested objects, or be part of a key.
    pub fn new(key: Column, vectors: Vec<Column>) -> Result<Layout> {
        Layout::typed(key, vectors, Vec::new())
    }

    /// The same with columns of fields, named in the same way.
    pub fn typed(key: Column, vectors: Vec<Column>, typed: Vec<Typed>) -> Result<Layout> {
        let kinds = vectors.iter().filter_map(|column| match column.kind {
            ColumnType::Vector(kind) => Some(kind),
            _ => None,
        });
        let kinds = kinds.collect();
        let rest = Column {
            role: Role::Dynamic,
            ..Column::new(REST, ColumnType::Json)
        };
        let fields = typed.iter().map(|typed| typed.column.clone());
        let all = [key].into_iter().chain(vectors).chain(fields).chain([rest]);
        Ok(Layout {
            columns: Columns::new(all.collect())?,
            vectors: kinds,
            typed,
        })
    }

    /// The columns: the key, the vectors, the fields, the rest.
    pub fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    fn vector_columns(&self) -> &[Column] {
        &self.columns.all()[1..=self.vectors.len()]
    }

    /// What the member of this name becomes, and whether a column's name begins with this name and a dot.
    fn place(&self, name: &str) -> (Place, bool) {
        let mut within = false;
        let made = &self.columns.all()[1..=self.vectors.len() + self.typed.len()];
        for (number, column) in made.iter().enumerate() {
            if column.name == name {
                let place = match number.checked_sub(self.vectors.len()) {
                    None => Place::Vector(number),
                    Some(number) => Place::Typed(number),
                };
                return (place, false);
            }
            let rest = column.name.strip_prefix(name);
            within |= rest.is_some_and(|rest| rest.starts_with('.'));
        }
        (Place::Rest, within)
    }
}

/// Rows built from documents, one after another.
pub struct Rows<'l> {
    layout: &'l Layout,
    keys: StringBuilder,
    vectors: Vec<Values>,
    /// The values of each field.
    typed: Vec<Vec<Option<Value>>>,
    rest: StringBuilder,
    /// The rest of the current document.
    text: String,
    /// The fields of the current document.
    fields: Vec<Field>,
    len: usize,
    /// Bytes of text so far.
    texts: u64,
}

/// Vectors of a column.
struct Values {
    bytes: Vec<u8>,
    valid: Vec<bool>,
}

/// A field of the current document.
#[derive(Clone, Default)]
struct Field {
    is_there: bool,
    value: Option<Value>,
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
            typed: vec![Vec::new(); layout.typed.len()],
            rest: StringBuilder::new(),
            text: String::new(),
            fields: vec![Field::default(); layout.typed.len()],
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

    /// Reads the next document, and holds it until [`Rows::keep`] or [`Rows::drop_last`]. Returns the name of the
    /// first vector that it lacks, if any; an error message if something in it cannot be read.
    pub fn read(&mut self, scan: &mut Scan<'_>) -> Read<Option<&'l str>> {
        self.drop_last();
        self.text.clear();
        self.fields.fill(Field::default());
        let mut object = Object {
            layout: self.layout,
            vectors: &mut self.vectors,
            fields: &mut self.fields,
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

    /// Adds what the server returned along with the document just read: an object of lists. An error message if a value
    /// of a field is not in it.
    pub fn give(&mut self, given: Option<&str>) -> Read<()> {
        if let Some(given) = given {
            Scan::new(given).members(|name, _, scan| {
                let typed = self.layout.typed.iter();
                let found = typed
                    .enumerate()
                    .find(|(_, typed)| typed.is_given && typed.column.name == name);
                let Some((number, typed)) = found else {
                    return scan.value().map(|_| ());
                };
                let value = typed::value(scan, typed.column.kind);
                self.fields[number].value = value.map_err(|what| format!("`{name}` {what}"))?;
                Ok(())
            })?;
        }
        for (field, typed) in self.fields.iter_mut().zip(&self.layout.typed) {
            match (field.is_there, &field.value) {
                (true, None) if typed.is_given => {
                    let (name, kind) = (&typed.column.name, typed.column.kind);
                    return Err(format!("the server does not read `{name}` as {kind}"));
                }
                // A value that the mapping supplies for a missing field is ignored.
                (false, Some(_)) => field.value = None,
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the document just read a row with this key.
    pub fn keep(&mut self, key: &str) {
        for (values, field) in self.typed.iter_mut().zip(&mut self.fields) {
            values.push(field.value.take());
        }
        self.keys.append_value(key);
        self.rest.append_value(&self.text);
        self.texts += (key.len() + self.text.len()) as u64;
        self.len += 1;
    }

    /// Discards the document just read.
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
        for (values, typed) in self.typed.iter().zip(&self.layout.typed) {
            all.push(typed::array(typed.column.kind, values));
        }
        all.push(Arc::new(self.rest.finish()));
        all
    }
}

/// An object of a document: its vectors go into their columns, the rest into a string.
struct Object<'r> {
    layout: &'r Layout,
    vectors: &'r mut [Values],
    fields: &'r mut [Field],
    /// Rows before this document.
    rows: usize,
    text: &'r mut String,
}

impl Object<'_> {
    /// Reads an object; `before` precedes the names of its members.
    fn read(&mut self, scan: &mut Scan<'_>, before: &str) -> Read<()> {
        self.text.push('{');
        let mut first = true;
        let mut name = String::new();
        scan.members(|key, raw, scan| {
            name.clear();
            name.push_str(before);
            name.push_str(key);
            let (place, within) = self.layout.place(&name);
            match place {
                Place::Vector(number) => return self.vector(number, scan),
                Place::Typed(number) => return self.field(number, scan),
                Place::Rest => {}
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
            if within && value.starts_with('[') {
                self.look_into(value, &name)?;
            }
            self.text.push_str(value);
            Ok(())
        })?;
        self.text.push('}');
        Ok(())
    }

    /// Refuses fields within a list of objects: the column could belong to any of them.
    fn look_into(&self, list: &str, before: &str) -> Read<()> {
        Scan::new(list).elements(|scan| {
            if scan.peek() != Some(b'{') {
                return scan.value().map(|_| ());
            }
            scan.members(|key, _, scan| {
                let name = format!("{before}.{key}");
                let value = scan.value()?;
                match self.layout.place(&name).0 {
                    Place::Typed(_) if value != "null" => Err(format!(
                        "`{name}` is in a list of objects, which becomes JSON: `columns` cannot name it"
                    )),
                    _ => Ok(()),
                }
            })
        })
    }

    fn field(&mut self, number: usize, scan: &mut Scan<'_>) -> Read<()> {
        let (field, typed) = (&mut self.fields[number], &self.layout.typed[number]);
        if field.is_there {
            return Err(format!("`{}` appears twice", typed.column.name));
        }
        if typed.is_given {
            let value = scan.value()?;
            let mut words = value.split(['[', ']', ',']).map(str::trim);
            field.is_there = words.any(|word| !matches!(word, "" | "null"));
            return Ok(());
        }
        let value = typed::value(scan, typed.column.kind);
        field.value = value.map_err(|what| format!("`{}` {what}", typed.column.name))?;
        field.is_there = field.value.is_some();
        Ok(())
    }

    fn vector(&mut self, number: usize, scan: &mut Scan<'_>) -> Read<()> {
        let (kind, column) = (
            self.layout.vectors[number],
            &self.layout.vector_columns()[number],
        );
        let values = &mut self.vectors[number];
        if values.valid.len() > self.rows {
            return Err(format!("`{}` appears twice", column.name));
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
