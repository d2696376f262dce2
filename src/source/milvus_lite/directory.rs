//! Milvus Lite 3.x as a source: a shard for each file that has live rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};

use super::Wanted;
use super::catalog::{self, Entry};
use super::lock::{self, Lock};
use super::pieces::{Collection, Content, Piece};
use crate::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::parquet;
use crate::schema::{Columns, Role};
use crate::source::choose::Chosen;
use crate::source::cut::Cutter;
use crate::source::files::identities;
use crate::source::{Files, Reader, Source, Survey, content};

/// An opened directory.
pub struct Directory {
    root: PathBuf,
    collections: Vec<Named>,
    /// What is migrated: collections and partitions by their numbers here.
    chosen: Vec<Chosen>,
    warnings: Vec<String>,
    /// Held during reading: no Milvus Lite can start here meanwhile.
    _lock: Option<fs::File>,
}

struct Named {
    name: String,
    rows: Collection,
}

impl Directory {
    /// Opens the selected collections of a directory.
    pub fn open(wanted: &Wanted) -> Result<Directory> {
        let root = &wanted.path;
        let lock = match lock::share(root) {
            Lock::Shared(lock) => lock,
            Lock::Held(holder) => {
                let what = format!("is in use by a running Milvus Lite{}", lock::named(holder));
                return Err(Error::path(Kind::Job, root, what)
                    .hint("stop it first: what it has not flushed is read from its log"));
            }
        };
        let db = wanted.db.as_deref().unwrap_or(catalog::DEFAULT);
        let there = catalog::collections(root, db)?;
        let names: Vec<&str> = there.iter().map(|(name, _)| &**name).collect();
        let (mut collections, mut warnings) = (Vec::new(), Vec::new());
        // Partitions are known once a collection has been opened.
        let mut tags: Vec<Vec<String>> = vec![Vec::new(); there.len()];
        let mut opened = vec![0; there.len()];
        for number in wanted.choice.collections(&names, root)? {
            let (name, dir) = &there[number];
            let entry = Entry::read(root, db, name, dir)?;
            let rows = Collection::open(entry, wanted.access)?;
            warnings.extend(rows.notes.iter().cloned());
            if rows.unflushed > 0 {
                warnings.push(format!(
                    "{name}: {} rows were not flushed: they are read from the log",
                    rows.unflushed
                ));
            }
            tags[number] = rows.partitions.iter().map(|p| p.name.clone()).collect();
            opened[number] = collections.len();
            collections.push(Named {
                name: name.clone(),
                rows,
            });
        }
        let tags = tags
            .iter()
            .map(|tags| tags.iter().map(|tag| &**tag).collect());
        let all: Vec<(&str, Vec<&str>)> = names.into_iter().zip(tags).collect();
        let chosen = wanted.choice.choose(&all, root)?.into_iter();
        let chosen = chosen.map(|chosen| Chosen {
            collection: opened[chosen.collection],
            ..chosen
        });
        Ok(Directory {
            root: root.clone(),
            collections,
            chosen: chosen.collect(),
            warnings,
            _lock: lock,
        })
    }

    /// All pieces, in the order in which shards number them.
    fn pieces(&self) -> impl Iterator<Item = (&Named, &Piece)> {
        let all = self.collections.iter();
        all.flat_map(|named| named.rows.pieces.iter().map(move |piece| (named, piece)))
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        self.collections.iter().flat_map(|named| named.rows.views())
    }
}

impl Source for Directory {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let (mut targets, mut shards) = (Vec::new(), Vec::new());
        let pieces = self.collections.iter().map(|named| named.rows.pieces.len());
        let before: Vec<usize> = pieces
            .scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count)))
            .collect();
        for (number, chosen) in self.chosen.iter().enumerate() {
            let Named { name, rows } = &self.collections[chosen.collection];
            let partition = &rows.partitions[chosen.partition];
            let mut first_row = 0;
            let mine = rows.pieces.iter().enumerate();
            for (part, piece) in mine.filter(|(_, p)| p.partition == chosen.partition) {
                let Some((first, last)) = piece.living.first().zip(piece.living.last()) else {
                    continue;
                };
                let file = piece.content.view().path().file_name().unwrap_or_default();
                shards.push(Shard {
                    number: shards.len() as u32,
                    target: number as u32,
                    part: (before[chosen.collection] + part) as u32,
                    name: format!("{name} {}", file.display()),
                    rows: piece.rows(),
                    first_row,
                    start: Position::Row(first.start),
                    end: Position::Row(last.end),
                });
                first_row += piece.rows();
            }
            targets.push(Target {
                number: number as u32,
                name: TargetName {
                    collection: name.clone(),
                    partition: partition.name.clone(),
                },
                columns: rows.described.columns.clone(),
                traits: rows.described.traits.clone(),
                keys: Keys::Unique,
                auto_id: rows.described.auto_id,
                rows: first_row,
                rows_deleted: partition.rows_deleted,
                source: self.root.display().to_string(),
            });
        }
        Ok(Survey {
            identity: identities(self.views())?,
            warnings: self.warnings.clone(),
            manifest: Manifest { targets, shards },
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        content::of_all(self.views()).map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some((named, piece)) = self.pieces().nth(shard.part as usize) else {
            let what = format!("there is no file for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let (from, stored) = (from.row(), &named.rows.stored);
        let blocks = match &piece.content {
            Content::File(file) => {
                let groups = file.metadata.num_row_groups();
                Blocks::File(Box::new(parquet::Rows::new(
                    file,
                    stored,
                    0,
                    0..groups,
                    from,
                )?))
            }
            Content::Log(stream) => Blocks::Log(stream.batch_of(from)),
        };
        Ok(Box::new(PieceReader {
            piece,
            stored,
            columns: &named.rows.described.columns,
            blocks,
            from,
            end: shard.end.row(),
            cutter: Cutter::new(limits, shard.end.row()),
        }))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        let (_, piece) = self.pieces().nth(part as usize)?;
        Some(piece.content.view().path())
    }

    fn unchanged(&self) -> Result<()> {
        self.views().try_for_each(View::unchanged)
    }
}

enum Blocks<'s> {
    File(Box<parquet::Rows<'s>>),
    /// The number of the next batch.
    Log(usize),
}

/// Reads the live rows of a piece.
struct PieceReader<'s> {
    piece: &'s Piece,
    stored: &'s Arc<Columns>,
    columns: &'s Arc<Columns>,
    blocks: Blocks<'s>,
    from: u64,
    end: u64,
    cutter: Cutter,
}

impl Reader for PieceReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let PieceReader {
            piece,
            stored,
            columns,
            blocks,
            from,
            end,
            cutter,
        } = self;
        let path = piece.content.view().path();
        cutter.next(|| {
            let block = match (&mut *blocks, &piece.content) {
                (Blocks::File(rows), _) => rows.next_block()?.map(|b| (b.row, b.values)),
                (Blocks::Log(batch), Content::Log(stream)) if *batch < stream.batches() => {
                    let values = stream.values(*batch, stored)?;
                    let first = stream.first_row(*batch);
                    *batch += 1;
                    Some((first, values))
                }
                _ => None,
            };
            let Some((first, values)) = block.filter(|(first, _)| first < end) else {
                return Ok(None);
            };
            let values = columns.all().iter().zip(values);
            let values = values.map(|(column, values)| match column.role {
                Role::Dynamic => filled(values),
                _ => values,
            });
            let part = Part::new(columns, values.collect(), path, first)?;
            let (least, past) = (first.max(*from), (first + part.len() as u64).min(*end));
            let at = piece.living.partition_point(|rows| rows.end <= least);
            let within = piece.living[at..]
                .iter()
                .take_while(|rows| rows.start < past);
            let living = within.map(|rows| {
                let (start, end) = (rows.start.max(least), rows.end.min(past));
                part.slice((start - first) as usize, (end - start) as usize)
            });
            Ok(Some(living.filter(|part| !part.is_empty()).collect()))
        })
    }

    fn files(&self) -> Files {
        Files::new([self.piece.content.view()])
    }
}

/// The dynamic field, with an empty object for rows that have nothing in it.
fn filled(values: ArrayRef) -> ArrayRef {
    if values.null_count() == 0 {
        return values;
    }
    let texts = values.as_string::<i32>().iter();
    Arc::new(StringArray::from_iter_values(
        texts.map(|text| text.unwrap_or("{}")),
    ))
}
