//! How is metadata read from MySQL or MariaDB? In one transaction, so that all tables show the same moment.
//! Never writes; the password stays in here.

use std::path::PathBuf;
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{AccessMode, Conn, IsolationLevel, OptsBuilder, SslOpts, Transaction, TxOpts, Value};

use crate::error::{Error, Kind, Place, Result};
use crate::job::{Form, Setting};

use super::meta::{self, Cell, Database, Meta};

/// Where the server is, and how to log in.
#[derive(Clone)]
pub struct Mysql {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    ca: Option<PathBuf>,
}

/// The settings of `mysql`.
pub const SETTINGS: &[Setting] = &[
    Setting::text("host", "where the MySQL server is")
        .required()
        .example("127.0.0.1"),
    Setting::number("port", (1, u16::MAX as u64), "its port").or("3306"),
    Setting::text("user", "who may read the metadata").required(),
    Setting::secret("password", "that user's password"),
    Setting::text("database", "the database Milvus keeps its metadata in").required(),
    Setting::map(
        "tls",
        &[Setting::path(
            "ca",
            "PEM file of the authority; left out: the system's",
        )],
        "have the connection encrypted",
    ),
];

impl Mysql {
    /// Reads `mysql: {host, port, user, password, database, tls: {ca}}`; `None` when it has mistakes.
    pub fn read(mut form: Form) -> Option<Mysql> {
        let host = form.required("host", "where the MySQL server is");
        let port = form.number("port").unwrap_or(3306);
        let user = form.required("user", "who may read the metadata");
        let password = form.text("password");
        let database = form.required("database", "the database Milvus keeps its metadata in");
        let tls = form.form("tls").map(|mut tls| {
            let ca = tls.text("ca").map(PathBuf::from);
            tls.done();
            Tls { ca }
        });
        form.done().then_some(())?;
        Some(Mysql {
            host: host?,
            port: u16::try_from(port).ok()?,
            user: user?,
            password,
            database: database?,
            tls,
        })
    }

    /// Reads the metadata as it is at one moment.
    pub fn meta(&self) -> Result<Meta> {
        if let Some(ca) = self.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            // The client's own error would say only that something was not found.
            std::fs::File::open(ca)
                .map_err(|e| Error::path(Kind::Job, ca, format!("cannot open: {e}")))?;
        }
        let ssl = self.tls.as_ref().map(|tls| {
            let options = SslOpts::default();
            options.with_root_cert_path(tls.ca.clone())
        });
        let options = OptsBuilder::new()
            .ip_or_hostname(Some(self.host.clone()))
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(self.password.clone())
            .db_name(Some(self.database.clone()))
            .prefer_socket(false)
            .tcp_connect_timeout(Some(Duration::from_secs(10)))
            .read_timeout(Some(Duration::from_secs(120)))
            .write_timeout(Some(Duration::from_secs(120)))
            .ssl_opts(ssl);
        let mut connection = Conn::new(options).map_err(|e| self.failed(&e))?;
        let moment = TxOpts::default()
            .set_with_consistent_snapshot(true)
            .set_isolation_level(Some(IsolationLevel::RepeatableRead))
            .set_access_mode(Some(AccessMode::ReadOnly));
        let transaction = connection.start_transaction(moment);
        meta::read(&mut Snapshot {
            server: self,
            transaction: transaction.map_err(|e| self.failed(&e))?,
        })
    }

    /// Where it is, without credentials.
    pub fn address(&self) -> String {
        format!("mysql://{}:{}/{}", self.host, self.port, self.database)
    }

    fn place(&self) -> Place {
        Place::Remote {
            address: self.address(),
            call: "metadata",
        }
    }

    fn failed(&self, error: &mysql::Error) -> Error {
        use mysql::Error as E;
        let words = match error {
            E::MySqlError(e) => e.message.clone(),
            E::IoError(e) => e.to_string(),
            E::DriverError(e) => e.to_string(),
            E::TlsError(e) => e.to_string(),
            other => other.to_string(),
        };
        // Unreachable, unknown and denied all have to be fixed in the job.
        let what = format!("cannot read the metadata: {words}");
        Error::new(Kind::Job, what).at(self.place())
    }
}

struct Snapshot<'c> {
    server: &'c Mysql,
    transaction: Transaction<'c>,
}

impl Database for Snapshot<'_> {
    fn columns(&mut self, table: &'static str) -> Result<Option<Vec<String>>> {
        let names: Vec<String> = self
            .transaction
            .exec(
                "SELECT column_name FROM information_schema.columns \
                 WHERE table_schema = ? AND table_name = ?",
                (&self.server.database, table),
            )
            .map_err(|e| self.server.failed(&e))?;
        Ok((!names.is_empty()).then_some(names))
    }

    fn rows(&mut self, table: &'static str, columns: &[&'static str]) -> Result<Vec<Vec<Cell>>> {
        let sql = format!("SELECT {} FROM `{table}`", columns.join(", "));
        let rows: Vec<mysql::Row> = self
            .transaction
            .exec(sql, ())
            .map_err(|e| self.server.failed(&e))?;
        Ok(rows
            .into_iter()
            .map(|row| row.unwrap().into_iter().map(cell).collect())
            .collect())
    }

    fn place(&self) -> Place {
        self.server.place()
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::NULL => Cell::Null,
        Value::Int(number) => Cell::Int(number),
        Value::UInt(number) => Cell::Int(i64::try_from(number).unwrap_or(i64::MAX)),
        Value::Float(number) => Cell::Int(number as i64),
        Value::Double(number) => Cell::Int(number as i64),
        Value::Bytes(text) => Cell::Text(String::from_utf8_lossy(&text).into_owned()),
        Value::Date(..) | Value::Time(..) => Cell::Null,
    }
}
