//! Which directories belong to a backup? A list at its root, with the checksum of each manifest, so that missing ones
//! are noticed.

use std::path::Path;

use serde_json::{Value, json};

use super::seal::{sealed, unsealed};
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::limits;

/// The file's name.
pub const BACKUP: &str = "backup.json";
const FORMAT: &str = "milvusdm-backup";
const VERSION: u64 = 1;

/// The content of the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backup {
    /// In the order of their names.
    pub directories: Vec<Directory>,
}

/// A directory with a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Its path from the root of the backup.
    pub path: String,
    /// The checksum of its manifest.
    pub manifest: u32,
}

impl Backup {
    /// The text of the file.
    pub fn to_text(&self) -> String {
        let directories = self.directories.iter();
        let directories = directories
            .map(|dir| json!({"path": dir.path, "manifest": format!("{:08x}", dir.manifest)}));
        sealed(&json!({
            "format": FORMAT,
            "version": VERSION,
            "directories": directories.collect::<Vec<Value>>(),
        }))
    }

    /// Reads the list of a backup; `None` if there is none.
    pub fn read(root: &Path, volume: &Volume) -> Result<Option<Backup>> {
        let path = root.join(BACKUP);
        if !volume.is_file(&path)? {
            return Ok(None);
        }
        let view = volume.open(&path)?;
        if view.len() > limits::PARQUET_MANIFEST_BYTES_MAX {
            return Err(view.corrupt(0, format!("a list of {} bytes is too large", view.len())));
        }
        let wrong = |what: String| Error::path(Kind::Corrupt, &path, what);
        let bytes = view.bytes()?;
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(e.to_string()))?;
        Backup::of(text).map(Some).map_err(wrong)
    }

    fn of(text: &str) -> std::result::Result<Backup, String> {
        let (map, sum) = unsealed(text)?;
        let is_ours = map.get("format").and_then(Value::as_str) == Some(FORMAT);
        if !is_ours || map.get("version").and_then(Value::as_u64) != Some(VERSION) || sum.is_none()
        {
            return Err(format!("is not the list of a backup in version {VERSION}"));
        }
        let listed = map.get("directories").and_then(Value::as_array);
        let directory = |value: &Value| {
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            Some(Directory {
                path: text("path")?.to_owned(),
                manifest: u32::from_str_radix(text("manifest")?, 16).ok()?,
            })
        };
        let directories = listed.and_then(|all| all.iter().map(directory).collect());
        Ok(Backup {
            directories: directories.ok_or("`directories` cannot be read")?,
        })
    }
}
