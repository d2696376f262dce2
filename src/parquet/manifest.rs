//! What belongs to a directory of Parquet files? The manifest lists the columns, the properties of the collection, and
//! the files with their checksums.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::seal::{sealed, unsealed};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View, Volume};
use crate::limits;
use crate::schema::{CollectionTraits, Columns};

/// The file's name.
pub const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "milvusdm-parquet";
/// Version 2 includes the checksum of the manifest itself.
const VERSION: u64 = 2;

/// The content of a manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Where rows came from: a path or address without credentials.
    pub source: String,
    /// The collection they belonged to; may be empty.
    pub collection: String,
    /// The partition's exact tag; empty: the default one.
    pub partition: String,
    /// Whether a server generated the keys.
    pub auto_id: bool,
    /// Whether keys are row numbers that nobody chose.
    pub numbered: bool,
    /// The columns.
    pub columns: Arc<Columns>,
    /// The other properties of the collection.
    pub traits: Arc<CollectionTraits>,
    /// The digest of all rows.
    pub digest: u64,
    /// In the order of rows.
    pub files: Vec<Listed>,
    /// Whether the list of a backup contains its directory, so that its absence is noticed.
    pub is_listed: bool,
    /// The checksum of all of the above, once written: since version 2.
    pub sum: Option<u32>,
}

/// A file that a manifest lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name in the directory.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// The CRC-32 of all its bytes.
    pub crc32: u32,
}

impl Manifest {
    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The text of the file: identical for identical rows.
    pub fn to_text(&self) -> String {
        let files = self.files.iter().map(|file| {
            json!({"name": file.name, "rows": file.rows, "bytes": file.bytes, "crc32": format!("{:08x}", file.crc32)})
        });
        let all = json!({
            "format": FORMAT,
            "version": VERSION,
            "tool": format!("milvusdm {}", env!("CARGO_PKG_VERSION")),
            "source": self.source,
            "collection": self.collection,
            "partition": self.partition,
            "auto_id": self.auto_id,
            "row_numbers": self.numbered,
            "columns": self.columns.to_json(),
            "traits": self.traits.to_json(),
            "rows": self.rows(),
            "digest": format!("{:016x}", self.digest),
            "files": files.collect::<Vec<Value>>(),
            "listed": self.is_listed,
        });
        sealed(&all)
    }

    /// Reads the manifest of a directory; `None` if it has none.
    pub fn read(dir: &Path, volume: &Volume) -> Result<Option<Manifest>> {
        let path = dir.join(MANIFEST);
        let view = match volume {
            Volume::Disk(_) if !path.try_exists().unwrap_or(true) => return Ok(None),
            Volume::Remote(_) if !volume.is_file(&path)? => return Ok(None),
            Volume::Disk(_) => View::open(&path, Access::Read)?,
            Volume::Remote(_) => volume.open(&path)?,
        };
        if view.len() > limits::PARQUET_MANIFEST_BYTES_MAX {
            return Err(view.corrupt(
                0,
                format!("a manifest of {} bytes is too large", view.len()),
            ));
        }
        let bytes = view.bytes()?;
        let wrong = |what: String| view.corrupt(0, format!("is not a manifest: {what}"));
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(e.to_string()))?;
        let (value, sum) = unsealed(text).map_err(wrong)?;
        let manifest = Manifest::of(&value, sum);
        manifest
            .map(Some)
            .map_err(|what| Error::path(Kind::Corrupt, &path, what))
    }

    fn of(value: &Value, sum: Option<u32>) -> std::result::Result<Manifest, String> {
        let text = |key: &str| {
            let text = value.get(key).and_then(Value::as_str);
            text.map(str::to_owned)
                .ok_or_else(|| format!("`{key}` is missing or not a string"))
        };
        if text("format")? != FORMAT {
            return Err(format!(
                "`format` is not {FORMAT}: another program wrote it"
            ));
        }
        let number = |value: &Value, key: &str| {
            let number = value.get(key).and_then(Value::as_u64);
            number.ok_or_else(|| format!("`{key}` is missing or not an integer"))
        };
        let version = number(value, "version")?;
        match (version, sum) {
            (1, _) | (VERSION, Some(_)) => {}
            (VERSION, None) => return Err("it was altered: it has no checksum".to_owned()),
            _ => {
                return Err(format!(
                    "version {version} is unknown: this program reads versions 1 and {VERSION}"
                ));
            }
        }
        let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        let mut files: Vec<Listed> = Vec::new();
        for file in value
            .get("files")
            .and_then(Value::as_array)
            .ok_or("`files` is missing")?
        {
            let text = |key: &str| {
                file.get(key)
                    .and_then(Value::as_str)
                    .ok_or(format!("`files.{key}` is not a string"))
            };
            let name = text("name")?.to_owned();
            let whole = Path::new(&name).file_name().is_some_and(|n| n == &*name);
            if !whole || files.iter().any(|other| other.name == name) {
                return Err(format!(
                    "`files` lists {name:?}, which is not a plain file name or occurs twice"
                ));
            }
            let crc32 = u32::from_str_radix(text("crc32")?, 16);
            files.push(Listed {
                name,
                rows: number(file, "rows")?,
                bytes: number(file, "bytes")?,
                crc32: crc32.map_err(|_| "`files.crc32` is not a checksum".to_owned())?,
            });
        }
        let describe = |e: Error| e.what().to_owned();
        let traits = value.get("traits").cloned().unwrap_or_else(|| json!({}));
        let manifest = Manifest {
            source: text("source")?,
            collection: text("collection")?,
            partition: text("partition")?,
            auto_id: flag("auto_id"),
            numbered: flag("row_numbers"),
            columns: Columns::from_json(value.get("columns").unwrap_or(&Value::Null))
                .map_err(describe)?,
            traits: Arc::new(CollectionTraits::from_json(&traits).map_err(describe)?),
            digest: u64::from_str_radix(&text("digest")?, 16)
                .map_err(|_| "`digest` is not a digest".to_owned())?,
            files,
            is_listed: flag("listed"),
            sum,
        };
        let (rows, listed) = (
            number(value, "rows")?,
            manifest
                .files
                .iter()
                .try_fold(0u64, |n, f| n.checked_add(f.rows)),
        );
        match Some(rows) == listed {
            true => Ok(manifest),
            false => Err(format!(
                "`rows` is {rows}, which is not the sum over its files"
            )),
        }
    }

    /// Opens the files it lists; returns an error about files that are missing, altered, or not listed.
    pub fn open(&self, dir: &Path, volume: &Volume) -> Result<Vec<(Listed, super::File)>> {
        let wrong = |path: &Path, what: String| Err(Error::path(Kind::Corrupt, path, what));
        let entries = volume.list(dir)?;
        let mut stray = entries.iter().map(|entry| &entry.name).filter(|name| {
            let is_parquet = Path::new(name).extension().is_some_and(|e| e == "parquet");
            is_parquet && self.files.iter().all(|file| file.name != **name)
        });
        if let Some(name) = stray.next() {
            return wrong(
                &dir.join(name),
                format!("is not in the manifest, {}", dir.join(MANIFEST).display()),
            );
        }
        let mut files = Vec::new();
        for listed in &self.files {
            let path = dir.join(&listed.name);
            if entries.iter().all(|entry| entry.name != listed.name) {
                return wrong(
                    &path,
                    format!(
                        "is missing: the manifest lists it with {} rows",
                        listed.rows
                    ),
                );
            }
            let view = volume.open(&path)?;
            if view.len() != listed.bytes {
                let what = format!(
                    "has {} bytes, the manifest declares {}",
                    view.len(),
                    listed.bytes
                );
                return wrong(&path, what);
            }
            let file = super::File::of(view)?;
            if file.rows != listed.rows {
                let what = format!(
                    "has {} rows, the manifest declares {}",
                    file.rows, listed.rows
                );
                return wrong(&path, what);
            }
            files.push((listed.clone(), file));
        }
        let opened: Vec<super::File> = files.iter().map(|(_, file)| file.clone()).collect();
        if !opened.is_empty() {
            super::types::fit(&opened, &self.columns, 0)?;
        }
        Ok(files)
    }
}

impl Listed {
    /// Returns an error if a file's bytes are not those that were written.
    pub fn check(&self, view: &View) -> Result<()> {
        let mut sum = crc32fast::Hasher::new();
        let mut at = 0;
        while at < view.len() {
            let len = limits::SUMMED_AT_ONCE.min(view.len() - at);
            sum.update(&view.cut(at, len)?.bytes()?);
            at += len;
        }
        let found = sum.finalize();
        if found == self.crc32 {
            return Ok(());
        }
        let what = format!(
            "was altered: its checksum is {found:08x}, the manifest declares {:08x}",
            self.crc32
        );
        Err(Error::path(Kind::Corrupt, view.path(), what)
            .hint("restore the file as it was written"))
    }
}
