//! Parquet: how do files of columns become shards and batches?
//! Knows which files there are and where they are divided; the room `parquet` knows what their bytes mean.

mod checked;
mod inspect;
mod read;
mod restored;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_yaml::Value;

use super::files::{self, Named, identity};
use super::{Reader, Source, SourceKind, Spec as AnySpec, Survey, content};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::input::{Access, View, Volume};
use crate::job::{Form, Globs, Setting, TYPES, Takes, absolute, did_you_mean};
use crate::limits;
use crate::parquet::{self, File, Listed, MAGIC, Wish};
use crate::schema::{CollectionTraits, Columns};
use crate::store::{self, Login};

pub use checked::{Checked, CheckedTarget, check, is_backup};
pub use inspect::inspect;

/// The source `parquet`.
pub const KIND: SourceKind = SourceKind {
    name: "parquet",
    summary: "Parquet files: columns of any type, lists of numbers as vectors",
    settings: &[
        files::PATH,
        files::PATHS.example("[part-00000.parquet]"),
        Setting::path(
            "dir",
            "directory: what its manifest lists, or all .parquet files in natural order; also s3://bucket/prefix",
        )
        .one_of(),
        files::GLOB,
        Setting::text("id", "the column that identifies rows, or row_number").or("id"),
        Setting::texts(
            "columns",
            "the other columns to copy; left out: all",
        ),
        Setting::new(
            "types",
            Takes::Names(&Takes::Choice(&TYPES)),
            "what columns become if their types leave it open",
        ),
        store::S3,
        files::ACCESS,
    ],
    read,
};

struct Spec {
    named: Named,
    id: Option<String>,
    columns: Option<Vec<String>>,
    types: BTreeMap<String, Wish>,
    access: Access,
    login: Login,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let named = Named::read(form);
    let id = form.text("id");
    let columns = form.list("columns");
    let types = read_types(form);
    let access = files::access(form);
    let login = Login::read(form);
    let is_address = named
        .as_ref()
        .is_none_or(|named| store::is_address(named.first()));
    login.check(form, is_address);
    Some(Box::new(Spec {
        named: named?,
        id,
        columns,
        types: types?,
        access,
        login,
    }))
}

fn read_types(form: &mut Form) -> Option<BTreeMap<String, Wish>> {
    let map = match form.value("types") {
        None => return Some(BTreeMap::new()),
        Some(Value::Mapping(map)) => map,
        Some(_) => {
            form.mistake("types", "must be a map from columns to types");
            return None;
        }
    };
    let mut types = BTreeMap::new();
    for (name, word) in map.iter().filter(|(_, word)| !word.is_null()) {
        let (name, word) = (form.scalar("types", name)?, form.scalar("types", word)?);
        match parquet::wish(&word.to_ascii_lowercase()) {
            _ if word.is_empty() => continue,
            Some(wish) => types.insert(name, wish),
            None => {
                let hint = did_you_mean(&word, &TYPES);
                let hint = hint.unwrap_or_else(|| TYPES.join(", "));
                form.mistake_hint(
                    "types",
                    format!("`{name}`: there is no type `{word}`"),
                    hint,
                );
                return None;
            }
        };
    }
    Some(types)
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let volume = store::volume(self.named.first(), self.access, &self.login)?;
        if let Named::Dir(dir) = &self.named
            && let Some(targets) = restored::targets(dir, &volume, admitted)?
        {
            if self.id.is_some() || self.columns.is_some() || !self.types.is_empty() {
                let what = "has a manifest, which determines its columns";
                let error = Error::path(Kind::Job, dir, what);
                return Err(error.hint(
                    "leave out `id`, `columns` and `types`, or name the files with `glob:`",
                ));
            }
            return Ok(Box::new(Parquet {
                targets,
                warnings: Vec::new(),
                is_remote: volume.is_remote(),
            }));
        }
        let paths = match &volume {
            Volume::Disk(_) => self.named.files(&["parquet"])?,
            Volume::Remote(_) => self.named.objects(&volume, "parquet")?,
        };
        let mut opened: Vec<File> = Vec::new();
        for path in &paths {
            let file = read_footer(volume.open(path)?)?;
            // In a bucket, files with the same content differ only in their names.
            let inode = |file: &File| match volume.is_remote() {
                true => Err(file.view.path().clone()),
                false => Ok(file.view.stamp().map(|stamp| stamp.inode)),
            };
            if opened.iter().any(|other| inode(other) == inode(&file)) {
                return Err(Error::path(Kind::Job, path, "is named twice"));
            }
            opened.push(file);
        }
        let id = match self.id.as_deref() {
            Some("row_number") => None,
            Some(name) => Some(name),
            None if opened[0].column("id").is_some() => Some("id"),
            None => {
                let what = "has no column `id` to identify rows by";
                let error = Error::path(Kind::Job, opened[0].view.path(), what);
                return Err(error.hint("`id:` names another column, or row_number"));
            }
        };
        let found = parquet::columns(&opened, id, self.columns.as_deref(), &self.types)?;
        let name = opened[0].view.path().display().to_string();
        Ok(Box::new(Parquet {
            targets: vec![Rows {
                name: TargetName {
                    collection: String::new(),
                    partition: String::new(),
                },
                source: name,
                files: opened
                    .into_iter()
                    .map(|file| Part { file, listed: None })
                    .collect(),
                columns: found.columns,
                made: usize::from(found.numbered),
                row_numbers: found.numbered,
                auto_id: false,
                traits: Arc::default(),
            }],
            warnings: found.notes,
            is_remote: volume.is_remote(),
        }))
    }
}

/// Reads the footer of a file. The error about a file of another format names that format.
fn read_footer(view: View) -> Result<File> {
    if !begins(&view)
        && let Some(error) = known::named(&view, "a Parquet file", "parquet")?
    {
        return Err(error);
    }
    File::of(view)
}

/// Whether a file begins as Parquet does.
fn begins(view: &View) -> bool {
    let mut first = [0; MAGIC.len()];
    view.read(0, &mut first).is_ok() && first == *MAGIC
}

/// Files of several targets: this column identifies rows; of the other columns, those that exist are read, each as the
/// type wished for.
#[cfg(feature = "pinecone")]
pub fn open_named(
    named: Vec<(TargetName, Vec<std::path::PathBuf>)>,
    id: &str,
    wishes: &[(&str, Wish)],
    access: Access,
) -> Result<Box<dyn Source>> {
    let (mut targets, mut warnings) = (Vec::new(), Vec::new());
    for (name, paths) in named {
        let opened = paths.iter();
        let opened = opened.map(|path| read_footer(View::open(path, access)?));
        let opened = opened.collect::<Result<Vec<File>>>()?;
        let there = wishes
            .iter()
            .filter(|(name, _)| opened[0].column(name).is_some());
        let there: BTreeMap<String, Wish> = there
            .map(|(name, wish)| ((*name).to_owned(), *wish))
            .collect();
        let only: Vec<String> = there.keys().cloned().collect();
        let found = parquet::columns(&opened, Some(id), Some(&only), &there)?;
        warnings.extend(found.notes);
        let source = paths[0].parent().unwrap_or(&paths[0]).display().to_string();
        targets.push(Rows {
            name,
            source,
            files: opened
                .into_iter()
                .map(|file| Part { file, listed: None })
                .collect(),
            columns: found.columns,
            made: 0,
            row_numbers: false,
            auto_id: false,
            traits: Arc::default(),
        });
    }
    Ok(Box::new(Parquet {
        targets,
        warnings,
        is_remote: false,
    }))
}

/// The rows of a target: those of its files, one after the other.
struct Rows {
    name: TargetName,
    source: String,
    files: Vec<Part>,
    columns: Arc<Columns>,
    /// How many of the first columns are not in the files: the key, if rows are numbered.
    made: usize,
    row_numbers: bool,
    auto_id: bool,
    traits: Arc<CollectionTraits>,
}

/// A file, and its entry in the manifest, compared once before the first row is read.
struct Part {
    file: File,
    /// The entry, and what is wrong with the bytes of the file, once that is known.
    listed: Option<(Listed, OnceLock<Option<String>>)>,
}

impl Part {
    /// Returns an error if the checksum of the file is not the one in its manifest.
    fn check(&self) -> Result<()> {
        let Some((listed, checked)) = &self.listed else {
            return Ok(());
        };
        let view = &self.file.view;
        if checked.get().is_none() {
            let wrong = match listed.check(view) {
                Ok(()) => None,
                Err(error) if error.kind() == Kind::Corrupt => Some(error.what().to_owned()),
                // A file that cannot be read now may be intact.
                Err(error) => return Err(error),
            };
            let _ = checked.set(wrong);
        }
        match checked.get().and_then(Option::as_ref) {
            None => Ok(()),
            Some(what) => Err(Error::path(Kind::Corrupt, view.path(), what)),
        }
    }
}

/// Parquet files as a source.
struct Parquet {
    targets: Vec<Rows>,
    warnings: Vec<String>,
    /// Whether its files are in a bucket.
    is_remote: bool,
}

impl Parquet {
    fn files(&self) -> impl Iterator<Item = &File> {
        self.targets
            .iter()
            .flat_map(|target| target.files.iter().map(|part| &part.file))
    }

    /// The file of this number, and the target it belongs to.
    fn part(&self, part: u32) -> Option<(&Rows, usize)> {
        let mut before = part as usize;
        for target in &self.targets {
            match target.files.len() {
                count if before < count => return Some((target, before)),
                count => before -= count,
            }
        }
        None
    }
}

impl Parquet {
    fn reader<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some((rows, number)) = self.part(shard.part) else {
            let what = format!("there is no file for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let before = rows.files[..number].iter().map(|part| part.file.rows).sum();
        let reader = read::FileReader::new(
            &rows.files[number].file,
            &rows.columns,
            (rows.made > 0).then_some(before),
            from.row()..shard.end.row(),
            limits,
        )?;
        Ok(Box::new(reader))
    }
}

impl Source for Parquet {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let (mut shards, mut targets) = (Vec::new(), Vec::new());
        let mut part = 0;
        for (number, rows) in self.targets.iter().enumerate() {
            let mut first_row = 0;
            let most = (limits::SHARDS_PER_TARGET / (rows.files.len() as u64).max(1)).max(1);
            for Part { file, .. } in &rows.files {
                for (groups, range) in stretches(file, most) {
                    let name = file.view.path().file_name().unwrap_or_default();
                    shards.push(Shard {
                        number: shards.len() as u32,
                        target: number as u32,
                        part,
                        name: format!(
                            "{} row groups {}..{}",
                            name.display(),
                            groups.start,
                            groups.end
                        ),
                        rows: range.end - range.start,
                        first_row,
                        start: Position::Row(range.start),
                        end: Position::Row(range.end),
                    });
                    first_row += range.end - range.start;
                }
                part += 1;
            }
            targets.push(Target {
                number: number as u32,
                name: rows.name.clone(),
                columns: rows.columns.clone(),
                keys: match rows.row_numbers {
                    true => Keys::RowNumbers,
                    false => Keys::Stored,
                },
                traits: rows.traits.clone(),
                auto_id: rows.auto_id,
                rows: first_row,
                rows_deleted: 0,
                source: rows.source.clone(),
            });
        }
        let identity = self.files().map(|file| {
            let name = file.view.path().display().to_string();
            Ok((name, identity(&file.view)?))
        });
        Ok(Survey {
            identity: identity.collect::<Result<BTreeMap<String, String>>>()?,
            warnings: self.warnings.clone(),
            manifest: Manifest { targets, shards },
            indexes_differ: None,
        })
    }

    fn reads_at_once(&self) -> Option<usize> {
        self.is_remote.then_some(limits::REMOTE_READS_AT_ONCE)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let pieces = self.files().map(|file| {
            let path = absolute(file.view.path()).display().to_string();
            let content = match file.view.stamp().filter(|_| self.is_remote) {
                // A bucket identifies its objects by a digest of its own.
                Some(stamp) => format!("{} bytes, tag {:016x}", stamp.bytes, stamp.inode.1),
                None => content::of(&file.view)?,
            };
            Ok((path, content))
        });
        pieces.collect::<Result<_>>().map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        if let Some((rows, number)) = self.part(shard.part) {
            rows.files[number].check()?;
        }
        self.reader(shard, from, limits)
    }

    fn peek<'s>(&'s self, shard: &Shard, limits: Limits) -> Result<Box<dyn Reader + 's>> {
        self.reader(shard, shard.start.clone(), limits)
    }

    fn file(&self, part: u32) -> Option<&Path> {
        let (rows, number) = self.part(part)?;
        Some(rows.files[number].file.view.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.files().try_for_each(|file| file.view.unchanged())
    }
}

/// Row groups that one thread reads, and their rows: at most `most` stretches, none of them empty.
fn stretches(file: &File, most: u64) -> Vec<(Range<usize>, Range<u64>)> {
    let least = file.rows.div_ceil(most).max(1);
    let (mut all, mut first, mut start, mut end) = (Vec::new(), 0, 0, 0);
    for group in 0..file.metadata.num_row_groups() {
        end += file.group_rows(group);
        if end - start >= least || end == file.rows && end > start {
            all.push((first..group + 1, start..end));
            (first, start) = (group + 1, end);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_type_is_known() {
        assert!(TYPES.iter().all(|name| parquet::wish(name).is_some()));
    }
}
