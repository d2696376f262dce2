//! How does one talk to Milvus? The blocking API of the 2.x service; that of 1.x is in `v1`.
//! Sends requests, and sorts every answer by what happens next; never retries.

pub mod access;
mod control;
mod create;
pub mod described;
mod hello;
mod import;
pub mod lite;
mod probe;
pub mod proto;
mod query;
#[cfg(feature = "network")]
mod rest;
mod status;
pub mod v1;
pub mod values;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;

use crate::call::{self, Connection, Failure, framed};
use crate::error::{Error, Kind, Place, Result};
use crate::limits;

use proto::{Answer, MutationResult};

pub use control::{Collection, Flushing, IndexState};
pub use create::{NewCollection, default_of, default_value, properties};
pub use hello::{Flavour, Server};
pub use import::{ImportJob, ImportState};
pub use query::{Found, LookUp, Range};
#[cfg(feature = "network")]
pub use rest::Rest;

pub use crate::call::{Secret, Tls, channel};

/// Milvus's default ports, without and with TLS.
pub const PORTS: (u16, u16) = (19530, 443);

/// Where a server is, and how to log in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://host:port` or `https://host:port`.
    pub address: String,
    /// How to log in.
    pub login: Login,
    /// The database; empty: the default one.
    pub db: String,
    /// Certificates, already read.
    pub tls: Option<Tls>,
    /// How long an answer may take.
    pub deadlines: Deadlines,
}

/// How long an answer may take before it counts as lost.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To an insert or upsert.
    pub write: Duration,
    /// To calls in which a server may do long work before it answers.
    pub slow: Duration,
    /// To anything else.
    pub control: Duration,
    /// To a ping, sent when a connection with calls in flight is quiet.
    pub ping: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            write: Duration::from_secs(limits::INSERT_DEADLINE_S),
            slow: Duration::from_secs(limits::SLOW_DEADLINE_S),
            control: Duration::from_secs(limits::CONTROL_DEADLINE_S),
            ping: Duration::from_secs(limits::PING_ANSWER_S),
        }
    }
}

/// How to log in.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// Not at all.
    #[default]
    None,
    /// By name and password.
    User(String, Secret),
    /// By a token or API key.
    Token(Secret),
}

/// Which call a packed batch goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// Adds rows, whatever keys are there.
    Insert,
    /// Replaces rows of the same keys, and adds the rest.
    Upsert,
}

impl Write {
    /// The method's name.
    pub fn name(self) -> &'static str {
        match self {
            Write::Insert => "Insert",
            Write::Upsert => "Upsert",
        }
    }
}

/// A Milvus 2.x server, and the connections to it. Shared by all threads; its calls block.
pub struct Client {
    address: String,
    db: String,
    headers: HeaderMap,
    connections: Arc<[Connection]>,
    server: Server,
    deadlines: Deadlines,
}

/// Calls in which a server may do long work before it answers.
const SLOW: [&str; 8] = [
    // Milvus 2.3.5 crashes if these are cancelled before it has answered.
    "GetImportState",
    "ListImportTasks",
    "Flush",
    "CreateIndex",
    "LoadCollection",
    "DropCollection",
    "DropPartition",
    "ReleaseCollection",
];

/// A server, by the service it speaks.
pub enum Opened {
    /// Milvus 2.x and the services built on it.
    V2(Client),
    /// Milvus 1.x.
    V1(v1::V1),
}

/// Connects, and asks the server what it is.
pub fn open(settings: &Settings, connections: usize) -> Result<Opened> {
    let mut client = Client::dial(settings, connections)?;
    client.server = client.hello()?;
    if client.server.flavour == Flavour::V1 {
        return v1::V1::known(settings, connections, client).map(Opened::V1);
    }
    client.check_db()?;
    Ok(Opened::V2(client))
}

impl Client {
    /// Connects to a server, which must be a 2.x one.
    pub fn open(settings: &Settings, connections: usize) -> Result<Client> {
        match open(settings, connections)? {
            Opened::V2(client) => Ok(client),
            Opened::V1(server) => Err(Error::new(
                Kind::Refused,
                format!(
                    "this is {}, a 1.x server; use the sink `milvus1` for it",
                    server.name()
                ),
            )),
        }
    }

    /// Connections to a server that has not been asked anything.
    fn dial(settings: &Settings, connections: usize) -> Result<Client> {
        Client::dial_with(settings, connections, true)
    }

    /// The same, with or without pings on connections that wait for an answer.
    fn dial_with(settings: &Settings, connections: usize, pings: bool) -> Result<Client> {
        let tls = settings.tls.as_ref();
        let mut endpoint = call::endpoint(&settings.address, tls, settings.deadlines.ping)?;
        if !pings {
            // gRPC's C++ servers, as of Milvus 1.x, break a connection that pings more than every five minutes
            // while it waits (ENHANCE_YOUR_CALM); the kernel's probes show a dead peer too.
            endpoint = endpoint
                .http2_keep_alive_interval(Duration::from_secs(limits::V1_PING_EVERY_S))
                .tcp_keepalive(Some(Duration::from_secs(limits::PING_EVERY_S)));
        }
        let connections = (0..connections.max(1))
            .map(|number| Connection::new(endpoint.clone(), number))
            .collect::<std::io::Result<Arc<[_]>>>()
            .map_err(|e| Error::new(Kind::Io, format!("cannot start a thread: {e}")))?;
        Ok(Client {
            address: settings.address.clone(),
            db: settings.db.clone(),
            headers: headers(settings)?,
            connections,
            server: Server::default(),
            deadlines: settings.deadlines,
        })
    }

    /// The same server and connections, for another of its databases.
    pub fn in_database(&self, db: &str) -> Result<Client> {
        let mut headers = self.headers.clone();
        headers.insert("dbname", database(db)?);
        Ok(Client {
            address: self.address.clone(),
            db: db.to_owned(),
            headers,
            connections: self.connections.clone(),
            server: self.server.clone(),
            deadlines: self.deadlines,
        })
    }

    /// What the server is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it is, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The database; empty: the default one.
    pub fn db(&self) -> &str {
        &self.db
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Sends a body framed by [`wire::frame`]. `key` names the request for servers that know idempotent writes.
    pub fn write(&self, write: Write, body: &[Bytes], key: &str) -> Result<MutationResult> {
        let mut headers = self.headers.clone();
        let key = HeaderValue::from_str(key).expect("keys are printable");
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        let path = match write {
            Write::Insert => "/milvus.proto.milvus.MilvusService/Insert",
            Write::Upsert => "/milvus.proto.milvus.MilvusService/Upsert",
        };
        let path = PathAndQuery::from_static(path);
        let answer = self.exchange(path, headers, body.to_vec(), self.deadlines.write);
        let result = answer.map_err(|(failure, sent)| status::failure(failure, sent));
        let result = result.and_then(|answer| read::<MutationResult>(&answer));
        let result = result.and_then(|result| ok(&result).map(|()| result));
        result.map_err(|e| e.at(self.place(write.name())))
    }

    /// Calls a method, and reads the answer, whatever status it carries.
    fn ask<A: Answer>(&self, method: &'static str, request: &impl Message) -> Result<A> {
        let path = format!("/milvus.proto.milvus.MilvusService/{method}");
        self.ask_at(path, method, request)
    }

    /// Calls a method that must succeed.
    fn tell<A: Answer>(&self, method: &'static str, request: &impl Message) -> Result<A> {
        let answer: A = self.ask(method, request)?;
        ok(&answer).map_err(|e| e.at(self.place(method)))?;
        Ok(answer)
    }

    /// Calls a method that must succeed and must not be repeated: without an answer it may have been done.
    fn tell_once<A: Answer>(&self, method: &'static str, request: &impl Message) -> Result<A> {
        let path = format!("/milvus.proto.milvus.MilvusService/{method}");
        let path = PathAndQuery::try_from(path).expect("methods have plain names");
        let deadline = self.deadlines.control;
        let answer = self.exchange(path, self.headers.clone(), framed(request), deadline);
        let answer = answer.map_err(|(failure, sent)| status::failure(failure, sent));
        let answer = answer.and_then(|answer| read::<A>(&answer));
        let answer = answer.and_then(|answer| ok(&answer).map(|()| answer));
        answer.map_err(|e| e.at(self.place(method)))
    }

    fn ask_at<A: Message + Default>(
        &self,
        path: String,
        method: &'static str,
        request: &impl Message,
    ) -> Result<A> {
        let deadline = match SLOW.contains(&method) {
            true => self.deadlines.slow,
            false => self.deadlines.control,
        };
        self.ask_at_within(path, method, request, deadline)
    }

    /// The same, waiting no longer than this for the answer.
    fn ask_within<A: Answer>(
        &self,
        method: &'static str,
        request: &impl Message,
        deadline: Duration,
    ) -> Result<A> {
        let path = format!("/milvus.proto.milvus.MilvusService/{method}");
        self.ask_at_within(path, method, request, deadline)
    }

    fn ask_at_within<A: Message + Default>(
        &self,
        path: String,
        method: &'static str,
        request: &impl Message,
        deadline: Duration,
    ) -> Result<A> {
        let path = PathAndQuery::try_from(path).expect("methods have plain names");
        let answer = self.exchange(path, self.headers.clone(), framed(request), deadline);
        answer
            .map_err(|(failure, sent)| status::failure(failure.repeatable(), sent))
            .and_then(|answer| read(&answer))
            .map_err(|e| e.at(self.place(method)))
    }

    /// Uses the connection with the fewest calls in flight. A failure comes with the size of the message that was sent.
    fn exchange(
        &self,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Vec<Bytes>,
        deadline: Duration,
    ) -> std::result::Result<Bytes, (Failure, usize)> {
        let connection = self.connections.iter().min_by_key(|c| c.out());
        let connection = connection.expect("there is at least one connection");
        // The message without its prefix.
        let sent = body.iter().map(Bytes::len).sum::<usize>().saturating_sub(5);
        let answer = connection.call(path, headers, body, deadline);
        answer.map_err(|failure| (failure, sent))
    }

    fn place(&self, call: &'static str) -> Place {
        Place::Remote {
            address: self.address.clone(),
            call,
        }
    }
}

fn read<A: Message + Default>(answer: &Bytes) -> Result<A> {
    A::decode(answer.clone())
        .map_err(|e| Error::new(Kind::Refused, format!("the answer cannot be read: {e}")))
}

/// Returns an error unless the answer's status is OK.
fn ok(answer: &impl Answer) -> Result<()> {
    match answer.status() {
        Some(status) if !status::is_ok(status) => Err(status::refusal(status)),
        _ => Ok(()),
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let login = match &settings.login {
        Login::None => None,
        Login::User(user, password) => Some(format!("{user}:{}", password.0)),
        Login::Token(token) => Some(token.0.clone()),
    };
    if let Some(login) = login {
        let mut value = HeaderValue::from_str(&base64(login.as_bytes())).expect("base64 is plain");
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    if !settings.db.is_empty() {
        headers.insert("dbname", database(&settings.db)?);
    }
    Ok(headers)
}

fn database(name: &str) -> Result<HeaderValue> {
    let wrong = |_| Error::new(Kind::Job, format!("`{name}` cannot name a database"));
    HeaderValue::from_str(name).map_err(wrong)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            out.push(match i <= chunk.len() {
                true => char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]),
                false => '=',
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("root:Milvus", "cm9vdDpNaWx2dXM="),
            ("\u{ff}?>", "w78/Pg=="),
        ];
        for (plain, coded) in table {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let settings = Settings {
            address: "http://h:1".into(),
            login: Login::User("root".into(), Secret("hunter2".into())),
            db: String::new(),
            deadlines: Deadlines::default(),
            tls: Some(Tls {
                identity: Some((b"cert".to_vec(), b"hunter2".to_vec())),
                ..Tls::default()
            }),
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
        let headers = headers(&settings).unwrap();
        assert!(!format!("{headers:?}").contains(&base64(b"root:hunter2")));
    }
}
