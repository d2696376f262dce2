//! How does one talk to a Chroma server? The few calls that read, in both versions of its API.

use serde_json::{Value, json};

use super::Collection;
use super::page::{self, Wrong};
use crate::error::{Error, Kind, Result};
use crate::http::{Ask, Method, Server, encoded, words};
use crate::limits;

/// A server that answered.
pub struct Client {
    server: Server,
    is_v1: bool,
    /// The path of collections.
    base: String,
    /// What is appended to each path.
    query: String,
}

/// Which values of rows are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    Ids,
    Vectors,
    All,
}

impl Client {
    /// Detects the API. Servers of 0.4 know the first, those of 1.x the second, and some in between know both.
    pub fn open(server: Server, tenant: &str, database: &str) -> Result<Client> {
        let (tenant, database) = (encoded(tenant), encoded(database));
        let mut client = Client {
            base: format!("/api/v2/tenants/{tenant}/databases/{database}/collections"),
            query: String::new(),
            is_v1: false,
            server,
        };
        if client.beats("/api/v2/heartbeat")? {
            return Ok(client);
        }
        if client.beats("/api/v1/heartbeat")? {
            client.is_v1 = true;
            client.base = "/api/v1/collections".to_owned();
            client.query = format!("tenant={tenant}&database={database}");
            return Ok(client);
        }
        let what = format!("{} is not a Chroma server", client.address());
        Err(Error::new(Kind::Refused, what)
            .hint("does the address have its HTTP port, such as 8000?"))
    }

    fn beats(&self, path: &str) -> Result<bool> {
        let mut answer = Vec::new();
        let status = (self.server).ask(&Ask::new(Method::Get, path, "heartbeat"), &mut answer)?;
        match status {
            200..=299 => {
                let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
                Ok(said["nanosecond heartbeat"].is_number())
            }
            401 | 403 | 407 | 408 | 425 | 429 | 502..=504 => {
                Err(self.server.refusal("heartbeat", status, &words(&answer)))
            }
            _ => Ok(false),
        }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// Whether it is of 0.4 or 0.5.
    pub fn is_v1(&self) -> bool {
        self.is_v1
    }

    fn path(&self, more: &str, query: &str) -> String {
        let all: Vec<&str> = [&*self.query, query]
            .into_iter()
            .filter(|q| !q.is_empty())
            .collect();
        match all.is_empty() {
            true => format!("{}{more}", self.base),
            false => format!("{}{more}?{}", self.base, all.join("&")),
        }
    }

    fn ask(&self, call: &'static str, path: &str, body: Option<&Value>) -> Result<(u16, Vec<u8>)> {
        let body = body.map(Value::to_string);
        let method = match body {
            Some(_) => Method::Post,
            None => Method::Get,
        };
        let ask = Ask {
            body: body.as_deref().map(str::as_bytes),
            most: limits::ANSWER_BYTES_MAX,
            ..Ask::new(method, path, call)
        };
        let mut answer = Vec::new();
        let status = self.server.ask(&ask, &mut answer)?;
        Ok((status, answer))
    }

    fn json(&self, call: &'static str, path: &str) -> Result<Value> {
        match self.ask(call, path, None)? {
            (200..=299, answer) => serde_json::from_slice(&answer)
                .map_err(|e| self.odd(call, format!("the answer is not JSON: {e}"))),
            (status, answer) => Err(self.refusal(call, status, &answer)),
        }
    }

    fn odd(&self, call: &'static str, what: String) -> Error {
        Error::new(Kind::Refused, what).at(self.server.place(call))
    }

    fn refusal(&self, call: &'static str, status: u16, answer: &[u8]) -> Error {
        let said = words(answer);
        let error = self.server.refusal(call, status, &said);
        match status {
            // A page is one SQLite statement, with a variable for each row.
            500 if said.contains("too many SQL variables") => error.with_kind(Kind::TooBig),
            // Servers under load answer like this now and then, and succeed on the next attempt.
            500 => error.with_kind(Kind::Busy),
            _ => error,
        }
    }

    /// All collections of the database, by name.
    pub fn collections(&self) -> Result<Vec<Collection>> {
        let call = "list collections";
        let mut all: Vec<Collection> = Vec::new();
        loop {
            let most = limits::CHROMA_COLLECTIONS;
            let query = format!("limit={most}&offset={}", all.len());
            let found = self.json(call, &self.path("", &query))?;
            let Value::Array(found) = found else {
                return Err(self.odd(call, "the answer is not a list".to_owned()));
            };
            let before = all.len();
            for collection in &found {
                let read = collection_of(collection);
                let read = read.ok_or_else(|| {
                    self.odd(
                        call,
                        "the answer has a collection without id or name".to_owned(),
                    )
                })?;
                // A server without pagination returns all of them every time.
                if all.iter().all(|other| other.id != read.id) {
                    all.push(read);
                }
            }
            if found.len() < most || all.len() == before {
                break;
            }
        }
        if all.is_empty() {
            self.check_database()?;
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Reports a missing database: a server then lists no collections of it.
    fn check_database(&self) -> Result<()> {
        let Some(path) = self
            .base
            .strip_suffix("/collections")
            .filter(|_| !self.is_v1)
        else {
            return Ok(());
        };
        match self.ask("database", path, None)? {
            (200..=299, _) => Ok(()),
            (status @ (400 | 404), answer) => {
                let what = format!(
                    "there is no such database: {} (HTTP status {status})",
                    words(&answer)
                );
                Err(Error::new(Kind::Job, what).at(self.server.place("database")))
            }
            (status, answer) => Err(self.refusal("database", status, &answer)),
        }
    }

    /// The collection of this name; `None` if there is none.
    pub fn collection(&self, name: &str) -> Result<Option<Collection>> {
        let call = "collection";
        match self.ask(call, &self.path(&format!("/{}", encoded(name)), ""), None)? {
            (200..=299, answer) => {
                let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
                Ok(collection_of(&said))
            }
            (404, _) => Ok(None),
            // How the first API reports a missing collection.
            (400 | 500, answer) if words(&answer).contains("does not exist") => Ok(None),
            (status, answer) => Err(self.refusal(call, status, &answer)),
        }
    }

    /// How many rows a collection has.
    pub fn count(&self, id: &str) -> Result<u64> {
        let call = "count";
        let said = self.json(call, &self.path(&format!("/{id}/count"), ""))?;
        said.as_u64()
            .ok_or_else(|| self.odd(call, "the answer is not a number".to_owned()))
    }

    /// A page of rows, as the server writes it.
    pub fn page(&self, id: &str, offset: u64, rows: u64, wanted: Wanted) -> Result<Vec<u8>> {
        self.rows(id, wanted, json!({"offset": offset, "limit": rows}))
    }

    /// The rows with these ids, in no particular order.
    pub fn by_ids(&self, id: &str, ids: &[String]) -> Result<Vec<u8>> {
        self.rows(id, Wanted::Vectors, json!({"ids": ids}))
    }

    fn rows(&self, id: &str, wanted: Wanted, mut body: Value) -> Result<Vec<u8>> {
        let include: &[&str] = match wanted {
            Wanted::Ids => &[],
            Wanted::Vectors => &["embeddings"],
            Wanted::All => &["embeddings", "documents", "metadatas", "uris"],
        };
        body["include"] = json!(include);
        let call = "get";
        match self.ask(call, &self.path(&format!("/{id}/get"), ""), Some(&body))? {
            (200..=299, answer) => Ok(answer),
            (status, answer) => Err(self.refusal(call, status, &answer)),
        }
    }

    /// The ids of a page.
    pub fn ids(&self, id: &str, offset: u64, rows: u64) -> Result<Vec<String>> {
        let answer = self.page(id, offset, rows, Wanted::Ids)?;
        page::ids(&answer).map_err(|wrong| match wrong {
            Wrong::Odd(what) | Wrong::Row { what, .. } => self.odd("get", what),
        })
    }
}

fn collection_of(said: &Value) -> Option<Collection> {
    Some(Collection::of(
        said["id"].as_str()?,
        said["name"].as_str()?,
        said["dimension"].as_u64(),
        [
            &said["schema"],
            &said["configuration_json"],
            &said["metadata"],
        ],
    ))
}
