//! What can a job configure for the server's own import?

use std::path::PathBuf;

use crate::call;
use crate::job::{Form, Setting};
use crate::limits;
use crate::milvus;
use crate::store::{self, Login};

/// `sink.milvus.bulk`.
pub const BULK: &[Setting] = &[
    Setting::map(
        "staging",
        STAGING,
        "where the files for the server are written",
    )
    .required(),
    Setting::choice(
        "when",
        &["auto", "always"],
        "auto: if it is faster than inserts, by measured rates",
    )
    .or("auto"),
    Setting::choice(
        "format",
        &["auto", "npy", "parquet"],
        "of the files; auto: npy if rows are an id and a vector, else parquet",
    )
    .or("auto"),
    Setting::size("file_bytes", "bytes of rows per file").or("1GiB"),
    Setting::number("jobs", (1, 64), "import jobs at a time, one file each").or("2"),
    Setting::flag("keep", "true: keep the staged files"),
    Setting::text(
        "rest",
        "address of the REST interface of Milvus 2.4 and later, if it is not the server's own",
    )
    .example("\"http://127.0.0.1:8080\""),
];

const STAGING: &[Setting] = &[
    Setting::path(
        "path",
        "a directory that the server sees too, created if missing; or s3://bucket/prefix in the server's own bucket",
    )
    .required(),
    Setting::text(
        "server_path",
        "the path of the same directory on the server; left out: the same absolute path",
    ),
    store::S3,
];

/// How rows reach the server as files.
#[derive(Clone, Debug)]
pub struct BulkSettings {
    /// Where files are staged: a directory, or an address.
    pub path: PathBuf,
    /// The path of the same directory on the server, if it differs.
    pub server_path: Option<String>,
    /// Credentials for a bucket.
    pub login: Login,
    /// Their format; `None`: whatever suits the rows.
    pub format: Option<Format>,
    /// Bytes of rows in a file.
    pub file_bytes: u64,
    /// Jobs at a time.
    pub jobs: usize,
    /// Whether staged files are kept.
    pub keep: bool,
    /// Whether inserts may be chosen instead.
    pub when: When,
    /// Where the server's REST interface is, if not at the server's own address.
    pub rest: Option<String>,
}

/// When rows are sent as files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// When it is faster.
    Auto,
    /// Always.
    Always,
}

/// The format of staged files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A NumPy array for each field.
    Npy,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// The word in jobs and plans.
    pub fn word(self) -> &'static str {
        match self {
            Format::Npy => "npy",
            Format::Parquet => "parquet",
        }
    }
}

impl BulkSettings {
    /// Reads them; `None` if there are mistakes. `tls`: the connection to the server uses TLS.
    pub fn read(mut form: Form, tls: bool) -> Option<BulkSettings> {
        let staging = form.form("staging");
        if staging.is_none() {
            form.mistake(
                "staging",
                "is missing: `staging: {path: …}`, a directory that the server sees too",
            );
        }
        let staging = staging.map(|mut form| {
            let path = form.required("path", "a directory that the server sees too");
            let server_path = form.text("server_path");
            let login = Login::read(&mut form);
            let is_address = path.as_ref().map(|path| store::is_address(path.as_ref()));
            login.check(&mut form, is_address != Some(false));
            if is_address == Some(true) && server_path.is_some() {
                let what = "is for directories: files in a bucket have keys";
                form.mistake("server_path", what);
            }
            form.done();
            (path, server_path, login)
        });
        let format = match form.choice("format") {
            Some("npy") => Some(Format::Npy),
            Some("parquet") => Some(Format::Parquet),
            _ => None,
        };
        let file_bytes = form.size("file_bytes").unwrap_or(limits::BULK_FILE_BYTES);
        let bounds = limits::BATCH_BYTES_MIN..=limits::BULK_FILE_BYTES_MAX;
        if !bounds.contains(&file_bytes) {
            let (least, most) = (bounds.start(), bounds.end());
            form.mistake(
                "file_bytes",
                format!("must be between {least} and {most} bytes"),
            );
        }
        let jobs = form.number("jobs").unwrap_or(limits::BULK_JOBS) as usize;
        let keep = form.flag("keep").unwrap_or(false);
        let when = match form.choice("when") {
            Some("always") => When::Always,
            _ => When::Auto,
        };
        let rest = form.text("rest").and_then(|rest| {
            let rest = call::address(&rest, tls, milvus::PORTS);
            rest.map_err(|what| form.mistake("rest", what)).ok()
        });
        form.done();
        let (path, server_path, login) = staging?;
        Some(BulkSettings {
            path: crate::job::absolute(&PathBuf::from(path?)),
            server_path,
            login,
            format,
            file_bytes,
            jobs,
            keep,
            when,
            rest,
        })
    }
}
