//! What does a file or directory of Milvus Lite hold, and what of it can be read? Counts rows, but does not read them.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::Kept;
use super::catalog::{self, Entry};
use super::fields::Described;
use super::lock::{self, Lock};
use super::pieces::Collection;
use super::tables::{self, Table};
use crate::error::Result;
use crate::input::Access;
use crate::source::sqlite::Sqlite;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// What it is, with the versions that write it.
    pub kind: &'static str,
    /// Where it is.
    pub path: String,
    /// Its databases.
    pub databases: Vec<DescribedDatabase>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedDatabase {
    /// Its name.
    pub name: String,
    /// Its collections, by name.
    pub collections: Vec<DescribedCollection>,
}

/// A collection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DescribedCollection {
    /// Its name.
    pub name: String,
    /// Its columns: name, type, role, and `null` where values may be missing.
    pub columns: Vec<String>,
    /// Indexes: the field, the type, the metric.
    pub indexes: Vec<String>,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// Whether Milvus Lite generated its keys.
    pub auto_id: bool,
    /// Live rows.
    pub rows: u64,
    /// Rows that are deleted or were overwritten, but are still stored.
    pub rows_dead: u64,
    /// Live rows that are only in the log.
    pub rows_unflushed: u64,
    /// Its partitions; empty if there is only the default one.
    pub partitions: Vec<DescribedPartition>,
    /// What is lost, and what was damaged.
    pub notes: Vec<String>,
    /// Why it cannot be read; `None` if it can.
    pub problem: Option<String>,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedPartition {
    /// Its name.
    pub name: String,
    /// Live rows.
    pub rows: u64,
    /// Rows that are deleted or were overwritten.
    pub rows_dead: u64,
}

/// Describes what is at a path.
pub fn inspect(path: &Path) -> Result<Description> {
    match Kept::at(path)? {
        Kept::File => of_file(path),
        Kept::Directory => of_directory(path),
    }
}

fn of_directory(root: &Path) -> Result<Description> {
    let (_lock, mut warnings) = match lock::share(root) {
        Lock::Shared(lock) => (lock, Vec::new()),
        Lock::Held(holder) => {
            let what = "is in use by a running Milvus Lite";
            let who = lock::named(holder);
            let warning = format!(
                "{} {what}{who}: this description may be out of date",
                root.display()
            );
            (None, vec![warning])
        }
    };
    let mut databases = Vec::new();
    for db in catalog::databases(root)? {
        let mut collections = Vec::new();
        match catalog::collections(root, &db) {
            Ok(there) => {
                for (name, dir) in there {
                    let opened = Entry::read(root, &db, &name, &dir)
                        .and_then(|entry| Collection::open(entry, Access::Map));
                    collections.push(match opened {
                        Ok(collection) => of_collection(name, collection),
                        Err(error) => broken(name, error),
                    });
                }
            }
            Err(error) => warnings.push(error.to_string()),
        }
        databases.push(DescribedDatabase {
            name: db,
            collections,
        });
    }
    Ok(Description {
        kind: "Milvus Lite directory (3.x)",
        path: root.display().to_string(),
        databases,
        warnings,
    })
}

fn broken(name: String, error: crate::error::Error) -> DescribedCollection {
    DescribedCollection {
        name,
        problem: Some(error.to_string()),
        ..DescribedCollection::default()
    }
}

fn described(name: String, described: &Described) -> DescribedCollection {
    let columns = described.columns.all();
    let outputs = described.traits.outputs.iter();
    let shown = columns.iter().map(ToString::to_string);
    let of_vectors = columns.iter().filter_map(|column| {
        let index = column.index.as_ref()?;
        let metric = column.metric.as_ref().map_or("", |metric| metric.name());
        Some(
            format!("{} {} {metric}", column.name, index.kind)
                .trim()
                .to_owned(),
        )
    });
    let others = described.traits.indexes.iter();
    let others = others.map(|index| format!("{} {}", index.field, index.index.kind));
    DescribedCollection {
        name,
        columns: shown
            .chain(outputs.map(|output| format!("{output} computed by a function")))
            .collect(),
        indexes: of_vectors.chain(others).collect(),
        aliases: described.traits.aliases.clone(),
        auto_id: described.auto_id,
        ..DescribedCollection::default()
    }
}

fn of_collection(name: String, collection: Collection) -> DescribedCollection {
    let all = &collection.partitions;
    let partitions = all.iter().map(|partition| DescribedPartition {
        name: match &*partition.name {
            "" => catalog::DEFAULT_PARTITION.to_owned(),
            name => name.to_owned(),
        },
        rows: partition.rows,
        rows_dead: partition.rows_deleted,
    });
    DescribedCollection {
        rows: all.iter().map(|partition| partition.rows).sum(),
        rows_dead: all.iter().map(|partition| partition.rows_deleted).sum(),
        rows_unflushed: collection.unflushed,
        partitions: partitions.filter(|_| all.len() > 1).collect(),
        notes: collection.notes.clone(),
        ..described(name, &collection.described)
    }
}

fn of_file(path: &Path) -> Result<Description> {
    let mut warnings = Vec::new();
    if let Some(writer) = lock::writer(path) {
        let who = lock::named(writer);
        warnings.push(format!("{} is being written to{who}", path.display()));
    }
    let sqlite = Sqlite::open(path)?;
    sqlite.files().check_whole()?;
    let connection = sqlite.connect()?;
    let names = tables::names(&sqlite, &connection)?.into_iter();
    let collections = names.map(|name| match Table::open(&sqlite, &connection, &name) {
        Ok(table) => DescribedCollection {
            rows: table.rows.len() as u64,
            rows_dead: table.repeated,
            ..described(name, &table.described)
        },
        Err(error) => broken(name, error),
    });
    Ok(Description {
        kind: "Milvus Lite file (2.x)",
        path: path.display().to_string(),
        databases: vec![DescribedDatabase {
            name: catalog::DEFAULT.to_owned(),
            collections: collections.collect(),
        }],
        warnings,
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.path)?;
        for DescribedDatabase { name, collections } in &self.databases {
            if self.databases.len() > 1 {
                writeln!(f, "database {name}")?;
            }
            if collections.is_empty() {
                writeln!(f, "  no collections")?;
            }
            for collection in collections {
                write!(f, "{collection}")?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DescribedCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", self.name)?;
        if !self.aliases.is_empty() {
            write!(f, " (also {})", self.aliases.join(", "))?;
        }
        if let Some(problem) = &self.problem {
            return writeln!(f, ": cannot be read: {problem}");
        }
        write!(f, ": {} rows", self.rows)?;
        if self.rows_unflushed > 0 {
            write!(f, ", {} of them only in the log", self.rows_unflushed)?;
        }
        writeln!(f, "; {} dead", self.rows_dead)?;
        let keys = if self.auto_id {
            "; keys generated by Milvus Lite"
        } else {
            ""
        };
        writeln!(f, "    {}{keys}", self.columns.join(", "))?;
        if !self.indexes.is_empty() {
            writeln!(f, "    indexes: {}", self.indexes.join(", "))?;
        }
        for partition in &self.partitions {
            let DescribedPartition {
                name,
                rows,
                rows_dead,
            } = partition;
            writeln!(f, "    partition {name}: {rows} rows; {rows_dead} dead")?;
        }
        for note in &self.notes {
            writeln!(f, "    note: {note}")?;
        }
        Ok(())
    }
}
