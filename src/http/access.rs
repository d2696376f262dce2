//! Where is a server, and how does one log in? As written in jobs, for everything that is reached over HTTP.
//! Touches nothing but certificate files, once they are needed.

use std::path::PathBuf;

use serde_yaml::Value;
use ureq::http::Uri;

use super::Header;
use super::trust::{Tls, Trust, fingerprint};
use crate::error::Result;
use crate::job::{Form, Setting, Takes, read_pem};

/// A user name.
pub const USER: Setting = Setting::text("user", "how to log in, with password");
/// Its password.
pub const PASSWORD: Setting = Setting::secret("password", "that user's password");
/// Additional headers.
pub const HEADERS: Setting = Setting::new(
    "headers",
    Takes::Names(&Takes::Secret),
    "headers sent with every request, such as those that a gateway requires",
);
/// Certificates.
pub const TLS: Setting = Setting::map("tls", FILES, "certificates for https://");

const FILES: &[Setting] = &[
    Setting::path("ca", "PEM file of the authority; left out: the system's"),
    Setting::text(
        "fingerprint",
        "SHA-256 of the authority's certificate in hexadecimal, instead of ca",
    ),
    Setting::path("cert", "PEM file of the client's certificate, with key"),
    Setting::path("key", "PEM file of its key"),
    Setting::flag(
        "insecure",
        "true: accept any certificate, and so trust anyone who answers",
    ),
];

/// The content of `tls:`; its files are not read yet.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    path: String,
    ca: Option<PathBuf>,
    fingerprint: Option<[u8; 32]>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    insecure: bool,
}

impl TlsSettings {
    /// Reads the files.
    pub fn read(&self) -> Result<Tls> {
        let pem = |key: &str, path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| read_pem(&self.path, key, path)).transpose()
        };
        let trust = match (pem("ca", &self.ca)?, self.fingerprint) {
            _ if self.insecure => Trust::Nobody,
            (Some(pem), _) => Trust::Authorities(pem),
            (None, Some(print)) => Trust::Fingerprint(print),
            (None, None) => Trust::System,
        };
        let identity = pem("cert", &self.cert)?.zip(pem("key", &self.key)?);
        Ok(Tls { trust, identity })
    }
}

/// Reads `tls:`.
pub fn read_tls(form: &mut Form) -> TlsSettings {
    let Some(mut form) = form.form("tls") else {
        return TlsSettings::default();
    };
    let whole = form.path().to_owned();
    let print = form.text("fingerprint");
    let found = print.as_deref().and_then(fingerprint);
    if print.is_some() && found.is_none() {
        form.mistake(
            "fingerprint",
            "a SHA-256 has 64 hexadecimal digits, with or without colons",
        );
    }
    let mut path = |key| form.text(key).map(PathBuf::from);
    let settings = TlsSettings {
        path: whole,
        ca: path("ca"),
        cert: path("cert"),
        key: path("key"),
        fingerprint: found,
        insecure: form.flag("insecure").unwrap_or(false),
    };
    match (&settings.cert, &settings.key) {
        (Some(_), None) => form.mistake("key", "is missing: a certificate goes with its key"),
        (None, Some(_)) => form.mistake("cert", "is missing: a key goes with its certificate"),
        _ => {}
    }
    let trusts = [settings.ca.is_some(), print.is_some(), settings.insecure];
    if trusts.iter().filter(|t| **t).count() > 1 {
        form.mistake("", "accepts only one of ca, fingerprint and insecure");
    }
    form.done();
    settings
}

/// Reads `user` and `password`.
pub fn read_user(form: &mut Form) -> Option<Header> {
    match (form.text("user"), form.text("password")) {
        (None, None) => None,
        (Some(user), Some(password)) => noted(form, "user", Header::basic(&user, &password)),
        (Some(_), None) => {
            form.mistake("password", "is missing: a user goes with a password");
            None
        }
        (None, Some(_)) => {
            form.mistake("user", "is missing: a password goes with a user");
            None
        }
    }
}

/// Reads `headers`.
pub fn read_headers(form: &mut Form) -> Vec<Header> {
    let entries = form.entries("headers");
    let read = entries
        .into_iter()
        .filter_map(|(name, value): (String, Value)| {
            let value = form.scalar("headers", &value)?;
            noted(form, "headers", Header::new(&name, &value))
        });
    read.collect()
}

/// Returns a header, or notes a mistake at its key.
pub fn noted(
    form: &Form,
    key: &str,
    header: std::result::Result<Header, String>,
) -> Option<Header> {
    header.map_err(|what| form.mistake(key, what)).ok()
}

/// Parses `http://host:port` or `https://host:port` with an optional path, as written in a job. Scheme and port may be
/// missing: https:// without a port means 443, anything else `port`.
///
/// Error messages never repeat a password.
pub fn address(text: &str, port: u16) -> std::result::Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let full = match text.split_once("://") {
        Some(_) => text.to_owned(),
        None => format!("http://{text}"),
    };
    if full.contains('@') {
        return Err("holds a login, which belongs in separate settings".to_owned());
    }
    let wrong = || format!("`{text}` is not an address such as http://127.0.0.1:{port}");
    let uri: Uri = full.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(wrong)?;
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) if uri.query().is_none() => scheme,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().map_or("", |a| a.as_str());
    let said = authority
        .strip_prefix(host)
        .and_then(|p| p.strip_prefix(':'));
    let port = match said {
        Some(said) => said.parse().map_err(|_| wrong())?,
        None if scheme == "https" => 443,
        None => port,
    };
    let path = uri.path().trim_end_matches('/');
    Ok(format!("{scheme}://{host}:{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, expected) in [
            ("127.0.0.1:9201", "http://127.0.0.1:9201"),
            ("http://search.example/", "http://search.example:9200"),
            ("https://search.example", "https://search.example:443"),
            ("https://h:8443/behind/this/", "https://h:8443/behind/this"),
            ("http://[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(address(text, 9200).unwrap(), expected, "{text}");
        }
        for text in ["", "http://", "ftp://h", "h:99999", "http://h/p?q=1", "a b"] {
            assert!(address(text, 9200).is_err(), "{text}");
        }
        let said = address("http://root:hunter2@h:1", 9200).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
