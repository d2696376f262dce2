//! What do the metadata tables of Milvus 1.x say is alive?
//! Knows SQLite and MySQL only as a `Database` of cells.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Place, Result};
use crate::limits;
use crate::schema::{Element, Index, Metric, VectorType};

use super::index;

/// A value of a metadata table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// No value.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
}

/// A store of metadata; all reads see the same moment.
pub trait Database {
    /// The columns of a table; `None` when there is no such table.
    fn columns(&mut self, table: &'static str) -> Result<Option<Vec<String>>>;

    /// Some columns of all rows of a table.
    fn rows(&mut self, table: &'static str, columns: &[&'static str]) -> Result<Vec<Vec<Cell>>>;

    /// Where it is, for errors; no credentials.
    fn place(&self) -> Place;
}

/// All live collections, in the order of their creation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The collections.
    pub collections: Vec<Collection>,
    /// Collections and partitions that were dropped and are still listed.
    pub dropped: u64,
}

impl Meta {
    /// Collections and the tags of their partitions.
    pub fn names(&self) -> Vec<(&str, Vec<&str>)> {
        let all = self.collections.iter().map(|collection| {
            let tags = collection.partitions.iter().map(|p| p.tag.as_str());
            (collection.name.as_str(), tags.collect())
        });
        all.collect()
    }
}

/// A collection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Elements, or bits, of a vector as stored in the metadata.
    dimension: i64,
    metric_type: i64,
    /// `None`: unknown.
    engine_type: Option<i64>,
    index_params: String,
    /// Whether its ids were made by the server.
    pub auto_id: bool,
    /// Whether it has attributes besides its vectors.
    pub hybrid: bool,
    /// Its partitions: the default one, with the collection's own rows, then the others in the order of their creation.
    pub partitions: Vec<Partition>,
}

/// A partition of a collection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its tag; empty: the default partition.
    pub tag: String,
    /// The name of its directory.
    pub table_id: String,
    /// Log records up to this one are in its segments.
    pub flush_lsn: u64,
    /// Its segments, in the order they were made.
    pub segments: Vec<Listed>,
}

/// A segment as the metadata lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Order of creation.
    pub id: i64,
    /// The name of its directory.
    pub segment_id: String,
    /// Live rows according to the metadata, which is unreliable.
    pub row_count: i64,
}

/// TableFiles.file_type of complete segments: without an index (1), waiting for one (2), or with one (7). 3 is the
/// index of a 7; the others are unfinished or dead.
const READABLE: [i64; 3] = [1, 2, 7];

const FLAG_NO_USER_ID: i64 = 1;

/// Reads the metadata.
pub fn read(db: &mut dyn Database) -> Result<Meta> {
    let tables = tables(db)?;
    let files = files(db)?;
    let hybrid = hybrid(db)?;
    let dropped = tables.iter().filter(|t| t.state != 0).count() as u64;
    let mut segments: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let fresh = seen.insert((file.0.clone(), file.1.segment_id.clone()));
        if fresh {
            segments.entry(file.0).or_default().push(file.1);
        }
    }
    let mut take = |table: &Table| Partition {
        tag: table.partition_tag.clone(),
        table_id: table.table_id.clone(),
        flush_lsn: table.flush_lsn.max(0) as u64,
        segments: segments.remove(&table.table_id).unwrap_or_default(),
    };
    let mut collections: Vec<Collection> = Vec::new();
    let alive = |t: &&Table| t.state == 0;
    for table in tables
        .iter()
        .filter(alive)
        .filter(|t| t.owner_table.is_empty())
    {
        collections.push(Collection {
            name: table.table_id.clone(),
            dimension: table.dimension,
            metric_type: table.metric_type,
            engine_type: Some(table.engine_type),
            index_params: table.index_params.clone(),
            auto_id: table.flag & FLAG_NO_USER_ID != 0,
            hybrid: hybrid.contains(&table.table_id),
            partitions: vec![Partition {
                tag: String::new(),
                ..take(table)
            }],
        });
    }
    // A dropped partition may be listed next to a live one of the same tag: only the state tells them apart.
    for table in tables
        .iter()
        .filter(alive)
        .filter(|t| !t.owner_table.is_empty())
    {
        let owner = collections.iter_mut().find(|c| c.name == table.owner_table);
        let Some(owner) = owner else { continue };
        let wrong = |what: String| {
            let what = format!("Tables row {}: {what}", table.id);
            Err(Error::new(Kind::Corrupt, what).at(db.place()))
        };
        if owner
            .partitions
            .iter()
            .any(|p| p.tag == table.partition_tag)
        {
            return wrong(format!(
                "{} has two live partitions with the tag `{}`",
                owner.name, table.partition_tag
            ));
        }
        if table.dimension != owner.dimension {
            return wrong(format!(
                "partition {}/{} has dimension {}, its collection {}",
                owner.name, table.partition_tag, table.dimension, owner.dimension
            ));
        }
        owner.partitions.push(take(table));
    }
    Ok(Meta {
        collections,
        dropped,
    })
}

/// The row count of a segment without metadata.
pub const UNCOUNTED: i64 = i64::MIN;

impl Listed {
    /// A segment that was found without metadata.
    pub fn unlisted(segment_id: String) -> Listed {
        Listed {
            id: 0,
            segment_id,
            row_count: UNCOUNTED,
        }
    }
}

impl Collection {
    /// A collection without metadata, of one partition: its tag and the name of its directory.
    pub fn alone(
        name: String,
        dimension: i64,
        metric_type: i64,
        (tag, table_id): (String, String),
        segments: Vec<Listed>,
    ) -> Collection {
        Collection {
            name,
            dimension,
            metric_type,
            engine_type: None,
            index_params: String::new(),
            auto_id: false,
            hybrid: false,
            partitions: vec![Partition {
                tag,
                table_id,
                flush_lsn: 0,
                segments,
            }],
        }
    }

    /// How it measures distances.
    pub fn metric(&self) -> Result<Metric> {
        Ok(match self.metric_type {
            1 => Metric::L2,
            2 => Metric::Ip,
            3 => Metric::Hamming,
            4 => Metric::Jaccard,
            5 => Metric::Tanimoto,
            6 => Metric::Substructure,
            7 => Metric::Superstructure,
            other => {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!(
                        "collection {} has metric_type {other}, Milvus 1.x has 1 to 7",
                        self.name
                    ),
                ));
            }
        })
    }

    /// The type of its vectors. The metric decides: DropIndex leaves a binary collection with engine_type 1, the
    /// float one (seen in b128_substructure of the golden directories).
    pub fn vector(&self) -> Result<VectorType> {
        let element = match self.metric()?.is_binary() {
            true => Element::Bit,
            false => Element::Float32,
        };
        let wrong = |what: &str| {
            Err(Error::new(
                Kind::Corrupt,
                format!(
                    "collection {} has dimension {}: {what}",
                    self.name, self.dimension
                ),
            ))
        };
        let max = limits::MILVUS_DIMENSIONS_MAX;
        let dimension = u32::try_from(self.dimension).ok();
        let Some(dimension) = dimension.filter(|d| (1..=max).contains(d)) else {
            return wrong(&format!("Milvus has 1 to {max}"));
        };
        if element == Element::Bit && !dimension.is_multiple_of(8) {
            return wrong("the bits of a binary vector are a multiple of 8");
        }
        Ok(VectorType { element, dimension })
    }

    /// The equivalent index of Milvus 2.x, and how it differs.
    pub fn index(&self) -> (Option<Index>, Option<String>) {
        let metric = self.metric().ok();
        let Some(engine_type) = self.engine_type else {
            return (None, None);
        };
        let (index, lost) = index::to_v2(engine_type, &self.index_params, metric.as_ref());
        (index, lost.map(|lost| format!("{}: {lost}", self.name)))
    }

    /// What Milvus 1.x calls its index.
    pub fn index_name(&self) -> &'static str {
        index::name(self.engine_type.unwrap_or(0))
    }
}

struct Table {
    id: i64,
    table_id: String,
    state: i64,
    dimension: i64,
    flag: i64,
    engine_type: i64,
    index_params: String,
    metric_type: i64,
    owner_table: String,
    partition_tag: String,
    flush_lsn: i64,
}

fn tables(db: &mut dyn Database) -> Result<Vec<Table>> {
    let columns = [
        "id",
        "table_id",
        "state",
        "dimension",
        "flag",
        "engine_type",
        "index_params",
        "metric_type",
        "owner_table",
        "partition_tag",
        "flush_lsn",
    ];
    let mut tables = Vec::new();
    for mut row in rows(db, "Tables", &columns)? {
        tables.push(Table {
            id: row.int("id")?,
            table_id: row.name("table_id")?,
            state: row.int("state")?,
            dimension: row.int("dimension")?,
            flag: row.int("flag")?,
            engine_type: row.int("engine_type")?,
            index_params: row.text("index_params")?,
            metric_type: row.int("metric_type")?,
            owner_table: row.text("owner_table")?,
            partition_tag: row.text("partition_tag")?,
            flush_lsn: row.int("flush_lsn")?,
        });
    }
    tables.sort_by_key(|t| t.id);
    Ok(tables)
}

/// Readable segments with the table they belong to, in order of creation.
fn files(db: &mut dyn Database) -> Result<Vec<(String, Listed)>> {
    let columns = ["id", "table_id", "segment_id", "file_type", "row_count"];
    let mut files = Vec::new();
    for mut row in rows(db, "TableFiles", &columns)? {
        if !READABLE.contains(&row.int("file_type")?) {
            continue;
        }
        let id = row.int("id")?;
        let listed = Listed {
            id,
            segment_id: row.name("segment_id")?,
            row_count: row.int("row_count")?,
        };
        files.push((row.name("table_id")?, listed));
    }
    files.sort_by_key(|(_, f)| f.id);
    Ok(files)
}

/// Collections that have attributes: those named in Fields.
fn hybrid(db: &mut dyn Database) -> Result<BTreeSet<String>> {
    if db.columns("Fields")?.is_none() {
        return Ok(BTreeSet::new());
    }
    let rows = rows(db, "Fields", &["collection_id"])?;
    rows.into_iter()
        .map(|mut row| row.text("collection_id"))
        .collect()
}

fn rows(db: &mut dyn Database, table: &'static str, columns: &[&'static str]) -> Result<Vec<Row>> {
    let Some(there) = db.columns(table)? else {
        return Err(Error::new(
            Kind::Corrupt,
            format!("has no table {table}: this is not the metadata of a Milvus 1.x"),
        )
        .at(db.place()));
    };
    if let Some(missing) = columns.iter().find(|c| !there.iter().any(|t| t == *c)) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("table {table} has no column {missing}: written by a Milvus older than 0.7"),
        )
        .at(db.place())
        .hint("its segments are laid out differently; upgrade it with Milvus 0.10 first"));
    }
    let place = db.place();
    let rows = db.rows(table, columns)?;
    let rows = rows.into_iter().enumerate().map(|(number, cells)| Row {
        place: place.clone(),
        table,
        number,
        cells: columns.iter().copied().zip(cells).collect(),
    });
    Ok(rows.collect())
}

/// A row of a metadata table, its cells by column.
struct Row {
    place: Place,
    table: &'static str,
    number: usize,
    cells: BTreeMap<&'static str, Cell>,
}

impl Row {
    fn int(&mut self, column: &'static str) -> Result<i64> {
        match self.cells.get(column) {
            Some(Cell::Int(number)) => Ok(*number),
            other => Err(self.wrong(column, other, "a whole number")),
        }
    }

    fn text(&mut self, column: &'static str) -> Result<String> {
        match self.cells.remove(column) {
            Some(Cell::Text(text)) => Ok(text),
            Some(Cell::Null) => Ok(String::new()),
            other => Err(self.wrong(column, other.as_ref(), "text")),
        }
    }

    /// The name of a directory, which must not lead anywhere else.
    fn name(&mut self, column: &'static str) -> Result<String> {
        let text = self.text(column)?;
        if text.is_empty() || text.contains(['/', '\0']) || text == "." || text == ".." {
            let cell = Cell::Text(text);
            return Err(self.wrong(column, Some(&cell), "the name of a directory"));
        }
        Ok(text)
    }

    fn wrong(&self, column: &str, cell: Option<&Cell>, expected: &str) -> Error {
        let found = match cell {
            Some(Cell::Int(number)) => number.to_string(),
            Some(Cell::Text(text)) => format!("`{}`", text.escape_debug()),
            _ => "nothing".to_owned(),
        };
        let (table, number) = (self.table, self.number + 1);
        let what = format!("{table}, row {number}: {column} is {found}, not {expected}");
        Error::new(Kind::Corrupt, what).at(self.place.clone())
    }
}
