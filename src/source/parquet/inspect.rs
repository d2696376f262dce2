//! What do Parquet files, and directories of them, hold? For people and for programs.
//! Never fails on what a file holds: it says what cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use arrow_schema::DataType;
use serde::Serialize;

use super::restored;
use crate::error::Result;
use crate::input::{Access, View};
use crate::parquet::{self, File, MAGIC, Manifest};
use crate::source::files::natural;

/// What a file or a directory holds.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// `parquet`.
    pub format: &'static str,
    /// What manifests say: one for each partition of a collection.
    pub targets: Vec<Restorable>,
    /// Files that no manifest speaks for.
    pub files: Vec<Shown>,
    /// Directories that are being written, or were left half-written.
    pub unfinished: Vec<String>,
}

/// A partition that can be restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restorable {
    /// Its directory.
    pub directory: String,
    /// Why its manifest cannot be read; then there is nothing else.
    pub unreadable: Option<String>,
    /// What it was called.
    pub collection: String,
    /// The partition's tag.
    pub partition: String,
    /// Where it came from.
    pub source: String,
    /// Rows of all its files.
    pub rows: u64,
    /// The digest of its rows.
    pub digest: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its files.
    pub files: Vec<Shown>,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Where it is.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Why it cannot be read, or is not the one that its manifest lists.
    pub wrong: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Rows of each row group.
    pub row_groups: Vec<u64>,
    /// What wrote it.
    pub written_by: Option<String>,
    /// Its columns.
    pub columns: Vec<Column>,
}

/// A column as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// What its values are there.
    pub stored: String,
    /// Whether rows may have no value there.
    pub optional: bool,
    /// How its pages are packed: more than one way, where row groups differ.
    pub packed: String,
    /// What a job makes of it that says nothing of it, or why nothing.
    pub becomes: String,
}

/// Looks at a path, if there is a file of Parquet, or a directory of such files.
pub fn inspect(path: &Path) -> Result<Option<Description>> {
    let (mut targets, mut files, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
    if path.is_dir() {
        let found = restored::directories_below(path);
        targets.extend(found.with_manifest.iter().map(|dir| restorable(dir)));
        unfinished.extend(found.unfinished.iter().map(|dir| dir.display().to_string()));
        if targets.is_empty() {
            files = loose(path).iter().map(|path| shown(path)).collect();
        }
    } else if is_parquet(path)? {
        files.push(shown(path));
    }
    let is_any = !(targets.is_empty() && files.is_empty() && unfinished.is_empty());
    Ok(is_any.then_some(Description {
        format: "parquet",
        targets,
        files,
        unfinished,
    }))
}

fn is_parquet(path: &Path) -> Result<bool> {
    let view = View::open(path, Access::Read)?;
    let mut first = [0; MAGIC.len()];
    Ok(view.len() >= MAGIC.len() as u64 && view.read(0, &mut first).is_ok() && first == *MAGIC)
}

/// Files right in a directory that are Parquet by their names.
fn loose(dir: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = listing.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "parquet"));
    files.sort_by(|one, two| natural(one, two));
    files
}

fn restorable(dir: &Path) -> Restorable {
    let mut found = Restorable {
        directory: dir.display().to_string(),
        unreadable: None,
        collection: String::new(),
        partition: String::new(),
        source: String::new(),
        rows: 0,
        digest: String::new(),
        columns: Vec::new(),
        files: Vec::new(),
    };
    let manifest = match Manifest::read(dir) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return found,
        Err(error) => {
            found.unreadable = Some(error.what().to_owned());
            return found;
        }
    };
    let files = manifest.files.iter().map(|listed| {
        let mut file = shown(&dir.join(&listed.name));
        if file.wrong.is_none() && (file.rows, file.bytes) != (listed.rows, listed.bytes) {
            file.wrong = Some(format!(
                "the manifest says {} rows and {} bytes",
                listed.rows, listed.bytes
            ));
        }
        file
    });
    found.files = files.collect();
    found.rows = manifest.rows();
    found.digest = format!("{:016x}", manifest.digest);
    found.columns = manifest
        .columns
        .all()
        .iter()
        .map(|c| c.to_string())
        .collect();
    (found.collection, found.partition) = (manifest.collection, manifest.partition);
    found.source = manifest.source;
    found
}

fn shown(path: &Path) -> Shown {
    let mut found = Shown {
        path: path.display().to_string(),
        bytes: std::fs::metadata(path).map_or(0, |meta| meta.len()),
        wrong: None,
        rows: 0,
        row_groups: Vec::new(),
        written_by: None,
        columns: Vec::new(),
    };
    let file = match File::open(path, Access::Map) {
        Ok(file) => file,
        Err(error) => {
            found.wrong = Some(error.what().to_owned());
            return found;
        }
    };
    found.rows = file.rows;
    let groups = 0..file.metadata.num_row_groups();
    found.row_groups = groups.map(|group| file.group_rows(group)).collect();
    found.written_by = file
        .metadata
        .file_metadata()
        .created_by()
        .map(str::to_owned);
    let columns = file.columns.iter().map(|stored| Column {
        name: stored.name.clone(),
        stored: spelt(&stored.arrow),
        optional: stored.optional,
        packed: packed(&file, stored.leaves.clone()),
        becomes: becomes(&file, &stored.name),
    });
    found.columns = columns.collect();
    found
}

/// A type, without what is always the same.
fn spelt(kind: &DataType) -> String {
    match kind {
        DataType::List(of) => format!("list<{}>", spelt(of.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|f| format!("{}: {}", f.name(), spelt(f.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn packed(file: &File, leaves: std::ops::Range<usize>) -> String {
    let groups = file.metadata.row_groups().iter();
    let words: BTreeSet<String> = groups
        .flat_map(|group| leaves.clone().map(|leaf| group.column(leaf)))
        .map(|chunk| {
            let word = chunk.compression().to_string();
            // The crate adds how well.
            word.split('(').next().unwrap_or_default().to_lowercase()
        })
        .collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// What one column becomes by itself.
fn becomes(file: &File, name: &str) -> String {
    let only = [name.to_owned()];
    let file = std::slice::from_ref(file);
    match parquet::columns(file, None, Some(&only[..]), &BTreeMap::new()) {
        Ok(found) => found.columns.all()[1].kind.to_string(),
        Err(error) => format!("nothing: {}", error.what()),
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for target in &self.targets {
            writeln!(f, "Parquet files with a manifest, {}", target.directory)?;
            if let Some(why) = &target.unreadable {
                writeln!(f, "  cannot be read: {why}")?;
                continue;
            }
            let name = |name: &str| {
                if name.is_empty() {
                    "(none)".to_owned()
                } else {
                    name.to_owned()
                }
            };
            writeln!(
                f,
                "  collection {}, partition {}, from {}\n  {} rows, digest {}",
                name(&target.collection),
                name(&target.partition),
                target.source,
                target.rows,
                target.digest
            )?;
            for column in &target.columns {
                writeln!(f, "    {column}")?;
            }
            target
                .files
                .iter()
                .try_for_each(|file| write_file(f, file, false))?;
        }
        self.files
            .iter()
            .try_for_each(|file| write_file(f, file, true))?;
        for dir in &self.unfinished {
            writeln!(f, "{dir} is being written, or was left half-written")?;
        }
        Ok(())
    }
}

fn write_file(f: &mut fmt::Formatter<'_>, file: &Shown, with_columns: bool) -> fmt::Result {
    writeln!(f, "Parquet file {}, {} bytes", file.path, file.bytes)?;
    if let Some(wrong) = &file.wrong {
        writeln!(f, "  wrong: {wrong}")?;
    }
    let (least, most) = (file.row_groups.iter().min(), file.row_groups.iter().max());
    if let Some((least, most)) = least.zip(most) {
        let each = match least == most {
            true => format!("{least}"),
            false => format!("{least} to {most}"),
        };
        writeln!(
            f,
            "  {} rows in {} row groups of {each}{}",
            file.rows,
            file.row_groups.len(),
            file.written_by
                .as_ref()
                .map_or(String::new(), |by| format!(", written by {by}"))
        )?;
    }
    for column in file.columns.iter().filter(|_| with_columns) {
        let optional = if column.optional { ", may be null" } else { "" };
        let Column {
            name,
            stored,
            packed,
            becomes,
            ..
        } = column;
        writeln!(
            f,
            "    {name}: {stored}{optional}, {packed}; becomes {becomes}"
        )?;
    }
    Ok(())
}
