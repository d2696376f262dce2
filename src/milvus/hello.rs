//! What kind of server is it? Asks once, when the client is opened.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::schema::Element;

use super::probe::{Found, probe};
use super::proto::{
    ClientInfo, ConnectRequest, ConnectResponse, GetVersionRequest, GetVersionResponse,
    ListDatabasesRequest, ListDatabasesResponse, ServerInfo, V1Command, V1StringReply,
};
use super::{Client, status};

/// What a server is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Server {
    /// Which program it is.
    pub flavour: Flavour,
    /// Its version in its own words, such as `v2.3.5`; empty if it does not say.
    pub version: String,
    /// Major and minor version, if it says them.
    pub release: Option<(u32, u32)>,
    /// How it was deployed, if it says so: `standalone`, `cluster`.
    pub deployed: Option<String>,
}

/// Which program a server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flavour {
    /// Milvus, standalone or distributed, and the services built on it.
    #[default]
    Full,
    /// Milvus Lite from 3.0: Python.
    LitePython,
    /// Milvus Lite before 3.0: C++. Has no partitions and no databases.
    LiteCpp,
    /// Milvus 0.10, 1.0 and 1.1, which speak another service: see `v1`.
    V1,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.flavour {
            Flavour::Full | Flavour::V1 => "Milvus",
            Flavour::LitePython => "Milvus Lite",
            Flavour::LiteCpp => "Milvus Lite (C++)",
        };
        f.write_str(name)?;
        // The builds of Milvus for PyPI call themselves `-lite`, but are complete standalone servers.
        let version = self.version.trim_end_matches("-lite");
        if !version.is_empty() {
            write!(f, " {version}")?;
        }
        match &self.deployed {
            Some(how) => write!(f, " ({how})"),
            None if version.len() < self.version.len() => f.write_str(" (standalone)"),
            None => Ok(()),
        }
    }
}

impl Server {
    /// What a Connect or GetVersion answer says.
    fn told(text: &str) -> Server {
        let lite = text.contains("milvus_lite");
        let number = text
            .find(|c: char| c.is_ascii_digit())
            .map(|at| &text[at..]);
        let mut parts = number.unwrap_or_default().split(['.', '-', '+']);
        let mut part = || parts.next().and_then(|p| p.parse().ok());
        let release = part().zip(part());
        let version = match lite {
            true => number.unwrap_or_default(),
            false => text,
        };
        Server {
            flavour: if lite {
                Flavour::LitePython
            } else {
                Flavour::Full
            },
            version: version.to_owned(),
            release,
            deployed: None,
        }
    }

    /// Whether it supports vectors of these elements, according to its version. Do not find out by trying: 2.3 lets you
    /// create collections that it cannot fill.
    pub fn takes(&self, element: Element) -> bool {
        let since = |major, minor| self.release.is_none_or(|r| r >= (major, minor));
        match (self.flavour, element) {
            (_, Element::Float32) => true,
            (Flavour::LitePython, _) => false,
            (Flavour::LiteCpp, element) => element != Element::Int8,
            (Flavour::Full | Flavour::V1, Element::Bit) => true,
            (Flavour::V1, _) => false,
            (Flavour::Full, Element::Float16 | Element::BFloat16) => since(2, 4),
            (Flavour::Full, Element::Int8) => since(2, 6),
        }
    }

    /// Whether it is this version or a later one, as far as it says which it is.
    pub fn is_since(&self, version: (u32, u32, u32)) -> bool {
        let number = self.version.find(|c: char| c.is_ascii_digit());
        let parts = number
            .map_or("", |at| &self.version[at..])
            .split(['.', '-', '+']);
        let patch = parts.skip(2).map(|part| part.parse().unwrap_or(0)).next();
        self.release
            .is_some_and(|(major, minor)| (major, minor, patch.unwrap_or(0)) >= version)
    }

    /// Whether the server has partitions.
    pub fn has_partitions(&self) -> bool {
        self.flavour != Flavour::LiteCpp
    }
}

impl Client {
    pub(super) fn hello(&self) -> Result<Server> {
        let request = ConnectRequest {
            client_info: Some(ClientInfo {
                sdk_type: "milvusdm".to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..ClientInfo::default()
            }),
        };
        let plain = self.address.starts_with("http://");
        let within = Duration::from_secs(limits::HELLO_S);
        let mut heard = match plain {
            true => self.ask_within("Connect", &request, within.min(self.deadlines.control)),
            false => self.ask::<ConnectResponse>("Connect", &request),
        };
        if let Err(error) = &heard
            && plain
            && matches!(error.kind(), Kind::Lost | Kind::Slow | Kind::Unreachable)
        {
            match probe(&self.address) {
                // Perhaps a busy Milvus.
                Found::Http2 if error.kind() != Kind::Unreachable => {
                    heard = self.ask("Connect", &request);
                }
                found => return Err(self.found(found, heard.expect_err("it was looked at"))),
            }
        }
        let answer = match heard {
            Ok(answer) => answer,
            Err(e) if is_unknown(&e) => return self.version(true),
            Err(e) => return Err(self.unheard(e)),
        };
        let info = answer.server_info.unwrap_or_default();
        match &answer.status {
            Some(status) if !status::is_ok(status) => {
                Err(status::refusal(status).at(self.place("Connect")))
            }
            _ if info.build_tags.contains(|c: char| c.is_ascii_digit()) => Ok(Server {
                deployed: deployed(&info),
                ..Server::told(&info.build_tags)
            }),
            _ => {
                let server = self.version(false)?;
                Ok(keep_flavour(server, &info))
            }
        }
    }

    /// By GetVersion, which Milvus Lite before 3.0 does not have; nor has Milvus 1.x.
    fn version(&self, ask_v1: bool) -> Result<Server> {
        match self.tell::<GetVersionResponse>("GetVersion", &GetVersionRequest {}) {
            Ok(answer) => Ok(Server::told(&answer.version)),
            Err(e) if !is_unknown(&e) => Err(e),
            Err(_) if !ask_v1 => Ok(Server {
                flavour: Flavour::LiteCpp,
                ..Server::default()
            }),
            Err(e) => self.v1().ok_or(e),
        }
    }

    /// What a Milvus 1.x server says it is, if one answers.
    fn v1(&self) -> Option<Server> {
        let command = V1Command {
            cmd: "version".to_owned(),
        };
        let path = "/milvus.grpc.MilvusService/Cmd".to_owned();
        let reply: V1StringReply = self.ask_at(path, "Cmd", &command).ok()?;
        Some(Server {
            flavour: Flavour::V1,
            ..Server::told(&reply.string_reply)
        })
    }

    /// The error for an address where something other than Milvus answers.
    fn found(&self, found: Found, error: Error) -> Error {
        let said = |kind, what: &str, hint: &str| {
            Error::new(kind, what).hint(hint).at(self.place("Connect"))
        };
        match found {
            // This may be Milvus itself while it starts: its port accepts HTTP/1 before gRPC.
            Found::Http1 => said(
                Kind::Unreachable,
                "an HTTP/1 server answers here, not Milvus",
                "use Milvus's gRPC port, 19530 unless configured otherwise; metrics and web pages (9091) \
                 are elsewhere; a Milvus that was started just now is ready in a while",
            ),
            Found::Tls => said(
                Kind::Unreachable,
                "the server speaks TLS, but the address does not say https://",
                "an address with TLS begins with https://",
            ),
            Found::Silent => said(
                Kind::Unreachable,
                "something accepts connections here but never answers",
                "is it Milvus's port (19530)? A tunnel or load balancer with nothing behind it is silent like this; if the \
                 server speaks TLS, its address begins with https://",
            ),
            Found::Http2 | Found::Other => self.unheard(error),
        }
    }

    /// A TLS port does not answer plain text; a server that requires our certificate may close the connection before
    /// its reason has arrived.
    fn unheard(&self, error: Error) -> Error {
        let secure = self.address.starts_with("https://");
        match error.kind() {
            Kind::Lost | Kind::Slow if !secure => error
                .with_kind(Kind::Unreachable)
                .hint("if the server speaks TLS, its address begins with https://"),
            Kind::Lost | Kind::Unreachable if secure && is_cut(&error) => error
                .with_kind(Kind::Unreachable)
                .hint("the server may want a client certificate (`tls: {cert: …, key: …}`)"),
            _ => error,
        }
    }

    /// The names of the server's databases, in order. Servers that know nothing of databases have the default one.
    pub fn databases(&self) -> Result<Vec<String>> {
        let request = ListDatabasesRequest {};
        match self.tell::<ListDatabasesResponse>("ListDatabases", &request) {
            Ok(mut answer) => {
                answer.db_names.sort_unstable();
                Ok(answer.db_names)
            }
            Err(e) if is_unknown(&e) => Ok(vec!["default".to_owned()]),
            Err(e) => Err(e),
        }
    }

    /// Refuses a database that does not exist, if the server tells.
    pub(super) fn check_db(&self) -> Result<()> {
        if self.db.is_empty() || self.db == "default" {
            return Ok(());
        }
        let request = ListDatabasesRequest {};
        match self.tell::<ListDatabasesResponse>("ListDatabases", &request) {
            Ok(answer) if answer.db_names.contains(&self.db) => Ok(()),
            Ok(answer) => Err(Error::new(
                Kind::Refused,
                format!("there is no database `{}`", self.db),
            )
            .hint(format!("there are: {}", answer.db_names.join(", ")))
            .at(self.place("ListDatabases"))),
            Err(e) if is_unknown(&e) => Err(Error::new(
                Kind::Refused,
                format!(
                    "{} has no databases, `{}` cannot be used",
                    self.server, self.db
                ),
            )
            .at(self.place("ListDatabases"))),
            // A user may lack the privilege to list what it may well use.
            Err(_) => Ok(()),
        }
    }
}

/// How a server says that it was deployed.
fn deployed(info: &ServerInfo) -> Option<String> {
    let how = info.deploy_mode.to_ascii_lowercase();
    ["standalone", "cluster", "distributed"]
        .contains(&how.as_str())
        .then_some(how)
}

/// Milvus Lite's Connect names the program, but not the version.
fn keep_flavour(server: Server, info: &ServerInfo) -> Server {
    match info.build_tags.contains("milvus_lite") {
        true => Server {
            flavour: Flavour::LitePython,
            ..server
        },
        false => server,
    }
}

fn is_cut(error: &Error) -> bool {
    let words = error.what();
    words.contains("closed") || words.contains("reset") || words.contains("broken pipe")
}

fn is_unknown(error: &Error) -> bool {
    error.what().contains("UNIMPLEMENTED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_what_they_are_in_many_ways() {
        let check = |text: &str, flavour, release, shown: &str| {
            let server = Server::told(text);
            assert_eq!(
                (server.flavour, server.release),
                (flavour, release),
                "{text}"
            );
            assert_eq!(server.to_string(), shown);
        };
        check(
            "v2.3.5-lite",
            Flavour::Full,
            Some((2, 3)),
            "Milvus v2.3.5 (standalone)",
        );
        check("2.6.1", Flavour::Full, Some((2, 6)), "Milvus 2.6.1");
        check(
            "milvus_lite-3.2.2",
            Flavour::LitePython,
            Some((3, 2)),
            "Milvus Lite 3.2.2",
        );
        check(
            "master-20260101",
            Flavour::Full,
            None,
            "Milvus master-20260101",
        );
        check("", Flavour::Full, None, "Milvus");
    }

    #[test]
    fn what_a_server_lacks_is_known_by_its_version() {
        let old = Server::told("v2.3.5");
        let new = Server::told("v2.6.0");
        assert!(old.takes(Element::Bit) && !old.takes(Element::Float16));
        assert!(!old.takes(Element::Int8) && new.takes(Element::Int8));
        assert!(!Server::told("milvus_lite-3.2.2").takes(Element::Bit));
        assert!(
            Server::told("nightly").takes(Element::Int8),
            "unknown: let it say"
        );
        for (version, since) in [
            ("v2.6.23", false),
            ("v2.6.24-dev", true),
            ("2.6", false),
            ("3.0.1", true),
            ("nightly", false),
        ] {
            assert_eq!(
                Server::told(version).is_since((2, 6, 24)),
                since,
                "{version}"
            );
        }
    }
}
