//! How are the files of Milvus Lite read? The SQLite file of 2.x, the directory of 3.x, including unflushed rows.
//! Never writes anything; holds a shared lock on a directory, so that no Milvus Lite can start there meanwhile.

mod catalog;
mod directory;
mod fields;
mod file;
mod inspect;
mod latest;
mod lock;
mod pieces;
mod tables;

use std::path::{Path, PathBuf};

use super::choose::{self, Choice};
use super::{Source, SourceKind, Spec, files};
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::input::{Access, View};
use crate::job::{Form, Globs, Setting};

pub use inspect::{Description, inspect};

/// The source `milvus_lite`.
pub const KIND: SourceKind = SourceKind {
    name: "milvus_lite",
    summary: "a file (2.x) or directory (3.x) of Milvus Lite, no server needed",
    settings: &[
        Setting::path(
            "path",
            "the file or directory that was passed to MilvusClient",
        )
        .required()
        .example("demo.db"),
        choose::COLLECTIONS,
        Setting::text("db", "the database to read").or("default"),
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Wanted::read(form)?)),
};

/// What a job selects of a file or directory.
struct Wanted {
    path: PathBuf,
    db: Option<String>,
    choice: Choice,
    access: Access,
}

impl Wanted {
    fn read(form: &mut Form) -> Option<Wanted> {
        let path = form.required(
            "path",
            "the file or directory that was passed to MilvusClient",
        );
        let choice = Choice::read(form);
        let db = form.text("db");
        let access = files::access(form);
        Some(Wanted {
            path: PathBuf::from(path?),
            db,
            choice,
            access,
        })
    }
}

impl Spec for Wanted {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let wanted = Wanted {
            path: self.path.clone(),
            db: self.db.clone(),
            choice: self.choice.admit(admitted),
            access: self.access,
        };
        Ok(match Kept::at(&self.path)? {
            Kept::Directory => Box::new(directory::Directory::open(&wanted)?),
            Kept::File => Box::new(file::LiteFile::open(&wanted)?),
        })
    }
}

/// What is at a path.
enum Kept {
    /// Of 2.x.
    File,
    /// Of 3.x.
    Directory,
}

impl Kept {
    fn at(path: &Path) -> Result<Kept> {
        if path.is_dir() {
            if catalog::is_it(path) {
                return Ok(Kept::Directory);
            }
            let what = "is not a directory of Milvus Lite 3.x: it has no `collections`";
            return Err(Error::path(Kind::Job, path, what));
        }
        let view = View::open(path, Access::Read)?;
        match is_sqlite(&view) {
            true => Ok(Kept::File),
            false => {
                let other = known::named(&view, "a file of Milvus Lite 2.x", "milvus_lite")?;
                let what = "is not a file of Milvus Lite 2.x: those are SQLite databases";
                Err(other.unwrap_or_else(|| view.corrupt(0, what)))
            }
        }
    }
}

/// Whether a file begins with the SQLite signature.
fn is_sqlite(view: &View) -> bool {
    let mut found = [0; tables::SIGNATURE.len()];
    view.read(0, &mut found).is_ok() && found == *tables::SIGNATURE
}

/// Whether a path belongs to Milvus Lite, judging by its first bytes or its names.
pub fn is_it(path: &Path) -> bool {
    if path.is_dir() {
        return catalog::is_it(path);
    }
    View::open(path, Access::Read).is_ok_and(|view| is_sqlite(&view))
}
