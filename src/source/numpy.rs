//! numpy: how do .npy files, and arrays in .npz archives, become vectors and ids?
//! Uncompressed arrays are mapped, and passed on in place if they hold float32 in rows.

use std::path::{Path, PathBuf};

use super::files;
use super::tables::{Packed, Pair, Place, Table, Tables};
use super::values::{self, Stored};
use super::{Source, SourceKind, Spec as AnySpec};
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::format::npy::{self, Header};
use crate::format::zip::{self, Member, Packing};
use crate::input::{Access, View};
use crate::job::{Form, Setting, is_glob, settings};
use crate::limits;
use crate::schema::Element;

/// The source `numpy`.
pub const KIND: SourceKind = SourceKind {
    name: "numpy",
    summary: "arrays of numpy: .npy files, and members of .npz archives as file.npz:name",
    settings: &[
        Setting::paths(
            "vectors",
            "the two-dimensional array, or a list of arrays in this order",
        )
        .required()
        .example("embeddings.npy"),
        Setting::paths(
            "ids",
            "the array of ids, or a list with one for each array of vectors; left out: rows are numbered",
        )
        .example("ids.npy"),
        Setting::number(
            "first_id",
            settings::IDS,
            "the id of the first row, where rows are numbered",
        )
        .or("0"),
        values::AS,
        files::ACCESS,
    ],
    read,
};

struct Spec {
    vectors: Vec<String>,
    ids: Option<Vec<String>>,
    element: Option<Element>,
    first_id: u64,
    access: Access,
}

/// Names of arrays, each in full: which ids belong to which vectors must not depend on an implicit order.
fn each(form: &mut Form, key: &'static str) -> Option<Vec<String>> {
    let names = form.list(key)?;
    if let Some(name) = names.iter().find(|name| is_glob(name)) {
        let what = format!("`{name}` stands for several arrays: list each by its full name");
        form.mistake(key, what);
        return None;
    }
    Some(names)
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let vectors = each(form, "vectors");
    if vectors.is_none() && !form.has("vectors") {
        form.mistake("vectors", "is missing: the array, such as embeddings.npy");
    }
    let ids = each(form, "ids").filter(|ids| ids != &["row_number"]);
    let element = values::read_as(form);
    let first_id = form.number("first_id");
    let access = files::access(form);
    if let (Some(vectors), Some(ids)) = (&vectors, &ids) {
        if vectors.len() != ids.len() {
            let what = format!(
                "{} arrays of ids for {} of vectors",
                ids.len(),
                vectors.len()
            );
            form.mistake("ids", what);
            return None;
        }
        if first_id.is_some() {
            form.mistake("first_id", "numbers rows, but `ids` gives them ids");
            return None;
        }
    }
    Some(Box::new(Spec {
        vectors: vectors.filter(|v| !v.is_empty())?,
        ids,
        element,
        first_id: first_id.unwrap_or(0),
        access,
    }))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        let mut pairs: Vec<Pair> = Vec::new();
        for (number, name) in self.vectors.iter().enumerate() {
            let ids = self
                .ids
                .as_ref()
                .map(|ids| ids_of(&ids[number], self.access));
            let vectors = vectors_of(name, self.access)?;
            if let Some(Pair { vectors: first, .. }) = pairs.first()
                && default(first.stored) != default(vectors.stored)
                && self.element.is_none()
            {
                let (found, other) = (vectors.stored.name(), first.stored.name());
                let what = format!("holds {found}, but {} holds {other}", first.name);
                return Err(Error::path(Kind::Job, vectors.view.path(), what)
                    .hint("`as:` sets what both become"));
            }
            pairs.push(Pair {
                vectors,
                ids: ids.transpose()?,
            });
        }
        let first = &pairs.first().expect("the job names an array").vectors;
        let element = self.element.unwrap_or(default(first.stored));
        let mut warnings = Vec::new();
        if let (None, Stored::Integer { signed: false, .. }, Element::Bit) =
            (self.element, first.stored, element)
        {
            warnings.push(format!(
                "{}: uint8 is read as packed bits, 8 to a byte, as Milvus and numpy.packbits store them; `as: float32` \
                 reads each value as a component",
                first.name
            ));
        }
        let doubles = pairs
            .iter()
            .find(|p| matches!(p.vectors.stored, Stored::Float { bytes: 8, .. }));
        if let Some(Pair { vectors, .. }) = doubles {
            warnings.push(format!("{}: float64 is rounded to float32", vectors.name));
        }
        Ok(Box::new(Tables::new(
            pairs,
            element,
            self.first_id,
            warnings,
        )?))
    }
}

/// What values become by default.
pub fn default(stored: Stored) -> Element {
    match stored {
        Stored::Integer {
            bytes: 1,
            signed: true,
            ..
        } => Element::Int8,
        Stored::Integer { bytes: 1, .. } | Stored::Bool => Element::Bit,
        _ => Element::Float32,
    }
}

/// The array with this name as vectors.
fn vectors_of(name: &str, access: Access) -> Result<Table> {
    let array = open(name, access)?;
    array.vectors()
}

/// The array with this name as ids.
fn ids_of(name: &str, access: Access) -> Result<Table> {
    let array = open(name, access)?;
    array.ids()
}

/// An array in a file.
pub struct Array {
    view: View,
    /// The file's path, and the member's name if it is in an archive.
    pub name: String,
    /// Its header.
    pub header: Header,
    packed: Option<Packed>,
    /// Where its bytes begin in the file.
    at: u64,
}

/// Opens `file.npy` or `file.npz:name`.
fn open(name: &str, access: Access) -> Result<Array> {
    let lower = name.to_ascii_lowercase();
    let (path, member) = match lower.rfind(".npz:") {
        Some(at) => (&name[..at + 4], Some(&name[at + 5..])),
        None => (name, None),
    };
    let path = PathBuf::from(path);
    let view = View::open(&path, access)?;
    if !is_archive(&view) {
        return Array::file(&view);
    }
    let mut arrays = members(&view)?;
    if arrays.is_empty()
        && let Some(error) = known::named(&view, "a NumPy archive", "numpy")?
    {
        return Err(error);
    }
    let found = match member {
        Some(name) => arrays
            .iter()
            .position(|m| stem(&m.name) == name || m.name == name),
        None if arrays.len() == 1 => Some(0),
        None => None,
    };
    match found {
        Some(at) => Array::member(&view, arrays.swap_remove(at)),
        None => Err(which(&path, member, &arrays)),
    }
}

/// Whether a file is a zip archive, as .npz files are.
pub fn is_archive(view: &View) -> bool {
    let mut magic = [0; 4];
    view.read(0, &mut magic).is_ok() && (magic == *zip::MAGIC || magic == *b"PK\x05\x06")
}

/// Whether a file is an array.
pub fn is_array(view: &View) -> bool {
    let mut magic = [0; npy::MAGIC.len()];
    view.read(0, &mut magic).is_ok() && magic == *npy::MAGIC
}

/// The arrays of an archive.
pub fn members(view: &View) -> Result<Vec<Member>> {
    let mut members = zip::members(view)?;
    members.retain(|member| member.name.ends_with(".npy"));
    Ok(members)
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".npy").unwrap_or(name)
}

fn which(path: &Path, wanted: Option<&str>, members: &[Member]) -> Error {
    let names: Vec<&str> = members
        .iter()
        .map(|m| stem(&m.name))
        .take(limits::FILES_LISTED)
        .collect();
    let what = match wanted {
        Some(name) => format!("has no array `{name}`"),
        None => format!("is an archive of {} arrays", members.len()),
    };
    let shown = path.display();
    let hint = match names.first() {
        None => "it has no arrays at all".to_owned(),
        Some(first) => format!("it has {}: name one as {shown}:{first}", names.join(", ")),
    };
    Error::path(Kind::Job, path, what).hint(hint)
}

impl Array {
    /// The array in an .npy file.
    pub fn file(view: &View) -> Result<Array> {
        if !is_array(view)
            && let Some(error) = known::named(view, "a NumPy array", "numpy")?
        {
            return Err(error);
        }
        let header = npy::header(view)?;
        let array = Array {
            view: view.clone(),
            name: view.path().display().to_string(),
            at: header.at,
            header,
            packed: None,
        };
        array.check(view.len() - array.at)?;
        Ok(array)
    }

    /// A member of an archive.
    pub fn member(view: &View, member: Member) -> Result<Array> {
        let name = format!("{}:{}", view.path().display(), stem(&member.name));
        let (header, packed) = match member.packing {
            Packing::Stored => (npy::header(&view.cut(member.at, member.len)?)?, None),
            Packing::Deflated => {
                let mut packed = Packed {
                    at: member.at,
                    len: member.len,
                    unpacked: member.unpacked,
                    skip: 0,
                    crc32: member.crc32,
                };
                let header = npy::header(&View::from_bytes(&name, packed.head(view)?))?;
                packed.skip = header.at;
                (header, Some(packed))
            }
            Packing::Other(method) => {
                let what = format!(
                    "`{}` is encrypted, or compressed with method {method}",
                    member.name
                );
                let error = Error::path(Kind::Unsupported, view.path(), what);
                return Err(error.hint(
                    "numpy.savez and numpy.savez_compressed write archives that can be read",
                ));
            }
        };
        let array = Array {
            view: view.clone(),
            name,
            at: member.at + header.at,
            packed,
            header,
        };
        array.check(member.unpacked.saturating_sub(array.header.at))?;
        Ok(array)
    }

    /// Checks that as much data exists as the header declares.
    fn check(&self, there: u64) -> Result<()> {
        // The size of values that are not numbers is counted differently.
        self.stored()?;
        let Header { shape, values, .. } = &self.header;
        let what = match self.header.array_bytes() {
            Some(bytes) if bytes == there => return Ok(()),
            Some(bytes) => format!("needs {bytes} bytes, but {there} follow the header"),
            None => format!("needs more bytes than a file can have, but {there} follow the header"),
        };
        let what = format!("the shape {shape:?} of {} bytes each {what}", values.bytes);
        Err(Error::new(Kind::Corrupt, what).at(self.view.place(self.at)))
    }

    /// How its values are stored.
    pub fn stored(&self) -> Result<Stored> {
        let npy::Values {
            kind,
            bytes,
            big_endian,
        } = self.header.values;
        let stored = match (kind, bytes) {
            (b'f', 2 | 4 | 8) => Stored::Float {
                bytes: bytes as usize,
                big_endian,
            },
            (b'i' | b'u', 1 | 2 | 4 | 8) => Stored::Integer {
                bytes: bytes as usize,
                signed: kind == b'i',
                big_endian,
            },
            (b'b', 1) => Stored::Bool,
            _ => {
                let what = format!(
                    "the array holds values of numpy's type {}{bytes}",
                    char::from(kind)
                );
                let error = Error::path(Kind::Unsupported, self.view.path(), what);
                return Err(error.hint(
                    "floats, whole numbers and booleans can be read: array.astype('float32')",
                ));
            }
        };
        Ok(stored)
    }

    /// Its rows as a table of this many numbers each.
    fn table(&self, stored: Stored, rows: u64, columns: u64) -> Table {
        let place = match &self.packed {
            Some(packed) => Place::Packed(packed.clone()),
            None if self.header.fortran_order && columns > 1 => Place::Columns(self.at),
            None => Place::Rows(self.at),
        };
        Table {
            view: self.view.clone(),
            name: self.name.clone(),
            rows,
            columns,
            stored,
            place,
        }
    }

    /// Its rows as vectors.
    pub fn vectors(&self) -> Result<Table> {
        let stored = self.stored()?;
        let (rows, columns) = match &*self.header.shape {
            [rows, columns] => (*rows, *columns),
            shape => {
                let what = format!(
                    "the array has the shape {shape:?}; vectors need two dimensions: rows and components"
                );
                let error = Error::path(Kind::Unsupported, self.view.path(), what);
                return Err(error.hint("array.reshape(rows, -1) turns more dimensions into rows"));
            }
        };
        if self.packed.is_some() && self.header.fortran_order && columns > 1 {
            let what = "the array is stored column by column and compressed: its rows cannot be read one after another";
            let error = Error::path(Kind::Unsupported, self.view.path(), what);
            return Err(error.hint(
                "use numpy.savez, which does not compress, or call numpy.ascontiguousarray first",
            ));
        }
        Ok(self.table(stored, rows, columns))
    }

    /// Its rows as ids.
    pub fn ids(&self) -> Result<Table> {
        let stored = self.stored()?;
        let rows = match *self.header.shape {
            [rows] | [rows, 1] => Some(rows),
            _ => None,
        };
        match (stored, rows) {
            (Stored::Integer { .. }, Some(rows)) => Ok(self.table(stored, rows, 1)),
            _ => {
                let (shape, values) = (&self.header.shape, stored.name());
                let what = format!(
                    "holds {values} of the shape {shape:?}: ids are one whole number to a row"
                );
                Err(Error::path(Kind::Unsupported, self.view.path(), what))
            }
        }
    }
}
