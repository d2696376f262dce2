//! chroma: how are collections of Chroma read? From a running server, page by page in its own order; or directly from
//! its directory.
//!
//! ```text
//! id, embedding  ──►  id, embedding          metadata, document, uri  ──►  $meta: {"document": …, "uri": …, metadata …}
//! ```

mod directory;
mod files;
mod page;
mod place;
mod reader;
mod rest;
mod server;
mod source;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use super::files as common;
use super::named;
use super::pace::ROWS_PER_S;
use super::{Source, SourceKind, Spec as AnySpec};
use crate::error::Result;
use crate::http::access::{self, TlsSettings};
use crate::http::{self, Header};
use crate::input::Access;
use crate::job::{Form, Globs, Setting};
use crate::limits;
use crate::schema::{Column, ColumnType, Element, Index, Metric, VectorType};

use rest::Names;

/// The default port of servers.
const PORT: u16 = 8000;

/// The source `chroma`.
pub const KIND: SourceKind = SourceKind {
    name: "chroma",
    summary: "collections of Chroma: of a running server, or of its directory",
    settings: &[
        Setting::text(
            "address",
            "where the server is: http://host:port, or https:// for TLS",
        )
        .one_of()
        .example("\"http://127.0.0.1:8000\""),
        Setting::path(
            "path",
            "the data directory of a server or a PersistentClient, in place of address",
        )
        .one_of(),
        named::COLLECTIONS,
        Setting::text("tenant", "the tenant to read").or("default_tenant"),
        Setting::text("database", "the database to read").or("default_database"),
        Setting::secret(
            "token",
            "how to log in: sent as X-Chroma-Token and as a bearer token",
        )
        .example("\"${CHROMA_TOKEN}\""),
        access::USER,
        access::PASSWORD,
        access::HEADERS,
        access::TLS,
        Setting::text("document", "the key for documents among a row's metadata").or("document"),
        Setting::text("uri", "the key for URIs among a row's metadata").or("uri"),
        Setting::number_or_auto(
            "page",
            (1, limits::CHROMA_PAGE_ROWS_MAX),
            "the most rows per request",
        ),
        Setting::number_or_auto("connections", (1, 64), "ranges to read at a time").or("2"),
        ROWS_PER_S,
        common::ACCESS,
    ],
    read,
};

/// The settings of a job.
#[derive(Clone)]
struct Settings {
    at: At,
    collections: Vec<String>,
    tenant: String,
    database: String,
    headers: Vec<Header>,
    tls: TlsSettings,
    names: Names,
    page: u64,
    connections: usize,
    rows_per_s: Option<u64>,
    access: Access,
}

/// Where the rows are.
#[derive(Clone)]
enum At {
    Address(String),
    Directory(PathBuf),
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let at = match (form.text("address"), form.text("path")) {
        (Some(address), None) => match access::address(&address, PORT) {
            Ok(address) => Some(At::Address(address)),
            Err(what) => {
                form.mistake("address", what);
                None
            }
        },
        (None, Some(path)) => Some(At::Directory(path.into())),
        _ => {
            form.needs_one(&["address", "path"]);
            None
        }
    };
    let mut headers = access::read_headers(form);
    let user = access::read_user(form);
    if let Some(token) = form.text("token") {
        if user.is_some() {
            form.mistake("token", "replaces user and password: set only one of them");
        }
        // Deployments differ in which of the two headers they read.
        let header = Header::new("x-chroma-token", &token);
        headers.extend(access::noted(form, "token", header));
        let header = Header::new("authorization", &format!("Bearer {token}"));
        headers.extend(access::noted(form, "token", header));
    }
    headers.extend(user);
    let mut text = |key, other: &str| form.text(key).unwrap_or_else(|| other.to_owned());
    let (tenant, database) = (
        text("tenant", "default_tenant"),
        text("database", "default_database"),
    );
    let names = Names::new(text("document", "document"), text("uri", "uri"));
    if names.is_none() {
        form.mistake("uri", "documents and URIs need two different names");
    }
    Some(Box::new(Settings {
        collections: form.list("collections").unwrap_or_default(),
        tls: access::read_tls(form),
        page: form
            .number_or_auto("page")
            .unwrap_or(limits::CHROMA_PAGE_ROWS),
        connections: form
            .number_or_auto("connections")
            .map_or(limits::CONNECTIONS_DEFAULT, |n| n as usize),
        rows_per_s: form.number("rows_per_s"),
        access: common::access(form),
        at: at?,
        names: names?,
        tenant,
        database,
        headers,
    }))
}

impl AnySpec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        Ok(match &self.at {
            At::Directory(path) => Box::new(directory::Directory::open(path, self, admitted)?),
            At::Address(address) => {
                let server = http::Server::open(&http::Settings {
                    address: address.clone(),
                    headers: self.headers.clone(),
                    tls: self.tls.read()?,
                    deadline: Duration::from_secs(limits::CHROMA_DEADLINE_S),
                    connections: self.connections,
                })?;
                let client = server::Client::open(server, &self.tenant, &self.database)?;
                Box::new(source::Chroma::new(client, self.clone(), admitted.clone()))
            }
        })
    }
}

/// What is known about a collection, on a server or in a directory.
#[derive(Clone, PartialEq, Debug)]
struct Collection {
    /// Distinguishes it from another collection of the same name.
    id: String,
    name: String,
    /// None until it has its first row.
    dimension: Option<u32>,
    /// How it measures distances: `l2`, `ip`, `cosine`.
    space: String,
    index: Option<Index>,
}

impl Collection {
    /// Reads how servers and tables describe a collection: its configuration, its schema, its metadata. Older releases
    /// have only the metadata.
    fn of(
        id: &str,
        name: &str,
        dimension: Option<u64>,
        [schema, configuration, metadata]: [&serde_json::Value; 3],
    ) -> Collection {
        let of_schema = &schema["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
        let all = [
            &of_schema["space"],
            &configuration["hnsw"]["space"],
            &configuration["spann"]["space"],
            &configuration["hnsw_configuration"]["space"],
            &metadata["hnsw:space"],
        ];
        let space = all.iter().find_map(|space| space.as_str()).unwrap_or("l2");
        let number = |key: &str| {
            let all = [&of_schema["hnsw"][key], &configuration["hnsw"][key]];
            all.iter().find_map(|number| number.as_u64())
        };
        let index = number("max_neighbors").zip(number("ef_construction"));
        Collection {
            id: id.to_owned(),
            name: name.to_owned(),
            dimension: dimension
                .and_then(|d| u32::try_from(d).ok())
                .filter(|d| *d > 0),
            space: space.to_owned(),
            index: index.map(|(m, ef)| Index {
                kind: "HNSW".to_owned(),
                params: vec![
                    ("M".to_owned(), m.to_string()),
                    ("efConstruction".to_owned(), ef.to_string()),
                ],
            }),
        }
    }

    /// The column of its embeddings.
    fn embedding(&self, dimension: u32) -> Column {
        let vector = VectorType {
            element: Element::Float32,
            dimension,
        };
        let metric = match &*self.space {
            "l2" => Metric::L2,
            "ip" => Metric::Ip,
            "cosine" => Metric::Cosine,
            other => Metric::Other(other.to_owned()),
        };
        Column {
            metric: Some(metric),
            index: self.index.clone(),
            ..Column::new("embedding", ColumnType::Vector(vector))
        }
    }

    /// The column of its ids.
    fn key() -> Column {
        Column::key("id", ColumnType::VarChar { max_bytes: None })
    }

    /// A note for the operator about a collection that never had a row: its dimension is unknown.
    fn never_filled(&self) -> String {
        format!(
            "{}: it never had a row, so its dimension is unknown: no target is created for it",
            self.name
        )
    }

    /// A note for the operator about a collection that returns vectors slightly changed.
    fn rounded(&self) -> Option<String> {
        (self.space == "cosine").then(|| {
            format!(
                "{}: Chroma stores vectors that are searched by cosine at length 1, and their lengths separately: what it \
                 returns may differ from what was sent in the last bit",
                self.name
            )
        })
    }
}
