//! pinecone: how is an index of Pinecone read? From the service, whose ids are listed in byte order and fetched page by
//! page; or from a directory of Parquet files in Pinecone's import format.

mod client;
mod layout;
mod reader;
mod source;
mod vectors;

use std::path::PathBuf;
use std::time::Duration;

use super::pace::ROWS_PER_S;
use super::{Source, SourceKind, Spec as AnySpec, files};
use crate::error::Result;
use crate::http::access::{self, TlsSettings};
use crate::http::{self, Header};
use crate::input::Access;
use crate::job::{Form, Globs, Setting};
use crate::limits;

/// The source `pinecone`.
pub const KIND: SourceKind = SourceKind {
    name: "pinecone",
    summary: "an index of Pinecone: of the service (serverless), or a directory of Parquet files in its import format",
    settings: &[
        Setting::text(
            "host",
            "where the index is, as its page shows: https://NAME-….svc.….pinecone.io",
        )
        .one_of()
        .example("\"https://products-abc123.svc.us-east-1.pinecone.io\""),
        Setting::path(
            "path",
            "a directory with a directory of Parquet files for each namespace, in place of host",
        )
        .one_of(),
        Setting::secret("api_key", "a key that may read").example("\"${PINECONE_API_KEY}\""),
        Setting::texts(
            "namespaces",
            "names or globs, __default__ for the one without a name; left out: all",
        )
        .example("[\"*\"]"),
        Setting::text(
            "collection",
            "the name of the collection; left out: that of the index, from host or the directory",
        ),
        Setting::choice(
            "sparse",
            &["auto", "yes", "no"],
            "whether sparse values become a column; auto: if one of the first rows has some",
        )
        .or("auto"),
        access::HEADERS,
        access::TLS,
        Setting::number_or_auto(
            "page",
            (1, limits::PINECONE_PAGE_ROWS),
            "the most ids listed and fetched per request",
        ),
        Setting::number_or_auto("connections", (1, 64), "pages to fetch at a time").or("4"),
        ROWS_PER_S,
        files::ACCESS,
    ],
    read,
};

/// The settings of a job.
#[derive(Clone)]
struct Settings {
    at: At,
    namespaces: Vec<String>,
    collection: Option<String>,
    /// `None`: decided by the first rows.
    sparse: Option<bool>,
    headers: Vec<Header>,
    tls: TlsSettings,
    page: u64,
    connections: usize,
    rows_per_s: Option<u64>,
    access: Access,
}

/// Where the rows are.
#[derive(Clone)]
enum At {
    Host(String),
    Directory(PathBuf),
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let at = match (form.text("host"), form.text("path")) {
        (Some(host), None) => {
            // Pinecone prints hosts without the scheme, which is needed here.
            let full = match host.contains("://") {
                true => host,
                false => format!("https://{host}"),
            };
            match access::address(&full, 443) {
                Ok(address) => Some(At::Host(address)),
                Err(what) => {
                    form.mistake("host", what);
                    None
                }
            }
        }
        (None, Some(path)) => Some(At::Directory(path.into())),
        _ => {
            form.needs_one(&["host", "path"]);
            None
        }
    };
    let mut headers = access::read_headers(form);
    if let Some(key) = form.text("api_key") {
        headers.extend(access::noted(form, "api_key", Header::new("api-key", &key)));
    }
    Some(Box::new(Settings {
        namespaces: form.list("namespaces").unwrap_or_default(),
        collection: form.text("collection"),
        sparse: match form.choice("sparse") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        },
        tls: access::read_tls(form),
        page: form
            .number_or_auto("page")
            .unwrap_or(limits::PINECONE_PAGE_ROWS),
        connections: form
            .number_or_auto("connections")
            .map_or(limits::PINECONE_CONNECTIONS, |n| n as usize),
        rows_per_s: form.number("rows_per_s"),
        access: files::access(form),
        at: at?,
        headers,
    }))
}

impl AnySpec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        match &self.at {
            At::Directory(path) => layout::open(path, self, admitted),
            At::Host(address) => {
                let mut headers = self.headers.clone();
                let version = Header::new("x-pinecone-api-version", client::API);
                headers.extend(version);
                let server = http::Server::open(&http::Settings {
                    address: address.clone(),
                    headers,
                    tls: self.tls.read()?,
                    deadline: Duration::from_secs(limits::CONTROL_DEADLINE_S),
                    connections: self.connections,
                })?;
                let client = client::Client { server };
                Ok(Box::new(source::Pinecone::new(
                    client,
                    self.clone(),
                    admitted.clone(),
                )))
            }
        }
    }
}

/// The name of the unnamed namespace where a name is needed.
const DEFAULT: &str = "__default__";

/// The partition name for a namespace.
fn partition(namespace: &str) -> String {
    match namespace {
        DEFAULT => String::new(),
        other => other.to_owned(),
    }
}

impl Settings {
    /// The existing namespaces that a job selects.
    fn chosen(&self, there: &[String]) -> Result<Vec<String>> {
        super::named::chosen("namespace", &self.namespaces, there, &[])
    }
}
