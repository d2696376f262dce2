//! Milvus Lite 3.x: where are the rows of a collection, and which of them are live? In files of partitions, and in the
//! logs of unflushed rows; if a key was written more than once, anywhere in the collection, the last row is live.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, StringArray};

use super::catalog::{DEFAULT_PARTITION, Entry};
use super::fields::Described;
use super::latest::{Key, Latest};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View};
use crate::parquet::{self, File, Stream};
use crate::schema::{Column, ColumnType, Columns, Role, Scalar};

/// The column that records when a row was written.
const SEQ: &str = "_seq";
/// The column that records which partition a logged row belongs to.
const PARTITION: &str = "_partition";

/// A collection with its files open.
pub struct Collection {
    pub described: Described,
    /// Its columns as stored: a row without dynamic values has a null there.
    pub stored: Arc<Columns>,
    /// Its partitions, the default one first; if a partition key spreads rows, that one represents all.
    pub partitions: Vec<Partition>,
    pub pieces: Vec<Piece>,
    /// Live rows that are only in the log.
    pub unflushed: u64,
    pub notes: Vec<String>,
    views: Vec<View>,
}

/// A partition.
pub struct Partition {
    pub name: String,
    pub rows: u64,
    pub rows_deleted: u64,
}

/// Rows of one file that belong to one partition.
pub struct Piece {
    pub content: Content,
    /// Number of the partition.
    pub partition: usize,
    /// Live rows, by their numbers in the file.
    pub living: Vec<Range<u64>>,
}

/// The file that a piece is read from.
#[derive(Clone)]
pub enum Content {
    File(File),
    Log(Arc<Stream>),
}

impl Content {
    /// The bytes.
    pub fn view(&self) -> &View {
        match self {
            Content::File(file) => &file.view,
            Content::Log(stream) => &stream.view,
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Content::File(file) => file.rows,
            Content::Log(stream) => stream.rows,
        }
    }
}

impl Piece {
    /// The number of live rows.
    pub fn rows(&self) -> u64 {
        self.living.iter().map(|rows| rows.end - rows.start).sum()
    }
}

/// A file, and the partitions of its rows: from each of these rows on, the rows belong to that partition.
struct Opened {
    content: Content,
    owners: Vec<(u64, usize)>,
}

/// What is collected while files are scanned.
struct Look {
    entry_partitions: BTreeMap<String, usize>,
    partitions: Vec<Partition>,
    is_bucketed: bool,
    latest: Latest,
}

impl Look {
    fn partition(&mut self, name: &str) -> usize {
        if self.is_bucketed {
            return 0;
        }
        if let Some(number) = self.entry_partitions.get(name) {
            return *number;
        }
        let number = self.partitions.len();
        self.entry_partitions.insert(name.to_owned(), number);
        self.partitions.push(Partition {
            name: if name == DEFAULT_PARTITION { "" } else { name }.to_owned(),
            rows: 0,
            rows_deleted: 0,
        });
        number
    }
}

impl Collection {
    /// Opens the files of a collection, and determines which rows are live.
    pub fn open(entry: Entry, access: Access) -> Result<Collection> {
        let columns = &entry.described.columns;
        let stored = columns.all().iter().cloned().map(|column| Column {
            nullable: column.nullable || column.role == Role::Dynamic,
            ..column
        });
        let stored = Columns::new(stored.collect())?;
        let seq = || Column::new(SEQ, ColumnType::Scalar(Scalar::Int64));
        let partition = || Column::new(PARTITION, ColumnType::VarChar { max_bytes: None });
        let key = || Column {
            role: Role::Key,
            ..Column::new(&columns.key().name, columns.key().kind)
        };
        let known = Columns::new(vec![key(), seq()])?;
        let logged = Columns::new(vec![key(), seq(), partition()])?;

        let mut look = Look {
            entry_partitions: BTreeMap::new(),
            partitions: Vec::new(),
            is_bucketed: entry.is_bucketed,
            latest: Latest::default(),
        };
        look.entry_partitions
            .insert(DEFAULT_PARTITION.to_owned(), 0);
        look.partitions.push(Partition {
            name: String::new(),
            rows: 0,
            rows_deleted: 0,
        });
        let (mut opened, mut views, mut notes) = (Vec::new(), entry.views, entry.notes);
        for (name, listed) in &entry.files {
            let partition = look.partition(name);
            for path in &listed.data {
                let file = open(path, access, &[&stored, &known])?;
                let piece = piece_number(opened.len());
                each_key(&file, &known, |key, at, row| {
                    look.latest.row(key, at, piece, row)
                })?;
                opened.push(Opened {
                    content: Content::File(file),
                    owners: vec![(0, partition)],
                });
            }
            for path in &listed.deletions {
                let file = open(path, access, &[&known])?;
                each_key(&file, &known, |key, at, _| look.latest.deletion(key, at))?;
                views.push(file.view);
            }
        }
        let files = opened.len();
        for path in &entry.row_logs {
            let stream = log(path, access, &mut notes)?;
            stream.fit(&stored)?;
            let owners = log_rows(&stream, &logged, piece_number(opened.len()), &mut look)?;
            opened.push(Opened {
                content: Content::Log(Arc::new(stream)),
                owners,
            });
        }
        for path in &entry.deletion_logs {
            let stream = log(path, access, &mut notes)?;
            for batch in 0..stream.batches() {
                let values = stream.values(batch, &known)?;
                let first = stream.first_row(batch);
                of_keys(&values, first, |key, at, _| look.latest.deletion(key, at));
            }
            views.push(stream.view);
        }
        let (mut pieces, mut unflushed) = (Vec::new(), 0);
        let living = look.latest.living(opened.len());
        for (number, (file, living)) in opened.into_iter().zip(living).enumerate() {
            for (partition, mine, all) in split(&file, living) {
                let piece = Piece {
                    content: file.content.clone(),
                    partition,
                    living: mine,
                };
                let rows = piece.rows();
                let place = &mut look.partitions[partition];
                place.rows += rows;
                place.rows_deleted += all - rows;
                if number >= files {
                    unflushed += rows;
                }
                pieces.push(piece);
            }
            views.push(file.content.view().clone());
        }
        Ok(Collection {
            described: entry.described,
            stored,
            partitions: look.partitions,
            pieces,
            unflushed,
            notes,
            views,
        })
    }

    /// All files that were opened.
    pub fn views(&self) -> &[View] {
        &self.views
    }
}

fn piece_number(count: usize) -> u32 {
    u32::try_from(count).expect("a manifest has fewer files")
}

/// For each partition that has rows in a file: its live rows, and the number of all its rows.
fn split(file: &Opened, living: Vec<Range<u64>>) -> Vec<(usize, Vec<Range<u64>>, u64)> {
    if let [(_, partition)] = &file.owners[..] {
        return vec![(*partition, living, file.content.rows())];
    }
    let mut found: BTreeMap<usize, (Vec<Range<u64>>, u64)> = BTreeMap::new();
    let ends = file.owners.iter().skip(1).map(|(start, _)| *start);
    let ends = ends.chain([file.content.rows()]);
    let mut living = living.into_iter().peekable();
    for ((start, partition), end) in file.owners.iter().zip(ends) {
        let (mine, all) = found.entry(*partition).or_default();
        *all += end - start;
        while let Some(next) = living.peek_mut() {
            if next.start >= end {
                break;
            }
            mine.push(next.start..next.end.min(end));
            if next.end > end {
                next.start = end;
                break;
            }
            living.next();
        }
    }
    let all = found.into_iter();
    all.map(|(partition, (mine, all))| (partition, mine, all))
        .collect()
}

/// Opens a Parquet file that has these columns.
fn open(path: &Path, access: Access, columns: &[&Columns]) -> Result<File> {
    let file = File::open(path, access)?;
    // Each row has its own number, which takes at least a byte.
    if file.rows > file.view.len() || u32::try_from(file.rows).is_err() {
        let what = format!(
            "declares {} rows in {} bytes, which is too many",
            file.rows,
            file.view.len()
        );
        return Err(Error::path(Kind::Corrupt, path, what));
    }
    for columns in columns {
        parquet::fit(std::slice::from_ref(&file), columns, 0)?;
    }
    Ok(file)
}

/// Opens a log.
fn log(path: &Path, access: Access, notes: &mut Vec<String>) -> Result<Stream> {
    let stream = Stream::open(View::open(path, access)?)?;
    if u32::try_from(stream.rows).is_err() {
        let what = format!("has {} rows, which is too many", stream.rows);
        return Err(Error::path(Kind::Corrupt, path, what));
    }
    if let Some(at) = stream.cut {
        notes.push(format!(
            "{} ends in the middle of a record, at byte {at}: a write that was never acknowledged is left out",
            path.display()
        ));
    }
    Ok(stream)
}

/// Records the rows of a log, and returns each row at which the partition changes.
fn log_rows(
    stream: &Stream,
    columns: &Columns,
    piece: u32,
    look: &mut Look,
) -> Result<Vec<(u64, usize)>> {
    stream.fit(columns)?;
    let mut owners: Vec<(u64, usize)> = Vec::new();
    for batch in 0..stream.batches() {
        let values = stream.values(batch, columns)?;
        let first = stream.first_row(batch);
        of_keys(&values, first, |key, at, row| {
            look.latest.row(key, at, piece, row)
        });
        for (row, name) in (first..).zip(values[2].as_string::<i32>()) {
            let partition = look.partition(name.unwrap_or_default());
            if owners.last().is_none_or(|(_, last)| *last != partition) {
                owners.push((row, partition));
            }
        }
    }
    if owners.is_empty() {
        owners.push((0, 0));
    }
    Ok(owners)
}

/// The keys of a file's rows, when they were written, and their numbers.
fn each_key(file: &File, columns: &Columns, mut each: impl FnMut(Key<'_>, u64, u32)) -> Result<()> {
    let groups = file.metadata.num_row_groups();
    let mut rows = parquet::Rows::new(file, columns, 0, 0..groups, 0)?;
    while let Some(block) = rows.next_block()? {
        of_keys(&block.values, block.row, &mut each);
    }
    Ok(())
}

/// The same for rows that were read, the first of which has this number.
fn of_keys(values: &[ArrayRef], first: u64, mut each: impl FnMut(Key<'_>, u64, u32)) {
    let at = values[1].as_primitive::<Int64Type>().values();
    let numbers = first as u32..;
    match values[0].as_any().downcast_ref::<StringArray>() {
        Some(keys) => {
            for ((key, at), row) in keys.iter().zip(at).zip(numbers) {
                each(
                    Key::Text(key.unwrap_or_default().as_bytes()),
                    *at as u64,
                    row,
                );
            }
        }
        None => {
            let keys = values[0].as_primitive::<Int64Type>().values();
            for ((key, at), row) in keys.iter().zip(at).zip(numbers) {
                each(Key::Int(*key), *at as u64, row);
            }
        }
    }
}
