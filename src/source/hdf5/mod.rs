//! HDF5: how are files of vectors read, no matter which program wrote them?
//! Unpacked data is mapped and travels as it is stored; packed data is unpacked by the pool's threads.
//! Never writes, never knows where rows go.

mod axes;
mod chunks;
mod columns;
mod declared;
mod inspect;
mod items;
mod kinds;
mod open;
mod read;
mod rows;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target};
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Globs, Setting, absolute, settings};
use crate::limits;
use crate::schema::{Column, ColumnType, Columns, Metric, Scalar};

use super::files::{self, Named, identity, shard_rows};
use super::{Reader, Source, SourceKind, Survey, content};
use kinds::Wish;
use open::{File, Ids, Settings};
use table::Place;

pub use inspect::{Description, inspect, look};

/// HDF5 files.
pub const KIND: SourceKind = SourceKind {
    name: "hdf5",
    summary: "HDF5 files of vectors and ids",
    settings: &[
        files::PATH,
        files::PATHS.example("[vectors.h5]"),
        Setting::path(
            "dir",
            "directory: all its .h5 and .hdf5 files, in natural order: 2 before 10",
        )
        .one_of(),
        files::GLOB,
        Setting::text(
            "vectors",
            "dataset of vectors; of a compound, as table/member; or a group, such as /, each dataset in it a row",
        )
        .or("embeddings"),
        Setting::text(
            "ids",
            "dataset of ids (row numbers if there is none), or row_number",
        )
        .or("ids"),
        Setting::texts(
            "columns",
            "more datasets to migrate, with one number, boolean or text per row; of a compound, as table/member",
        ),
        Setting::flag(
            "transpose",
            "true: rows and columns are swapped, as MATLAB, Julia and Fortran write them",
        ),
        Setting::choice(
            "as",
            &["float32"],
            "whole numbers are components; left out: bytes of binary vectors",
        ),
        Setting::choice(
            "pack",
            &["bits"],
            "booleans are packed into binary vectors, eight to a byte",
        ),
        Setting::number(
            "first_id",
            settings::IDS,
            "the id of the first row, where rows are numbered",
        )
        .or("0"),
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Spec::read(form)?)),
};

/// Extensions of files that `dir` takes.
const ENDINGS: [&str; 2] = ["h5", "hdf5"];

/// The settings.
struct Spec {
    files: Named,
    settings: Settings,
    first_id: u64,
}

impl Spec {
    fn read(form: &mut Form) -> Option<Spec> {
        let named = Named::read(form);
        let access = files::access(form);
        let vectors = form.text("vectors");
        let ids = match form.text("ids").as_deref() {
            None => Ids::IfThere,
            Some("row_number") => Ids::RowNumbers,
            Some(name) => Ids::Named(name.to_owned()),
        };
        let columns = form.list("columns").unwrap_or_default();
        let transpose = form.flag("transpose");
        let floats = form.choice("as").is_some();
        let bits = form.choice("pack").is_some();
        if floats && bits {
            form.mistake("pack", "cannot be given together with `as`");
        }
        let first_id = form.number("first_id").unwrap_or(0);
        Some(Spec {
            first_id,
            files: named?,
            settings: Settings {
                vectors,
                ids,
                columns,
                transpose,
                wish: match (floats, bits) {
                    (true, _) => Some(Wish::Floats),
                    (_, true) => Some(Wish::Bits),
                    _ => None,
                },
                access,
            },
        })
    }
}

/// Makes the library do to these files what opening and reading them will, and reports which file comes next (`None`: a
/// sign of life). Stops at the first that cannot be read; opening that one for real gives the reason.
pub fn rehearse(form: &mut Form, admitted: &Globs, next: &mut dyn FnMut(Option<&Path>)) {
    let Some(spec) = Spec::read(form) else { return };
    let Ok(files) = spec.files.files(&ENDINGS) else {
        return;
    };
    for path in &files {
        next(Some(path));
        let opened = open::open(path, &spec.settings, admitted, &mut || next(None));
        let Ok(file) = opened else {
            return;
        };
        let tables = file
            .iter()
            .flat_map(|f| f.ids.iter().chain([&f.vectors]).map(move |t| (f, t)));
        for (file, table) in tables {
            if rows::rehearse(table, &file.view, &mut || next(None)).is_err() {
                return;
            }
        }
        let beside = file.map(|file| columns::rehearse(&file, &mut || next(None)));
        if beside.is_some_and(|done| done.is_err()) {
            return;
        }
    }
}

impl super::Spec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let (mut files, mut wrong): (Vec<File>, Vec<Error>) = Default::default();
        for path in &self.files.files(&ENDINGS)? {
            let opened = open::open(path, &self.settings, admitted, &mut || ());
            let fits = opened.and_then(|file| {
                let Some(file) = file else { return Ok(()) };
                check(&files, &file)?;
                files.push(file);
                Ok(())
            });
            wrong.extend(fits.err());
            if wrong.len() == limits::MISTAKES_OF_FILES_MAX {
                break;
            }
        }
        Error::check(wrong)?;
        check_numbers(&files, self.first_id)?;
        Ok(Box::new(Hdf5 {
            files,
            first_id: self.first_id,
        }))
    }
}

/// Refuses numbers that rows cannot have, and numbers for rows that have ids.
fn check_numbers(files: &[File], first_id: u64) -> Result<()> {
    let refuse = |file: &File, what: &str| {
        let what = format!("{what}, and `first_id` is {first_id}");
        Err(Error::path(Kind::Job, file.view.path(), what))
    };
    let rows: u64 = files.iter().map(|f| f.vectors.rows).sum();
    match (files.last(), files.iter().find(|f| f.ids.is_some())) {
        (_, Some(file)) if first_id > 0 => {
            let refused = refuse(file, "has ids of its own");
            refused.map_err(|e| e.hint("`ids: row_number` numbers its rows instead"))
        }
        (Some(file), _) if i64::MAX as u64 - first_id < rows => {
            refuse(file, &format!("{rows} rows cannot be numbered"))
        }
        _ => Ok(()),
    }
}

/// Refuses a file that cannot travel together with those before it.
fn check(files: &[File], file: &File) -> Result<()> {
    let refuse = |what: String| Err(Error::path(Kind::Job, file.view.path(), what));
    let inode = |f: &File| f.view.stamp().map(|s| s.inode);
    if let Some(same) = files.iter().find(|f| inode(f) == inode(file)) {
        return refuse(format!(
            "is the same file as {}",
            same.view.path().display()
        ));
    }
    // Files of one collection, named or not, have the same target.
    let Some(other) = files
        .iter()
        .find(|f| f.name.collection == file.name.collection)
    else {
        return Ok(());
    };
    if other.vector != file.vector {
        return refuse(format!(
            "holds {}, but {} holds {}",
            file.vector,
            other.view.path().display(),
            other.vector
        ));
    }
    if other.ids.is_some() != file.ids.is_some() {
        let (with, without) = if file.ids.is_some() {
            (file, other)
        } else {
            (other, file)
        };
        return refuse(format!(
            "{} has ids, but {} has none",
            with.view.path().display(),
            without.view.path().display()
        ));
    }
    let told = |f: &File| -> Vec<String> {
        let columns = f.columns.iter();
        columns
            .map(|c| format!("`{}` {}", c.name, c.kind))
            .collect()
    };
    if told(other) != told(file) {
        return refuse(format!(
            "has the columns {}, but {} has {}",
            told(file).join(", "),
            other.view.path().display(),
            told(other).join(", ")
        ));
    }
    let (one, two) = (&other.metric, &file.metric);
    if one.is_some() && two.is_some() && one != two {
        let name = |m: &Option<Metric>| {
            m.as_ref()
                .map_or("none".to_owned(), |m| m.name().to_owned())
        };
        return refuse(format!(
            "has the metric {}, but {} has {}",
            name(two),
            other.view.path().display(),
            name(one)
        ));
    }
    Ok(())
}

/// The columns of a file's rows.
fn columns(file: &File) -> Result<Arc<Columns>> {
    if file.columns.is_empty() {
        return Columns::plain("id", "embedding", file.vector);
    }
    let others = file.columns.iter();
    let others = others.map(|column| Column::new(column.short(), column.kind));
    let vectors = Column::new("embedding", ColumnType::Vector(file.vector));
    let key = Column::key("id", ColumnType::Scalar(Scalar::Int64));
    let all = [key, vectors].into_iter().chain(others).collect();
    Columns::new(all).map_err(|e| Error::path(Kind::Job, file.view.path(), e.what()))
}

/// HDF5 files as a source.
struct Hdf5 {
    files: Vec<File>,
    /// The id of the first row where rows are numbered.
    first_id: u64,
}

impl Hdf5 {
    /// How many rows come before a file's first: row numbers continue from file to file.
    fn rows_before(&self, file: usize) -> u64 {
        self.files[..file].iter().map(|f| f.vectors.rows).sum()
    }

    /// The target of each file, and all targets.
    fn targets(&self) -> Result<(Vec<usize>, Vec<Target>)> {
        let mut targets: Vec<Target> = Vec::new();
        let mut of = Vec::new();
        for file in &self.files {
            let found = targets.iter().position(|t| t.name == file.name);
            let number = match found {
                Some(number) => number,
                None => {
                    targets.push(Target {
                        number: targets.len() as u32,
                        name: file.name.clone(),
                        columns: columns(file)?,
                        traits: Default::default(),
                        keys: match file.ids {
                            Some(_) => Keys::Stored,
                            None => Keys::RowNumbers,
                        },
                        auto_id: false,
                        rows: 0,
                        rows_deleted: 0,
                        source: file.view.path().display().to_string(),
                    });
                    targets.len() - 1
                }
            };
            let target = &mut targets[number];
            target.rows += file.vectors.rows;
            if target.metric().is_none() {
                target.columns = target.columns.measured(file.metric.clone(), None);
            }
            of.push(number);
        }
        Ok((of, targets))
    }
}

impl Source for Hdf5 {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let (of, targets) = self.targets()?;
        let mut shards = Vec::new();
        let mut first_rows = vec![0u64; targets.len()];
        for (part, file) in self.files.iter().enumerate() {
            let target = of[part];
            let beside = of.iter().filter(|t| **t == target).count() as u64;
            let most = (limits::SHARDS_PER_TARGET / beside).max(1);
            let batch = limits.rows(file.vector);
            let rows = file.vectors.rows;
            let each = shard_rows(rows, batch, seam(&file.vectors.place), most);
            let mut start = 0;
            while start < rows {
                let end = start.saturating_add(each).min(rows);
                let name = file.view.path().file_name().unwrap_or_default();
                shards.push(Shard {
                    number: shards.len() as u32,
                    target: target as u32,
                    part: part as u32,
                    name: format!("{} rows {start}..{end}", name.display()),
                    rows: end - start,
                    first_row: first_rows[target],
                    start: Position::Row(start),
                    end: Position::Row(end),
                });
                first_rows[target] += end - start;
                start = end;
            }
        }
        // The shards of a target are adjacent, in the order of its files.
        shards.sort_by_key(|s| (s.target, s.number));
        for (number, shard) in shards.iter_mut().enumerate() {
            shard.number = number as u32;
        }
        let identity = self.files.iter().map(|file| {
            Ok((
                file.view.path().display().to_string(),
                identity(&file.view)?,
            ))
        });
        let identity = identity.collect::<Result<BTreeMap<String, String>>>()?;
        Ok(Survey {
            identity,
            warnings: self.warnings(),
            manifest: Manifest { targets, shards },
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let pieces = self.files.iter().enumerate().map(|(number, file)| {
            // Row numbers continue from file to file, so the order of the files matters.
            let path = absolute(file.view.path());
            let name = format!("file {}: {}", number + 1, path.display());
            Ok((name, content::of(&file.view)?))
        });
        pieces.collect::<Result<_>>().map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let part = shard.part as usize;
        let Some(file) = self.files.get(part) else {
            return Err(Error::new(
                Kind::Changed,
                format!("there is no file for {}", shard.name),
            ));
        };
        let first_id = self.first_id + self.rows_before(part);
        Ok(Box::new(read::FileReader::new(
            file,
            from.row(),
            shard.end.row(),
            first_id,
            limits,
        )?))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        self.files
            .get(part as usize)
            .map(|file| &**file.view.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(|f| f.view.unchanged())
    }
}

impl Hdf5 {
    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        let without: Vec<usize> = (0..self.files.len())
            .filter(|number| self.files[*number].ids.is_none())
            .collect();
        if let Some(first) = without.first() {
            let path = self.files[*first].view.path().display();
            let what = match without.len() {
                1 => format!("{path}: no ids"),
                n => format!("{path} and {} more: no ids", n - 1),
            };
            warnings.push(format!(
                "{what}: row numbers over all files in order are the ids, unless the target makes its own"
            ));
        }
        warnings.extend(self.files.iter().flat_map(|f| f.notes.clone()));
        warnings
    }
}

/// A table can be cut at multiples of this many rows without unpacking anything twice.
fn seam(place: &Place) -> u64 {
    match place {
        Place::Bands(bands) => bands.chunk_rows,
        Place::Runs(runs) if runs.len() > 1 => runs[0].rows,
        _ => 1,
    }
}
