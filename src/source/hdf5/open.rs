//! What is in a file? Its vectors, ids and attributes, checked against each other.
//! Reads no rows.

use std::path::Path;

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};

use super::kinds;
use super::table::Table;
use crate::batch::TargetName;
use crate::error::{Error, Kind, Result};
use crate::h5::{self, attribute, raw};
use crate::input::{Access, View};
use crate::job::Globs;
use crate::schema::{Metric, VectorType};
use crate::source::values::Stored;

/// Which ids rows get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ids {
    /// Those of the dataset `ids`; row numbers where there is none.
    IfThere,
    /// Those of this dataset.
    Named(String),
    /// Row numbers.
    RowNumbers,
}

/// A file, looked at.
#[derive(Debug)]
pub struct File {
    pub view: View,
    pub vectors: Table,
    pub vector: VectorType,
    /// `None`: row numbers.
    pub ids: Option<Table>,
    pub name: TargetName,
    pub metric: Option<Metric>,
    pub notes: Vec<String>,
}

/// Looks at a file; no further than its name when that is not admitted.
pub fn open(
    path: &Path,
    access: Access,
    vectors: Option<&str>,
    ids: &Ids,
    admitted: &Globs,
) -> Result<Option<File>> {
    let view = View::open(path, access)?;
    let wrong = |kind: Kind, what: String| Error::path(kind, path, what);
    let file = hdf5::File::open(path).map_err(|e| {
        h5::out_of_reach(path, &e).unwrap_or_else(|| {
            wrong(
                Kind::Corrupt,
                format!("is not an HDF5 file that can be read: {}", h5::cause(&e)),
            )
        })
    })?;
    let target = TargetName {
        collection: text(&file, attribute::COLLECTION).unwrap_or_default(),
        partition: text(&file, attribute::PARTITION).unwrap_or_default(),
    };
    if !admitted.admit(&target.collection, &target.partition) {
        return Ok(None);
    }
    let base = file.userblock();
    let name = vectors.unwrap_or(h5::VECTORS);
    let dataset = find(&file, path, name)?;
    let Some(dataset) = dataset else {
        // A name the job gives is the job's mistake; a file without vectors is no input.
        let kind = if vectors.is_some() {
            Kind::Job
        } else {
            Kind::Unsupported
        };
        let what = format!("has no dataset `{name}`{}", listed(&file));
        return Err(wrong(kind, what).hint("`vectors:` names the dataset of vectors"));
    };
    let table = |dataset: &hdf5::Dataset, name: &str| {
        Table::open(dataset, name, &view, base)
            .map_err(|what| wrong(Kind::Unsupported, format!("`{name}` {what}")))
    };
    let vectors = table(&dataset, name)?;
    let metric = text(&file, attribute::METRIC).filter(|m| !m.is_empty());
    let metric = metric.map(|m| Metric::named(&m).unwrap_or(Metric::Other(m)));
    let dimension =
        (file.attr(attribute::DIMENSION).ok()).and_then(|a| a.read_scalar::<u64>().ok());
    let columns = vectors.shape.get(1).copied();
    let binary = metric.as_ref().map(Metric::is_binary);
    let components = match (binary, dimension, columns) {
        (Some(true), ..) | (_, _, None) => false,
        (_, Some(d), Some(columns)) => d == columns,
        (Some(false), None, _) => true,
        (None, None, _) => false,
    };
    let vector = kinds::vectors(vectors.stored, &vectors.shape, components)
        .map_err(|what| wrong(Kind::Unsupported, format!("`{name}` {what}")))?;
    let mut notes: Vec<String> = vectors
        .notes
        .iter()
        .map(|n| format!("{}: {n}", path.display()))
        .collect();
    let is_bytes = matches!(
        vectors.stored,
        Stored::Integer {
            bytes: 1,
            signed: false,
            ..
        } | Stored::Bytes(_)
    );
    if vector.is_binary() && !is_bytes {
        notes.push(format!(
            "{}: `{name}` holds {}: each value is taken for a byte of a binary vector, 8 bits; vectors of numbers have to \
             be stored as floats",
            path.display(),
            vectors.stored.name()
        ));
    }
    if let Some(said) = dimension.filter(|d| *d != u64::from(vector.dimension)) {
        notes.push(format!(
            "{}: the attribute `dimension` says {said}, the vectors have {}",
            path.display(),
            vector.dimension
        ));
    }
    let ids = match ids {
        Ids::RowNumbers => None,
        Ids::Named(name) => {
            let Some(dataset) = find(&file, path, name)? else {
                let what = format!("has no dataset `{name}` of ids{}", listed(&file));
                return Err(wrong(Kind::Job, what).hint("`ids: row_number` numbers the rows"));
            };
            Some(table(&dataset, name)?)
        }
        Ids::IfThere => match find(&file, path, h5::IDS)? {
            Some(dataset) => Some(table(&dataset, h5::IDS)?),
            None => None,
        },
    };
    if let Some(ids) = &ids {
        check_ids(ids, &vectors)
            .map_err(|(kind, what)| wrong(kind, format!("`{}` {what}", ids.name)))?;
        notes.extend(ids.notes.iter().map(|n| format!("{}: {n}", path.display())));
    }
    Ok(Some(File {
        vectors,
        vector,
        ids,
        name: target,
        metric,
        notes,
        view,
    }))
}

fn check_ids(ids: &Table, vectors: &Table) -> std::result::Result<(), (Kind, String)> {
    let number = matches!(ids.stored, Stored::Integer { .. });
    let one = ids.shape.len() == 1 || ids.shape.len() == 2 && ids.shape[1] == 1;
    if !number || !one {
        let shape = &ids.shape;
        let what = format!(
            "holds {} with the extents {shape:?}, ids are one whole number to a row",
            ids.stored.name()
        );
        return Err((Kind::Unsupported, what));
    }
    if ids.rows != vectors.rows {
        let what = format!(
            "has {} rows, `{}` has {}",
            ids.rows, vectors.name, vectors.rows
        );
        return Err((Kind::Corrupt, what));
    }
    Ok(())
}

/// A dataset of the file by its path in it; `None` when there is no such link.
pub fn find(file: &hdf5::File, path: &Path, name: &str) -> Result<Option<hdf5::Dataset>> {
    let dataset = match file.dataset(name) {
        Ok(dataset) => dataset,
        Err(error) => {
            if !file.link_exists(name) {
                return Ok(None);
            }
            let what = match file.group(name) {
                Ok(_) => format!("`{name}` is a group, not a dataset"),
                Err(_) => format!(
                    "`{name}` cannot be opened (a link to nowhere, or written by a newer HDF5): {}",
                    h5::cause(&error)
                ),
            };
            return Err(Error::path(Kind::Unsupported, path, what));
        }
    };
    // Soft links lead to places in this file; external ones to another, which may change unseen.
    let there = dataset.filename();
    if there != file.filename() {
        let what = format!("`{name}` is an external link into {there}");
        return Err(Error::path(Kind::Unsupported, path, what).hint("name that file instead"));
    }
    Ok(Some(dataset))
}

/// What a file has instead of what was looked for.
fn listed(file: &hdf5::File) -> String {
    let names = raw::members(file, 11);
    let mut shown: Vec<String> = names.iter().take(10).map(|n| format!("`{n}`")).collect();
    if names.len() > shown.len() {
        shown.push("…".to_owned());
    }
    match shown.is_empty() {
        true => "; it is empty".to_owned(),
        false => format!("; it has {}", shown.join(", ")),
    }
}

/// A text attribute of the file, however its text is kept.
pub fn text(file: &hdf5::File, name: &str) -> Option<String> {
    /// Longer ones are cut: a tag of Milvus has 255 bytes at most.
    const MOST: usize = 4096;
    let attr = file.attr(name).ok()?;
    let dtype = attr.dtype().and_then(|t| t.to_descriptor()).ok()?;
    match dtype {
        TypeDescriptor::VarLenUnicode => Some(
            attr.read_scalar::<VarLenUnicode>()
                .ok()?
                .as_str()
                .to_owned(),
        ),
        TypeDescriptor::VarLenAscii => {
            Some(attr.read_scalar::<VarLenAscii>().ok()?.as_str().to_owned())
        }
        TypeDescriptor::FixedAscii(_) => Some(
            attr.read_scalar::<FixedAscii<MOST>>()
                .ok()?
                .as_str()
                .to_owned(),
        ),
        TypeDescriptor::FixedUnicode(_) => Some(
            attr.read_scalar::<FixedUnicode<MOST>>()
                .ok()?
                .as_str()
                .to_owned(),
        ),
        TypeDescriptor::Unsigned(_) => String::from_utf8(attr.read_raw::<u8>().ok()?).ok(),
        _ => None,
    }
}
