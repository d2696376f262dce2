//! Which certificates does a connection need? As named in jobs, and as read.

use std::fmt;
use std::path::PathBuf;

use crate::error::Result;
use crate::job::{Form, Setting, read_pem};

/// The setting of a job.
pub const TLS: Setting = Setting::map("tls", FILES, "certificates for https://");

const FILES: &[Setting] = &[
    Setting::path("ca", "PEM file of the authority; left out: the system's"),
    Setting::path("cert", "PEM file of the client's certificate, with key"),
    Setting::path("key", "PEM file of its key"),
    Setting::text(
        "server_name",
        "the name in the server's certificate, if it is not the address",
    ),
];

/// Certificates in PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authority that signed the server's certificate; `None`: those the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate and its key, for servers that ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the server's certificate, if it is not that of the address.
    pub server_name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls {{ server_name: {:?}, .. }}", self.server_name)
    }
}

/// PEM files, not yet read.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The setting's path in the job.
    path: String,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl TlsFiles {
    /// The names of the files under `tls:`, if it is there.
    pub fn in_form(form: &mut Form) -> Option<TlsFiles> {
        let mut form = form.form("tls")?;
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
        Some(files)
    }

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
