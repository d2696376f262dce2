//! One index file, opened: where its rows are, how they are decoded, which ids they get.

use std::path::Path;
use std::sync::Arc;

use super::{IdsFrom, Spec, directory, index_of, lists};
use crate::batch::{Limits, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::format::faiss::{Decoder, EMPTY, Faithful, Rows, parse};
use crate::input::View;
use crate::limits;
use crate::schema::{Columns, Index};
use crate::source::Files;

/// An open index file.
pub struct Opened {
    /// The index file.
    pub file: View,
    /// The file that the rows are in: the same, or that of on-disk lists.
    pub data: View,
    pub rows: Rows,
    pub decoder: Decoder,
    pub columns: Arc<Columns>,
    /// The equivalent index in Milvus, if it has one.
    pub index: Option<Index>,
    /// Whether ids come from the file or from a list of ids, rather than from row numbers.
    pub stored_ids: bool,
    /// Rows that the index counts: its labels are below this.
    pub counted: u64,
    /// The id of row 0 if ids are row numbers.
    pub first_id: i64,
    /// The list that its ids come from, if they are in a separate file.
    pub id_list: Option<View>,
    pub warnings: Vec<String>,
}

impl Opened {
    /// Opens an index file.
    pub fn open(path: &Path, spec: &Spec) -> Result<Opened> {
        if let Some(error) = directory::index_in(path) {
            return Err(error);
        }
        let file = View::open(path, spec.access)?;
        let node = parse(&file)?;
        let rows = Rows::of(&file, &node)?;
        let mut warnings = rows.warnings.clone();
        if rows.rows == 0 {
            warnings.push(EMPTY.to_owned());
        }
        warnings.extend(directory::left_behind(path));
        if let Faithful::Roughly(why) = &rows.faithful {
            if !spec.lossy {
                let what = format!(
                    "the Faiss index {} holds only approximate vectors: {why}",
                    node.names(rows.kind)
                );
                return Err(Error::path(Kind::Unsupported, file.path(), what).hint(
                    "set `lossy: allow` to take what can be recovered: vectors close to those that were added",
                ));
            }
            warnings.push(format!(
                "vectors are close to those that were added, not identical: {why}"
            ));
        }
        let data = lists::find(&file, &rows, spec.lists.as_deref(), spec.access)?;
        let decoder = Decoder::new(&rows)?;
        let index = index_of(&node);
        let columns = Columns::plain("id", "embedding", rows.vector)?
            .measured(Some(rows.metric.clone()), index.clone());
        let stored_ids = spec.ids == IdsFrom::Stored && rows.has_ids();
        Ok(Opened {
            file,
            data,
            decoder,
            columns,
            index,
            stored_ids,
            counted: node.rows.max(rows.rows),
            rows,
            first_id: 0,
            id_list: None,
            warnings,
        })
    }

    /// Takes ids from a list: row n, or the label n that the index stores, gets the n-th.
    pub fn take_ids(&mut self, list: View) {
        self.rows.maps.push(list.clone());
        self.id_list = Some(list);
        self.stored_ids = true;
    }

    /// Rows that are stored; one that several ids share counts once.
    pub fn kept(&self) -> u64 {
        self.rows.stored.lists.rows
    }

    /// Ids of rows from this one on, if ids are row numbers.
    pub fn numbers(&self, row: u64, count: u64) -> Vec<i64> {
        // The source has refused row numbers above the largest id.
        let first = self.first_id.wrapping_add(row as i64);
        (0..count as i64).map(|n| first.wrapping_add(n)).collect()
    }

    /// The files its rows and ids come from.
    pub fn files(&self) -> Files {
        match &self.id_list {
            Some(ids) => Files::new([&self.file, &self.data, ids]),
            None => Files::new([&self.file, &self.data]),
        }
    }

    /// Adds its shards; `before` is the number of rows in the files before it.
    pub fn shards(&self, part: u32, before: u64, limits: Limits, shards: &mut Vec<Shard>) {
        let from = shards.len();
        cut(shards, 0, self.kept(), limits.rows(self.rows.vector));
        let (kept, all) = (self.kept(), self.rows.rows);
        cut(shards, kept, all, limits::DUPLICATES_AT_ONCE);
        let name = self.file.path().file_name().unwrap_or_default();
        for shard in &mut shards[from..] {
            shard.part = part;
            shard.first_row += before;
            shard.name = format!("{} {}", name.display(), shard.name);
        }
    }
}

/// Adds shards for rows `start..end`, each of a multiple of `unit` rows except the last.
pub fn cut(shards: &mut Vec<Shard>, start: u64, end: u64, unit: u64) {
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
            start: Position::Row(first),
            end: Position::Row(past),
        });
        first = past;
    }
}
