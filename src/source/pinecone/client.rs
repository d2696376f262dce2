//! How does one talk to Pinecone? The four calls that read an index.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::http::{Ask, Method, Server, encoded, words};
use crate::limits;
use crate::retry::Backoff;

/// The version of the API that is requested.
pub const API: &str = "2025-10";

/// An index.
pub struct Client {
    pub server: Server,
}

/// The service's description of an index.
#[derive(Clone, PartialEq, Debug)]
pub struct Stats {
    /// None for an index of sparse vectors alone.
    pub dimension: Option<u32>,
    /// `cosine`, `dotproduct`, `euclidean`; early versions do not report it.
    pub metric: Option<String>,
    /// Rows of each namespace.
    pub namespaces: BTreeMap<String, u64>,
}

/// A page of a list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Listed {
    pub ids: Vec<String>,
    /// The token for the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Client {
    /// Calls, and retries a few times if the service says "later": a page takes several requests, and one that is put
    /// off must not discard those that succeeded.
    fn ask(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Vec<u8>> {
        let mut backoff = Backoff::short(Duration::from_millis(100), path.len() as u64);
        for _ in 0..limits::PINECONE_ASKED_AGAIN {
            match self.ask_once(call, method, path, body) {
                Err(error) if error.kind() == Kind::Busy => std::thread::sleep(backoff.wait()),
                answer => return answer,
            }
        }
        self.ask_once(call, method, path, body)
    }

    fn ask_once(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        let ask = Ask {
            body: body.map(str::as_bytes),
            most: limits::ANSWER_BYTES_MAX,
            ..Ask::new(method, path, call)
        };
        match self.server.ask(&ask, &mut answer)? {
            200..=299 => Ok(answer),
            status => {
                let said = words(&answer);
                let error = self.server.refusal(call, status, &said);
                let is_pod = said.to_lowercase().contains("serverless");
                Err(match status {
                    500 => error.with_kind(Kind::Busy),
                    _ if call == "list" && is_pod => error.with_kind(Kind::Unsupported).hint(
                        "a pod-based index cannot list its ids, and nothing else finds all of them: create a serverless \
                         index from a collection of it, or migrate from where its rows came from",
                    ),
                    _ => error,
                })
            }
        }
    }

    fn odd(&self, call: &'static str, what: &str) -> Error {
        Error::new(Kind::Refused, what).at(self.server.place(call))
    }

    fn json(&self, call: &'static str, answer: &[u8]) -> Result<Value> {
        serde_json::from_slice(answer)
            .map_err(|e| self.odd(call, &format!("the answer is not JSON: {e}")))
    }

    /// The index's statistics.
    pub fn stats(&self) -> Result<Stats> {
        let call = "describe_index_stats";
        let answer = self.ask(call, Method::Post, "/describe_index_stats", Some("{}"))?;
        let said = self.json(call, &answer)?;
        let Some(counts) = said["namespaces"].as_object() else {
            return Err(self
                .odd(call, "the answer has no namespaces")
                .hint("is `host` that of the index, not of Pinecone's control plane?"));
        };
        let count = |said: &Value| (said["vectorCount"].as_u64()).or(said["vector_count"].as_u64());
        let named = |name: &str| match name {
            "" => super::DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let counts = counts
            .iter()
            .map(|(name, said)| (named(name), count(said).unwrap_or(0)));
        let dimension = said["dimension"].as_u64().filter(|d| *d > 0);
        Ok(Stats {
            dimension: dimension.and_then(|d| u32::try_from(d).ok()),
            metric: said["metric"].as_str().map(str::to_owned),
            namespaces: counts.collect(),
        })
    }

    /// A page of a namespace's ids with a prefix.
    pub fn list(
        &self,
        namespace: &str,
        prefix: &str,
        most: u64,
        token: Option<&str>,
    ) -> Result<Listed> {
        let call = "list";
        let mut path = format!("/vectors/list?limit={most}{}", place(namespace));
        if !prefix.is_empty() {
            path.push_str(&format!("&prefix={}", encoded(prefix)));
        }
        if let Some(token) = token {
            path.push_str(&format!("&paginationToken={}", encoded(token)));
        }
        let answer = self.ask(call, Method::Get, &path, None)?;
        let said = self.json(call, &answer)?;
        let mut listed = Listed::default();
        for vector in said["vectors"].as_array().into_iter().flatten() {
            let id = vector["id"].as_str();
            let id = id.ok_or_else(|| self.odd(call, "the answer has a row without `id`"))?;
            listed.ids.push(id.to_owned());
        }
        let next = said["pagination"]["next"].as_str();
        listed.next = next.filter(|token| !token.is_empty()).map(str::to_owned);
        Ok(listed)
    }

    /// The rows with these ids, as the service writes them; ids that do not exist are left out.
    pub fn fetch(&self, namespace: &str, ids: &[String]) -> Result<Vec<u8>> {
        let mut path = format!("/vectors/fetch?{}", &place(namespace)[1..]);
        for id in ids {
            path.push_str("&ids=");
            path.push_str(&encoded(id));
        }
        self.ask("fetch", Method::Get, &path, None)
    }
}

/// The namespace as part of a query string.
fn place(namespace: &str) -> String {
    match namespace {
        super::DEFAULT => "&namespace=".to_owned(),
        name => format!("&namespace={}", encoded(name)),
    }
}

/// Ids in groups that fit into requests: URLs longer than a few kilobytes are refused along the way.
pub fn groups(ids: &[String]) -> Vec<&[String]> {
    let (mut first, mut bytes, mut all) = (0, 0, Vec::new());
    for (at, id) in ids.iter().enumerate() {
        let more = encoded(id).len() + "&ids=".len();
        if bytes + more > limits::PINECONE_QUERY_BYTES && at > first {
            all.push(&ids[first..at]);
            (first, bytes) = (at, 0);
        }
        bytes += more;
    }
    if first < ids.len() {
        all.push(&ids[first..]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_all_ids_in_order_and_are_short() {
        let ids: Vec<String> = (0..100).map(|n| format!("{n} {}", "ü".repeat(n))).collect();
        let all = groups(&ids);
        assert!(all.len() > 2);
        assert_eq!(all.concat(), ids);
        for group in all {
            let bytes: usize = group.iter().map(|id| encoded(id).len() + 5).sum();
            assert!(bytes <= limits::PINECONE_QUERY_BYTES || group.len() == 1);
        }
        assert!(groups(&[]).is_empty());
    }
}
