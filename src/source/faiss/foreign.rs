//! Decodes with libfaiss what our own reader does not decode: additive quantizers, RaBitQ, two-level codes.
//! Only with the feature `faiss`, only under `lossy: allow`. libfaiss holds the whole index in memory.
//!
//! The crate gives rows by number only, and for inverted lists those are the ids in them. So from lists, only row
//! numbers can be read: an index whose lists hold other ids is refused as soon as a row turns out to be missing.
//! (Faiss's direct map and the ids in its lists have no safe interface.) We read the ids of a map around the index
//! ourselves.
//!
//! Our own parser has checked the whole file before libfaiss sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::faiss::Index as _;
use ::faiss::index::io::read_index;
use ::faiss::index::{Idx, IndexImpl};
use bytes::Bytes;

use super::opened::cut;
use super::{IdsFrom, Spec, duplicates, identify, index_of};
use crate::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::format::faiss::{Body, Node, Recovery, Transform, metric, parse, vector};
use crate::input::View;
use crate::schema::{Columns, Index, Metric, VectorType};
use crate::source::{Files, Reader, Source, Survey, content};

/// Marks a component that libfaiss did not write: a NaN that no arithmetic produces.
const UNTOUCHED: u32 = 0x7fed_cba9;

/// An index that libfaiss holds.
pub struct Foreign {
    file: View,
    index: IndexImpl,
    /// The ids that a map around the index gives its rows.
    ids: Option<View>,
    rows: u64,
    vector: VectorType,
    columns: std::sync::Arc<Columns>,
    warnings: Vec<String>,
}

impl Foreign {
    /// Opens the index if libfaiss is needed and allowed: the job accepts loss, and our own reader cannot decode it.
    ///
    /// Takes one index, which has ids or is numbered from 0.
    pub fn open(spec: &Spec, paths: &[PathBuf]) -> Result<Option<Foreign>> {
        let numbered = spec.first_id.is_none() && spec.ids_file.is_none();
        let [path] = paths else { return Ok(None) };
        if !spec.lossy || !numbered {
            return Ok(None);
        }
        let file = View::open(path, spec.access)?;
        let node = parse(&file)?;
        let Recovery::Nothing {
            why, foreign: true, ..
        } = Recovery::of(&file, &node)?
        else {
            return Ok(None);
        };
        if let Some(lists) = &spec.lists {
            let what = format!(
                "libfaiss decodes this index, and looks for its lists only where the index says, not at {}",
                lists.display()
            );
            return Err(Error::path(Kind::Job, file.path(), what).hint("leave out `lists`"));
        }
        let (index, map) = load(&file, &node)?;
        let mut warnings = vec![
            format!(
                "vectors are close to those that were added, not identical: the index {why}; libfaiss decodes it"
            ),
            format!(
                "libfaiss holds the whole index in memory: {} bytes",
                file.len()
            ),
        ];
        if let Body::Transformed { chain, .. } = &node.body {
            let names: Vec<_> = chain.iter().map(Transform::name).collect();
            warnings.push(format!(
                "libfaiss undoes transforms as far as they can be: {}",
                names.join(", ")
            ));
        }
        let foreign = Foreign {
            index,
            ids: map.filter(|_| spec.ids == IdsFrom::Stored),
            rows: node.rows,
            vector: vector(&node),
            columns: Columns::plain("id", "embedding", vector(&node))?
                .measured(Some(metric(&node)), index_of(&node)),
            warnings,
            file,
        };
        // Most problems show in the first row or the last.
        for row in [0, foreign.rows.saturating_sub(1)] {
            foreign.vectors(row, 1)?;
        }
        Ok(Some(foreign))
    }

    /// Vectors of rows from `first` on.
    fn vectors(&self, first: u64, count: u64) -> Result<Bytes> {
        let width = self.vector.dimension as usize;
        let mut room = vec![f32::from_bits(UNTOUCHED); count as usize * width];
        self.index
            .reconstruct_n(Idx::new(first), count as usize, &mut room)
            .map_err(|error| unable(&self.file, &format!("cannot decode it: {error}")))?;
        let mut rows = (first..).zip(room.chunks_exact(width));
        let missing = rows.find(|(_, row)| row.iter().all(|x| x.to_bits() == UNTOUCHED));
        if let Some((row, _)) = missing {
            let what = format!(
                "does not find row {row}: its inverted lists hold ids that are not 0 to {}, \
                 and by others libfaiss's C interface gives no rows",
                self.rows - 1
            );
            return Err(unable(&self.file, &what));
        }
        Ok(Bytes::from(bytemuck::cast_slice(&room).to_vec()))
    }

    /// Ids of rows from `first` on.
    fn ids(&self, first: u64, count: u64) -> Result<Vec<i64>> {
        match &self.ids {
            Some(map) => duplicates::ids(map, first * 8, count),
            None => Ok((first as i64..).take(count as usize).collect()),
        }
    }
}

/// The error if libfaiss cannot decode an index.
fn unable(file: &View, what: &str) -> Error {
    let what = format!("our reader does not decode this index, and libfaiss {what}");
    Error::path(Kind::Unsupported, file.path(), what)
        .hint("with faiss in Python, write the vectors into an IndexFlat; for exact vectors, go back to the data that the index was built from")
}

/// Has libfaiss read the index. Also returns the ids of a map around it.
fn load(file: &View, node: &Node) -> Result<(IndexImpl, Option<View>)> {
    let path = file.path().to_str();
    let path = path.ok_or_else(|| unable(file, "takes only paths in UTF-8"))?;
    let failed =
        |error: ::faiss::error::Error| unable(file, &format!("1.12 does not read it: {error}"));
    let mut index = read_index(path).map_err(failed)?;
    file.unchanged()?;
    let mut map = None;
    if let Body::IdMap { ids, .. } = &node.body {
        index = index.into_id_map().map_err(failed)?.into_inner();
        if ids.len() / 8 != node.rows {
            return Err(unable(file, "cannot tell which ids of its map are whose"));
        }
        map = Some(ids.clone());
    }
    if u64::from(index.d()) != u64::from(node.dimension) || index.ntotal() != node.rows {
        let what = format!(
            "sees {} rows of {} dimensions where we see {} of {}",
            index.ntotal(),
            index.d(),
            node.rows,
            node.dimension
        );
        return Err(unable(file, &what));
    }
    Ok((index, map))
}

impl Source for Foreign {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let target = Target {
            number: 0,
            name: TargetName {
                collection: String::new(),
                partition: String::new(),
            },
            columns: self.columns.clone(),
            traits: Default::default(),
            keys: match self.ids {
                Some(_) => Keys::Stored,
                None => Keys::RowNumbers,
            },
            auto_id: false,
            rows: self.rows,
            rows_deleted: 0,
            source: self.file.path().display().to_string(),
        };
        let mut identity = BTreeMap::new();
        identify(&mut identity, "index", &self.file)?;
        let mut shards = Vec::new();
        cut(&mut shards, 0, self.rows, limits.rows(self.vector));
        Ok(Survey {
            manifest: Manifest {
                targets: vec![target],
                shards,
            },
            identity,
            warnings: self.warnings.clone(),
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        content::of_all(std::iter::once(&self.file)).map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(Rows {
            foreign: self,
            next: from.row(),
            end: shard.end.row(),
            batch_rows: limits.rows(self.vector),
        }))
    }

    fn unchanged(&self) -> Result<()> {
        self.file.unchanged()
    }
}

/// Reads the rows of a shard, forward. For inverted lists libfaiss scans all ids for each batch.
struct Rows<'s> {
    foreign: &'s Foreign,
    next: u64,
    end: u64,
    batch_rows: u64,
}

impl Reader for Rows<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let (foreign, first) = (self.foreign, self.next);
        let count = self.batch_rows.min(self.end - first);
        let ids = foreign.ids(first, count)?;
        let vectors = foreign.vectors(first, count)?;
        let part = Part::of_vectors(&foreign.columns, ids, vectors, foreign.file.path(), first)?;
        self.next += count;
        Ok(Some(Cut {
            parts: vec![part],
            next: Position::Row(self.next),
        }))
    }

    fn files(&self) -> Files {
        Files::new([&self.foreign.file])
    }
}
