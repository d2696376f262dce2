//! What points does an answer hold? Read in place: components of vectors are copied once, from the message into their
//! column.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int64Array, LargeBinaryArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::describe::Described;
use super::ids::{Id, Keyed};
use super::payload::{self, Odd};
use super::wire::{self, Broken, Fields, Value};
use crate::batch::Key;
use crate::error::{Error, Kind, Result};
use crate::schema::ColumnType;

/// The field number of the points in a `ScrollResponse`.
pub const SCROLLED: u32 = 2;
/// The same for a `GetResponse`.
pub const GOT: u32 = 1;

/// What was read, unless the message is malformed.
type Read<T> = std::result::Result<T, Broken>;

/// What an answer holds.
#[derive(Debug, Default)]
pub struct Page {
    /// The ids of its points, up to the last one that was wanted.
    pub ids: Vec<Id>,
    /// Their columns; none if only ids were read.
    pub columns: Vec<ArrayRef>,
    /// The first id after them that was not wanted.
    pub beyond: Option<Id>,
    /// Where the next page starts; `None` if there is none.
    pub next: Option<Id>,
}

/// Only the ids of an answer, up to `last`.
pub fn ids(answer: &[u8], last: Id) -> Result<Page> {
    let (page, _) = located(answer, SCROLLED, last).map_err(|Broken| broken())?;
    Ok(page)
}

/// The points of an answer, up to `last`.
pub fn read(described: &Described, answer: &[u8], number: u32, last: Id) -> Result<Page> {
    let (mut page, points) = located(answer, number, last).map_err(|Broken| broken())?;
    let mut filling = Filling::new(described, page.ids.len());
    for (id, point) in page.ids.iter().zip(points) {
        filling.point(*id, point)?;
    }
    page.columns = filling.finish()?;
    Ok(page)
}

fn broken() -> Error {
    Error::new(Kind::Refused, "the answer is not a Qdrant message")
}

/// The points of an answer, unparsed.
fn located(answer: &[u8], number: u32, last: Id) -> Read<(Page, Vec<&[u8]>)> {
    let (mut page, mut points) = (Page::default(), Vec::new());
    for field in Fields(answer) {
        match field? {
            (n, Value::Bytes(point)) if n == number => {
                let id = Fields(point).find_map(|field| match field {
                    Ok((1, Value::Bytes(id))) => Some(id),
                    _ => None,
                });
                let id = point_id(id.ok_or(Broken)?)?;
                match id <= last && page.beyond.is_none() {
                    true => {
                        page.ids.push(id);
                        points.push(point);
                    }
                    false => {
                        page.beyond.get_or_insert(id);
                    }
                }
            }
            (1, Value::Bytes(id)) if number == SCROLLED => page.next = Some(point_id(id)?),
            _ => {}
        }
    }
    Ok((page, points))
}

fn point_id(bytes: &[u8]) -> Read<Id> {
    // A number 0 is sent too, because it is a member of a oneof.
    let mut id = None;
    for field in Fields(bytes) {
        id = match field? {
            (1, Value::Varint(num)) => Some(Id::Num(num)),
            (2, Value::Bytes(text)) => {
                let uuid = std::str::from_utf8(text).ok().and_then(Id::of);
                Some(uuid.filter(|id| matches!(id, Id::Uuid(_))).ok_or(Broken)?)
            }
            _ => id,
        };
    }
    id.ok_or(Broken)
}

/// Components, little-endian.
type Floats<'m> = Cow<'m, [u8]>;

/// A vector as it was sent.
#[derive(Debug, Default)]
struct Vector<'m> {
    dense: Floats<'m>,
    /// For a sparse vector.
    indices: Option<Vec<u32>>,
    /// For a multivector.
    rows: Option<Vec<Floats<'m>>>,
}

impl<'m> Vector<'m> {
    fn of(bytes: &'m [u8]) -> Read<Vector<'m>> {
        let mut vector = Vector::default();
        let mut count = None;
        for field in Fields(bytes) {
            match field? {
                // Servers before 1.14 send it here; later ones send it in both places.
                (1, value) => floats(&mut vector.dense, value)?,
                (2, Value::Bytes(bytes)) => vector.indices = Some(numbers(bytes, 1)?),
                (3, Value::Varint(rows)) => count = Some(rows),
                (101, Value::Bytes(bytes)) => vector.dense = dense(bytes)?,
                (102, Value::Bytes(bytes)) => {
                    vector.dense = dense(bytes)?;
                    vector.indices = Some(numbers(bytes, 2)?);
                }
                (103, Value::Bytes(bytes)) => {
                    let rows = Fields(bytes).map(|field| match field? {
                        (1, Value::Bytes(bytes)) => dense(bytes).map(Some),
                        _ => Ok(None),
                    });
                    let rows = rows.filter_map(Read::transpose);
                    vector.rows = Some(rows.collect::<Read<_>>()?);
                }
                _ => {}
            }
        }
        if let (None, Some(count)) = (&vector.rows, count) {
            let count = usize::try_from(count).map_err(|_| Broken)?;
            let all = vector.dense.len();
            if count == 0 || !all.is_multiple_of(count) || !(all / count).is_multiple_of(4) {
                return Err(Broken);
            }
            let rows = vector.dense.chunks((all / count).max(1));
            vector.rows = Some(rows.map(|row| Cow::Owned(row.to_vec())).collect());
        }
        Ok(vector)
    }
}

/// The floats of field 1 of a message.
fn dense(bytes: &[u8]) -> Read<Floats<'_>> {
    let mut all = Floats::default();
    for field in Fields(bytes) {
        if let (1, value) = field? {
            floats(&mut all, value)?;
        }
    }
    Ok(all)
}

/// Appends the content of a field of floats: normally packed, but one by one if the writer does not pack.
fn floats<'m>(all: &mut Floats<'m>, value: Value<'m>) -> Read<()> {
    match value {
        Value::Bytes(packed) if !packed.len().is_multiple_of(4) => return Err(Broken),
        Value::Bytes(packed) if all.is_empty() => *all = Cow::Borrowed(packed),
        Value::Bytes(packed) => all.to_mut().extend(packed),
        Value::Fixed32(one) => all.to_mut().extend(one),
        _ => return Err(Broken),
    }
    Ok(())
}

/// The whole numbers of a field of a message.
fn numbers(bytes: &[u8], number: u32) -> Read<Vec<u32>> {
    let mut all = Vec::new();
    let one = |value: u64| u32::try_from(value).map_err(|_| Broken);
    for field in Fields(bytes) {
        match field? {
            (n, Value::Bytes(mut packed)) if n == number => {
                while !packed.is_empty() {
                    all.push(one(wire::varint(&mut packed).ok_or(Broken)?)?);
                }
            }
            (n, Value::Varint(value)) if n == number => all.push(one(value)?),
            _ => {}
        }
    }
    Ok(all)
}

/// Values of a column while they are being collected.
struct Column {
    bytes: Vec<u8>,
    /// Where each value ends, if their lengths differ.
    ends: Vec<usize>,
    valid: Vec<bool>,
}

struct Filling<'d> {
    described: &'d Described,
    keys: Vec<Key>,
    columns: Vec<Column>,
}

impl<'d> Filling<'d> {
    fn new(described: &'d Described, rows: usize) -> Filling<'d> {
        let columns = described.columns.all().iter().map(|column| Column {
            bytes: Vec::with_capacity(match column.kind {
                ColumnType::Vector(vector) => rows * vector.row_bytes() as usize,
                _ => 0,
            }),
            ends: Vec::new(),
            valid: Vec::with_capacity(rows),
        });
        Filling {
            described,
            keys: Vec::with_capacity(rows),
            columns: columns.collect(),
        }
    }

    fn point(&mut self, id: Id, point: &[u8]) -> Result<()> {
        let of_point =
            |what: &str| Error::new(Kind::Refused, format!("point {}: {what}", id.text()));
        let no_message = |Broken| of_point("is not a Qdrant message");
        let key = self.described.keyed.key(id);
        self.keys
            .push(key.ok_or_else(|| of_point("its id is of a different kind from those before"))?);
        let mut payload = Vec::new();
        for field in Fields(point) {
            match field.map_err(no_message)? {
                (2, Value::Bytes(entry)) => {
                    payload.push(payload::entry(entry).map_err(no_message)?);
                }
                (4, Value::Bytes(vectors)) => self.vectors(id, vectors)?,
                _ => {}
            }
        }
        let dynamic = &mut self.columns[self.described.payload];
        payload::object(payload, 1, &mut dynamic.bytes).map_err(|odd| match odd {
            Odd::Broken => no_message(Broken),
            Odd::Deep => of_point("its payload nests maps and lists too deeply"),
        })?;
        dynamic.ends.push(dynamic.bytes.len());
        dynamic.valid.push(true);
        // Fills in the vectors that the point does not have.
        for slot in &self.described.slots {
            let column = &self.described.columns.all()[slot.column];
            let values = &mut self.columns[slot.column];
            if values.valid.len() == self.keys.len() {
                continue;
            }
            if !column.nullable {
                let what = format!(
                    "point {} has no vector `{}`, which all points had when the job was planned",
                    id.text(),
                    slot.name
                );
                return Err(Error::new(Kind::Changed, what).hint("`--again` plans the job again"));
            }
            if let ColumnType::Vector(vector) = column.kind {
                let len = values.bytes.len() + vector.row_bytes() as usize;
                values.bytes.resize(len, 0);
            }
            values.ends.push(values.bytes.len());
            values.valid.push(false);
        }
        Ok(())
    }

    fn vectors(&mut self, id: Id, bytes: &[u8]) -> Result<()> {
        let no_message = |Broken| {
            let what = format!("point {}: its vectors are not a Qdrant message", id.text());
            Error::new(Kind::Refused, what)
        };
        for field in Fields(bytes) {
            match field.map_err(no_message)? {
                (1, Value::Bytes(vector)) => self.vector(id, "", vector)?,
                (2, Value::Bytes(named)) => {
                    for field in Fields(named) {
                        if let (1, Value::Bytes(entry)) = field.map_err(no_message)? {
                            let (name, vector) = payload::entry(entry).map_err(no_message)?;
                            self.vector(id, name, vector)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn vector(&mut self, id: Id, name: &str, bytes: &[u8]) -> Result<()> {
        let wrong = |kind, what: String| {
            Error::new(kind, format!("point {}: vector `{name}` {what}", id.text()))
        };
        let slots = &self.described.slots;
        let Some(slot) = slots.iter().find(|slot| slot.name == name) else {
            let what = "was not in the collection when the job was planned".to_owned();
            return Err(wrong(Kind::Changed, what));
        };
        let vector = Vector::of(bytes)
            .map_err(|Broken| wrong(Kind::Refused, "is not a Qdrant message".to_owned()))?;
        let column = &mut self.columns[slot.column];
        if column.valid.len() == self.keys.len() {
            return Err(wrong(Kind::Refused, "occurs twice".to_owned()));
        }
        match self.described.columns.all()[slot.column].kind {
            ColumnType::Vector(kind) => {
                let width = kind.row_bytes() as usize;
                if vector.dense.len() != width || vector.indices.is_some() {
                    let what = format!(
                        "has {} components, but the collection declares {}",
                        vector.dense.len() / 4,
                        kind.dimension
                    );
                    return Err(wrong(Kind::Refused, what));
                }
                column.bytes.extend_from_slice(&vector.dense);
            }
            ColumnType::Sparse => {
                let indices = vector.indices.unwrap_or_default();
                if vector.dense.len() != indices.len() * 4 {
                    let what = "does not have as many indices as values".to_owned();
                    return Err(wrong(Kind::Refused, what));
                }
                let values = vector.dense.as_chunks::<4>().0;
                for (index, value) in indices.iter().zip(values) {
                    column.bytes.extend(index.to_le_bytes());
                    column.bytes.extend(value);
                }
            }
            _ => {
                let rows = vector.rows.unwrap_or_else(|| vec![vector.dense]);
                rows_as_json(&rows, &mut column.bytes);
            }
        }
        column.ends.push(column.bytes.len());
        column.valid.push(true);
        Ok(())
    }

    fn finish(self) -> Result<Vec<ArrayRef>> {
        let keys =
            match self.described.keyed {
                Keyed::ByInt => {
                    let ids = self.keys.iter().map(|key| key.number().unwrap_or_default());
                    Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef
                }
                Keyed::ByText => Arc::new(StringArray::from_iter_values(self.keys.iter().map(
                    |key| match key {
                        Key::Text(text) => &**text,
                        Key::Int(_) => "",
                    },
                ))),
            };
        let mut keys = Some(keys);
        let columns = self.described.columns.all().iter().zip(self.columns);
        let arrays = columns.enumerate().map(|(number, (column, values))| {
            if number == self.described.columns.key_number() {
                return Ok(keys.take().expect("there is one key"));
            }
            values.array(column.kind, column.nullable)
        });
        arrays.collect()
    }
}

impl Column {
    fn array(self, kind: ColumnType, nullable: bool) -> Result<ArrayRef> {
        let nulls = nullable.then(|| NullBuffer::from(self.valid));
        let bytes = Buffer::from_vec(self.bytes);
        let odd =
            |e: arrow_schema::ArrowError| Error::new(Kind::Refused, format!("the answer: {e}"));
        Ok(match kind {
            ColumnType::Vector(vector) => {
                let width = i32::try_from(vector.row_bytes()).expect("Columns::new checked it");
                Arc::new(FixedSizeBinaryArray::new(width, bytes, nulls))
            }
            ColumnType::Sparse => {
                let ends = self.ends.iter().map(|end| *end as i64);
                let offsets = [0].into_iter().chain(ends).collect::<Vec<i64>>();
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(LargeBinaryArray::try_new(offsets, bytes, nulls).map_err(odd)?)
            }
            _ => {
                // An answer is shorter than this many bytes, and its columns are a small multiple of that.
                let ends = self.ends.iter().map(|end| i32::try_from(*end));
                let offsets = [Ok(0)].into_iter().chain(ends);
                let offsets: std::result::Result<Vec<i32>, _> = offsets.collect();
                let offsets = offsets.map_err(|_| {
                    Error::new(
                        Kind::TooBig,
                        "the payloads of an answer exceed 2 GiB of text",
                    )
                })?;
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(odd)?)
            }
        })
    }
}

/// Vectors of one point as lists of lists.
fn rows_as_json(rows: &[Floats<'_>], out: &mut Vec<u8>) {
    let mut text = String::from("[");
    for (number, row) in rows.iter().enumerate() {
        text.push_str(if number == 0 { "[" } else { ",[" });
        for (number, component) in row.as_chunks::<4>().0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let component = f32::from_le_bytes(*component);
            let written = match component.is_finite() {
                true => write!(text, "{comma}{component:?}"),
                false => write!(text, "{comma}null"),
            };
            written.expect("writing to memory cannot fail");
        }
        text.push(']');
    }
    text.push(']');
    out.extend(text.into_bytes());
}
