//! How does one talk to Qdrant? Calls that change nothing, and what their failures mean.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use prost::Message;
use std::time::Duration;

use super::ids::Id;
use super::proto::{
    CollectionInfo, CollectionRequest, Condition, CountPoints, CountResponse, Filter,
    GetCollectionInfoResponse, GetPoints, HasVectorCondition, HealthCheckReply, HealthCheckRequest,
    ListAliasesRequest, ListAliasesResponse, ListCollectionsRequest, ListCollectionsResponse,
    ListShardKeysResponse, ScrollPoints, Selector, ShardKey, ShardKeySelector,
};
use crate::call::{self, Connection, Failure, Secret, Tls};
use crate::error::{Error, Kind, Place, Result};
use crate::limits;

/// Qdrant's default port for gRPC, also in its cloud.
pub const PORT: u16 = 6334;

/// A server, and the connections to it. Shared by all threads; its calls block.
pub struct Client {
    address: String,
    headers: HeaderMap,
    connections: Vec<Connection>,
    /// The version that it reports.
    pub version: String,
}

/// Where points are read from: a collection, or the part of it with a shard key.
#[derive(Clone, PartialEq, Debug)]
pub struct Where {
    /// The collection.
    pub collection: String,
    /// The shard key, if the collection is divided by such keys.
    pub shard_key: Option<ShardKey>,
}

impl Where {
    fn selector(&self) -> Option<ShardKeySelector> {
        let keys = self.shard_key.clone().map(|key| vec![key]);
        keys.map(|shard_keys| ShardKeySelector { shard_keys })
    }
}

/// Which data of points are requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Vectors and payloads.
    All,
    /// Only ids.
    Ids,
}

impl Wanted {
    fn selector(self) -> Option<Selector> {
        Some(Selector {
            enable: Some(self == Wanted::All),
        })
    }
}

impl Client {
    /// Connects, and asks the server for its version.
    pub fn open(
        address: &str,
        api_key: Option<&Secret>,
        tls: Option<&Tls>,
        connections: usize,
    ) -> Result<Client> {
        let ping = Duration::from_secs(limits::PING_ANSWER_S);
        let endpoint = call::endpoint(address, tls, ping)?;
        let connections = (0..connections.max(1))
            .map(|number| Connection::new(endpoint.clone(), number))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| Error::new(Kind::Io, format!("cannot start a thread: {e}")))?;
        let mut client = Client {
            address: address.to_owned(),
            headers: headers(api_key)?,
            connections,
            version: String::new(),
        };
        let hello: HealthCheckReply = client
            .ask("Qdrant/HealthCheck", &HealthCheckRequest {})
            .map_err(|error| first_contact(error, address))?;
        client.version = hello.version;
        Ok(client)
    }

    /// Its address, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The names of all collections, in order.
    pub fn collections(&self) -> Result<Vec<String>> {
        let request = ListCollectionsRequest {};
        let answer: ListCollectionsResponse = self.ask("Collections/List", &request)?;
        let mut names: Vec<String> = answer.collections.into_iter().map(|c| c.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Aliases, each with its collection.
    pub fn aliases(&self) -> Result<Vec<(String, String)>> {
        let answer: ListAliasesResponse =
            self.ask("Collections/ListAliases", &ListAliasesRequest {})?;
        let aliases = answer.aliases.into_iter();
        Ok(aliases
            .map(|alias| (alias.alias_name, alias.collection_name))
            .collect())
    }

    /// The description of a collection; `None` if it does not exist (any more).
    pub fn collection(&self, name: &str) -> Result<Option<CollectionInfo>> {
        let request = CollectionRequest {
            collection_name: name.to_owned(),
        };
        match self.exchange("Collections/Get", &request) {
            Err(Failure::Status { code: 5, .. }) => Ok(None),
            answer => {
                let answer: GetCollectionInfoResponse = self.read("Collections/Get", answer)?;
                Ok(Some(answer.result.unwrap_or_default()))
            }
        }
    }

    /// The keys by which a collection is divided, in order.
    pub fn shard_keys(&self, name: &str) -> Result<Vec<ShardKey>> {
        let request = CollectionRequest {
            collection_name: name.to_owned(),
        };
        let answer: ListShardKeysResponse = self.ask("Collections/ListShardKeys", &request)?;
        let keys = answer.shard_keys.into_iter();
        let mut keys: Vec<ShardKey> = keys.filter_map(|description| description.key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The exact number of points.
    pub fn count(&self, place: &Where) -> Result<u64> {
        self.counted(place, None)
    }

    /// How many points have no vector of this name; `None` if the server is too old to tell.
    pub fn count_without(&self, place: &Where, vector: &str) -> Result<Option<u64>> {
        let without = Condition {
            has_vector: Some(HasVectorCondition {
                has_vector: vector.to_owned(),
            }),
        };
        let filter = Filter {
            must_not: vec![without],
        };
        match self.counted(place, Some(filter)) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == Kind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn counted(&self, place: &Where, filter: Option<Filter>) -> Result<u64> {
        let request = CountPoints {
            collection_name: place.collection.clone(),
            filter,
            exact: Some(true),
            shard_key_selector: place.selector(),
        };
        let answer: CountResponse = self.ask("Points/Count", &request)?;
        Ok(answer.result.unwrap_or_default().count)
    }

    /// Points from an id on, in the order of their ids: the bytes of a `ScrollResponse`.
    pub fn scroll(&self, place: &Where, from: Id, most: u64, wanted: Wanted) -> Result<Bytes> {
        let request = ScrollPoints {
            collection_name: place.collection.clone(),
            filter: None,
            offset: Some(from.to_proto()),
            limit: Some(u32::try_from(most).unwrap_or(u32::MAX)),
            with_payload: wanted.selector(),
            with_vectors: wanted.selector(),
            shard_key_selector: place.selector(),
        };
        let answer = self.exchange("Points/Scroll", &request);
        answer.map_err(|failure| self.failed("Points/Scroll", failure))
    }

    /// The points with these ids that exist: the bytes of a `GetResponse`.
    pub fn points(&self, place: &Where, ids: &[Id]) -> Result<Bytes> {
        let request = GetPoints {
            collection_name: place.collection.clone(),
            ids: ids.iter().map(|id| id.to_proto()).collect(),
            with_payload: Wanted::All.selector(),
            with_vectors: Wanted::All.selector(),
            shard_key_selector: place.selector(),
        };
        let answer = self.exchange("Points/Get", &request);
        answer.map_err(|failure| self.failed("Points/Get", failure))
    }

    fn ask<A: Message + Default>(&self, call: &'static str, request: &impl Message) -> Result<A> {
        self.read(call, self.exchange(call, request))
    }

    fn read<A: Message + Default>(
        &self,
        call: &'static str,
        answer: std::result::Result<Bytes, Failure>,
    ) -> Result<A> {
        let answer = answer.map_err(|failure| self.failed(call, failure))?;
        A::decode(answer).map_err(|e| {
            let what = format!("the answer cannot be read: {e}");
            Error::new(Kind::Refused, what).at(self.place(call))
        })
    }

    /// Calls on the connection with the fewest pending calls.
    fn exchange(
        &self,
        call: &'static str,
        request: &impl Message,
    ) -> std::result::Result<Bytes, Failure> {
        let path = PathAndQuery::try_from(format!("/qdrant.{call}"));
        let path = path.expect("methods have plain names");
        let connection = self.connections.iter().min_by_key(|c| c.out());
        let connection = connection.expect("there is at least one connection");
        let deadline = Duration::from_secs(limits::CONTROL_DEADLINE_S);
        connection.call(path, self.headers.clone(), call::framed(request), deadline)
    }

    fn failed(&self, call: &'static str, failure: Failure) -> Error {
        meaning(failure).at(self.place(call))
    }

    fn place(&self, call: &'static str) -> Place {
        Place::Remote {
            address: self.address.clone(),
            call,
        }
    }
}

fn headers(api_key: Option<&Secret>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    if let Some(key) = api_key {
        let mut value = HeaderValue::from_str(&key.0).map_err(|_| {
            let what = "source.qdrant.api_key contains characters that an API key cannot have";
            Error::new(Kind::Job, what)
        })?;
        value.set_sensitive(true);
        headers.insert("api-key", value);
    }
    Ok(headers)
}

/// What a failure means. Every call made here may be repeated.
fn meaning(failure: Failure) -> Error {
    let unanswered = |words: String| {
        Error::new(
            Kind::Unreachable,
            format!("the server cannot be reached: {words}"),
        )
    };
    match failure {
        Failure::Unsent(words) | Failure::Silent(words) => unanswered(words),
        Failure::Slow(words) => Error::new(Kind::Slow, words),
        Failure::Tls(words) => call::tls_failed(&words),
        Failure::Foreign(words) => Error::new(Kind::Refused, words).hint(PORTS),
        Failure::Status { code, message, .. } => status(code, &message),
    }
}

const PORTS: &str = "does the address have Qdrant's gRPC port, such as 6334? 6333 is its HTTP port";

/// Based on the gRPC status code, as Qdrant uses them (lib/storage/src/content_manager/conversions.rs).
fn status(code: i32, message: &str) -> Error {
    let said = call::describe(code, message);
    match code {
        16 | 7 => Error::new(Kind::Refused, format!("the server denies access: {said}"))
            .hint("set `api_key:` of the source to a key that may read the collections"),
        5 => Error::new(Kind::Changed, format!("is gone: {said}")),
        12 => Error::new(
            Kind::Refused,
            format!("the server does not know this call: {said}"),
        )
        .hint(PORTS),
        // Our own limit on answers is reported the same way.
        8 if message.contains("an answer of more than") => Error::new(Kind::TooBig, said),
        8 => Error::new(Kind::Busy, format!("the server said: {said}")),
        1 | 4 => Error::new(Kind::Slow, format!("the server said: {said}")),
        14 => Error::new(Kind::Unreachable, format!("the server said: {said}")),
        // A point whose data are damaged, or not enough memory for so many: fewer at a time may work.
        2 | 13 => Error::new(Kind::TooMuch, format!("the server said: {said}")),
        _ => Error::new(Kind::Refused, format!("the server said: {said}")),
    }
}

/// The same for a server that has not answered before.
fn first_contact(error: Error, address: &str) -> Error {
    match error.kind() {
        Kind::Unreachable if address.ends_with(":6333") => error.hint(PORTS),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_by_what_happens_next() {
        for (code, message, kind) in [
            (16, "Must provide an API key", Kind::Refused),
            (7, "Forbidden", Kind::Refused),
            (5, "Collection `x` doesn't exist!", Kind::Changed),
            (8, "Rate limiting exceeded", Kind::Busy),
            (8, "an answer of more than 7 bytes", Kind::TooBig),
            (13, "Service internal error", Kind::TooMuch),
            (4, "Timeout expired", Kind::Slow),
            (14, "going down", Kind::Unreachable),
            (3, "Wrong input", Kind::Refused),
        ] {
            let error = status(code, message);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.what().contains(message), "{error}");
        }
    }
}
