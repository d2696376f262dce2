//! How is a directory of Milvus 0.7 to 1.1 read? Metadata from SQLite or MySQL, rows from segment files.
//! Never writes, locks or creates anything in the directory; never reads an index file.
//!
//! Only what is alive travels: collections and partitions whose state is 0, segments of file types 1, 2 and 7,
//! rows that `deleted_docs` does not name. Row counts of the metadata are compared, never relied upon. Rows
//! that were never flushed from the log are counted, and refused unless the job says otherwise.

mod alone;
mod index;
mod inspect;
mod lock;
mod log;
mod meta;
mod mysql;
mod reader;
mod segment;
mod sqlite;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::Access;
use crate::job::{Form, Globs, Setting};
use crate::limits;
use crate::schema::{Columns, VectorType};

use super::choose::{self, Choice, Chosen};
use super::content::SAMPLED;
use super::files;
use super::{Reader, Source, SourceKind, Spec, Survey};
use alone::Alone;
use meta::{Meta, UNCOUNTED};
use segment::Segment;

pub use inspect::{Description, inspect};
pub use log::{Deeds, Pending, PendingOf};
pub use mysql::Mysql;

/// The source `milvus1`.
pub const KIND: SourceKind = SourceKind {
    name: "milvus1",
    summary: "a data directory of Milvus 0.7 to 1.1, no server needed",
    settings: &[
        Setting::path(
            "path",
            "the directory that holds db/, or the db directory itself",
        )
        .required()
        .example("/var/lib/milvus"),
        Setting::map(
            "mysql",
            mysql::SETTINGS,
            "where the metadata is, if not in db/meta.sqlite",
        ),
        choose::COLLECTIONS,
        Setting::flag(
            "ignore_wal",
            "true: leave out what is in the log and was never flushed",
        ),
        Setting::choice(
            "missing_segments",
            &["refuse", "skip"],
            "skip: leave out segments whose directory, vectors or ids are not there",
        )
        .or("refuse"),
        Setting::map(
            "without_metadata",
            alone::SETTINGS,
            "path is one directory below db/tables, and no metadata is left",
        ),
        files::ACCESS,
    ],
    read: |form| Some(Box::new(Settings::read(form)?)),
};

/// Settings of the source.
pub struct Settings {
    path: PathBuf,
    mysql: Option<Mysql>,
    choice: Choice,
    ignore_wal: bool,
    skip_missing: bool,
    alone: Option<Alone>,
    access: Access,
}

impl Settings {
    fn read(form: &mut Form) -> Option<Settings> {
        let path = form.required("path", "the directory that holds db/");
        let has_mysql = form.value("mysql").is_some();
        let mysql = form.form("mysql").and_then(Mysql::read);
        let choice = Choice::read(form);
        let ignore_wal = form.flag("ignore_wal").unwrap_or(false);
        let skip_missing = form.choice("missing_segments") == Some("skip");
        let has_alone = form.value("without_metadata").is_some();
        let alone = form.form("without_metadata").and_then(Alone::read);
        let access = files::access(form);
        if has_alone && has_mysql {
            form.mistake("without_metadata", "there is metadata: `mysql` says where");
        }
        if has_mysql && mysql.is_none() || has_alone && alone.is_none() {
            return None;
        }
        Some(Settings {
            path: PathBuf::from(path?),
            mysql,
            choice,
            ignore_wal,
            skip_missing,
            alone,
            access,
        })
    }
}

impl Spec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(Milvus1::open(self, &self.choice)?))
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        Ok(Box::new(Milvus1::open(self, &self.choice.admit(admitted))?))
    }
}

/// An inspected data directory: what is alive in it, and where.
pub struct Milvus1 {
    place: Place,
    files: Option<super::sqlite::Files>,
    tables: Vec<Table>,
    segments: Vec<Segment>,
    /// Which segments were opened to be read.
    touched: Vec<AtomicBool>,
    access: Access,
    warnings: Vec<String>,
    identity: BTreeMap<String, String>,
    content: BTreeMap<String, String>,
}

/// A partition that will travel.
struct Table {
    name: TargetName,
    vector: VectorType,
    columns: Arc<Columns>,
    auto_id: bool,
    segments: Range<usize>,
}

/// The directories of an installation.
#[derive(Clone, Debug)]
struct Place {
    /// Its path in the job.
    given: PathBuf,
    /// `storage.path`.
    root: PathBuf,
    /// `db` in it.
    db: PathBuf,
    /// `tables` in that.
    tables: PathBuf,
}

/// Whether a path reads like `host:port` or a URL.
fn is_address(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let port = text.rsplit_once(':').map(|(_, port)| port);
    text.contains("://") || port.is_some_and(|port| port.parse::<u16>().is_ok())
}

impl Place {
    fn find(path: &Path) -> Result<Place> {
        let given = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound if is_address(path) => Error::path(
                Kind::Job,
                path,
                "is an address, but Milvus 1.x is read from its data directory, not from a server",
            )
            .hint("name the directory; a running Milvus 2.x is read by `source: {milvus: {address: …}}`"),
            std::io::ErrorKind::NotFound => {
                Error::path(Kind::Job, path, "there is no such directory")
            }
            _ => Error::path(Kind::Job, path, format!("cannot look into it: {e}")),
        })?;
        if !given.is_dir() {
            return Err(Error::path(Kind::Job, path, "is not a directory"));
        }
        let within = path.join("db");
        if within.is_dir() {
            return Ok(Place {
                given: path.to_owned(),
                root: path.to_owned(),
                tables: within.join("tables"),
                db: within,
            });
        }
        if path.join("tables").is_dir() || path.join("meta.sqlite").exists() {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            return Ok(Place {
                given: path.to_owned(),
                root: parent.map_or_else(|| path.join(".."), Path::to_owned),
                tables: path.join("tables"),
                db: path.to_owned(),
            });
        }
        if alone::segments(path).is_ok_and(|found| !found.is_empty()) {
            let what = "is the directory of one collection or partition of Milvus 1.x, without its metadata";
            return Err(Error::path(Kind::Job, path, what).hint(
                "name the directory that holds db/; or, if that is lost, say what its metadata would: \
                 without_metadata: {collection, dimension, metric}",
            ));
        }
        const OF_2: [&str; 5] = [
            "insert_log",
            "rdb_data",
            "rocksmq",
            "etcd.data",
            "stats_log",
        ];
        let is_of_2 =
            |name: &&str| path.join(name).exists() || path.join("data").join(name).exists();
        if OF_2.iter().any(is_of_2) {
            return Err(Error::path(
                Kind::Job,
                path,
                "is a data directory of Milvus 2.x, and this source reads those of Milvus 1.x",
            )
            .hint("`source: {milvus_files: {path: …}}` reads it"));
        }
        Err(Error::path(
            Kind::Job,
            path,
            "is not a data directory of Milvus 1.x: it has neither db/ nor tables/ nor meta.sqlite",
        )
        .hint("name the directory that storage.path names in its configuration, /var/lib/milvus in Docker"))
    }

    fn segment(&self, table: &str, segment: &str) -> PathBuf {
        self.tables.join(table).join(segment)
    }

    fn log(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// The metadata, and the files it came from when it came from files.
    fn meta(&self, mysql: Option<&Mysql>) -> Result<(Meta, Option<super::sqlite::Files>)> {
        if let Some(mysql) = mysql {
            return Ok((mysql.meta()?, None));
        }
        let path = self.db.join("meta.sqlite");
        if !path.exists() {
            return Err(Error::path(Kind::Job, &path, "there is no such file").hint(
                "if this Milvus keeps its metadata in MySQL, say where: mysql: {host, user, password, database}",
            ));
        }
        let mut sqlite = sqlite::MetaFile::open(&path)?;
        let meta = meta::read(&mut sqlite)?;
        Ok((meta, Some(sqlite.close()?)))
    }
}

impl Milvus1 {
    fn open(settings: &Settings, choice: &Choice) -> Result<Milvus1> {
        let (place, meta, files) = match &settings.alone {
            Some(alone) => {
                let (place, meta) = alone.meta(&settings.path)?;
                (place, meta, None)
            }
            None => {
                let place = Place::find(&settings.path)?;
                let (meta, files) = place.meta(settings.mysql.as_ref())?;
                (place, meta, files)
            }
        };
        let chosen = choice.choose(&meta.names(), &place.db)?;
        let mut source = Milvus1 {
            files,
            tables: Vec::new(),
            segments: Vec::new(),
            touched: Vec::new(),
            access: settings.access,
            warnings: lock::held(&place.root).into_iter().collect(),
            identity: BTreeMap::new(),
            content: BTreeMap::new(),
            place,
        };
        if settings.mysql.is_some() && source.place.db.join("meta.sqlite").exists() {
            source.warnings.push(format!(
                "{} has a meta.sqlite, too, which was ignored: the metadata is from MySQL",
                source.place.db.display()
            ));
        }
        match &settings.alone {
            Some(alone) => source.warnings.push(alone.warning()),
            None => source.check_log(&meta, &chosen, settings.ignore_wal)?,
        }
        for chosen in &chosen {
            source.add(&meta, *chosen, settings.skip_missing)?;
        }
        let mut identify = |what: &str, is: String| source.identity.insert(what.to_owned(), is);
        identify("directory", source.place.db.display().to_string());
        if let Some(mysql) = &settings.mysql {
            identify("metadata", mysql.address());
        }
        Ok(source)
    }

    fn check_log(&mut self, meta: &Meta, chosen: &[Chosen], ignore: bool) -> Result<()> {
        let dir = self.place.log();
        let is_used = chosen.iter().any(|c| {
            let collection = &meta.collections[c.collection];
            collection.partitions[c.partition].flush_lsn > 0
        });
        if !dir.exists() && is_used {
            self.warnings.push(format!(
                "there is no log in {}: if wal.path is set to another directory, rows there that were never flushed are not seen",
                dir.display()
            ));
        }
        let refused = match log::pending(&dir, meta, chosen) {
            Ok(pending) if pending.is_empty() => return Ok(()),
            Ok(pending) => Error::path(
                Kind::Unsupported,
                &dir,
                format!("the log holds rows that Milvus never flushed into segments: {pending}"),
            ),
            Err(e) => e,
        };
        if ignore {
            self.warnings
                .push(format!("left out by ignore_wal: {refused}"));
            return Ok(());
        }
        let hint = match refused.kind() {
            Kind::Unsupported => {
                "start that Milvus and shut it down cleanly, or call Flush, and they are in segments; or leave them out with ignore_wal: true (rows deleted there come back)"
            }
            _ => {
                "the content of the log is unknown; start that Milvus and shut it down cleanly, or leave the log out with ignore_wal: true"
            }
        };
        Err(refused.hint(hint))
    }

    /// The partition that a segment belongs to. Segments are numbered across all partitions in order.
    fn table(&self, part: usize) -> Option<&Table> {
        let first = self.tables.partition_point(|t| t.segments.end <= part);
        self.tables.get(first)
    }

    /// Inspects all segments of a partition.
    fn add(&mut self, meta: &Meta, chosen: Chosen, skip_missing: bool) -> Result<()> {
        let collection = &meta.collections[chosen.collection];
        let partition = &collection.partitions[chosen.partition];
        let name = TargetName {
            collection: collection.name.clone(),
            partition: partition.tag.clone(),
        };
        if collection.hybrid {
            return Err(Error::path(
                Kind::Unsupported,
                &self.place.db,
                format!(
                    "collection {} is hybrid: it has attributes besides its vectors (an experiment of Milvus 0.10 and 1.0), which are not read",
                    collection.name
                ),
            )
            .hint(format!("leave it out: collections: {{block: [{}]}}", collection.name)));
        }
        let at = |e: Error| e.at(crate::error::Place::Path(self.place.db.as_path().into()));
        let (vector, metric) = (
            collection.vector().map_err(at)?,
            collection.metric().map_err(at)?,
        );
        let (index, lost) = collection.index();
        // Once per collection.
        let mut tables = self.tables.iter();
        let fresh = tables.all(|t| t.name.collection != name.collection);
        self.warnings.extend(lost.filter(|_| fresh));
        let first = self.segments.len();
        let mut notes = Notes::default();
        let (mut digest, mut content) = (0, 0);
        for listed in &partition.segments {
            let dir = self.place.segment(&partition.table_id, &listed.segment_id);
            if skip_missing && segment::is_missing(&dir)? {
                notes.miss(listed.row_count, &listed.segment_id);
                continue;
            }
            let segment = Segment::look(&dir, &name.to_string(), vector.row_bytes())?;
            let counted = match listed.row_count {
                UNCOUNTED => i64::try_from(segment.live).unwrap_or(i64::MAX),
                count => count,
            };
            notes.see(counted, &segment, &listed.segment_id);
            digest = digest::chained(digest, segment.identity().as_bytes());
            content = digest::chained(content, &segment.content().to_le_bytes());
            self.segments.push(segment);
            self.touched.push(AtomicBool::new(false));
        }
        self.warnings.extend(notes.describe(&name));
        let segments = first..self.segments.len();
        self.identity.insert(
            format!("collection {name}"),
            format!(
                "{vector}, {}, {} segments, files {digest:016x}",
                metric.name(),
                segments.len()
            ),
        );
        let rows: u64 = self.segments[segments.clone()].iter().map(|s| s.live).sum();
        self.content.insert(
            format!("collection {name}"),
            format!(
                "{vector}, {rows} rows, {} segments, {SAMPLED} digest {content:016x}",
                segments.len()
            ),
        );
        self.tables.push(Table {
            columns: Columns::plain("id", "embedding", vector)?.measured(Some(metric), index),
            vector,
            name,
            auto_id: collection.auto_id,
            segments,
        });
        Ok(())
    }
}

/// Oddities of a partition's segments: counted, with the first of each named.
#[derive(Default)]
struct Notes {
    missing: Vec<String>,
    missing_rows: i64,
    counted: i64,
    live: i64,
    differ: Vec<String>,
    longer: Vec<String>,
}

impl Notes {
    fn miss(&mut self, row_count: i64, name: &str) {
        self.missing.push(name.to_owned());
        self.missing_rows = self.missing_rows.saturating_add(row_count);
    }

    fn see(&mut self, row_count: i64, segment: &Segment, name: &str) {
        self.counted = self.counted.saturating_add(row_count);
        let live = i64::try_from(segment.live).unwrap_or(i64::MAX);
        self.live = self.live.saturating_add(live);
        if row_count != live {
            self.differ.push(name.to_owned());
        }
        for (path, extra) in segment.oversized() {
            self.longer
                .push(format!("{} ({extra} bytes)", path.display()));
        }
    }

    fn describe(&self, name: &TargetName) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(first) = self.missing.first() {
            said.push(format!(
                "{name}: left out by `missing_segments: skip`: {}, in which the metadata counts {} rows",
                several(first, self.missing.len(), "segment"),
                self.missing_rows
            ));
        }
        if let Some(first) = self.differ.first() {
            said.push(format!(
                "{name}: metadata counts {} rows, {} are live and are migrated (differs in {})",
                self.counted,
                self.live,
                several(first, self.differ.len(), "segment")
            ));
        }
        if let Some(first) = self.longer.first() {
            said.push(format!(
                "{name}: bytes follow the end of the data and are left out, in {}",
                several(first, self.longer.len(), "file")
            ));
        }
        said
    }
}

fn several(first: &str, count: usize, what: &str) -> String {
    match count {
        0 | 1 => format!("{what} {first}"),
        _ => format!("{count} {what}s, the first {first}"),
    }
}

impl Source for Milvus1 {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut manifest = Manifest {
            targets: Vec::new(),
            shards: Vec::new(),
        };
        for (number, table) in (0u32..).zip(&self.tables) {
            let segments = &self.segments[table.segments.clone()];
            let rows = segments.iter().map(|s| s.live).sum();
            let stored: u64 = segments.iter().map(|s| s.rows).sum();
            let shard_rows = shard_rows(stored, table.vector, limits);
            let mut first_row = 0;
            for (part, segment) in table.segments.clone().zip(segments) {
                for (start, end, live) in cuts(segment, shard_rows)? {
                    manifest.shards.push(Shard {
                        number: manifest.shards.len() as u32,
                        target: number,
                        part: part as u32,
                        name: format!("{} {} rows {start}..{end}", table.name, segment.name()),
                        rows: live,
                        first_row,
                        start: Position::Row(start),
                        end: Position::Row(end),
                    });
                    first_row += live;
                }
            }
            manifest.targets.push(Target {
                number,
                name: table.name.clone(),
                columns: table.columns.clone(),
                traits: Default::default(),
                keys: Keys::Stored,
                auto_id: table.auto_id,
                rows,
                rows_deleted: stored - rows,
                source: self.place.given.display().to_string(),
            });
        }
        Ok(Survey {
            manifest,
            identity: self.identity.clone(),
            warnings: self.warnings.clone(),
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        Ok(Some(self.content.clone()))
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(reader::Rows::open(self, shard, from, limits)?))
    }

    /// Checks that the metadata, and all segments opened so far, are unchanged.
    fn unchanged(&self) -> Result<()> {
        if let Some(files) = &self.files {
            files.unchanged()?;
        }
        for (segment, touched) in self.segments.iter().zip(&self.touched) {
            if touched.load(Ordering::Relaxed) {
                segment.unchanged()?;
            }
        }
        Ok(())
    }
}

/// Stored rows of a shard: a share of the target, at least a few batches, in whole batches.
fn shard_rows(rows: u64, vector: VectorType, limits: Limits) -> u64 {
    const BATCHES_MIN: u64 = 8;
    let batch = limits.rows(vector);
    let share = rows.div_ceil(limits::SHARDS_PER_TARGET);
    share
        .max(batch.saturating_mul(BATCHES_MIN))
        .div_ceil(batch)
        .saturating_mul(batch)
}

/// The shards of a segment: first row, row after the last, live rows; none without live rows.
fn cuts(segment: &Segment, shard_rows: u64) -> Result<Vec<(u64, u64, u64)>> {
    if segment.rows <= shard_rows {
        let whole = (segment.live > 0).then_some((0, segment.rows, segment.live));
        return Ok(Vec::from_iter(whole));
    }
    let deleted = match segment.live < segment.rows {
        true => Some(segment.open(Access::Read)?.deleted),
        false => None,
    };
    let starts = (0..segment.rows).step_by(shard_rows.max(1) as usize);
    let cuts = starts.map(|start| {
        let end = segment.rows.min(start + shard_rows);
        let live = deleted.as_ref().map_or(end - start, |d| d.live(start, end));
        (start, end, live)
    });
    Ok(cuts.filter(|(_, _, live)| *live > 0).collect())
}
