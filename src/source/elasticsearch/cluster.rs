//! How does one talk to Elasticsearch and OpenSearch? In two dialects of the same few calls.
//!
//! What only Elasticsearch has (`/_pit`, vectors left out of `_source`) was written from its documentation and source;
//! tests run it against a stand-in. The OpenSearch dialect was tested on a real 2.19.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::indices::Index;
use super::page;
use super::settings::{Missing, Settings};
use crate::error::{Error, Kind, Result};
use crate::http::{self, Ask, Method, Server, encoded, words};
use crate::limits;

/// Which server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Elasticsearch,
    OpenSearch,
}

/// Nodes of a cluster, any of which may be called.
pub struct Cluster {
    nodes: Vec<Server>,
    /// The one that answered last.
    node: AtomicUsize,
    pub dialect: Dialect,
    /// Major and minor.
    pub version: (u64, u64),
    words: String,
    keep_alive: String,
    query: Option<Value>,
    /// Whether documents without a vector are skipped.
    skips: bool,
}

/// A point in time of a shard, which the server keeps.
#[derive(Debug)]
pub struct View {
    /// Its newest id.
    pub id: String,
    /// Documents in it that are migrated.
    pub rows: u64,
    /// The highest number of a document in the order of reading, or -1.
    pub last: i64,
    /// When it was opened, if the order of its documents is valid in this state only; otherwise the order is that of
    /// `_seq_no`, which outlives the state.
    pub opened: Option<i64>,
    /// Vectors that a document needs to be migrated.
    needs: Vec<String>,
    /// Documents that are not migrated because they lack one.
    pub lacking: u64,
}

impl Cluster {
    /// Connects, and asks which server answers.
    pub fn open(settings: &Settings) -> Result<Cluster> {
        let tls = settings.tls.read()?;
        let open = |address: &String| {
            Server::open(&http::Settings {
                address: address.clone(),
                headers: settings.headers.clone(),
                tls: tls.clone(),
                deadline: std::time::Duration::from_secs(limits::SEARCH_DEADLINE_S),
                connections: settings.connections,
            })
        };
        let mut cluster = Cluster {
            nodes: settings.addresses.iter().map(open).collect::<Result<_>>()?,
            node: AtomicUsize::new(0),
            dialect: Dialect::Elasticsearch,
            version: (0, 0),
            words: String::new(),
            keep_alive: format!("{}s", settings.keep_alive.as_secs().max(1)),
            query: settings.query.clone(),
            skips: settings.missing == Missing::Skip,
        };
        let hello = cluster.json("hello", Method::Get, "/", None)?;
        let version = &hello["version"];
        let Some(number) = version["number"].as_str() else {
            let what = format!(
                "{} is neither Elasticsearch nor OpenSearch",
                cluster.address()
            );
            return Err(Error::new(Kind::Refused, what)
                .hint("does the address have its HTTP port, such as 9200?"));
        };
        let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
        cluster.version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let (name, least) = match version["distribution"].as_str() {
            Some("opensearch") => {
                cluster.dialect = Dialect::OpenSearch;
                ("OpenSearch", (2, 4))
            }
            _ => ("Elasticsearch", (7, 12)),
        };
        cluster.words = format!("{name} {number}");
        if cluster.version < least {
            let what = format!(
                "{} is {}: {name} before {}.{} keeps no point in time that could be read",
                cluster.address(),
                cluster.words,
                least.0,
                least.1
            );
            return Err(Error::new(Kind::Unsupported, what));
        }
        Ok(cluster)
    }

    /// Which server it is, for messages.
    pub fn server(&self) -> &str {
        &self.words
    }

    /// Its first address.
    pub fn address(&self) -> &str {
        self.nodes[0].address()
    }

    /// Calls a node, or the next one if it is unreachable. Any status is an answer.
    pub fn ask(&self, ask: &Ask<'_>, answer: &mut Vec<u8>) -> Result<u16> {
        let first = self.node.load(Ordering::Relaxed);
        let mut failed = None;
        for at in 0..self.nodes.len() {
            let number = (first + at) % self.nodes.len();
            match self.nodes[number].ask(ask, answer) {
                Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Lost) => {
                    failed.get_or_insert(error);
                }
                answered => {
                    self.node.store(number, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(failed.expect("there is a node, and it failed"))
    }

    /// Converts an answer into an error.
    pub fn refusal(&self, call: &'static str, status: u16, answer: &[u8]) -> Error {
        let node = &self.nodes[self.node.load(Ordering::Relaxed)];
        let error = node.refusal(call, status, &words(answer));
        let text = String::from_utf8_lossy(&answer[..answer.len().min(1 << 16)]);
        // A server that is out of memory, starting, or briefly without a shard reports it with various statuses.
        let passing = [
            "circuit_breaking_exception",
            "rejected_execution",
            "no_shard_available",
            "NoShardAvailable",
        ];
        match passing.iter().any(|word| text.contains(word)) {
            true => error.with_kind(Kind::Busy),
            false => error,
        }
    }

    /// Calls, and parses the answer; every status except 2xx is an error.
    pub fn json(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        match self.answered(call, method, path, body)? {
            (200..=299, answer) => serde_json::from_slice(&answer).map_err(|e| {
                let what = format!("the answer is not JSON: {e}");
                Error::new(Kind::Refused, what)
                    .at(self.nodes[0].place(call))
                    .hint("does the address have its HTTP port, such as 9200?")
            }),
            (status, answer) => Err(self.refusal(call, status, &answer)),
        }
    }

    /// Calls: the status, and the answer.
    pub fn answered(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>)> {
        let body = body.map(Value::to_string);
        let ask = Ask {
            body: body.as_deref().map(str::as_bytes),
            ..Ask::new(method, path, call)
        };
        let mut answer = Vec::new();
        let status = self.ask(&ask, &mut answer)?;
        Ok((status, answer))
    }

    /// Makes the server keep the state of a shard, and counts its documents.
    pub fn view(&self, index: &Index, shard: u32) -> Result<View> {
        let name = encoded(&index.name);
        let keep = &self.keep_alive;
        // One state per shard: readers need not share a state, and a state of several shards has no order that outlives
        // it.
        let path = match self.dialect {
            Dialect::Elasticsearch => {
                format!("/{name}/_pit?keep_alive={keep}&preference=_shards:{shard}")
            }
            Dialect::OpenSearch => format!(
                "/{name}/_search/point_in_time?keep_alive={keep}&preference=_shards:{shard}&allow_partial_pit_creation=false"
            ),
        };
        let call = "point in time";
        let answer = self.json(call, Method::Post, &path, None)?;
        let id = match self.dialect {
            Dialect::Elasticsearch => &answer["id"],
            Dialect::OpenSearch => &answer["pit_id"],
        };
        let Some(id) = id.as_str() else {
            let what = "the answer names no point in time".to_owned();
            return Err(Error::new(Kind::Refused, what).at(self.nodes[0].place(call)));
        };
        let mut view = View {
            id: id.to_owned(),
            rows: 0,
            last: -1,
            opened: (!index.is_numbered).then(now),
            needs: Vec::new(),
            lacking: 0,
        };
        let mut looked = self.look(&mut view);
        if looked.is_ok() && self.skips {
            // Filtered by the server, so that the rest is counted exactly.
            let all = view.rows;
            view.needs = index.vector_names();
            looked = self.look(&mut view);
            view.lacking = all.saturating_sub(view.rows);
        }
        match looked {
            Ok(()) => Ok(view),
            // Lost right after it was opened: the next one may last.
            Err(error) if Cluster::is_gone(&error) => Err(error.with_kind(Kind::Busy)),
            Err(error) => {
                self.close(&view);
                Err(error)
            }
        }
    }

    /// Counts the documents in a state, and finds the highest number.
    fn look(&self, view: &mut View) -> Result<()> {
        let mut body = self.search(view, i64::MIN, i64::MAX, 1);
        body["sort"] = json!([{self.order(view): "desc"}]);
        body["_source"] = json!(false);
        body["track_total_hits"] = json!(true);
        let mut answer = Vec::new();
        self.searched(
            &body,
            view,
            limits::HTTP_SHORT_ANSWER_BYTES_MAX,
            &mut answer,
        )?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let total = &answer["hits"]["total"];
        let rows = total["value"].as_u64().or(total.as_u64());
        let Some(rows) = rows else {
            let what = "the answer does not count its documents".to_owned();
            return Err(Error::new(Kind::Refused, what).at(self.nodes[0].place("search")));
        };
        view.rows = rows;
        view.last = answer["hits"]["hits"][0]["sort"][0].as_i64().unwrap_or(-1);
        Ok(())
    }

    /// The sort key of a state's documents.
    fn order(&self, view: &View) -> &'static str {
        match (view.opened, self.dialect) {
            (None, _) => "_seq_no",
            (Some(_), Dialect::Elasticsearch) => "_shard_doc",
            // The same, for a state of one shard.
            (Some(_), Dialect::OpenSearch) => "_doc",
        }
    }

    /// A search for the documents after one number, up to and including another.
    pub fn search(&self, view: &View, after: i64, upto: i64, rows: u64) -> Value {
        let mut filter = Vec::new();
        if view.opened.is_none() {
            filter.push(json!({"range": {"_seq_no": {"gt": after, "lte": upto}}}));
        }
        filter.extend(self.query.clone());
        filter.extend(
            view.needs
                .iter()
                .map(|name| json!({"exists": {"field": name}})),
        );
        let mut body = json!({
            "size": rows,
            "pit": {"id": view.id, "keep_alive": self.keep_alive},
            "query": {"bool": {"filter": filter}},
            "sort": [{self.order(view): "asc"}],
            "track_total_hits": false,
        });
        if view.opened.is_some() && after >= 0 {
            body["search_after"] = json!([after]);
        }
        body
    }

    /// Searches; the answer is never partial, and the id of the state is updated.
    pub fn searched(
        &self,
        body: &Value,
        view: &mut View,
        most: usize,
        answer: &mut Vec<u8>,
    ) -> Result<()> {
        let text = body.to_string();
        let ask = Ask {
            body: Some(text.as_bytes()),
            most,
            ..Ask::new(
                Method::Post,
                "/_search?allow_partial_search_results=false",
                "search",
            )
        };
        let status = self.ask(&ask, answer)?;
        if !(200..=299).contains(&status) {
            let error = self.refusal("search", status, answer);
            return Err(match is_of_a_lost_state(answer) {
                true => error.with_kind(Kind::Changed),
                false => error,
            });
        }
        if let Some(id) = page::id(answer) {
            view.id = id;
        }
        Ok(())
    }

    /// Whether an error means that the server no longer keeps a state.
    pub fn is_gone(error: &Error) -> bool {
        error.kind() == Kind::Changed
    }

    /// Tells the server that it need not keep a state any longer.
    pub fn close(&self, view: &View) {
        let (path, body) = match self.dialect {
            Dialect::Elasticsearch => ("/_pit", json!({"id": view.id})),
            Dialect::OpenSearch => ("/_search/point_in_time", json!({"pit_id": [view.id]})),
        };
        if let Err(error) = self.answered("close", Method::Delete, path, Some(&body)) {
            tracing::debug!("a point in time stays open until it expires: {error:#}");
        }
    }
}

/// Whether a refusal means that the server no longer keeps a state. After a restart of a node, only the listed causes
/// reveal it; the main message is that all shards failed.
fn is_of_a_lost_state(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(1 << 16)]);
    let words = [
        "search_context_missing",
        "No search context",
        "point in time",
        "Point in time",
    ];
    words.iter().any(|word| text.contains(word))
}

/// Tenths of seconds since the start of 2024: fine enough to tell states apart, and small enough to precede a
/// document's number.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis() as i64);
    ((millis - 1_704_067_200_000) / 100).clamp(1, i64::from(u32::MAX >> 1))
}
