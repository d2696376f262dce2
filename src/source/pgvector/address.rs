//! Where is the server, and how do we log in? Parses a URL as libpq does. No error repeats it: it may hold a password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How the connection is encrypted: the values of libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server supports it; its certificate is not checked.
    Prefer,
    /// Always; the server's certificate is not checked.
    Require,
    /// Always, and an authority must vouch for the server's certificate.
    VerifyCa,
    /// The same, and the certificate must be for this host.
    VerifyFull,
}

/// A parsed URL.
#[derive(Clone)]
pub struct Address {
    /// A host name or IP address, or the directory of a socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub tls: TlsMode,
    /// PEM files with the authorities, the client's certificate and its key.
    pub authority: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub connect_timeout: Duration,
}

/// Without the credentials.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "postgres://{}:{}/{}",
            self.host, self.port, self.database
        )
    }
}

impl Address {
    /// Whether the host is the directory of a socket.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    pub fn read(url: &str) -> Result<Address, String> {
        let schemes = ["postgres://", "postgresql://"];
        let Some(rest) = schemes.iter().find_map(|s| url.trim().strip_prefix(s)) else {
            return Err("does not begin with postgres://".to_owned());
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (login, place),
            None => ("", authority),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (login, None),
        };
        if place.contains(',') {
            return Err("names several hosts; only one is supported".to_owned());
        }
        let port_at = match place.rfind(']') {
            Some(end) => place[end..].find(':').map(|at| end + at),
            None => place.rfind(':'),
        };
        let (host, port) = match port_at {
            Some(at) => (&place[..at], &place[at + 1..]),
            None => (place, ""),
        };
        let mut address = Address {
            host: decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
            port: port_of(port)?,
            user: decoded(user)?,
            password,
            database: decoded(database)?,
            tls: TlsMode::Prefer,
            authority: None,
            certificate: None,
            key: None,
            connect_timeout: Duration::from_secs(10),
        };
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.set(&decoded(name)?, decoded(value)?)?;
        }
        if address.host.is_empty() {
            address.host = "localhost".to_owned();
        }
        if address.user.is_empty() {
            return Err("names no user: postgres://USER@HOST/DATABASE".to_owned());
        }
        if address.database.is_empty() {
            address.database.clone_from(&address.user);
        }
        Ok(address)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "host" => self.host = value,
            "port" => self.port = port_of(&value)?,
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "sslrootcert" => self.authority = Some(value.into()),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "connect_timeout" => {
                let seconds = value.parse::<u32>().ok().filter(|s| (1..=3600).contains(s));
                let seconds = seconds.ok_or("`connect_timeout` is not 1 to 3600 seconds")?;
                self.connect_timeout = Duration::from_secs(u64::from(seconds));
            }
            "sslmode" => {
                self.tls = match value.as_str() {
                    "disable" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(
                            "`sslmode` is not disable, prefer, require, verify-ca or verify-full"
                                .to_owned(),
                        );
                    }
                }
            }
            "application_name" | "target_session_attrs" => {}
            name => return Err(format!("has a parameter `{name}` that is not supported")),
        }
        Ok(())
    }
}

fn port_of(text: &str) -> Result<u16, String> {
    match text {
        "" => Ok(5432),
        text => text
            .parse()
            .map_err(|_| "has a port that is not a number up to 65535".to_owned()),
    }
}

/// Decodes each `%xx` into its byte.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let pair = digit().zip(digit());
                let (high, low) =
                    pair.ok_or("has a % without two hexadecimal digits; %25 means %")?;
                (high * 16 + low) as u8
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    let text =
        String::from_utf8(bytes).map_err(|_| "contains bytes that are not UTF-8".to_owned())?;
    match text.contains('\0') {
        true => Err("contains %00".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let read = |url: &str| Address::read(url).unwrap();
        let full = read("postgresql://me:p%40ss%2F@db.example:6000/shop?sslmode=verify-full");
        assert_eq!(
            (full.host.as_str(), full.port, full.user.as_str()),
            ("db.example", 6000, "me")
        );
        assert_eq!(full.password.as_deref(), Some("p@ss/"));
        assert_eq!(full.tls, TlsMode::VerifyFull);
        assert_eq!(full.to_string(), "postgres://db.example:6000/shop");
        let short = read("postgres://me@");
        assert_eq!(
            (short.host.as_str(), short.port, short.database.as_str()),
            ("localhost", 5432, "me")
        );
        assert_eq!(short.tls, TlsMode::Prefer);
        let six = read("postgres://me@[::1]:7000/x");
        assert_eq!((six.host.as_str(), six.port), ("::1", 7000));
        let socket = read("postgres://me@%2Fvar%2Frun:5433/x");
        assert!(socket.is_local() && socket.port == 5433);
        let socket = read("postgres:///x?host=/tmp&user=me&password=a");
        assert!(socket.is_local() && socket.password.as_deref() == Some("a"));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_it() {
        for (url, expected) in [
            ("mysql://hunter2@x", "does not begin with postgres://"),
            ("postgres://x:hunter2@h:70000/", "has a port"),
            ("postgres://h/x", "names no user"),
            ("postgres://me:hunter2@a,b/x", "several hosts"),
            ("postgres://me:hunter2%4@a/x", "%25"),
            ("postgres://me:hunter2@a/x?sslmode=on", "`sslmode` is not"),
            ("postgres://me:hunter2@a/x?gssmode=1", "`gssmode`"),
            ("postgres://me:hunter2%00@a/x", "%00"),
        ] {
            let said = Address::read(url).err().unwrap();
            assert!(said.contains(expected), "{url}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
