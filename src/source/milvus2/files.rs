//! Which directory is the storage of Milvus 2.x, and where is its metadata? The settings of `milvus_files`.

use std::path::{Path, PathBuf};

use super::catalog::Collection;
use super::live::{self, Live};
use super::{Stored, etcd, meta};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, Volume};
use crate::job::{Form, Globs, Setting, matches};
use crate::source::choose::{self, Choice};
use crate::source::files;
use crate::source::{Source, SourceKind, Spec};
use crate::store::{self, Login};

/// The source `milvus_files`.
pub const FILES: SourceKind = SourceKind {
    name: "milvus_files",
    summary: "the storage of Milvus 2.x (up to 2.5) on a disk or in S3, with its etcd or etcd's file; no Milvus needed",
    settings: &[
        Setting::path(
            "path",
            "the directory that holds insert_log/ and delta_log/; also s3://bucket/prefix",
        )
        .required()
        .example("/var/lib/milvus/data"),
        Setting::path(
            "meta",
            "etcd's data directory, its file member/snap/db, or a file of `etcdctl snapshot save`; also s3://…, or the \
             http(s):// address of a running etcd; left out: searched for in and near `path`",
        ),
        live::ETCD,
        Setting::text(
            "prefix",
            "the prefix of Milvus's keys in etcd, such as by-dev/meta; left out: the only one",
        ),
        Setting::texts("db", "one or more databases, or globs").or("default"),
        choose::COLLECTIONS,
        store::S3,
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Settings::read(form)?)),
};

struct Settings {
    path: PathBuf,
    meta: Option<PathBuf>,
    live: Option<Live>,
    prefix: Option<String>,
    dbs: Dbs,
    choice: Choice,
    access: Access,
    login: Login,
}

/// The selected databases.
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

    /// The collections of these databases. A name that matches none is an error.
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
        let meta = form.text("meta");
        let login = Login::read(form);
        let places = [path.as_ref(), meta.as_ref()];
        let is_address = |text: &String| text.starts_with("s3://");
        login.check(form, places.into_iter().flatten().any(is_address));
        let live = Live::read(form, meta.as_deref());
        let settings = Settings {
            path: PathBuf::from(path?),
            meta: meta.map(PathBuf::from),
            live,
            login,
            prefix: form.text("prefix"),
            dbs: Dbs::read(form),
            choice: Choice::read(form),
            access: files::access(form),
        };
        Some(settings)
    }
}

impl Spec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let volume = store::volume(&self.path, self.access, &self.login)?;
        let (place, keys) = match &self.live {
            Some(live) => {
                let place = Place {
                    root: Place::root(&self.path, &volume, true)?,
                    meta: live.address().into(),
                };
                (place, live.keys(self.prefix.as_deref())?)
            }
            None => {
                let place = self.find(&volume)?;
                let of_meta = store::volume(&place.meta, self.access, &self.login)?;
                let keys = etcd::read(&place.meta, &of_meta, self.prefix.as_deref())?;
                (place, keys)
            }
        };
        let all = meta::collections(&keys, &place.root)?;
        let all = self.dbs.of(all, &place.meta)?;
        let choice = self.choice.admit(admitted);
        let source = Stored::open(&all, &choice, &place.root, &place.meta, &volume)?;
        Ok(Box::new(source))
    }
}

/// Where storage and metadata are.
pub struct Place {
    /// The directory that holds `insert_log`.
    pub root: PathBuf,
    /// Etcd's file.
    pub meta: PathBuf,
}

/// Directories that only storage of Milvus 2.x has.
const OURS: [&str; 3] = ["insert_log", "delta_log", "stats_log"];
/// Where the storage may be below the given path: Docker's volume, a bucket.
const WITHIN: [&str; 4] = ["", "data", "files", "milvus"];
/// Where etcd's data may be, relative to the storage.
const ETCD: [&str; 6] = ["etcd.data", "", "etcd", "../etcd", "../etcd.data", ".."];

impl Settings {
    /// The storage, and its metadata file.
    fn find(&self, volume: &Volume) -> Result<Place> {
        match &self.meta {
            // An object is named in full: buckets do not hold etcd's directories.
            Some(meta) if store::is_address(meta) => Ok(Place {
                root: Place::root(&self.path, volume, true)?,
                meta: meta.clone(),
            }),
            meta => Place::find(&self.path, meta.as_deref(), volume),
        }
    }
}

impl Place {
    /// The storage directory at this path; if there is metadata, it may have no logs yet.
    fn root(path: &Path, volume: &Volume, has_meta: bool) -> Result<PathBuf> {
        if let Volume::Disk(_) = volume {
            let found = std::fs::metadata(path).map_err(|e| {
                let what = match e.kind() {
                    std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
                    _ => format!("cannot be read: {e}"),
                };
                Error::path(Kind::Job, path, what)
            })?;
            if !found.is_dir() {
                return Err(Error::path(Kind::Job, path, "is not a directory"));
            }
        }
        for below in WITHIN {
            let root = match below {
                "" => path.to_owned(),
                below => path.join(below),
            };
            if is_root(&root, volume)? {
                return Ok(root);
            }
        }
        // An installation without a flushed row has no logs; a bucket without any object is an error.
        if has_meta && !volume.is_remote() {
            return Ok(path.to_owned());
        }
        let what = "is not the storage of Milvus 2.x: it has neither insert_log/ nor etcd's data";
        Err(Error::path(Kind::Job, path, what).hint(
            "`path` is Milvus's localStorage.path, or its bucket with the rootPath (`files`)",
        ))
    }

    /// Finds the storage at this path, and its metadata unless `meta` names it.
    pub fn find(path: &Path, meta: Option<&Path>, volume: &Volume) -> Result<Place> {
        let named = meta.map(file).transpose()?;
        let is_here = !volume.is_remote();
        let has_meta = named.is_some() || is_here && find_etcd(path).is_some();
        let root = Place::root(path, volume, has_meta)?;
        let near = || {
            find_etcd(&root)
                .or_else(|| find_etcd(path))
                .filter(|_| is_here)
        };
        let Some(meta) = named.or_else(near) else {
            let what = "there is no metadata in or near it: only etcd knows which collections, fields and segments exist";
            return Err(Error::path(Kind::Job, &root, what).hint(
                "`meta:` names etcd's address, its data directory, its file member/snap/db, or a file of `etcdctl snapshot \
                 save`",
            ));
        };
        let clean = |path: PathBuf| match store::is_address(&path) {
            true => path,
            false => path.components().collect(),
        };
        Ok(Place {
            root: clean(root),
            meta: clean(meta),
        })
    }
}

/// Whether a directory holds logs.
pub fn is_root(path: &Path, volume: &Volume) -> Result<bool> {
    match volume {
        Volume::Disk(_) => Ok(OURS.iter().any(|name| path.join(name).is_dir())),
        Volume::Remote(_) => {
            let entries = volume.list(path)?;
            Ok(entries.iter().any(|e| e.is_dir && OURS.contains(&&*e.name)))
        }
    }
}

/// Etcd's file in or near the storage.
fn find_etcd(root: &Path) -> Option<PathBuf> {
    let mut all = ETCD.iter().map(|dir| root.join(dir).join(etcd::FILE));
    all.find(|file| file.is_file())
}

/// Etcd's file, from the job's path: the file itself, or its directory.
fn file(path: &Path) -> Result<PathBuf> {
    let all = [path.to_owned(), path.join(etcd::FILE), path.join("db")];
    let found = all.into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        let what = match path.exists() {
            true => format!("is not a data directory of etcd: it has no {}", etcd::FILE),
            false => "there is no such file".to_owned(),
        };
        Error::path(Kind::Job, path, what)
    })
}
