//! Which directory is the storage of a Milvus 2.x, and where are its metadata? The settings of `milvus_files`.

use std::path::{Path, PathBuf};

use super::catalog::Collection;
use super::{Stored, etcd, meta};
use crate::error::{Error, Kind, Result};
use crate::input::Access;
use crate::job::{Form, Globs, Setting, matches};
use crate::source::choose::{self, Choice};
use crate::source::files;
use crate::source::{Source, SourceKind, Spec};

/// The source `milvus_files`.
pub const FILES: SourceKind = SourceKind {
    name: "milvus_files",
    summary: "the storage of a Milvus 2.x (to 2.5) on a disk, with its etcd's file; no server needed",
    settings: &[
        Setting::path(
            "path",
            "the directory that holds insert_log/ and delta_log/",
        )
        .required()
        .example("/var/lib/milvus/data"),
        Setting::path(
            "meta",
            "etcd's data directory, its file member/snap/db, or what `etcdctl snapshot save` wrote; left out: looked \
             for beside `path`",
        ),
        Setting::text(
            "prefix",
            "what Milvus' keys in etcd begin with, such as by-dev/meta; left out: the only one there is",
        ),
        Setting::texts("db", "the database, or several; globs").or("default"),
        choose::COLLECTIONS,
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Settings::read(form)?)),
};

struct Settings {
    path: PathBuf,
    meta: Option<PathBuf>,
    prefix: Option<String>,
    dbs: Dbs,
    choice: Choice,
    access: Access,
}

/// Databases that are meant.
pub struct Dbs(Vec<String>);

impl Dbs {
    /// Reads `db`.
    pub fn read(form: &mut Form) -> Dbs {
        let named = form.list("db").unwrap_or_default();
        Dbs(match named.is_empty() {
            true => vec![meta::DEFAULT_DB.1.to_owned()],
            false => named,
        })
    }

    /// The collections of these databases. A name that fits none is a mistake.
    pub fn of(&self, mut all: Vec<Collection>, place: &Path) -> Result<Vec<Collection>> {
        for glob in &self.0 {
            let is_default = glob == meta::DEFAULT_DB.1;
            if !is_default && !all.iter().any(|c| matches(glob, &c.db)) {
                let mut there: Vec<&str> = all.iter().map(|c| &*c.db).collect();
                there.sort_unstable();
                there.dedup();
                let what = format!(
                    "no database with collections is called `{glob}`; there are: {}",
                    there.join(", ")
                );
                return Err(Error::path(Kind::Job, place, what));
            }
        }
        all.retain(|c| self.0.iter().any(|glob| matches(glob, &c.db)));
        Ok(all)
    }
}

impl Settings {
    fn read(form: &mut Form) -> Option<Settings> {
        let path = form.required("path", "the directory that holds insert_log/");
        let settings = Settings {
            path: PathBuf::from(path?),
            meta: form.text("meta").map(PathBuf::from),
            prefix: form.text("prefix"),
            dbs: Dbs::read(form),
            choice: Choice::read(form),
            access: files::access(form),
        };
        Some(settings)
    }
}

/// Complains of an address: only directories are read.
pub fn refuse_address(path: &Path, instead: &str) -> Result<()> {
    match path.to_string_lossy().contains("://") {
        false => Ok(()),
        true => {
            let what = "is an address, and this source reads directories and files";
            Err(Error::path(Kind::Job, path, what).hint(instead))
        }
    }
}

impl Spec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        refuse_address(
            &self.path,
            "copy the bucket first: aws s3 sync, mc mirror or rclone copy",
        )?;
        let place = Place::find(&self.path, self.meta.as_deref())?;
        let keys = etcd::read(&place.meta, self.prefix.as_deref())?;
        let all = meta::collections(&keys, &place.root)?;
        let all = self.dbs.of(all, &place.meta)?;
        let choice = self.choice.admit(admitted);
        let source = Stored::open(&all, &choice, &place.root, &place.meta, self.access)?;
        Ok(Box::new(source))
    }
}

/// Where things are.
pub struct Place {
    /// The directory that holds `insert_log`.
    pub root: PathBuf,
    /// Etcd's file.
    pub meta: PathBuf,
}

/// Directories that only storage of Milvus 2.x has.
const OURS: [&str; 3] = ["insert_log", "delta_log", "stats_log"];
/// Where the storage is below what people name: Docker's volume, a bucket.
const WITHIN: [&str; 4] = ["", "data", "files", "milvus"];
/// Where etcd's data are, seen from the storage.
const ETCD: [&str; 6] = ["etcd.data", "", "etcd", "../etcd", "../etcd.data", ".."];

impl Place {
    /// Finds the storage at this path, and its metadata unless they are named.
    pub fn find(path: &Path, meta: Option<&Path>) -> Result<Place> {
        let found = std::fs::metadata(path).map_err(|e| {
            let what = match e.kind() {
                std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
                _ => format!("cannot look into it: {e}"),
            };
            Error::path(Kind::Job, path, what)
        })?;
        if !found.is_dir() {
            return Err(Error::path(Kind::Job, path, "is not a directory"));
        }
        let roots = WITHIN.iter().map(|below| path.join(below));
        let root = roots.into_iter().find(|root| is_root(root));
        // An installation without a flushed row has no logs.
        let named = meta.map(file).transpose()?;
        let has_meta = |root: &PathBuf| named.is_some() || beside(root).is_some();
        let root = root.or_else(|| Some(path.to_owned()).filter(has_meta));
        let Some(root) = root else {
            let what = "is no storage of Milvus 2.x: it has neither insert_log/ nor etcd's data";
            return Err(Error::path(Kind::Job, path, what).hint(
                "name the directory that localStorage.path, or the bucket's rootPath (files), names",
            ));
        };
        let meta = named.or_else(|| beside(&root)).or_else(|| beside(path));
        let Some(meta) = meta else {
            let what = "there are no metadata beside it: only etcd knows which collections, fields and segments there are";
            return Err(Error::path(Kind::Job, &root, what).hint(
                "`meta:` names etcd's data directory, its file member/snap/db, or a file of `etcdctl snapshot save`",
            ));
        };
        let clean = |path: PathBuf| path.components().collect();
        Ok(Place {
            root: clean(root),
            meta: clean(meta),
        })
    }
}

/// Whether a directory holds logs.
pub fn is_root(path: &Path) -> bool {
    OURS.iter().any(|name| path.join(name).is_dir())
}

fn beside(root: &Path) -> Option<PathBuf> {
    let mut all = ETCD.iter().map(|dir| root.join(dir).join(etcd::FILE));
    all.find(|file| file.is_file())
}

/// Etcd's file, as a job names it: itself, or the directory that it is in.
fn file(path: &Path) -> Result<PathBuf> {
    refuse_address(
        path,
        "a running etcd writes its state to a file: etcdctl snapshot save FILE",
    )?;
    let all = [path.to_owned(), path.join(etcd::FILE), path.join("db")];
    let found = all.into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        let what = match path.exists() {
            true => format!("is no data directory of etcd: it has no {}", etcd::FILE),
            false => "there is no such file".to_owned(),
        };
        Error::path(Kind::Job, path, what)
    })
}
