//! What do Parquet files, and directories of them, hold? For people and for programs.
//! Never fails because of what a file holds: it reports what cannot be read. Reads no rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use arrow_schema::DataType;
use serde::Serialize;

use super::restored::directories_below;
use super::{begins, read_footer};
use crate::error::{Kind, Result};
use crate::input::{Access, View, Volume};
use crate::parquet::{self, BACKUP, Backup, File, Listed, MANIFEST, Manifest};
use crate::schema;
use crate::source::files::natural;
use crate::store::{self, Login};

/// What a file or a directory holds.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// `parquet`.
    pub format: &'static str,
    /// What manifests describe: one for each partition of a collection.
    pub targets: Vec<Restorable>,
    /// Files without a manifest.
    pub files: Vec<Shown>,
    /// Directories that are being written, or were left half-written.
    pub unfinished: Vec<String>,
    /// What is wrong with a backup as a whole, such as directories that are missing.
    pub problems: Vec<String>,
}

/// A partition that can be restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restorable {
    /// Its directory.
    pub directory: String,
    /// Why its manifest cannot be read; if so, nothing else is known.
    pub unreadable: Option<String>,
    /// The name of its collection.
    pub collection: String,
    /// The tag of its partition.
    pub partition: String,
    /// Where its rows came from.
    pub source: String,
    /// Rows of all its files.
    pub rows: u64,
    /// The digest of its rows.
    pub digest: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its indexes, such as `v HNSW L2`.
    pub indexes: Vec<String>,
    /// Its files; of those in a bucket, names and lengths only.
    pub files: Vec<Shown>,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Where it is.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Why it cannot be read, or why it is not the file that its manifest lists.
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
    /// Its name.
    pub name: String,
    /// The type of its values in the file.
    pub stored: String,
    /// Whether rows may have no value in it.
    pub optional: bool,
    /// How its pages are compressed; several ways if row groups differ.
    pub packed: String,
    /// What it becomes in a job that does not mention it, or why nothing.
    pub becomes: String,
}

/// Describes a path if it is a Parquet file, a directory of such files, or a manifest or list of them.
pub fn inspect(path: &Path) -> Result<Option<Description>> {
    let volume = store::volume(path, Access::Map, &Login::default())?;
    let is_list = [MANIFEST, BACKUP].iter().any(|name| path.ends_with(name));
    let path = match path.parent() {
        Some(dir) if is_list && volume.is_file(path)? => dir,
        _ => path,
    };
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let mut description = Description {
        format: "parquet",
        targets: Vec::new(),
        files: Vec::new(),
        unfinished: Vec::new(),
        problems: Vec::new(),
    };
    if volume.is_dir(path)? {
        look_below(path, &volume, &mut description)?;
    } else if is_parquet(path, &volume)? {
        description.files.push(shown(path, &volume)?);
    }
    let is_any = !(description.targets.is_empty()
        && description.files.is_empty()
        && description.unfinished.is_empty()
        && description.problems.is_empty());
    Ok(is_any.then_some(description))
}

fn look_below(path: &Path, volume: &Volume, description: &mut Description) -> Result<()> {
    let found = directories_below(path, volume)?;
    for dir in &found.with_manifest {
        description.targets.push(restorable(dir, volume)?);
    }
    let unfinished = found.unfinished.iter();
    description.unfinished = unfinished.map(|dir| dir.display().to_string()).collect();
    match Backup::read(path, volume) {
        Ok(backup) => {
            let listed = backup.iter().flat_map(|backup| &backup.directories);
            let missing = listed.filter(|dir| !found.with_manifest.contains(&path.join(&dir.path)));
            let missing = missing.map(|dir| format!("{} is missing: {BACKUP} lists it", dir.path));
            description.problems = missing.collect();
        }
        Err(error) if error.kind() == Kind::Corrupt => {
            description.problems.push(error.to_string());
        }
        Err(error) => return Err(error),
    }
    if description.targets.is_empty() {
        for path in loose(path, volume)? {
            description.files.push(shown(&path, volume)?);
        }
    }
    Ok(())
}

fn is_parquet(path: &Path, volume: &Volume) -> Result<bool> {
    let view = match volume {
        Volume::Disk(_) => View::open(path, Access::Read)?,
        Volume::Remote(_) if !volume.is_file(path)? => return Ok(false),
        Volume::Remote(_) => volume.open(path)?,
    };
    Ok(begins(&view))
}

/// Files directly in a directory that are Parquet by their names.
fn loose(dir: &Path, volume: &Volume) -> Result<Vec<PathBuf>> {
    let entries = match volume {
        // A directory that cannot be listed is left to those who look for another format.
        Volume::Disk(_) => volume.list(dir).unwrap_or_default(),
        Volume::Remote(_) => volume.list(dir)?,
    };
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let mut files: Vec<PathBuf> = files.map(|entry| dir.join(&entry.name)).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "parquet"));
    files.sort_by(|one, two| natural(one, two));
    Ok(files)
}

fn restorable(dir: &Path, volume: &Volume) -> Result<Restorable> {
    let mut found = Restorable {
        directory: dir.display().to_string(),
        unreadable: None,
        collection: String::new(),
        partition: String::new(),
        source: String::new(),
        rows: 0,
        digest: String::new(),
        columns: Vec::new(),
        indexes: Vec::new(),
        files: Vec::new(),
    };
    let manifest = match Manifest::read(dir, volume) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(found),
        // A bucket that does not answer is not damaged.
        Err(error) if volume.is_remote() && error.kind() != Kind::Corrupt => return Err(error),
        Err(error) => {
            found.unreadable = Some(error.what().to_owned());
            return Ok(found);
        }
    };
    for listed in &manifest.files {
        found.files.push(shown_beside(dir, listed, volume)?);
    }
    found.rows = manifest.rows();
    found.digest = format!("{:016x}", manifest.digest);
    let columns = manifest.columns.all();
    found.columns = columns.iter().map(|c| c.to_string()).collect();
    found.indexes = columns.iter().filter_map(index).collect();
    (found.collection, found.partition) = (manifest.collection, manifest.partition);
    found.source = manifest.source;
    Ok(found)
}

fn index(column: &schema::Column) -> Option<String> {
    let index = column.index.as_ref()?;
    let metric = column.metric.as_ref().map(|metric| metric.name());
    let words = [&*column.name, &*index.kind].into_iter().chain(metric);
    Some(words.collect::<Vec<_>>().join(" "))
}

/// A file that a manifest lists. Those in a bucket are not opened: each would be a request.
fn shown_beside(dir: &Path, listed: &Listed, volume: &Volume) -> Result<Shown> {
    let path = dir.join(&listed.name);
    let mut file = match volume.is_remote() && volume.is_file(&path)? {
        true => Shown {
            bytes: volume.open(&path)?.len(),
            rows: listed.rows,
            ..Shown::of(&path)
        },
        false => shown(&path, volume)?,
    };
    if file.wrong.is_none() && (file.rows, file.bytes) != (listed.rows, listed.bytes) {
        file.wrong = Some(format!(
            "the manifest declares {} rows and {} bytes",
            listed.rows, listed.bytes
        ));
    }
    Ok(file)
}

impl Shown {
    /// A file of which nothing is known yet.
    fn of(path: &Path) -> Shown {
        Shown {
            path: path.display().to_string(),
            bytes: 0,
            wrong: None,
            rows: 0,
            row_groups: Vec::new(),
            written_by: None,
            columns: Vec::new(),
        }
    }
}

/// Whether an error is about a file, not about the bucket that holds it.
fn is_of_a_file(kind: Kind) -> bool {
    matches!(kind, Kind::Corrupt | Kind::Unsupported | Kind::Job)
}

fn shown(path: &Path, volume: &Volume) -> Result<Shown> {
    let mut found = Shown::of(path);
    let opened = volume.open(path).and_then(|view| {
        found.bytes = view.len();
        read_footer(view)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) if volume.is_remote() && !is_of_a_file(error.kind()) => return Err(error),
        Err(error) => {
            found.wrong = Some(error.what().to_owned());
            return Ok(found);
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
    Ok(found)
}

/// A type, without the parts that are always the same.
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
            // The crate appends the compression level.
            word.split('(').next().unwrap_or_default().to_lowercase()
        })
        .collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// What one column becomes by default.
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
            if !target.indexes.is_empty() {
                writeln!(f, "  indexes: {}", target.indexes.join(", "))?;
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
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if !self.targets.is_empty() {
            let rows: u64 = self.targets.iter().map(|target| target.rows).sum();
            writeln!(
                f,
                "{rows} rows according to the manifests; `milvusdm verify` reads every byte"
            )?;
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
