//! A Milvus 2.x server in this process that keeps what it is sent and misbehaves when told to. For misbehaviour
//! only: what a well-behaved server does, real servers show. For benches it drains: it throws rows away as fast as
//! it can, so that the client is what is measured.

#[path = "fake_milvus/drain.rs"]
mod drain;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use http_body::Frame;
use milvusdm::milvus::proto::*;
use prost::Message;
use tonic::body::Body;
use tower_service::Service;

/// What to do with the next Insert or Upsert.
#[derive(Clone, Debug)]
pub enum Misbehave {
    /// Take nothing, and acknowledge all of it.
    Drop,
    /// Take the rows, and acknowledge this many.
    Acknowledge(i64),
    /// Take nothing, and answer with this status: error_code, code, reason.
    Status(i32, i32, &'static str),
    /// Take nothing, and answer with this gRPC status.
    Grpc(i32, &'static str),
    /// Take the rows, then cut the connection.
    TakeAndCut,
    /// Take nothing and never answer.
    Hang,
    /// Answer with what is no message.
    Garbage,
}

/// A write that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// `Insert` or `Upsert`.
    pub method: String,
    /// What it held.
    pub request: InsertRequest,
    /// Its `idempotency-key`, `authorization` and `dbname`.
    pub headers: [String; 3],
}

impl Arrived {
    /// The ids of its rows, where it has any.
    pub fn ids(&self) -> Option<&[i64]> {
        let mut columns = self.request.fields_data.iter();
        columns.find_map(|column| Some(&*column.scalars.as_ref()?.long_data.as_ref()?.data))
    }
}

/// A server and what happened to it.
pub struct Fake {
    /// Where to connect: `127.0.0.1:port`.
    pub address: String,
    state: Arc<Mutex<State>>,
}

/// What answers a query.
type Queried = Box<dyn FnMut(&QueryRequest) -> QueryResults + Send>;

#[derive(Default)]
struct State {
    queried: Option<Queried>,
    /// Whether the last query was answered so that nothing is loaded.
    unloaded: bool,
    version: String,
    is_v1: bool,
    collections: HashMap<String, CollectionSchema>,
    /// The number of each collection: a new one whenever it is made.
    numbers: HashMap<String, i64>,
    made: i64,
    /// Collection and partition, with the number of each.
    partitions: BTreeMap<(String, String), i64>,
    rows: HashMap<String, i64>,
    next: VecDeque<Misbehave>,
    arrived: Vec<Arrived>,
    calls: Vec<String>,
    sockets: Vec<TcpStream>,
    hangs: usize,
    /// Set in a server that drains: called with the name of a collection when its first insert begins to arrive.
    first: Option<fn(&str)>,
}

impl Fake {
    /// Starts one of this version.
    pub fn start(version: &str) -> Fake {
        let state = State {
            version: version.to_owned(),
            is_v1: version.starts_with('1'),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let inner = serve(state.clone());
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outer.local_addr().unwrap().to_string();
        let shared = state.clone();
        thread::spawn(move || {
            for client in outer.incoming() {
                relay(client.unwrap(), inner, &shared);
            }
        });
        Fake { address, state }
    }

    /// Starts one that counts rows and keeps none; `first` hears of each collection's first insert. No relay stands
    /// before it.
    pub fn drain(first: fn(&str)) -> Fake {
        let state = State {
            version: "v2.3.5".to_owned(),
            first: Some(first),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let address = serve(state.clone()).to_string();
        Fake { address, state }
    }

    /// Tells it how to treat the writes that come next, one each.
    pub fn next(&self, misbehave: Misbehave) {
        self.state.lock().unwrap().next.push_back(misbehave);
    }

    /// Puts a collection there.
    pub fn has(&self, schema: CollectionSchema, rows: i64) {
        let mut state = self.state.lock().unwrap();
        state.rows.insert(schema.name.clone(), rows);
        state.make(schema.name.clone(), schema);
    }

    /// Adds rows, as an import does.
    pub fn add_rows(&self, collection: &str, rows: i64) {
        let mut state = self.state.lock().unwrap();
        *state.rows.entry(collection.to_owned()).or_default() += rows;
    }

    /// Puts a partition there.
    pub fn has_partition(&self, collection: &str, partition: &str) {
        let mut state = self.state.lock().unwrap();
        state.make_partition((collection.to_owned(), partition.to_owned()));
    }

    /// Drops a collection, as somebody else would.
    pub fn drop_collection(&self, name: &str) -> CollectionSchema {
        let mut state = self.state.lock().unwrap();
        state.rows.remove(name);
        state.collections.remove(name).expect("it is there")
    }

    /// Has queries answered so; everything is loaded from now on.
    pub fn queried(&self, by: impl FnMut(&QueryRequest) -> QueryResults + Send + 'static) {
        self.state.lock().unwrap().queried = Some(Box::new(by));
    }

    /// The writes that arrived.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.state.lock().unwrap().arrived.clone()
    }

    /// How many writes it keeps waiting for an answer.
    pub fn hangs(&self) -> usize {
        self.state.lock().unwrap().hangs
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.calls.iter().filter(|c| *c == method).count()
    }
}

impl State {
    /// A number made of the time, as a real server's are: nothing else has it.
    fn number(&mut self) -> i64 {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        self.made = (now as i64).max(self.made + 1);
        self.made
    }

    fn make(&mut self, name: String, schema: CollectionSchema) {
        let number = self.number();
        self.numbers.insert(name.clone(), number);
        self.collections.insert(name, schema);
    }

    fn make_partition(&mut self, key: (String, String)) {
        let number = self.number();
        self.partitions.insert(key, number);
    }

    /// What a real server says of rows for a collection that is not there, or is another.
    fn objection(&self, request: &InsertRequest) -> Option<Misbehave> {
        let Some(schema) = self.collections.get(&request.collection_name) else {
            return Some(Misbehave::Status(4, 100, "can't find collection"));
        };
        let fits = |field: &FieldData| {
            field.is_dynamic || schema.fields.iter().any(|f| f.name == field.field_name)
        };
        let odd = request.fields_data.iter().any(|field| !fits(field));
        odd.then_some(Misbehave::Status(
            5,
            1100,
            "fieldSchema does not match the data",
        ))
    }
}

fn cut(state: &Mutex<State>) {
    for socket in state.lock().unwrap().sockets.drain(..) {
        // A socket that is closed already is as cut as can be.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// Passes bytes on in both directions, so that a connection can be cut from outside.
fn relay(client: TcpStream, inner: SocketAddr, state: &Mutex<State>) {
    let server = TcpStream::connect(inner).unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let pairs = [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server.try_clone().unwrap(), client.try_clone().unwrap()),
    ];
    state.lock().unwrap().sockets.extend([client, server]);
    for (mut from, mut to) in pairs {
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn serve(state: Arc<Mutex<State>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (ready, wait) = std::sync::mpsc::channel();
    thread::spawn(move || {
        // A thread for each of the client's connections: with one, a bench measured that thread.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming =
                tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true)); // As Go's listeners have it.
            ready.send(()).unwrap();
            tonic::transport::Server::builder()
                // Measured: with the usual 64 KiB an upload waits for the server's permission half of the time.
                .initial_stream_window_size(16 << 20)
                .initial_connection_window_size(64 << 20)
                .add_service(Named::<false>(state.clone()))
                .add_service(Named::<true>(state))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
    });
    wait.recv().unwrap();
    address
}

/// The service under the name of 2.x, or of 1.x.
#[derive(Clone)]
struct Named<const V1: bool>(Arc<Mutex<State>>);

impl tonic::server::NamedService for Named<false> {
    const NAME: &'static str = "milvus.proto.milvus.MilvusService";
}

impl tonic::server::NamedService for Named<true> {
    const NAME: &'static str = "milvus.grpc.MilvusService";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<const V1: bool> Service<http::Request<Body>> for Named<V1> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let state = self.0.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
            if method == "Insert" && state.lock().unwrap().first.is_some() {
                return Ok(drain::drain(&state, body).await);
            }
            let mut bytes = Vec::new();
            while let Some(data) = next(&mut body).await {
                // Half a request is none.
                let Ok(data) = data else {
                    return Ok(refuse(1, "the request was cut off"));
                };
                bytes.extend_from_slice(&data);
            }
            if V1 != state.lock().unwrap().is_v1 {
                return Ok(refuse(12, "unknown service"));
            }
            let message = bytes.get(5..).unwrap_or_default();
            Ok(match method.as_str() {
                "Insert" | "Upsert" => write(&state, method, &head.headers, message).await,
                _ => control(&mut state.lock().unwrap(), &method, message),
            })
        })
    }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, tonic::Status>> {
    let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx));
    match frame.await? {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(error) => Some(Err(error)),
    }
}

async fn write(
    state: &Mutex<State>,
    method: String,
    headers: &http::HeaderMap,
    message: &[u8],
) -> http::Response<Body> {
    let request = InsertRequest::decode(message).unwrap();
    let rows = i64::from(request.num_rows);
    let misbehave = {
        let mut state = state.lock().unwrap();
        state.next.pop_front().or_else(|| state.objection(&request))
    };
    let taken = !matches!(
        misbehave,
        Some(Misbehave::Drop | Misbehave::Status(..) | Misbehave::Grpc(..) | Misbehave::Hang)
    );
    if taken {
        let header = |name| {
            let value = headers
                .get(name)
                .and_then(|v: &http::HeaderValue| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let mut state = state.lock().unwrap();
        *state
            .rows
            .entry(request.collection_name.clone())
            .or_default() += rows;
        state.arrived.push(Arrived {
            headers: ["idempotency-key", "authorization", "dbname"].map(header),
            method: method.clone(),
            request,
        });
    }
    let mut result = MutationResult {
        insert_cnt: rows,
        upsert_cnt: if method == "Upsert" { rows } else { 0 },
        ..MutationResult::default()
    };
    match misbehave {
        None | Some(Misbehave::Drop) => {}
        Some(Misbehave::Acknowledge(rows)) => result.insert_cnt = rows,
        Some(Misbehave::Status(error_code, code, reason)) => {
            result.insert_cnt = 0;
            result.status = Some(Status {
                error_code,
                code,
                reason: reason.to_owned(),
                retriable: false,
            });
        }
        Some(Misbehave::Grpc(code, message)) => return refuse(code, message),
        Some(Misbehave::TakeAndCut) => {
            cut(state);
            std::future::pending::<()>().await;
        }
        Some(Misbehave::Hang) => {
            state.lock().unwrap().hangs += 1;
            std::future::pending::<()>().await;
        }
        Some(Misbehave::Garbage) => {
            return answer(Bytes::from_static(&[0, 0, 0, 0, 2, 0x0a, 0xff]));
        }
    }
    say(&result)
}

fn control(state: &mut State, method: &str, message: &[u8]) -> http::Response<Body> {
    state.calls.push(method.to_owned());
    let done = Status::default();
    match method {
        "Cmd" => say(&V1StringReply {
            string_reply: state.version.clone(),
        }),
        // An old server: it has GetVersion only.
        "Connect" if state.version.starts_with("v2.1") => refuse(12, "unknown method Connect"),
        "Connect" => say(&ConnectResponse {
            server_info: Some(ServerInfo {
                build_tags: state.version.clone(),
                ..ServerInfo::default()
            }),
            ..ConnectResponse::default()
        }),
        "GetVersion" => say(&GetVersionResponse {
            version: state.version.clone(),
            ..GetVersionResponse::default()
        }),
        "ListDatabases" => say(&ListDatabasesResponse {
            db_names: vec!["default".to_owned(), "shop".to_owned()],
            ..ListDatabasesResponse::default()
        }),
        "DescribeCollection" => {
            let request = CollectionRequest::decode(message).unwrap();
            let schema = state.collections.get(&request.collection_name).cloned();
            let number = state.numbers.get(&request.collection_name).copied();
            let missing = Status {
                code: 100,
                error_code: 1,
                reason: "can't find collection".to_owned(),
                retriable: false,
            };
            say(&DescribeCollectionResponse {
                status: schema.is_none().then_some(missing),
                schema,
                collection_id: number.unwrap_or(0),
                ..DescribeCollectionResponse::default()
            })
        }
        "ShowCollections" => say(&ShowCollectionsResponse {
            names: state.collections.keys().cloned().collect(),
            ..ShowCollectionsResponse::default()
        }),
        "CreateCollection" => {
            let request = CreateCollectionRequest::decode(message).unwrap();
            let schema = CollectionSchema::decode(&*request.schema).unwrap();
            state.make(request.collection_name, schema);
            say(&done)
        }
        "DropCollection" => {
            let request = CollectionRequest::decode(message).unwrap();
            state.collections.remove(&request.collection_name);
            state.rows.remove(&request.collection_name);
            say(&done)
        }
        "HasPartition" => {
            let request = PartitionRequest::decode(message).unwrap();
            let key = (request.collection_name, request.partition_name);
            say(&BoolResponse {
                value: state.partitions.contains_key(&key),
                ..BoolResponse::default()
            })
        }
        "ShowPartitions" => {
            let request = CollectionRequest::decode(message).unwrap();
            let here = state.partitions.iter();
            let here = here.filter(|((collection, _), _)| *collection == request.collection_name);
            let (partition_names, partition_ids) = here
                .map(|((_, partition), number)| (partition.clone(), *number))
                .unzip();
            say(&PartitionsResponse {
                partition_names,
                partition_ids,
                ..PartitionsResponse::default()
            })
        }
        "CreatePartition" => {
            let request = PartitionRequest::decode(message).unwrap();
            let key = (request.collection_name, request.partition_name);
            state.make_partition(key);
            say(&done)
        }
        "DropPartition" => {
            let request = PartitionRequest::decode(message).unwrap();
            let key = (request.collection_name, request.partition_name);
            state.partitions.remove(&key);
            say(&done)
        }
        "GetCollectionStatistics" | "GetPartitionStatistics" => {
            let request = CollectionRequest::decode(message).unwrap();
            let rows = state.rows.get(&request.collection_name).copied();
            say(&StatisticsResponse {
                stats: vec![KeyValue::new("row_count", rows.unwrap_or(0).to_string())],
                ..StatisticsResponse::default()
            })
        }
        "Flush" => say(&FlushResponse::default()),
        "GetFlushState" => say(&GetFlushStateResponse {
            flushed: true,
            ..GetFlushStateResponse::default()
        }),
        "GetLoadState" => say(&GetLoadStateResponse {
            state: match state.queried.is_some() && !state.unloaded {
                true => load_state::LOADED,
                false => 0,
            },
            ..GetLoadStateResponse::default()
        }),
        "Query" if state.queried.is_some() => {
            let request = QueryRequest::decode(message).unwrap();
            let by = state.queried.as_mut().unwrap();
            let answer = by(&request);
            state.unloaded = answer.status.as_ref().is_some_and(|s| s.code == 101);
            say(&answer)
        }
        "DescribeIndex" => say(&DescribeIndexResponse::default()),
        "ReleaseCollection" | "ReleasePartitions" => say(&done),
        other => refuse(
            12,
            Box::leak(format!("unknown method {other}").into_boxed_str()),
        ),
    }
}

fn say(message: &impl Message) -> http::Response<Body> {
    let mut bytes = vec![0; 5];
    message.encode(&mut bytes).unwrap();
    let len = (bytes.len() - 5) as u32;
    bytes[1..5].copy_from_slice(&len.to_be_bytes());
    answer(Bytes::from(bytes))
}

fn answer(bytes: Bytes) -> http::Response<Body> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = Frames(VecDeque::from([
        Frame::data(bytes),
        Frame::trailers(trailers),
    ]));
    let mut response = http::Response::new(Body::new(frames));
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

fn refuse(code: i32, message: &'static str) -> http::Response<Body> {
    let mut response = http::Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", http::HeaderValue::from(code));
    headers.insert("grpc-message", http::HeaderValue::from_static(message));
    response
}

struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
