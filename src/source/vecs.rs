//! Files of vectors as published with benchmarks: fvecs, bvecs, ivecs, and fbin, u8bin, i8bin.
//! Rows are numbered. Files with a header of two numbers are passed on in place; rows that each have a count are
//! gathered.
//!
//! ```text
//! | d 4 | component … | d 4 | component … |    fvecs (float32), ivecs (int32), bvecs (uint8)
//! | rows 4 | d 4 | component … |               fbin (float32), u8bin, i8bin
//! ```

use std::ffi::OsStr;
use std::path::Path;

use super::files::{self, Named};
use super::tables::{COUNT_BYTES, Pair, Place, Table, Tables};
use super::values::{self, Stored};
use super::{Source, SourceKind, Spec as AnySpec};
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::input::{Access, Cursor, View};
use crate::job::{Form, Setting, settings};
use crate::limits;
use crate::schema::Element;

/// The source `vecs`.
pub const KIND: SourceKind = SourceKind {
    name: "vecs",
    summary: "files of vectors as benchmarks publish them: fvecs, bvecs, ivecs, fbin, u8bin, i8bin",
    settings: &[
        files::PATH.example("base.fvecs"),
        files::PATHS,
        Setting::path(
            "dir",
            "directory: all its files of these kinds, in natural order",
        )
        .one_of(),
        files::GLOB,
        Setting::choice(
            "format",
            &FORMATS,
            "the format of the files; left out: by the extension of each",
        ),
        values::AS,
        Setting::choice(
            "ids",
            &["row_number"],
            "rows are numbered over all files in order",
        )
        .or("row_number"),
        Setting::number("first_id", settings::IDS, "the id of the first row").or("0"),
        files::ACCESS,
    ],
    read,
};

const FORMATS: [&str; 6] = ["fvecs", "bvecs", "ivecs", "fbin", "u8bin", "i8bin"];

struct Spec {
    named: Named,
    format: Option<&'static str>,
    element: Option<Element>,
    first_id: u64,
    access: Access,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let named = Named::read(form);
    let format = form.choice("format");
    let element = values::read_as(form);
    form.choice("ids");
    let first_id = form.number("first_id").unwrap_or(0);
    let access = files::access(form);
    Some(Box::new(Spec {
        named: named?,
        format,
        element,
        first_id,
        access,
    }))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        let mut pairs: Vec<Pair> = Vec::new();
        for path in self.named.files(&FORMATS)? {
            let view = View::open(&path, self.access)?;
            let format = match self.format {
                Some(format) => format,
                None => match format_of(&path) {
                    Some(format) => format,
                    None => return Err(other(&view)?.unwrap_or_else(|| unknown(&path))),
                },
            };
            let vectors = match table(&view, format) {
                Ok(vectors) => vectors,
                Err(error) => return Err(other(&view)?.unwrap_or(error)),
            };
            if let Some(first) = pairs.first()
                && first.vectors.stored != vectors.stored
            {
                let (found, other) = (vectors.stored.name(), first.vectors.stored.name());
                let what = format!("holds {found}, but {} holds {other}", first.vectors.name);
                return Err(Error::path(Kind::Job, &path, what));
            }
            pairs.push(Pair { vectors, ids: None });
        }
        let stored = pairs.first().expect("the job names a file").vectors.stored;
        let element = self.element.unwrap_or(default(stored));
        let mut warnings = Vec::new();
        if let Stored::Integer { bytes: 4, .. } = stored {
            warnings.push(format!(
                "{}: ivecs files usually hold row numbers of neighbours, not vectors; their values become float32",
                pairs[0].vectors.name
            ));
        }
        Ok(Box::new(Tables::new(
            pairs,
            element,
            self.first_id,
            warnings,
        )?))
    }
}

/// What components become by default.
pub fn default(stored: Stored) -> Element {
    match stored {
        Stored::Integer {
            bytes: 1,
            signed: true,
            ..
        } => Element::Int8,
        // Milvus has no unsigned bytes, and these are normally used as numbers: float32 holds each of them.
        _ => Element::Float32,
    }
}

/// The format that a file's extension names.
pub fn format_of(path: &Path) -> Option<&'static str> {
    let ending = path.extension().and_then(OsStr::to_str)?;
    FORMATS.into_iter().find(|f| f.eq_ignore_ascii_case(ending))
}

/// The error for a file of another kind.
fn other(view: &View) -> Result<Option<Error>> {
    known::named(view, "a file of vectors", "vecs")
}

fn unknown(path: &Path) -> Error {
    let what = format!("the extension is none of {}", FORMATS.join(", "));
    Error::path(Kind::Job, path, what).hint("`format:` names the format of the file")
}

/// The table that a file of this format is.
pub fn table(view: &View, format: &str) -> Result<Table> {
    let integer = |bytes, signed| Stored::Integer {
        bytes,
        signed,
        big_endian: false,
    };
    let stored = match format {
        "bvecs" | "u8bin" => integer(1, false),
        "i8bin" => integer(1, true),
        "ivecs" => integer(4, true),
        _ => Stored::Float {
            bytes: 4,
            big_endian: false,
        },
    };
    let is_counted = format.ends_with("vecs");
    let (rows, columns, place) = match is_counted {
        true => counted(view, format, stored)?,
        false => headed(view, format, stored)?,
    };
    Ok(Table {
        view: view.clone(),
        name: view.path().display().to_string(),
        rows,
        columns,
        stored,
        place,
    })
}

/// A file of rows that each have a count of their components. The file does not declare how many rows there are.
fn counted(view: &View, format: &str, stored: Stored) -> Result<(u64, u64, Place)> {
    if view.is_empty() {
        let what = "is empty: a file of this kind without rows does not declare a dimension";
        return Err(Error::path(Kind::Unsupported, view.path(), what));
    }
    let columns = dimension(&mut Cursor::new(view.clone()), view, format)?;
    let row_bytes = COUNT_BYTES + columns * stored.bytes() as u64;
    let (rows, left) = (view.len() / row_bytes, view.len() % row_bytes);
    if left > 0 {
        let what = format!(
            "{left} bytes follow row {rows}: rows of {columns} components have {row_bytes} bytes in {format}"
        );
        let error = view.corrupt(rows * row_bytes, what);
        return Err(error.hint("the file is cut short, damaged, or of another kind (`format:`)"));
    }
    // Checking the last row detects files of another kind before the first row is sent; all rows are checked when read.
    let mut last = Cursor::new(view.cut((rows - 1) * row_bytes, row_bytes)?);
    let found = last.i32("components of the last row")?;
    if i64::from(found) != columns as i64 {
        let what = format!("the last row declares {found} components, the first {columns}");
        return Err(view.corrupt((rows - 1) * row_bytes, what));
    }
    Ok((rows, columns, Place::Counted))
}

fn dimension(cursor: &mut Cursor, view: &View, format: &str) -> Result<u64> {
    let at = cursor.at();
    let found = cursor.i32("components of a vector")?;
    match u64::try_from(found) {
        Ok(columns) if (1..=limits::DIMENSIONS_MAX).contains(&columns) => Ok(columns),
        _ => {
            let what = format!(
                "vectors of {found} components, expected 1 to {} in {format}",
                limits::DIMENSIONS_MAX
            );
            Err(view
                .corrupt(at, what)
                .hint("is the file of another kind? `format:` names it"))
        }
    }
}

/// A file whose header has the number of rows and of components.
fn headed(view: &View, format: &str, stored: Stored) -> Result<(u64, u64, Place)> {
    let mut cursor = Cursor::new(view.clone());
    let rows = u64::from(cursor.u32("rows")?);
    let columns = dimension(&mut cursor, view, format)?;
    let (row_bytes, there) = (columns * stored.bytes() as u64, cursor.remaining());
    if rows * row_bytes != there {
        let what = format!(
            "{rows} rows of {columns} components need {} bytes in {format}, but {there} follow",
            rows * row_bytes
        );
        let error = view.corrupt(0, what);
        return Err(match there % row_bytes {
            0 => error.hint(format!(
                "it has {} rows: if the file was cut from a larger one, write this number into its first 4 bytes",
                there / row_bytes
            )),
            _ => error.hint("the file is cut short, damaged, without a header, or of another kind (`format:`)"),
        });
    }
    Ok((rows, columns, Place::Rows(cursor.at())))
}
