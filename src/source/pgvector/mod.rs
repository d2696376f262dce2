//! pgvector: how are tables of a Postgres server read? In ranges of keys under one exported snapshot, with binary COPY.
//!
//! A snapshot ends when its server or the program does: later reads see the state at that time, after the last
//! key that arrived. This is why positions are keys, not places in the table: an update moves a row.

mod address;
mod answers;
mod describe;
mod relation;
mod rows;
mod session;
mod split;
mod steady;
mod text;
mod tls;
mod values;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Reader, Source, SourceKind, Spec as AnySpec, Stillness, Survey};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting};
use crate::limits;
use crate::schema::Columns;

use address::Address;
use describe::Fields;
use relation::{Relation, Wanted, cell};
use session::{Exporter, Session, Sessions};
use split::Counted;
use steady::Steadiness;
use wire::Connection;

/// The source `pgvector`.
pub const KIND: SourceKind = SourceKind {
    name: "pgvector",
    summary: "a table, view or query of a Postgres server with pgvector",
    settings: &[
        Setting::secret(
            "url",
            "the server and database, as a libpq URL: postgres://user@host:port/database?sslmode=verify-full",
        )
        .required()
        .example("\"postgres://postgres@127.0.0.1:5432/postgres\""),
        Setting::secret("password", "the password, if the URL has none")
            .example("\"${PGPASSWORD}\""),
        Setting::text("table", "the table or view, such as public.items")
            .one_of()
            .example("public.items"),
        Setting::text("query", "a statement instead of a table; it needs `key`").one_of(),
        Setting::text(
            "key",
            "the column that identifies rows, without duplicates; left out: the primary key",
        )
        .example("id"),
        Setting::texts(
            "columns",
            "the columns to migrate besides the key; left out: all",
        ),
        Setting::number("connections", (1, 64), "connections to read on").or("4"),
    ],
    read,
};

struct Spec {
    address: Address,
    wanted: Wanted,
    key: Option<String>,
    columns: Option<Vec<String>>,
    connections: usize,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let url = form.required(
        "url",
        "the server, such as postgres://postgres@127.0.0.1:5432/postgres",
    );
    let password = form.text("password");
    let (table, query) = (form.text("table"), form.text("query"));
    let key = form.text("key");
    let columns = form.list("columns");
    let connections = form.number("connections").unwrap_or(4) as usize;
    let wanted = match (table, query) {
        (Some(table), None) => Some(Wanted::Table(table)),
        (None, Some(query)) => Some(Wanted::Query(query)),
        _ => {
            form.needs_one(&["table", "query"]);
            None
        }
    };
    if matches!(wanted, Some(Wanted::Query(_))) && key.is_none() {
        form.mistake(
            "key",
            "is missing: the column that identifies the rows of the query",
        );
    }
    let address = Address::read(&url?);
    let address = address.map_err(|what| form.mistake("url", what)).ok();
    let mut address = address?;
    if let Some(password) = password {
        if address.password.is_some() {
            form.mistake("password", "is already in the URL");
        }
        address.password = Some(password);
    }
    Some(Box::new(Spec {
        address,
        wanted: wanted?,
        key,
        columns,
        connections,
    }))
}

/// The tables and views with vectors in the database at a URL, and its address without the login.
pub fn tables(url: &str) -> Result<(String, Vec<String>)> {
    let address = Address::read(url);
    let address = address.map_err(|what| Error::new(Kind::Job, format!("the address {what}")))?;
    let found = session::connect(&address);
    let found = found.and_then(|mut connection| relation::with_vectors(&mut connection));
    let found = found.map_err(|e| session::at(&address, e))?;
    Ok((address.to_string(), found))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        let looked = self.look(session::connect(&self.address)?);
        let (found, exporter) = looked.map_err(|e| session::at(&self.address, e))?;
        Ok(Box::new(Pgvector {
            wanted: self.wanted.clone(),
            address: self.address.clone(),
            connections: self.connections,
            sessions: Sessions::new(self.address.clone(), exporter),
            found,
        }))
    }
}

impl Spec {
    /// Looks up what the job selects, and starts to hold a snapshot of it.
    fn look(&self, mut connection: Connection) -> Result<(Found, Exporter)> {
        let system = system(&mut connection, &self.address)?;
        let relation = Relation::find(&mut connection, &self.wanted)?;
        let mut exporter = Exporter::begin(connection, 0)?;
        let connection = &mut exporter.connection;
        let (key, chosen) = (self.key.as_deref(), self.columns.as_deref());
        let mut fields = describe::describe(connection, &relation, key, chosen)?;
        let steadiness = steady::look(connection, &relation, &fields.key)?;
        let most = match &steadiness.doubt {
            Some(why) => {
                fields.notes.push(format!(
                    "{} may return other rows each time it is executed, because of {why}: it is read in one pass on one \
                     connection, and a run that stops cannot be resumed; a table or a materialized view keeps its rows",
                    relation.full_name
                ));
                1
            }
            None => self.connections as u64 * limits::POSTGRES_RANGES_EACH,
        };
        let ranges = split::count(connection, &relation, &mut fields, most)?;
        let columns = fields.columns(&relation)?;
        let place = format!("{}/{}", self.address, relation.full_name);
        Ok((
            Found {
                place: Path::new(&place).into(),
                columns,
                system,
                relation,
                fields,
                ranges,
                steadiness,
            },
            exporter,
        ))
    }
}

/// Distinguishes this database from others, regardless of the address it is reached at.
fn system(connection: &mut Connection, address: &Address) -> Result<String> {
    let database = connection.query(
        "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
    )?;
    let database = database.first().map_or("", |row| cell(row, 0)).to_owned();
    match connection.query("SELECT system_identifier FROM pg_catalog.pg_control_system()") {
        Ok(rows) => {
            let number = rows.first().map_or("", |row| cell(row, 0));
            Ok(format!("database {database} of system {number}"))
        }
        Err(error) if error.kind().is_silence() => Err(error),
        Err(_) => Ok(format!("database {database} of {address}")),
    }
}

/// What was found for the job.
struct Found {
    system: String,
    relation: Relation,
    fields: Fields,
    columns: Arc<Columns>,
    ranges: Vec<Counted>,
    steadiness: Steadiness,
    /// Where its rows are, for messages.
    place: Arc<Path>,
}

/// A relation as a source.
struct Pgvector {
    wanted: Wanted,
    address: Address,
    connections: usize,
    sessions: Sessions,
    found: Found,
}

impl Pgvector {
    fn found(&self) -> &Found {
        &self.found
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn session(&self) -> Result<Session<'_>> {
        self.sessions.session(&|connection| self.still(connection))
    }

    /// Refuses a relation that has been replaced, which is possible after the server was unreachable.
    fn still(&self, connection: &mut Connection) -> Result<()> {
        let before = &self.found;
        let changed = |what: &str| {
            let what = format!("{} {what}", before.relation.full_name);
            Err(Error::new(Kind::Changed, what))
        };
        let system = system(connection, &self.address);
        if system? != before.system {
            return changed("is now in another database");
        }
        let now = match Relation::find(connection, &self.wanted) {
            Err(error) if error.kind() == Kind::Job => return changed("no longer exists"),
            now => now?,
        };
        match now.oid == before.relation.oid {
            true => Ok(()),
            false => changed("was recreated"),
        }
    }
}

impl Source for Pgvector {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let found = &self.found;
        let mut shards = Vec::new();
        let mut first_row = 0;
        for (number, (start, end, rows)) in found.ranges.iter().enumerate() {
            shards.push(Shard {
                number: number as u32,
                target: 0,
                part: 0,
                name: format!(
                    "{}, {} of {}",
                    found.relation.full_name,
                    number + 1,
                    found.ranges.len()
                ),
                rows: *rows,
                first_row,
                start: start.clone(),
                end: end.clone(),
            });
            first_row += rows;
        }
        let target = Target {
            number: 0,
            name: TargetName {
                collection: found.relation.name.clone(),
                partition: String::new(),
            },
            columns: found.columns.clone(),
            traits: Arc::default(),
            keys: Keys::Unique,
            auto_id: false,
            rows: first_row,
            rows_deleted: 0,
            source: found.place.display().to_string(),
        };
        let mut warnings = vec![format!(
            "{} is read as it is now (pinned), as long as the snapshot lasts: after a restart of either side, rows that \
             others write or delete meanwhile may or may not be migrated",
            found.place.display()
        )];
        warnings.extend(found.fields.notes.iter().cloned());
        let relation = match &found.relation.oid {
            Some(oid) => format!("relation {oid}"),
            None => "a query".to_owned(),
        };
        let identity = BTreeMap::from([(
            format!("collection {}", found.relation.name),
            format!("{relation} in {}, {}", found.system, found.columns),
        )]);
        Ok(Survey {
            manifest: Manifest {
                targets: vec![target],
                shards,
            },
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        Stillness::Pinned
    }

    fn reads_at_once(&self) -> Option<usize> {
        Some(self.connections)
    }

    fn remarks(&self) -> Vec<String> {
        let lost = self.sessions.lost() > 0;
        let said = lost.then(|| {
            format!(
                "{}: the server went away and lost the snapshot: rows not read by then were read in their later state",
                self.address
            )
        });
        said.into_iter().collect()
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let end = shard.end.clone();
        Ok(Box::new(rows::Rows::open(self, from, end, limits)?))
    }

    /// Under a snapshot nothing changes; whether a table was replaced is checked when a new snapshot is taken.
    fn unchanged(&self) -> Result<()> {
        Ok(())
    }
}
