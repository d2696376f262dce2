//! How is Milvus's metadata read from a running etcd? All keys as of one revision, page by page. Only reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use prost::Message;

use super::etcd::{self, Keys};
use crate::call::{self, Connection, Failure, Secret, TlsFiles};
use crate::error::{Error, Kind, Place, Result};
use crate::job::{Form, Setting};
use crate::limits;
use crate::milvus::proto::Revision;

/// The setting of a job.
pub const ETCD: Setting = Setting::map("etcd", LOGIN, "how to log in, if `meta` is an address");

const LOGIN: &[Setting] = &[
    Setting::text("user", "how to log in, with password"),
    Setting::secret("password", "that user's password"),
    call::TLS,
];

/// The default port of etcd.
const PORT: u16 = 2379;

/// A running etcd, and the login.
pub struct Live {
    address: String,
    login: Option<(String, Secret)>,
    tls: Option<TlsFiles>,
}

impl Live {
    /// Reads `etcd`; `None` if `meta` is not the address of a server.
    pub fn read(form: &mut Form, meta: Option<&str>) -> Option<Live> {
        let is_live = meta.is_some_and(|m| m.starts_with("http://") || m.starts_with("https://"));
        let (mut login, mut tls) = (None, None);
        if let Some(mut form) = form.form("etcd") {
            match (form.text("user"), form.text("password")) {
                (Some(user), Some(password)) => login = Some((user, Secret(password))),
                (None, None) => {}
                _ => form.mistake("user", "user and password go together"),
            }
            tls = TlsFiles::in_form(&mut form);
            if !is_live {
                form.mistake(
                    "",
                    "is only for a running etcd, and `meta` names no address of one",
                );
            }
            form.done();
        }
        let address = meta.filter(|_| is_live)?;
        match call::address(address, tls.is_some(), (PORT, PORT)) {
            Ok(address) => Some(Live {
                address,
                login,
                tls,
            }),
            Err(what) => {
                form.mistake("meta", what);
                None
            }
        }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The keys that it holds now; if there are several prefixes, `prefix` selects one.
    pub fn keys(&self, prefix: Option<&str>) -> Result<Keys> {
        let mut client = self.open()?;
        let mut tries = 0;
        loop {
            tries += 1;
            match client.all(prefix) {
                // The revision was compacted away meanwhile.
                Err(error) if error.kind() == Kind::Changed && tries < limits::ETCD_TRIES => {}
                all => return Keys::of(Path::new(&self.address), all?, prefix),
            }
        }
    }

    fn open(&self) -> Result<Client> {
        let tls = self.tls.as_ref().map(TlsFiles::read).transpose()?;
        let ping = Duration::from_secs(limits::PING_ANSWER_S);
        let endpoint = call::endpoint(&self.address, tls.as_ref(), ping)?;
        let connection = Connection::new(endpoint, 0);
        let wrong = |e| Error::new(Kind::Io, format!("cannot start a thread: {e}"));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let mut client = Client {
            address: self.address.clone(),
            connection: connection.map_err(wrong)?,
            headers,
        };
        if let Some((name, password)) = &self.login {
            let request = Authenticate {
                name: name.clone(),
                password: password.0.clone(),
            };
            let answer: Token = client.ask("Auth/Authenticate", &request)?;
            let token = HeaderValue::from_str(&answer.token);
            let token =
                token.map_err(|_| Error::new(Kind::Refused, "etcd returned an invalid token"))?;
            client.headers.insert("token", token);
        }
        Ok(client)
    }
}

struct Client {
    address: String,
    connection: Connection,
    headers: HeaderMap,
}

impl Client {
    fn all(&mut self, prefix: Option<&str>) -> Result<BTreeMap<Bytes, Bytes>> {
        let mut all = BTreeMap::new();
        // After the last key with this prefix, or after all keys.
        let (mut key, end) = match prefix.map(|prefix| prefix.trim_matches('/')) {
            Some(prefix) => (Bytes::from(format!("{prefix}/")), format!("{prefix}0")),
            None => (Bytes::from_static(b"\0"), "\0".to_owned()),
        };
        let (mut revision, mut bytes) = (0, 0u64);
        loop {
            let request = Range {
                key,
                range_end: Bytes::from(end.clone()),
                limit: limits::ETCD_PAGE_KEYS,
                revision,
            };
            let answer: RangeAnswer = self.ask("KV/Range", &request)?;
            revision = answer.header.map_or(revision, |header| match revision {
                0 => header.revision,
                first => first,
            });
            let last = answer.kvs.last().map(|kv| kv.key.clone());
            for kv in answer.kvs {
                bytes += (kv.key.len() + kv.value.len()) as u64;
                let taken = etcd::take(&mut all, kv, false);
                taken.map_err(|what| Error::new(Kind::Unsupported, what))?;
            }
            if bytes > limits::ETCD_ASKED_BYTES_MAX {
                let what = format!("etcd returned more than {bytes} bytes of metadata");
                let error = Error::new(Kind::Unsupported, what).at(self.place("KV/Range"));
                return Err(error
                    .hint("read a file of `etcdctl snapshot save` instead, which can be mapped"));
            }
            match last.filter(|_| answer.more) {
                None => return Ok(all),
                Some(last) => key = Bytes::from([&last[..], b"\0"].concat()),
            }
        }
    }

    fn ask<A: Message + Default>(&self, name: &'static str, request: &impl Message) -> Result<A> {
        let path = PathAndQuery::try_from(format!("/etcdserverpb.{name}"));
        let path = path.expect("methods have plain names");
        let deadline = Duration::from_secs(limits::CONTROL_DEADLINE_S);
        let answer =
            (self.connection).call(path, self.headers.clone(), call::framed(request), deadline);
        let answer = answer.map_err(|failure| meaning(failure).at(self.place(name)))?;
        A::decode(answer).map_err(|e| {
            let what = format!("the answer cannot be read: {e}");
            Error::new(Kind::Refused, what).at(self.place(name))
        })
    }

    fn place(&self, call: &'static str) -> Place {
        Place::Remote {
            address: self.address.clone(),
            call,
        }
    }
}

/// What a failure means.
fn meaning(failure: Failure) -> Error {
    match failure {
        Failure::Unsent(words) | Failure::Silent(words) => Error::new(
            Kind::Unreachable,
            format!("etcd cannot be reached: {words}"),
        ),
        Failure::Slow(words) => Error::new(Kind::Slow, words),
        Failure::Tls(words) => call::tls_failed(&words),
        Failure::Foreign(words) => Error::new(Kind::Refused, words)
            .hint("does the address have etcd's client port, such as 2379?"),
        Failure::Status { code, message, .. } => {
            let said = format!("etcd answered: {}", call::describe(code, &message));
            match code {
                // OUT_OF_RANGE: the revision was compacted.
                11 => Error::new(Kind::Changed, said),
                3 | 7 | 16 => Error::new(Kind::Refused, said).hint(
                    "`etcd: {user, password}` must be those of a user that may read Milvus's keys",
                ),
                14 => Error::new(Kind::Unreachable, said),
                4 | 8 => Error::new(Kind::Busy, said),
                _ => Error::new(Kind::Refused, said),
            }
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(int64, tag = "4")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RangeAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<Revision>,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Authenticate {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct Token {
    #[prost(string, tag = "2")]
    token: String,
}
