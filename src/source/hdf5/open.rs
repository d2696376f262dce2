//! What is in a file? Its vectors, ids and attributes, checked against each other.
//! Reads no rows except ids, if their values may not be valid ids.

use std::path::Path;

use hdf5::Dataset;

use super::axes::{Role, times};
use super::columns::{self, Column};
use super::declared::{Declared, text};
use super::items;
use super::kinds::{self, Wish};
use super::rows::Rows;

use super::table::{Origin, Refusal, Table};
use crate::batch::TargetName;
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::h5::attributes;
use crate::h5::{self, attribute, raw};
use crate::input::{Access, View};
use crate::job::Globs;
use crate::schema::{Metric, VectorType};

/// Which ids rows get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ids {
    /// Those of the dataset `ids`; row numbers if there is none.
    IfThere,
    /// Those of this dataset.
    Named(String),
    /// Row numbers.
    RowNumbers,
}

/// What a job says about files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dataset of vectors, if it is not `embeddings`.
    pub vectors: Option<String>,
    pub ids: Ids,
    /// Datasets that travel besides.
    pub columns: Vec<String>,
    /// Whether rows and columns are swapped; `None`: the job does not say.
    pub transpose: Option<bool>,
    /// What becomes of integers, if the job says so.
    pub wish: Option<Wish>,
    pub access: Access,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            vectors: None,
            ids: Ids::IfThere,
            columns: Vec::new(),
            transpose: None,
            wish: None,
            access: Access::Map,
        }
    }
}

/// An inspected file.
#[derive(Debug)]
pub struct File {
    pub view: View,
    pub vectors: Table,
    pub vector: VectorType,
    /// What becomes of integers.
    pub wish: Wish,
    /// `None`: row numbers.
    pub ids: Option<Table>,
    /// What travels besides.
    pub columns: Vec<Column>,
    pub name: TargetName,
    pub metric: Option<Metric>,
    pub notes: Vec<String>,
}

/// Inspects a file, but only its name if that is not admitted. Calls `alive` now and then.
pub fn open(
    path: &Path,
    settings: &Settings,
    admitted: &Globs,
    alive: &mut dyn FnMut(),
) -> Result<Option<File>> {
    let view = View::open(path, settings.access)?;
    let file = by_library(path, &view)?;
    let mut notes = Vec::new();
    let target = TargetName {
        collection: text(&file, attribute::COLLECTION, &mut notes).unwrap_or_default(),
        partition: text(&file, attribute::PARTITION, &mut notes).unwrap_or_default(),
    };
    if !admitted.admit(&target.collection, &target.partition) {
        return Ok(None);
    }
    let Found {
        table: vectors,
        name,
        ids: named,
    } = vectors(&file, path, settings, &view, alive)?;
    let refuse = |refusal: Refusal| refused(path, &name, refusal);
    notes.extend(vectors.notes.iter().cloned());
    let declared = Declared::of(&file, &mut notes);
    let wish = match settings.wish {
        Some(wish) => wish,
        None => declared.wish(&vectors),
    };
    let vector = kinds::vectors(&vectors, wish).map_err(refuse)?;
    let metric = declared.metric(&vectors, vector, wish, &mut notes);
    let ids = match named {
        Some(ids) if settings.ids == Ids::IfThere => ids,
        _ => ids(&file, path, settings, &view, &vectors)?,
    };
    notes.extend(ids.iter().flat_map(|ids| ids.notes.clone()));
    let columns = columns::open(&file, path, &settings.columns, &view, vectors.rows)?;
    alive();
    let notes = notes
        .into_iter()
        .map(|n| format!("{}: {n}", path.display()));
    Ok(Some(File {
        notes: notes.collect(),
        vectors,
        vector,
        wish,
        ids,
        columns,
        name: target,
        metric,
        view,
    }))
}

/// Opens a file with the library, and explains in our words if that fails.
pub(super) fn by_library(path: &Path, view: &View) -> Result<hdf5::File> {
    let error = match hdf5::File::open(path) {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    let cause = h5::cause(&error);
    if cause.contains("signature not found")
        && let Some(other) = known::named(view, "an HDF5 file", "hdf5")?
    {
        return Err(other);
    }
    Err(h5::out_of_reach(path, &error).unwrap_or_else(|| unread(path, &cause)))
}

/// Why the library does not read a file.
fn unread(path: &Path, cause: &str) -> Error {
    let (what, hint) = if cause.contains("already open for write") {
        (
            "was not closed by the program that wrote it, or is still being written".to_owned(),
            "wait until it is closed; if nothing has it open any more, `h5clear -s FILE` of HDF5's tools takes the mark \
             away (what was not flushed is lost)",
        )
    } else if cause.contains("signature not found") {
        (
            "is not an HDF5 file: it does not begin like one".to_owned(),
            "was the copy or the download finished?",
        )
    } else if let Some(rest) = cause.strip_prefix("truncated file: ") {
        let number = |key: &str| {
            let after = rest.split(key).nth(1)?;
            let end = after.find(|c: char| !c.is_ascii_digit());
            after[..end.unwrap_or(after.len())].parse::<u64>().ok()
        };
        let what = match (number("eof = "), number("stored_eof = ")) {
            (Some(there), Some(declared)) => {
                format!("is cut short: it should have {declared} bytes but has {there}")
            }
            _ => "is cut short".to_owned(),
        };
        (
            what,
            "copy it again; a program that died while writing also leaves such files",
        )
    } else {
        let what = format!("is not an HDF5 file that can be read: {cause}");
        return Error::path(Kind::Corrupt, path, what);
    };
    Error::path(Kind::Corrupt, path, what).hint(hint)
}

/// A refusal as an error about a dataset of a file.
pub(super) fn refused(path: &Path, name: &str, refusal: Refusal) -> Error {
    let what = format!("`{name}` {}", refusal.what);
    let error = Error::path(refusal.kind, path, what);
    match refusal.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The vectors of a file.
struct Found {
    table: Table,
    name: String,
    /// If they are the datasets of a group: the ids that their names spell, if they spell ids.
    ids: Option<Option<Table>>,
}

/// The table of vectors.
fn vectors(
    file: &hdf5::File,
    path: &Path,
    settings: &Settings,
    view: &View,
    alive: &mut dyn FnMut(),
) -> Result<Found> {
    let name = settings.vectors.as_deref().unwrap_or(h5::VECTORS);
    if let Ok(group) = file.group(name) {
        return items(&group, path, name, settings, view, alive);
    }
    let Some((dataset, origin)) = find(file, path, name)? else {
        // A wrong name is a mistake in the job; a file without vectors is unusable input.
        let kind = match settings.vectors {
            Some(_) => Kind::Job,
            None => Kind::Unsupported,
        };
        let what = format!("has no dataset `{name}`{}", listed(file));
        let mut hint = "`vectors:` names the dataset of vectors".to_owned();
        if let Some((first, values)) = items::could_be_rows(file, view) {
            hint = format!(
                "{hint}; if each dataset is a row, as `{first}` with its {values} values could be: `vectors: /`"
            );
        }
        return Err(Error::path(kind, path, what).hint(hint));
    };
    let turned = settings.transpose == Some(true);
    let table = Table::open(
        &dataset,
        origin,
        Role::Vectors { turned },
        view,
        file.userblock(),
    );
    let table = table.map_err(|refusal| refused(path, name, refusal))?;
    let matlab = attributes::has_value(&dataset, attribute::MATLAB);
    if let (true, None, Some(width)) = (matlab, settings.transpose, table.width) {
        let rows = table.rows;
        return Err(refused(
            path,
            name,
            Refusal::new(
                format!(
                    "was written by MATLAB (its attribute `MATLAB_class` says so), whose files have rows and columns \
                     exchanged: as it lies there it is {rows} rows of {width} values"
                ),
                format!(
                    "`transpose: true` in the source reads {width} rows of {rows}, as MATLAB has them; `transpose: false` \
                     reads what lies there"
                ),
            ),
        ));
    }
    Ok(Found {
        table,
        name: name.to_owned(),
        ids: None,
    })
}

/// The datasets of a group, a row each.
fn items(
    group: &hdf5::Group,
    path: &Path,
    name: &str,
    settings: &Settings,
    view: &View,
    alive: &mut dyn FnMut(),
) -> Result<Found> {
    let inside = |of: &String| {
        let group = name.trim_matches('/');
        let of = of.trim_start_matches('/');
        let rest = of.strip_prefix(group)?;
        Some(rest.trim_start_matches('/').to_owned())
    };
    let except = match &settings.ids {
        Ids::Named(ids) => inside(ids),
        _ => None,
    };
    if settings.transpose == Some(true) {
        let what = "is a group, a row to a dataset: there is nothing to transpose".to_owned();
        return Err(refused(path, name, what.into()));
    }
    let (table, ids) = items::open(group, name, except.as_deref(), view, alive)
        .map_err(|refusal| refused(path, name, refusal))?;
    Ok(Found {
        table,
        name: name.to_owned(),
        ids: Some(ids),
    })
}

/// The table of ids, if rows have some.
fn ids(
    file: &hdf5::File,
    path: &Path,
    settings: &Settings,
    view: &View,
    vectors: &Table,
) -> Result<Option<Table>> {
    let name = match &settings.ids {
        Ids::RowNumbers => return Ok(None),
        Ids::Named(name) => name,
        Ids::IfThere => h5::IDS,
    };
    let Some((dataset, origin)) = find(file, path, name)? else {
        if settings.ids == Ids::IfThere {
            return Ok(None);
        }
        let what = format!("has no dataset `{name}` of ids{}", listed(file));
        let hint = "`ids: row_number` numbers the rows";
        return Err(Error::path(Kind::Job, path, what).hint(hint));
    };
    let refuse = |refusal: Refusal| refused(path, name, refusal);
    let table = Table::open(&dataset, origin, Role::Ids, view, file.userblock()).map_err(refuse)?;
    if table.width.is_some() || table.named {
        let (stored, shape) = (table.values(), times(&table.shape));
        return Err(refuse(
            format!("holds {stored}, {shape}: ids are one whole number to a row").into(),
        ));
    }
    if table.rows != vectors.rows {
        let (rows, others) = (table.rows, vectors.rows);
        let other = &vectors.name;
        let what = format!("has {rows} rows, `{other}` has {others}");
        let mut refusal = Refusal::corrupt(what);
        if vectors.width == Some(rows) && settings.transpose.is_none() {
            let hint = "rows and columns may have changed places: `transpose: true` in the source";
            refusal.hint = Some(hint.to_owned());
        }
        return Err(refuse(refusal));
    }
    if !table.stored.is_whole() {
        every_id(&table, view, path)?;
    }
    Ok(Some(table))
}

/// Checks values that may not be valid ids, before the first row travels.
fn every_id(table: &Table, view: &View, path: &Path) -> Result<()> {
    const AT_ONCE: u64 = 1 << 16;
    let mut rows = Rows::new(table, view);
    let mut first = 0;
    while first < table.rows {
        let mut ids = Vec::new();
        for piece in rows.pieces(first, AT_ONCE)? {
            let before = first + ids.len() as u64;
            table.stored.ids_into(&piece, &mut ids).map_err(|(at, what)| {
                let row = before + at as u64;
                let what = format!("`{}` row {row}: {what}", table.name);
                Error::path(Kind::Unsupported, path, what).hint(
                    "`ids: row_number` numbers the rows from 0 on; keep the list of these ids, which is in that order",
                )
            })?;
        }
        first += AT_ONCE;
    }
    Ok(())
}

/// A dataset of the file by its path in it, or a member of one's values; `None` when there is no such link.
pub fn find(file: &hdf5::File, path: &Path, name: &str) -> Result<Option<(Dataset, Origin)>> {
    let whole = |name: &str| Origin {
        path: name.to_owned(),
        members: Vec::new(),
    };
    let error = match file.dataset(name) {
        Ok(dataset) => return local(file, path, name, dataset).map(|d| Some((d, whole(name)))),
        Err(error) => error,
    };
    // A name that is no dataset may be a member of one closer to the root.
    for (at, _) in name.match_indices('/').filter(|(at, _)| *at > 0) {
        if let Ok(dataset) = file.dataset(&name[..at]) {
            let members = name[at + 1..].split('/').map(str::to_owned).collect();
            let origin = Origin {
                path: name[..at].to_owned(),
                members,
            };
            return local(file, path, name, dataset).map(|d| Some((d, origin)));
        }
    }
    if !file.link_exists(name) {
        return Ok(None);
    }
    let (kind, what) = match file.group(name) {
        Ok(group) => {
            let what = format!("`{name}` is a group, not a dataset{}", listed(&group));
            (Kind::Unsupported, what)
        }
        Err(_) => {
            let cause = h5::cause(&error);
            let what =
                format!("`{name}` cannot be opened (a link to nowhere, or damaged): {cause}");
            (Kind::Unsupported, what)
        }
    };
    Err(Error::path(kind, path, what))
}

/// Soft links point into this file; external ones point into another, which may change unnoticed.
fn local(file: &hdf5::File, path: &Path, name: &str, dataset: Dataset) -> Result<Dataset> {
    let there = dataset.filename();
    if there == file.filename() {
        return Ok(dataset);
    }
    let what = format!("`{name}` is an external link into {there}");
    Err(Error::path(Kind::Unsupported, path, what).hint("name that file instead"))
}

/// Lists what a group has, for an error about something it lacks.
pub(super) fn listed(group: &hdf5::Group) -> String {
    let names = raw::members(group, 11);
    let mut shown: Vec<String> = names.iter().take(10).map(|n| format!("`{n}`")).collect();
    if names.len() > shown.len() {
        shown.push("…".to_owned());
    }
    match shown.is_empty() {
        true => "; it is empty".to_owned(),
        false => format!("; it has {}", shown.join(", ")),
    }
}
