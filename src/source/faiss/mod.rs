//! Faiss: how is an index file read?
//! Without Faiss, without a copy if the stored bytes are the vectors, and in memory that does not grow with the
//! file; writes nothing. With the feature `faiss`, and if the job allows loss, libfaiss decodes what we do not.

mod directory;
mod duplicates;
#[cfg(feature = "faiss")]
mod foreign;
mod ids;
mod lists;
mod opened;
mod reader;

pub use directory::index_in;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{self, Named};
use super::{Reader, Source, SourceKind, Spec as AnySpec, Survey, content};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::format::faiss::{Body, Codec, Node};
use crate::input::{Access, View};
use crate::job::{Form, Setting, absolute, settings};
use crate::limits;
use crate::schema::{Columns, Index};
use ids::IdFile;
use opened::Opened;

/// Index files of Faiss.
pub const KIND: SourceKind = SourceKind {
    name: "faiss",
    summary: "index files of Faiss: flat, IVF, graphs, id maps, transforms, binary; others lossily",
    settings: &[
        files::PATH.example("vectors.index"),
        files::PATHS,
        Setting::path(
            "dir",
            "directory: all its .index and .faiss files, in natural order: 2 before 10",
        )
        .one_of(),
        files::GLOB,
        Setting::choice(
            "ids",
            &["stored", "row_number"],
            "stored: as in the file, row numbers if it has none",
        )
        .or("stored"),
        Setting::number(
            "first_id",
            settings::IDS,
            "the first row number, if row numbers are the ids; numbering continues from file to file",
        )
        .or("0"),
        Setting::path(
            "ids_file",
            "a separate file of ids, one for each row: text with one id a line, or an int64 .npy",
        )
        .example("ids.txt"),
        Setting::choice(
            "lossy",
            &["refuse", "allow"],
            "whether to take vectors that are only approximate, because they are quantized",
        )
        .or("refuse"),
        Setting::path(
            "lists",
            "where the file of on-disk inverted lists is, if it was moved",
        )
        .example("moved.ivfdata"),
        files::ACCESS,
    ],
    read,
};

/// Extensions of files that `dir` takes.
const ENDINGS: [&str; 2] = ["index", "faiss"];

/// Which ids rows get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IdsFrom {
    Stored,
    RowNumbers,
}

/// The settings.
struct Spec {
    files: Named,
    ids: IdsFrom,
    first_id: Option<u64>,
    ids_file: Option<PathBuf>,
    lossy: bool,
    lists: Option<PathBuf>,
    access: Access,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let named = Named::read(form);
    let ids = form.choice("ids");
    let first_id = form.number("first_id");
    let ids_file = form.text("ids_file").map(PathBuf::from);
    let lossy = form.choice("lossy") == Some("allow");
    let lists = form.text("lists").map(PathBuf::from);
    let access = files::access(form);
    if ids_file.is_some() && (first_id.is_some() || ids == Some("row_number")) {
        let what = "gives every row its id, which contradicts first_id and `ids: row_number`";
        form.mistake("ids_file", what);
    }
    if lists.is_some() && !matches!(&named, Some(Named::Paths(paths)) if paths.len() == 1) {
        form.mistake("lists", "is for one index file, named by path");
    }
    Some(Box::new(Spec {
        files: named?,
        ids: match ids {
            Some("row_number") => IdsFrom::RowNumbers,
            _ => IdsFrom::Stored,
        },
        first_id,
        ids_file,
        lossy,
        lists,
        access,
    }))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        let paths = self.files.files(&ENDINGS)?;
        #[cfg(feature = "faiss")]
        if let Some(foreign) = foreign::Foreign::open(self, &paths)? {
            return Ok(Box::new(foreign));
        }
        Ok(Box::new(Faiss::open(self, &paths)?))
    }
}

/// One index file, read without loss, its rows by the labels that Faiss gives them.
pub fn open_index(path: &Path, access: Access) -> Result<Box<dyn Source>> {
    let spec = Spec {
        files: Named::Paths(vec![path.to_owned()]),
        ids: IdsFrom::Stored,
        first_id: None,
        ids_file: None,
        lossy: false,
        lists: None,
        access,
    };
    spec.open()
}

/// Open index files, their rows one file after the other.
struct Faiss {
    indexes: Vec<Opened>,
    ids: Option<IdFile>,
    columns: Arc<Columns>,
    /// Which of them have a different kind of index, if any.
    indexes_differ: Option<String>,
    warnings: Vec<String>,
}

impl Faiss {
    fn open(spec: &Spec, paths: &[PathBuf]) -> Result<Faiss> {
        let (mut indexes, mut wrong): (Vec<Opened>, Vec<Error>) = Default::default();
        for path in paths {
            let fits = Opened::open(path, spec).and_then(|index| {
                check(&indexes, &index)?;
                indexes.push(index);
                Ok(())
            });
            wrong.extend(fits.err());
            if wrong.len() == limits::MISTAKES_OF_FILES_MAX {
                break;
            }
        }
        Error::check(wrong)?;
        let ids = match &spec.ids_file {
            Some(path) => Some(take_ids(&mut indexes, path, spec.access)?),
            None => None,
        };
        let mut warnings = Vec::new();
        number(&mut indexes, spec.first_id)?;
        let several = indexes.len() > 1;
        for index in &indexes {
            let path = index.file.path().display();
            let named = |what: &String| match several {
                true => format!("{path}: {what}"),
                false => what.clone(),
            };
            warnings.extend(index.warnings.iter().map(named));
        }
        let first = indexes
            .first()
            .ok_or_else(|| Error::new(Kind::Job, "names no index file"))?;
        let mut columns = first.columns.clone();
        let mut indexes_differ = None;
        if let Some(other) = indexes.iter().find(|index| index.index != first.index) {
            let said = |index: &Opened| {
                let kind = index
                    .index
                    .as_ref()
                    .map_or("none".to_owned(), Index::to_string);
                format!("{} has {kind}", index.file.path().display())
            };
            indexes_differ = Some(format!("{}, {}", said(first), said(other)));
            columns = Columns::plain("id", "embedding", first.rows.vector)?
                .measured(Some(first.rows.metric.clone()), None);
            warnings.push(
                "the files hold indexes of different kinds: there is no single index to rebuild"
                    .to_owned(),
            );
        }
        Ok(Faiss {
            columns,
            indexes_differ,
            indexes,
            ids,
            warnings,
        })
    }

    fn rows(&self) -> u64 {
        self.indexes.iter().map(|index| index.rows.rows).sum()
    }
}

/// Refuses an index that cannot travel together with those before it.
fn check(indexes: &[Opened], index: &Opened) -> Result<()> {
    let Some(first) = indexes.first() else {
        return Ok(());
    };
    let refuse = |what: String| Err(Error::path(Kind::Job, index.file.path(), what));
    let other = first.file.path().display();
    let inode = |index: &Opened| index.file.stamp().map(|stamp| stamp.inode);
    if let Some(same) = indexes.iter().find(|other| inode(other) == inode(index)) {
        return refuse(format!(
            "is the same file as {}",
            same.file.path().display()
        ));
    }
    if first.rows.vector != index.rows.vector {
        let (one, two) = (index.rows.vector, first.rows.vector);
        return refuse(format!("holds {one}, but {other} holds {two}"));
    }
    if first.rows.metric != index.rows.metric {
        let (one, two) = (index.rows.metric.name(), first.rows.metric.name());
        return refuse(format!("has the metric {one}, but {other} has {two}"));
    }
    // An index without rows has no ids either.
    let rows = |index: &Opened| index.rows.rows > 0;
    let unlike = |before: &&Opened| before.stored_ids != index.stored_ids;
    if let Some(before) = indexes
        .iter()
        .filter(|i| rows(i))
        .find(unlike)
        .filter(|_| rows(index))
    {
        let (with, without) = match index.stored_ids {
            true => (index, before),
            false => (before, index),
        };
        let (with, without) = (with.file.path().display(), without.file.path().display());
        let what =
            format!("{with} has ids, but {without} has none: row numbers would mix with them");
        return Err(
            Error::new(Kind::Job, what).hint("`ids: row_number` numbers the rows of all files")
        );
    }
    Ok(())
}

/// Gives every index its part of a list of ids.
fn take_ids(indexes: &mut [Opened], path: &Path, access: Access) -> Result<IdFile> {
    let list = IdFile::open(path, access)?;
    let rows: u64 = indexes.iter().map(|index| index.counted).sum();
    if list.count() != rows {
        let what = format!("has {} ids for {rows} rows", list.count());
        return Err(Error::path(Kind::Job, list.file.path(), what)
            .hint("one id for each row is needed, in the order in which rows were added"));
    }
    let mut first = 0;
    for index in indexes {
        if index.rows.maps.iter().any(|map| !map.is_empty()) {
            let what = "has ids of its own, but the job names a list of others";
            return Err(Error::path(Kind::Job, index.file.path(), what).hint(
                "leave out `ids_file`, or remove the map of ids: faiss.write_index(index.index, …)",
            ));
        }
        let stretch = list.ids.cut(first * 8, index.counted * 8)?;
        first += index.counted;
        index.take_ids(stretch);
    }
    Ok(list)
}

/// Gives every index the number of its first row.
fn number(indexes: &mut [Opened], first_id: Option<u64>) -> Result<()> {
    let mut next = first_id.unwrap_or(0);
    for index in indexes {
        let rows = index.rows.rows;
        if index.stored_ids {
            if first_id.is_some() && rows > 0 {
                let what =
                    "has ids of its own, which `first_id` does not move: it is for row numbers";
                return Err(Error::path(Kind::Job, index.file.path(), what)
                    .hint("leave out `first_id`, or say `ids: row_number`"));
            }
            continue;
        }
        let past = next
            .checked_add(rows)
            .filter(|past| i64::try_from(*past).is_ok());
        let Some(past) = past else {
            let what = format!("its {rows} row numbers from {next} on exceed the largest id");
            return Err(Error::path(Kind::Job, index.file.path(), what));
        };
        index.first_id = next as i64;
        next = past;
    }
    Ok(())
}

impl Source for Faiss {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let first = self.indexes.first().expect("open() found one");
        let source = first.file.path().display();
        let target = Target {
            number: 0,
            name: TargetName {
                collection: String::new(),
                partition: String::new(),
            },
            columns: self.columns.clone(),
            traits: Arc::default(),
            keys: match self.indexes.iter().any(|index| index.stored_ids) {
                true => Keys::Stored,
                false => Keys::RowNumbers,
            },
            auto_id: false,
            rows: self.rows(),
            rows_deleted: 0,
            source: match self.indexes.len() {
                1 => source.to_string(),
                n => format!("{source} and {} more", n - 1),
            },
        };
        let mut identity = BTreeMap::new();
        let (mut shards, mut before) = (Vec::new(), 0);
        for (part, index) in self.indexes.iter().enumerate() {
            let numbered = match part {
                0 => String::new(),
                n => format!(".{n}"),
            };
            identify(&mut identity, &format!("index{numbered}"), &index.file)?;
            if index.data.path() != index.file.path() {
                identify(&mut identity, &format!("lists{numbered}"), &index.data)?;
            }
            index.shards(part as u32, before, limits, &mut shards);
            before += index.rows.rows;
        }
        if let Some(ids) = &self.ids {
            identify(&mut identity, "ids", &ids.file)?;
        }
        Ok(Survey {
            manifest: Manifest {
                targets: vec![target],
                shards,
            },
            identity,
            warnings: self.warnings.clone(),
            indexes_differ: self.indexes_differ.clone(),
        })
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some(index) = self.indexes.get(shard.part as usize) else {
            let what = format!("there is no index file for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        Ok(Box::new(reader::Rows::new(
            index,
            from,
            shard.end.clone(),
            limits,
        )))
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let mut pieces = BTreeMap::new();
        for (number, index) in (1..).zip(&self.indexes) {
            for view in [&index.file, &index.data] {
                let path = absolute(view.path());
                // Row numbers continue from file to file, so the order of the files matters.
                let name = match self.indexes.len() {
                    1 => path.display().to_string(),
                    _ => format!("file {number}: {}", path.display()),
                };
                pieces.insert(name, content::of(view)?);
            }
        }
        if let Some(ids) = &self.ids {
            let name = format!("ids: {}", absolute(ids.file.path()).display());
            pieces.insert(name, content::of(&ids.file)?);
        }
        Ok(Some(pieces))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        let index = self.indexes.get(part as usize)?;
        Some(index.file.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.indexes
            .iter()
            .try_for_each(|index| index.files().unchanged())?;
        self.ids.as_ref().map_or(Ok(()), |ids| ids.file.unchanged())
    }
}

/// What identifies a file: if any of it differs, the data may differ.
fn identify(identity: &mut BTreeMap<String, String>, name: &str, view: &View) -> Result<()> {
    let head = view.cut(0, view.len().min(limits::HEAD_BYTES))?.bytes()?;
    let mut note = |what: &str, value: String| identity.insert(format!("{name}.{what}"), value);
    note("path", view.path().display().to_string());
    note("head_crc32", format!("{:08x}", crc32fast::hash(&head)));
    if let Some(stamp) = view.stamp() {
        note("bytes", stamp.bytes.to_string());
        note("modified_ns", stamp.modified_ns.to_string());
        note("inode", format!("{}:{}", stamp.inode.0, stamp.inode.1));
    }
    Ok(())
}

/// The equivalent index in Milvus, if it has one.
fn index_of(node: &Node) -> Option<Index> {
    let index = |kind: &str, params: &[(&str, u64)]| {
        let params = params.iter().map(|(n, v)| ((*n).to_owned(), v.to_string()));
        Some(Index {
            kind: kind.to_owned(),
            params: params.collect(),
        })
    };
    match &node.body {
        Body::IdMap { inner, .. } | Body::Transformed { inner, .. } | Body::FromFloat(inner) => {
            index_of(inner).filter(|_| inner.binary == node.binary)
        }
        Body::Graph {
            hnsw: Some(hnsw), ..
        } if !node.binary => index(
            "HNSW",
            &[
                ("M", hnsw.links.into()),
                ("efConstruction", hnsw.candidates.into()),
            ],
        ),
        Body::Rows(stored) => {
            let lists = stored.quantizer.as_ref().map(|_| stored.lists.count);
            match (&stored.codec, lists, node.binary) {
                (Codec::Float, None, false) => index("FLAT", &[]),
                (Codec::Float, Some(n), false) => index("IVF_FLAT", &[("nlist", n)]),
                (Codec::Scalar(s), Some(n), false) if matches!(s.kind, 0 | 2) => {
                    index("IVF_SQ8", &[("nlist", n)])
                }
                (Codec::Product(pq), Some(n), false) => index(
                    "IVF_PQ",
                    &[("nlist", n), ("m", pq.parts), ("nbits", pq.bits.into())],
                ),
                (Codec::Bits, None, true) => index("BIN_FLAT", &[]),
                (Codec::Bits, Some(n), true) => index("BIN_IVF_FLAT", &[("nlist", n)]),
                _ => None,
            }
        }
        _ => None,
    }
}
