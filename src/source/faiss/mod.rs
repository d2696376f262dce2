//! Faiss: how is an index file read?
//! Without Faiss, without copying where the bytes are the vectors, and in memory that does not grow with the
//! file; nothing is written. With the feature `faiss`, and if loss is allowed, libfaiss decodes what we do not.

mod directory;
mod duplicates;
#[cfg(feature = "faiss")]
mod foreign;
mod lists;
mod reader;

pub use directory::index_in;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Files, Reader, Source, SourceKind, Spec as AnySpec, Survey, content};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::format::faiss::{Body, Codec, Decoder, Faithful, Node, Rows, parse};
use crate::input::{Access, View};
use crate::job::{Form, absolute};
use crate::limits;
use crate::schema::{Columns, Index};

/// An index file of Faiss.
pub const KIND: SourceKind = SourceKind {
    name: "faiss",
    summary: "an index file of Faiss: flat, IVF, graphs, id maps, transforms, binary; others lossily",
    settings: &[
        ("path", "the index file"),
        (
            "ids",
            "stored (default): as in the file, row numbers where it has none; row_number: row numbers",
        ),
        (
            "lossy",
            "refuse (default) | allow: take vectors that come back only nearly (quantized)",
        ),
        (
            "lists",
            "where the file of on-disk inverted lists is, if it was moved",
        ),
        ("access", "map (default) | read: for network mounts"),
    ],
    read,
};

/// Which ids rows get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IdsFrom {
    Stored,
    RowNumbers,
}

/// The settings.
#[derive(Clone, Debug)]
struct Spec {
    path: PathBuf,
    ids: IdsFrom,
    lossy: bool,
    lists: Option<PathBuf>,
    access: Access,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let path = form.required("path", "the index file");
    let ids = match form.choice("ids", &["stored", "row_number"]) {
        Some("row_number") => IdsFrom::RowNumbers,
        _ => IdsFrom::Stored,
    };
    let lossy = form.choice("lossy", &["refuse", "allow"]) == Some("allow");
    let lists = form.text("lists").map(PathBuf::from);
    let access = match form.choice("access", &["map", "read"]) {
        Some("read") => Access::Read,
        _ => Access::Map,
    };
    Some(Box::new(Spec {
        path: path?.into(),
        ids,
        lossy,
        lists,
        access,
    }))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        #[cfg(feature = "faiss")]
        if let Some(foreign) = foreign::Foreign::open(self)? {
            return Ok(Box::new(foreign));
        }
        Ok(Box::new(Faiss::open(self)?))
    }
}

/// An open index file.
pub struct Faiss {
    /// The index file.
    file: View,
    /// The file that the rows are in: the same, or that of on-disk lists.
    data: View,
    rows: Rows,
    decoder: Decoder,
    columns: Arc<Columns>,
    /// Whether ids are those of the file.
    stored_ids: bool,
    warnings: Vec<String>,
}

impl Faiss {
    /// The files it was opened from.
    fn files(&self) -> Files {
        Files::new([&self.file, &self.data])
    }

    fn open(spec: &Spec) -> Result<Faiss> {
        if let Some(error) = directory::index_in(&spec.path) {
            return Err(error);
        }
        let file = View::open(&spec.path, spec.access)?;
        let node = parse(&file)?;
        let rows = Rows::of(&file, &node)?;
        let mut warnings = rows.warnings.clone();
        warnings.extend(directory::left_behind(&spec.path));
        if let Faithful::Roughly(why) = &rows.faithful {
            if !spec.lossy {
                let what = format!(
                    "the Faiss index {} holds its vectors only nearly: {why}",
                    node.names(rows.kind)
                );
                return Err(Error::path(Kind::Unsupported, file.path(), what).hint(
                    "set `lossy: allow` to take what can be recovered: vectors near those that were added",
                ));
            }
            warnings.push(format!(
                "vectors are near those that were added, not the same: {why}"
            ));
        }
        let data = lists::find(&file, &rows, spec.lists.as_deref(), spec.access)?;
        let decoder = Decoder::new(&rows)?;
        let columns = Columns::plain("id", "embedding", rows.vector)?
            .measured(Some(rows.metric.clone()), index_of(&node));
        let stored_ids = spec.ids == IdsFrom::Stored && rows.has_ids();
        Ok(Faiss {
            file,
            data,
            rows,
            decoder,
            columns,
            stored_ids,
            warnings,
        })
    }

    /// Rows that are stored, those that stand for others counted once.
    fn kept(&self) -> u64 {
        self.rows.stored.lists.rows
    }

    fn shards(&self, limits: Limits) -> Vec<Shard> {
        let mut shards = Vec::new();
        let rows = limits.rows(self.rows.vector);
        cut(&mut shards, 0, self.kept(), rows);
        cut(
            &mut shards,
            self.kept(),
            self.rows.rows,
            limits::DUPLICATES_AT_ONCE,
        );
        shards
    }
}

/// Adds shards for rows `start..end`: a whole number of `unit` rows each, but for the last.
fn cut(shards: &mut Vec<Shard>, start: u64, end: u64, unit: u64) {
    let units = (end - start).div_ceil(unit);
    let step = units.div_ceil(limits::SHARDS_PER_TARGET).max(1) * unit;
    let mut first = start;
    while first < end {
        let past = end.min(first.saturating_add(step));
        shards.push(Shard {
            number: shards.len() as u32,
            target: 0,
            part: 0,
            name: format!("rows {first}..{past}"),
            rows: past - first,
            first_row: first,
            start: Position(first),
            end: Position(past),
        });
        first = past;
    }
}

impl Source for Faiss {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let target = Target {
            number: 0,
            name: TargetName {
                collection: String::new(),
                partition: String::new(),
            },
            columns: self.columns.clone(),
            keys: if self.stored_ids {
                Keys::Stored
            } else {
                Keys::RowNumbers
            },
            auto_id: false,
            rows: self.rows.rows,
            rows_deleted: 0,
            source: self.file.path().display().to_string(),
        };
        let mut identity = BTreeMap::new();
        identify(&mut identity, "index", &self.file)?;
        if self.data.path() != self.file.path() {
            identify(&mut identity, "lists", &self.data)?;
        }
        Ok(Survey {
            manifest: Manifest {
                targets: vec![target],
                shards: self.shards(limits),
            },
            identity,
            warnings: self.warnings.clone(),
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let mut pieces = BTreeMap::new();
        for view in [&self.file, &self.data] {
            let path = absolute(view.path()).display().to_string();
            pieces.insert(path, content::of(view)?);
        }
        Ok(Some(pieces))
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(reader::Rows::new(self, from, shard.end, limits)))
    }

    fn unchanged(&self) -> Result<()> {
        self.files().unchanged()
    }
}

/// What identifies a file: when any of it differs, the data may.
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

/// The index in Milvus's terms, where it has one like it.
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
