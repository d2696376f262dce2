//! Where are the rows of a dataset stored, and how are they read?
//! Decides once for a dataset; reads no rows except those in its header.

use bytes::Bytes;
use hdf5::Dataset;
use hdf5::dataset::Layout;

use super::axes::{Axes, Role, times};
use super::items::Items;
use super::kinds;
use crate::error::Kind;
use crate::h5::filter::Filter;
use crate::h5::raw::{self, Chunk, Stretch};
use crate::h5::types::{Class, Type};
use crate::input::View;
use crate::limits;
use crate::source::values::Stored;

/// A dataset as a table of rows.
#[derive(Debug)]
pub struct Table {
    /// Its name in the job: its path in the file, followed by that of a member.
    pub name: String,
    pub rows: u64,
    /// The dataset's extents, and those of arrays in it.
    pub shape: Vec<u64>,
    /// Values of a row; `None`: it has a single value and is no vector.
    pub width: Option<u64>,
    pub stored: Stored,
    /// Whether values are enumerated, as Python's booleans are.
    pub named: bool,
    /// Bytes of a row as its values are stored.
    pub row_bytes: u64,
    pub place: Place,
    /// How it is laid out, for people.
    pub layout: String,
    /// What the operator should know.
    pub notes: Vec<String>,
    pub(super) axes: Axes,
    /// Bytes of an element of the dataset, and of a chunk's: a value, or an array of values.
    pub(super) element_bytes: u64,
    /// Where the library can find it.
    pub(super) origin: Origin,
    /// Whether filters of the library's own have to be undone.
    pub(super) unpacked_by_library: bool,
}

/// A dataset, or a member of its values.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The dataset's path in the file.
    pub path: String,
    /// The names of the members that lead from a compound to a value; none: the values themselves.
    pub members: Vec<String>,
}

/// Where rows are.
#[derive(Debug)]
pub enum Place {
    /// In the file exactly as they travel, in runs.
    Runs(Vec<Run>),
    /// In the file's headers; these are the bytes.
    Held(Bytes),
    /// In chunks that have to be unpacked or assembled.
    Bands(Bands),
}

/// Rows that are stored one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub rows: u64,
    /// Where the first is in the file.
    pub at: u64,
}

/// Rows in chunks. A band is a range of rows that is assembled at a time.
#[derive(Debug)]
pub struct Bands {
    /// Rows of a chunk, its columns in elements, and how many chunks a row goes through.
    pub chunk_rows: u64,
    pub chunk_columns: u64,
    pub across: u64,
    /// Rows of a band: never more than of a chunk.
    pub rows: u64,
    pub how: How,
}

impl Bands {
    /// Bands as if all rows were in one chunk.
    fn whole(table: &Table, how: How) -> Bands {
        Bands {
            chunk_rows: table.rows.max(1),
            chunk_columns: table.columns(),
            across: 1,
            rows: gather_rows(table.row_bytes),
            how,
        }
    }
}

/// How chunks are read.
#[derive(Debug)]
pub enum How {
    /// From these places in the file, row by row: unpacked outside the library.
    Placed(Vec<Filter>, Vec<Chunk>),
    /// All columns one after the other, the first here.
    Columns(u64),
    /// Read by the library.
    Library,
    /// Read by the library, a value of variable length for each row.
    Variable,
    /// Each row is a dataset.
    Items(Items),
}

/// Why a dataset cannot be read.
#[derive(Debug)]
pub struct Refusal {
    pub kind: Kind,
    pub what: String,
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal of something valid that cannot be read this way.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Refusal {
        let hint = Some(hint.into());
        Refusal {
            hint,
            ..Refusal::from(what.into())
        }
    }

    /// The file contradicts itself.
    pub fn corrupt(what: impl Into<String>) -> Refusal {
        let kind = Kind::Corrupt;
        Refusal {
            kind,
            ..Refusal::from(what.into())
        }
    }
}

impl From<String> for Refusal {
    fn from(what: String) -> Refusal {
        Refusal {
            kind: Kind::Unsupported,
            what,
            hint: None,
        }
    }
}

/// A value, or a sentence about why it cannot be read.
pub type Told<T> = Result<T, Refusal>;

pub fn told(error: hdf5::Error) -> Refusal {
    crate::h5::cause(&error).into()
}

impl Table {
    /// Finds the rows of a dataset in the file that `view` shows; `base` is the length of its user block.
    pub fn open(
        dataset: &Dataset,
        origin: Origin,
        role: Role,
        view: &View,
        base: u64,
    ) -> Told<Table> {
        let shape = extents(dataset)?;
        let axes = Axes::of(&shape, role)?;
        let name = origin.name();
        let values = origin.type_in(raw::type_of(dataset).map_err(told)?)?;
        let facts = values.facts().map_err(told)?;
        let mut table = Table {
            rows: shape[axes.row],
            width: axes.column.map(|column| shape[column]),
            stored: Stored::Bytes(0),
            named: facts.class == Class::Enum,
            row_bytes: 0,
            element_bytes: facts.bytes as u64,
            place: Place::Runs(Vec::new()),
            layout: String::new(),
            notes: Vec::new(),
            shape,
            axes,
            origin,
            name,
            unpacked_by_library: false,
        };
        let variable = match facts.class {
            Class::Array => {
                let count = values.values().map_err(told)?;
                if table.width.is_some_and(|w| w != 1) {
                    return Err(format!("holds {} arrays", times(&table.shape)).into());
                }
                table.stored = kinds::stored(&values.base().map_err(told)?)?;
                table.shape.push(count);
                table.width = Some(count);
                false
            }
            Class::Sequence | Class::String if facts.variable => {
                table.variable(dataset, role, &values)?;
                true
            }
            Class::Compound => return Err(table.origin.which(&values)),
            _ => {
                table.stored = kinds::stored(&values)?;
                false
            }
        };
        let values = table.width.unwrap_or(1);
        let row_bytes = values.checked_mul(table.stored.bytes() as u64);
        let fits = row_bytes.filter(|b| b.checked_mul(table.rows.max(1)).is_some());
        let Some(row_bytes) = fits else {
            let shape = times(&table.shape);
            return Err(Refusal::corrupt(format!(
                "has the extents {shape}, more than a file can hold"
            )));
        };
        table.row_bytes = row_bytes;
        if variable {
            table.layout = "values of variable length".to_owned();
            let mut bands = Bands::whole(&table, How::Variable);
            bands.rows = bands.rows.min(limits::HDF5_VARIABLE_ROWS);
            table.place = Place::Bands(bands);
        } else {
            table.lay_out(dataset, view, base)?;
        }
        Ok(table)
    }

    /// What its values are, for people.
    pub fn values(&self) -> String {
        match self.named {
            true => format!("named values (booleans) of {} bytes", self.stored.bytes()),
            false => self.stored.name(),
        }
    }

    /// Columns of the dataset, each an element.
    pub(super) fn columns(&self) -> u64 {
        self.axes.column.map_or(1, |column| self.shape[column])
    }

    /// Whether elements are the values themselves, with nothing to pick out of them.
    fn is_plain(&self) -> bool {
        self.origin.members.is_empty()
    }

    fn lay_out(&mut self, dataset: &Dataset, view: &View, base: u64) -> Told<()> {
        let plist = dataset.create_plist().map_err(told)?;
        if !plist.get_external().map_err(told)?.is_empty() {
            let what = "keeps its rows in external files: `h5repack` brings them into one";
            return Err(what.to_owned().into());
        }
        let bytes = self.rows * self.row_bytes;
        match plist.get_layout().map_err(told)? {
            Layout::Virtual => {
                let what = "is a virtual dataset whose rows are in other files: name those files";
                return Err(what.to_owned().into());
            }
            layout if bytes == 0 => self.layout = format!("{layout:?}").to_lowercase(),
            Layout::Compact => {
                self.layout = "compact".to_owned();
                if !self.is_plain() {
                    self.place = Place::Bands(Bands::whole(self, How::Library));
                    return Ok(());
                }
                let there = dataset.storage_size();
                if there != bytes {
                    return Err(Refusal::corrupt(format!(
                        "needs {bytes} bytes in its header, which has {there}"
                    )));
                }
                let mut held = vec![0; bytes as usize];
                self.read(dataset, 0, &mut held).map_err(told)?;
                self.place = Place::Held(held.into());
            }
            Layout::Contiguous => {
                self.layout = "contiguous".to_owned();
                let how = match dataset.offset() {
                    Some(at) if self.is_plain() => {
                        let inside = view.cut(at, bytes);
                        inside.map_err(|e| Refusal::corrupt(e.what()))?;
                        if !self.axes.are_turned() {
                            let rows = self.rows;
                            self.place = Place::Runs(vec![Run { first: 0, rows, at }]);
                            return Ok(());
                        }
                        How::Columns(at)
                    }
                    Some(_) => How::Library,
                    None => {
                        self.note_never_written(0);
                        How::Library
                    }
                };
                self.place = Place::Bands(Bands::whole(self, how));
            }
            Layout::Chunked => self.chunked(dataset, &plist, view, base)?,
        }
        Ok(())
    }

    /// Rows that were never written have the dataset's fill value, which the library knows.
    pub(super) fn note_never_written(&mut self, row: u64) {
        self.notes.push(format!(
            "`{}` row {row} was never written: it has the dataset's fill value, and others may, too",
            self.name
        ));
    }

    /// A range of rows.
    fn stretch(&self, first: u64, rows: u64) -> Stretch {
        let axis = self.axes.row;
        Stretch { axis, first, rows }
    }

    /// Reads rows through the library.
    pub(super) fn read(&self, dataset: &Dataset, first: u64, to: &mut [u8]) -> hdf5::Result<()> {
        let rows = to.len() as u64 / self.row_bytes.max(1);
        let values = self.origin.values(raw::type_of(dataset)?)?;
        let stretch = self.stretch(first, rows);
        if !self.axes.are_turned() {
            return raw::read_rows(dataset, &values, stretch, to);
        }
        let mut columns = vec![0; to.len()];
        raw::read_rows(dataset, &values, stretch, &mut columns)?;
        turn(&columns, self.element_bytes, rows, 0, self.row_bytes, 0, to);
        Ok(())
    }

    /// Reads rows of variable length through the library, and reports one that is not as long as the others.
    pub(super) fn read_variable(
        &self,
        dataset: &Dataset,
        first: u64,
        to: &mut [u8],
    ) -> hdf5::Result<Result<(), String>> {
        let rows = to.len() as u64 / self.row_bytes.max(1);
        let row_bytes = self.row_bytes as usize;
        let text = matches!(self.stored, Stored::Bytes(_));
        let mut slots = to.chunks_exact_mut(row_bytes.max(1));
        let stretch = self.stretch(first, rows);
        raw::read_variable(dataset, self.stored.bytes(), stretch, &mut |value| {
            let slot = slots.next().ok_or("too many rows")?;
            if text && value.len() <= slot.len() {
                slot[..value.len()].copy_from_slice(value);
                return Ok(());
            }
            if value.len() != slot.len() {
                let each = if text { 1 } else { self.stored.bytes() };
                let (has, others) = (value.len() / each, slot.len() / each);
                return Err(match text {
                    true => format!(
                        "`{}…` is not a number; `ids: row_number` numbers the rows",
                        String::from_utf8_lossy(&value[..others])
                    ),
                    false => format!("has {has} components, the first row has {others}"),
                });
            }
            slot.copy_from_slice(value);
            Ok(())
        })
        .map(|read| {
            read.map_err(|what| {
                let row = first + rows - slots.len() as u64 - 1;
                format!("row {row}: {what}")
            })
        })
    }

    /// Rows of variable length, all of which have to be as long as the first.
    fn variable(&mut self, dataset: &Dataset, role: Role, values: &Type) -> Told<()> {
        let one = self.width.is_none() && self.is_plain();
        let text = values.facts().map_err(told)?.class == Class::String;
        let kind = if text { "text" } else { "values" };
        if !one || text && role != Role::Ids {
            return Err(format!("holds {kind} of variable length").into());
        }
        if text {
            // The longest id with its sign, plus one byte to notice a longer one.
            self.stored = Stored::Bytes(21);
            return Ok(());
        }
        let base = values.base().map_err(told)?;
        self.stored = kinds::stored(&base)?;
        let bytes = self.stored.bytes();
        let mut first: Option<u64> = None;
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(limits::HDF5_VARIABLE_ROWS);
            let mut at = row;
            let read = raw::read_variable(dataset, bytes, self.stretch(row, rows), &mut |value| {
                let has = (value.len() / bytes) as u64;
                let others = *first.get_or_insert(has);
                at += 1;
                match has == others {
                    true => Ok(()),
                    false => Err(format!(
                        "row {} has {has} components, the first row has {others}: vectors have as many each",
                        at - 1
                    )),
                }
            });
            read.map_err(told)??;
            row += rows;
        }
        let Some(width) = first else {
            let what = "has no rows, and nothing says how many components a row would have";
            return Err(what.to_owned().into());
        };
        self.shape.push(width);
        self.width = Some(width);
        Ok(())
    }
}

/// The extents of a dataset, which have to be plausible.
fn extents(dataset: &Dataset) -> Told<Vec<u64>> {
    let space = dataset.space().map_err(told)?;
    if space.is_null() {
        return Err("has no values at all".to_owned().into());
    }
    let shape = dataset.get_shape().map_err(told)?;
    for (axis, (extent, most)) in shape.iter().zip(space.maxdims()).enumerate() {
        if most.is_some_and(|most| most < *extent) {
            let most = most.unwrap_or_default();
            return Err(Refusal::corrupt(format!(
                "is {extent} long in dimension {axis}, and says that it can be {most} at most"
            )));
        }
    }
    Ok(shape.iter().map(|n| *n as u64).collect())
}

impl Origin {
    /// Its name in the job.
    pub fn name(&self) -> String {
        let parts = std::iter::once(&self.path).chain(&self.members);
        parts.map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// The type of the member that was asked for.
    fn type_in(&self, mut values: Type) -> Told<Type> {
        let mut at = self.path.clone();
        for name in &self.members {
            let Some(member) = values.member(name) else {
                let has = listed(&values.members());
                return Err(format!("does not exist: `{at}` {has}").into());
            };
            at = format!("{at}/{name}");
            values = member;
        }
        let facts = values.facts().map_err(told)?;
        if !self.members.is_empty() && facts.variable {
            return Err("holds values of variable length in a compound"
                .to_owned()
                .into());
        }
        Ok(values)
    }

    /// The type to read values as, without the members that were not asked for.
    fn values(&self, whole: Type) -> hdf5::Result<Type> {
        if self.members.is_empty() {
            return Ok(whole);
        }
        let mut values = whole;
        for name in &self.members {
            values = values.member(name).ok_or("the member is gone")?;
        }
        for name in self.members.iter().rev() {
            values = values.alone(name)?;
        }
        Ok(values)
    }

    /// Asks the operator for one of a compound's members.
    fn which(&self, values: &Type) -> Refusal {
        let members = values.members();
        let name = self.name();
        let of = |class: Class| {
            let is_one = |member: &&String| {
                let facts = values.member(member).and_then(|m| m.facts().ok());
                facts.is_some_and(|facts| facts.class == class)
            };
            members.iter().find(is_one)
        };
        let first = of(Class::Array).or(members.first());
        let first = first.map_or("member", String::as_str);
        let ids =
            of(Class::Integer).map_or_else(String::new, |ids| format!(", `ids: {name}/{ids}`"));
        Refusal::new(
            format!("holds compound values: it {}", listed(&members)),
            format!("name a member after the dataset: `vectors: {name}/{first}`{ids}"),
        )
    }
}

/// The names of members, shortened if there are many.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(10).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    match shown.is_empty() {
        true => "has no members".to_owned(),
        false => format!("has the members {}{more}", shown.join(", ")),
    }
}

pub(super) fn gather_rows(row_bytes: u64) -> u64 {
    (limits::HDF5_GATHER_BYTES / row_bytes.max(1)).max(1)
}

/// Turns columns of `from`, each of this many elements, into parts of rows: the rows from `skip` on, beginning at this
/// byte of each row of `to`.
pub(super) fn turn(
    from: &[u8],
    element: u64,
    column_rows: u64,
    skip: u64,
    row_bytes: u64,
    at: u64,
    to: &mut [u8],
) {
    let (element, column) = (element as usize, (column_rows * element) as usize);
    let (row_bytes, skip) = (row_bytes as usize, skip as usize * element);
    for (number, values) in from.chunks_exact(column.max(1)).enumerate() {
        let at = at as usize + number * element;
        if at + element > row_bytes {
            // Past the dataset's edge.
            break;
        }
        let rows = to.chunks_exact_mut(row_bytes);
        for (row, value) in rows.zip(values[skip..].chunks_exact(element)) {
            row[at..at + element].copy_from_slice(value);
        }
    }
}
