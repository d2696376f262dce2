//! Where is a server, and who asks? As jobs say it, of sources and sinks alike.
//! Touches nothing: certificates are read when a connection is wanted.

use std::path::{Path, PathBuf};

use super::{Login, Secret, Tls};
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting};

/// Where the server is.
pub const ADDRESS: Setting = Setting::text(
    "address",
    "where the server is: http://host:port, or https:// for TLS",
)
.required()
.example("\"http://127.0.0.1:19530\"");
/// Who asks.
pub const USER: Setting = Setting::text("user", "how to log in, with password").example("root");
/// By which word.
pub const PASSWORD: Setting =
    Setting::secret("password", "that user's password").example("\"${MILVUS_PASSWORD}\"");
/// Or by this.
pub const TOKEN: Setting = Setting::secret("token", "how to log in, in place of user and password")
    .example("\"${MILVUS_TOKEN}\"");
/// The database.
pub const DB: Setting = Setting::text("db", "the database").or("default");
/// Certificates.
pub const TLS: Setting = Setting::map(
    "tls",
    FILES,
    "certificates that https:// needs beyond the system's",
);

const FILES: &[Setting] = &[
    Setting::path("ca", "PEM file of the authority; left out: the system's"),
    Setting::path("cert", "PEM file of the client's certificate, with key"),
    Setting::path("key", "PEM file of its key"),
    Setting::text(
        "server_name",
        "the name in the server's certificate, if it is not the address",
    ),
];

/// PEM files, not yet read.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The settings' path in the job.
    path: String,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl TlsFiles {
    /// The certificates.
    pub fn read(&self) -> Result<Tls> {
        let pem = |key: &str, path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| read_pem(&self.path, key, path)).transpose()
        };
        let cert = pem("cert", &self.cert)?;
        let key = pem("key", &self.key)?;
        Ok(Tls {
            ca: pem("ca", &self.ca)?,
            identity: cert.zip(key),
            server_name: self.server_name.clone(),
        })
    }
}

fn read_pem(form: &str, key: &str, path: &Path) -> Result<Vec<u8>> {
    let wrong = |what: String| Error::path(Kind::Job, path, format!("{form}.{key}: {what}"));
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such file".to_owned()),
        _ => wrong(format!("cannot be read: {e}")),
    })?;
    let marker = b"-----BEGIN ";
    if !bytes.windows(marker.len()).any(|w| w == marker) {
        return Err(wrong("is not a PEM file".to_owned()));
    }
    Ok(bytes)
}

/// Reads the names of certificates' files.
pub fn read_tls(mut form: Form) -> TlsFiles {
    let whole = form.path().to_owned();
    let mut path = |key| form.text(key).map(PathBuf::from);
    let files = TlsFiles {
        path: whole,
        ca: path("ca"),
        cert: path("cert"),
        key: path("key"),
        server_name: form.text("server_name"),
    };
    match (&files.cert, &files.key) {
        (Some(_), None) => form.mistake("key", "is missing: a certificate goes with its key"),
        (None, Some(_)) => form.mistake("cert", "is missing: a key goes with its certificate"),
        _ => {}
    }
    form.done();
    files
}

/// Reads who asks.
pub fn read_login(form: &mut Form) -> Login {
    let (user, password, token) = (form.text("user"), form.text("password"), form.text("token"));
    match (user, password, token) {
        (None, None, None) => Login::None,
        (None, None, Some(token)) => Login::Token(Secret(token)),
        (Some(user), Some(password), None) => Login::User(user, Secret(password)),
        (_, _, Some(_)) => {
            form.mistake("token", "goes in place of user and password, not with them");
            Login::None
        }
        (Some(_), None, None) => {
            form.mistake("password", "is missing: a user goes with a password");
            Login::None
        }
        (None, Some(_), None) => {
            form.mistake("user", "is missing: a password goes with a user");
            Login::None
        }
    }
}
