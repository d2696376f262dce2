//! Where are a segment's rows stored, and how many are live?
//! Reads every header when the source is opened; keeps no file open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::format::segment::{self as format, Column, Deleted};
use crate::input::{Access, Stamp, View};
use crate::source::{Files, content};

/// Blocks of each file that are digested.
const SAMPLES: u64 = 3;

/// A segment whose files were looked at.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Stored rows, deleted ones too.
    pub rows: u64,
    /// Rows that are not deleted.
    pub live: u64,
    /// Bytes of one vector.
    row_bytes: u64,
    vectors: Known,
    ids: Known,
    deletions: Known,
    /// A digest of samples of its files.
    content: u64,
}

/// A file, and its state when it was inspected.
#[derive(Clone, Debug)]
struct Known {
    path: Arc<Path>,
    stamp: Stamp,
    extra: u64,
}

/// A segment's files, open.
pub struct Open {
    /// Its vectors.
    pub vectors: Column,
    /// Its ids.
    pub ids: Column,
    /// Which of its rows are deleted.
    pub deleted: Deleted,
    deletions: View,
}

/// Whether a segment is missing: its directory, its vectors or its ids are. One that lacks only its list of deleted
/// rows is present, but cannot be read.
pub fn is_missing(dir: &Path) -> Result<bool> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    Ok(!dir.is_dir()
        || !column_path(dir, &name, "rv")?.exists()
        || !column_path(dir, &name, "uid")?.exists())
}

impl Segment {
    /// Looks at the segment in this directory; `whose` is the collection and partition, for people.
    pub fn look(dir: &Path, whose: &str, row_bytes: u64) -> Result<Segment> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if !dir.is_dir() {
            return Err(Error::path(
                Kind::Corrupt,
                dir,
                format!("segment {name} of {whose} is in the metadata, but its directory is missing"),
            )
            .hint("was only part of the directory copied, or is its data elsewhere? `missing_segments: skip` leaves out what is gone"));
        }
        let vectors_path = column_path(dir, &name, "rv")?;
        let ids_path = column_path(dir, &name, "uid")?;
        let deletions_path = dir.join("deleted_docs");
        if !vectors_path.exists() {
            return Err(Error::path(
                Kind::Unsupported,
                &vectors_path,
                format!("the vectors of segment {name} of {whose} are missing"),
            )
            .hint("Milvus 1.1 with S3 storage keeps them only in its bucket, under this very path: copy them here; otherwise the copy of this directory is incomplete"));
        }
        for (path, what) in [
            (&ids_path, "the ids"),
            (&deletions_path, "the list of deleted rows"),
        ] {
            if !path.exists() {
                let what = format!("segment {name} of {whose} lacks {what}");
                return Err(Error::path(Kind::Corrupt, path, what)
                    .hint("Milvus writes this file with every segment: is the copy whole?"));
            }
        }
        let (open, views) = open(
            [&vectors_path, &ids_path, &deletions_path],
            row_bytes,
            Access::Read,
        )?;
        let (rows, stored) = (open.ids.count, open.vectors.payload.len());
        if rows.checked_mul(row_bytes) != Some(stored) {
            let error = open.vectors.payload.corrupt(
                0,
                format!(
                    "segment {name} of {whose} has {rows} ids, and {stored} bytes of vectors of {row_bytes} bytes each"
                ),
            );
            return Err(match stored.checked_div(rows) {
                Some(each) if each * rows == stored => {
                    error.hint(format!("they would fit vectors of {each} bytes"))
                }
                _ => error,
            });
        }
        let mut content = 0;
        for view in &views {
            content = digest::chained(content, &view.len().to_le_bytes());
            content = digest::chained(content, &content::sample(view, SAMPLES)?.to_le_bytes());
        }
        let [vectors, ids, deletions] = views;
        let deletions_extra = deletions.len() - format::HEADER_BYTES - open.deletions.len();
        let known = |view: &View, extra| Known {
            path: view.path().clone(),
            stamp: stamp(view),
            extra,
        };
        Ok(Segment {
            rows,
            live: rows - open.deleted.count(),
            row_bytes,
            vectors: known(&vectors, open.vectors.extra),
            ids: known(&ids, open.ids.extra),
            deletions: known(&deletions, deletions_extra),
            content,
        })
    }

    /// Opens its files; fails if they changed since they were inspected.
    pub fn open(&self, access: Access) -> Result<Open> {
        let known = [&self.vectors, &self.ids, &self.deletions];
        let (open, views) = open(known.map(|k| &*k.path), self.row_bytes, access)?;
        for (known, view) in known.iter().zip(&views) {
            known.stamp.same(Ok(stamp(view)), &known.path)?;
        }
        Ok(open)
    }

    /// Fails if a file changed since it was inspected.
    pub fn unchanged(&self) -> Result<()> {
        for known in [&self.vectors, &self.ids, &self.deletions] {
            known.stamp.unchanged(&known.path)?;
        }
        Ok(())
    }

    /// Its name, for people.
    pub fn name(&self) -> String {
        let stem = self.vectors.path.file_stem().unwrap_or_default();
        format!("segment {}", stem.to_string_lossy())
    }

    /// Files that are longer than they say, with by how many bytes.
    pub fn oversized(&self) -> impl Iterator<Item = (&Arc<Path>, u64)> {
        let all = [&self.vectors, &self.ids, &self.deletions];
        let longer = all.into_iter().filter(|k| k.extra > 0);
        longer.map(|k| (&k.path, k.extra))
    }

    /// What tells its rows from others, wherever its files are: lengths, and a digest of samples.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// What identifies its files: paths, lengths, times and inodes.
    pub fn identity(&self) -> String {
        let all = [&self.vectors, &self.ids, &self.deletions];
        all.map(|k| format!("{:?} {:?}", k.path, k.stamp))
            .join("\n")
    }
}

fn stamp(file: &View) -> Stamp {
    file.stamp().cloned().expect("a file has a stamp")
}

impl Open {
    /// Its files.
    pub fn files(&self) -> Files {
        Files::new([&self.vectors.payload, &self.ids.payload, &self.deletions])
    }
}

/// Opens the files of a segment: vectors as asked, the others for reading, because their bytes are copied anyway and a
/// mapping would keep their pages.
fn open(paths: [&Path; 3], row_bytes: u64, access: Access) -> Result<(Open, [View; 3])> {
    let views = [
        View::open(paths[0], access)?,
        View::open(paths[1], Access::Read)?,
        View::open(paths[2], Access::Read)?,
    ];
    let vectors = format::vectors(views[0].clone(), row_bytes)?;
    let ids = format::ids(views[1].clone())?;
    let deletions = format::deletions(views[2].clone())?;
    let open = Open {
        deleted: Deleted::new(&deletions, ids.count)?,
        deletions: deletions.payload,
        vectors,
        ids,
    };
    Ok((open, views))
}

/// The file with this extension: named after the segment, or the only one there is, which is what Milvus looks for.
fn column_path(dir: &Path, name: &str, ending: &str) -> Result<PathBuf> {
    let expected = dir.join(format!("{name}.{ending}"));
    if expected.exists() {
        return Ok(expected);
    }
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, "list", &e))?;
    let mut others = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(dir, "list", &e))?.path();
        if path.extension().is_some_and(|e| e == ending) {
            others.push(path);
        }
    }
    Ok(match others.len() {
        1 => others.remove(0),
        _ => expected,
    })
}
