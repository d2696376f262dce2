//! How do all readers see the same state? One connection exports a snapshot and keeps it; others adopt it.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use super::address::Address;
use super::relation::cell;
use super::wire::Connection;
use crate::error::{Error, Kind, Place, Result};

/// The settings of every session: read-only, no row silently left out, no timeouts, and the same output format
/// everywhere.
const SETTINGS: &str = "SET default_transaction_read_only = on; SET statement_timeout = 0; SET row_security = off; \
    SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; \
    SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET client_min_messages = error; \
    SELECT pg_catalog.set_config(name, CASE name WHEN 'jit' THEN 'off' WHEN 'extra_float_digits' THEN '3' ELSE '0' END, \
    false) FROM pg_catalog.pg_settings WHERE name IN ('jit', 'extra_float_digits', 'idle_session_timeout', \
    'idle_in_transaction_session_timeout', 'transaction_timeout')";

const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A connection with these settings.
pub fn connect(address: &Address) -> Result<Connection> {
    let mut connection = Connection::open(address)?;
    connection.query(SETTINGS)?;
    Ok(connection)
}

/// The connection that holds a snapshot.
pub struct Exporter {
    pub connection: Connection,
    snapshot: String,
    /// How many snapshots were lost before this one.
    number: u64,
}

impl Exporter {
    /// Starts to hold a snapshot of the current state.
    pub fn begin(mut connection: Connection, number: u64) -> Result<Exporter> {
        connection.query(BEGIN)?;
        let rows = connection.query("SELECT pg_catalog.pg_export_snapshot()")?;
        let snapshot = rows.first().map(|row| cell(row, 0).to_owned());
        Ok(Exporter {
            connection,
            snapshot: snapshot.unwrap_or_default(),
            number,
        })
    }
}

/// Connections that see what the exporter sees.
pub struct Sessions {
    address: Address,
    exporter: Mutex<Exporter>,
    /// Idle connections, each with the number of the snapshot that it has adopted.
    idle: Mutex<Vec<(u64, Connection)>>,
}

impl Sessions {
    /// Sessions that see the state of this exporter.
    pub fn new(address: Address, exporter: Exporter) -> Sessions {
        Sessions {
            address,
            exporter: Mutex::new(exporter),
            idle: Mutex::default(),
        }
    }

    fn exporter(&self) -> MutexGuard<'_, Exporter> {
        self.exporter.lock().expect("no one panics with it locked")
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Connection)>> {
        self.idle.lock().expect("no one panics with it locked")
    }

    /// A session. If the snapshot is gone because the server was restarted, `renewed` checks whether a new one may
    /// replace it.
    pub fn session(&self, renewed: &dyn Fn(&mut Connection) -> Result<()>) -> Result<Session<'_>> {
        let (number, adopted) = self.adopt()?;
        let connection = match adopted {
            Ok(connection) => return Ok(self.lent(number, connection)),
            Err(error) if error.kind().is_silence() => return Err(error),
            Err(error) => error,
        };
        self.renew(number, renewed)?;
        match self.adopt()? {
            (number, Ok(connection)) => Ok(self.lent(number, connection)),
            (_, Err(error)) if error.kind().is_silence() => Err(error),
            (..) => Err(connection.with_kind(Kind::Refused).hint(
                "snapshots are shared between sessions of the server itself: a connection pooler in between must pool by session",
            )),
        }
    }

    /// How many snapshots were lost.
    pub fn lost(&self) -> u64 {
        self.exporter().number
    }

    fn lent(&self, number: u64, connection: Connection) -> Session<'_> {
        Session {
            sessions: self,
            number,
            connection: Some(connection),
        }
    }

    /// A connection that has adopted the snapshot, or the reason why it could not, and the number of the snapshot.
    fn adopt(&self) -> Result<(u64, Result<Connection>)> {
        let (number, snapshot) = {
            let exporter = self.exporter();
            (exporter.number, exporter.snapshot.clone())
        };
        {
            let mut idle = self.idle();
            idle.retain(|(of, _)| *of == number);
            if let Some((_, connection)) = idle.pop() {
                return Ok((number, Ok(connection)));
            }
        }
        let mut connection = connect(&self.address)?;
        connection.query(BEGIN)?;
        let adopted = connection.query(&format!("SET TRANSACTION SNAPSHOT '{snapshot}'"));
        Ok((number, adopted.map(|_| connection)))
    }

    /// Has a new snapshot taken, unless another thread already did.
    fn renew(&self, lost: u64, renewed: &dyn Fn(&mut Connection) -> Result<()>) -> Result<()> {
        let mut exporter = self.exporter();
        if exporter.number != lost {
            return Ok(());
        }
        let mut connection = connect(&self.address)?;
        renewed(&mut connection)?;
        *exporter = Exporter::begin(connection, lost + 1)?;
        Ok(())
    }
}

/// A connection in use. It is returned when its request has been answered, and closed otherwise.
pub struct Session<'s> {
    sessions: &'s Sessions,
    number: u64,
    connection: Option<Connection>,
}

impl Session<'_> {
    /// The connection.
    pub fn connection(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("it is held until it is dropped")
    }

    /// Bytes of a COPY.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        let connection = self.connection.as_ref();
        connection.map_or(&[], |connection| connection.bytes(range))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(Connection::is_idle) {
            self.sessions.idle().push((self.number, connection));
        }
    }
}

/// An error while the job is planned, with the server's address.
pub fn at(address: &Address, error: Error) -> Error {
    error.at(Place::Remote {
        address: address.to_string(),
        call: "plan",
    })
}
