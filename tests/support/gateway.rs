//! What stands between a client and a Milvus server, and misbehaves: a gateway that understands calls and may lose,
//! hold back or change any of them; and a line that is slow, or breaks at some byte.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

/// A call on its way.
pub struct Call<'c> {
    /// Such as `Insert`.
    pub method: &'c str,
    /// Which call of this method it is, from 1.
    pub number: usize,
    /// Its message.
    pub message: &'c [u8],
}

/// What becomes of a call.
#[derive(Clone)]
pub enum Fate {
    /// It is passed on, and its answer passed back.
    Pass,
    /// It is passed on, and refused in place of its answer: gRPC code and words.
    Lose(i32, &'static str),
    /// It is refused as above at once, and passed on so much later.
    Late(Duration),
    /// It is not passed on, and answered with this message.
    Answer(Vec<u8>),
    /// It is passed on, and its answer refused with these words if it is longer than so many bytes.
    Limit(usize),
    /// It is passed on, and its answer changed.
    Change(fn(&[u8]) -> Vec<u8>),
}

type Hook = Arc<dyn Fn(&Call<'_>) -> Fate + Send + Sync>;

/// A gRPC pass-through in this process.
pub struct Gateway {
    /// Where to connect: `127.0.0.1:port`.
    pub address: String,
    calls: Arc<Mutex<HashMap<String, usize>>>,
}

impl Gateway {
    /// One before the server at this address. The hook is asked about every call.
    pub fn start(
        server: &str,
        hook: impl Fn(&Call<'_>) -> Fate + Send + Sync + 'static,
    ) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
        let calls = Arc::<Mutex<HashMap<String, usize>>>::default();
        let counted = calls.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let pass = Pass {
                    server: endpoint.connect_lazy(),
                    hook: Arc::new(hook),
                    calls: counted,
                };
                tonic::transport::Server::builder()
                    .add_service(pass)
                    .serve_with_incoming(incoming.with_nodelay(Some(true)))
                    .await
                    .unwrap();
            });
        });
        Gateway { address, calls }
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.get(method).copied().unwrap_or(0)
    }
}

#[derive(Clone)]
struct Pass {
    server: Channel,
    hook: Hook,
    calls: Arc<Mutex<HashMap<String, usize>>>,
}

impl tonic::server::NamedService for Pass {
    const NAME: &'static str = "milvus.proto.milvus.MilvusService";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Pass {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let pass = self.clone();
        // A task of its own: a client that goes away does not take back what it has sent.
        let answer = tokio::spawn(pass.pass(request));
        Box::pin(async move {
            Ok(answer
                .await
                .unwrap_or_else(|_| refuse(13, "the hook failed")))
        })
    }
}

impl Pass {
    async fn pass(mut self, request: http::Request<Body>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = collect(body).await else {
            // Half a request is none.
            return refuse(1, "the request was cut off");
        };
        let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
        let number = {
            let mut calls = self.calls.lock().unwrap();
            let number = calls.entry(method.clone()).or_default();
            *number += 1;
            *number
        };
        let fate = (self.hook)(&Call {
            method: &method,
            number,
            message: body.get(5..).unwrap_or_default(),
        });
        match fate {
            Fate::Pass => self.forward(&head, body).await.0,
            Fate::Lose(code, words) => {
                self.forward(&head, body).await;
                refuse(code, words)
            }
            Fate::Late(wait) => {
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    self.forward(&head, body).await;
                });
                refuse(14, "the connection was reset")
            }
            Fate::Answer(message) => answer(&message),
            Fate::Limit(most) => {
                let (response, message) = self.forward(&head, body).await;
                match message.len() > most {
                    true => {
                        let words = format!(
                            "grpc: received message larger than max ({} vs. {most})",
                            message.len()
                        );
                        refuse(8, &words)
                    }
                    false => response,
                }
            }
            Fate::Change(change) => {
                let (_, message) = self.forward(&head, body).await;
                answer(&change(&message))
            }
        }
    }

    /// The server's answer, and its message.
    async fn forward(
        &mut self,
        head: &http::request::Parts,
        body: Bytes,
    ) -> (http::Response<Body>, Bytes) {
        let mut request = http::Request::new(Body::new(Whole(vec![Frame::data(body)])));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = head.uri.path().parse().unwrap();
        *request.headers_mut() = head.headers.clone();
        let ready = std::future::poll_fn(|cx| self.server.poll_ready(cx)).await;
        let response = match ready {
            Ok(()) => self.server.call(request).await,
            Err(error) => Err(error),
        };
        let Ok(response) = response else {
            return (refuse(14, "the server is not there"), Bytes::new());
        };
        let (head, mut body) = response.into_parts();
        if head.headers.contains_key("grpc-status") {
            let empty = http::Response::from_parts(head, Body::empty());
            return (empty, Bytes::new());
        }
        let mut bytes = Vec::new();
        let mut trailers = http::HeaderMap::new();
        while let Some(frame) =
            std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await
        {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
                Err(_) => return (refuse(14, "the answer broke off"), Bytes::new()),
            }
        }
        let bytes = Bytes::from(bytes);
        let message = bytes.slice(5.min(bytes.len())..);
        let frames = vec![Frame::trailers(trailers), Frame::data(bytes)];
        let whole = http::Response::from_parts(head, Body::new(Whole(frames)));
        (whole, message)
    }
}

async fn collect(mut body: Body) -> Result<Bytes, tonic::Status> {
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Bytes::from(bytes))
}

fn answer(message: &[u8]) -> http::Response<Body> {
    let mut bytes = vec![0; 5];
    bytes[1..5].copy_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = vec![Frame::trailers(trailers), Frame::data(Bytes::from(bytes))];
    let mut response = http::Response::new(Body::new(Whole(frames)));
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

fn refuse(code: i32, words: &str) -> http::Response<Body> {
    let mut response = http::Response::new(Body::empty());
    let headers = response.headers_mut();
    let grpc = http::HeaderValue::from_static("application/grpc");
    headers.insert("content-type", grpc);
    headers.insert("grpc-status", http::HeaderValue::from(code));
    headers.insert("grpc-message", words.parse().unwrap());
    response
}

/// Frames, the last one first.
struct Whole(Vec<Frame<Bytes>>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

/// A TCP line to a server: all its connections share a rate, and the next ones break after some bytes.
pub struct Line {
    /// Where to connect: `127.0.0.1:port`.
    pub address: String,
    shared: Arc<LineState>,
}

struct LineState {
    server: String,
    bytes_per_s: AtomicU64,
    /// Bytes until the line breaks; below 0: it does not.
    breaks_in: AtomicI64,
    free_at: Mutex<Instant>,
    up: AtomicU64,
}

impl Line {
    /// One to the server at this address, with so many bytes a second towards it; 0: without a limit.
    pub fn start(server: &str, bytes_per_s: u64) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(LineState {
            server: server.to_owned(),
            bytes_per_s: AtomicU64::new(bytes_per_s),
            breaks_in: AtomicI64::new(-1),
            free_at: Mutex::new(Instant::now()),
            up: AtomicU64::new(0),
        });
        let state = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), state.clone());
                thread::spawn(move || relay(client, &state));
            }
        });
        Line { address, shared }
    }

    /// Sets the rate; 0: none.
    pub fn bytes_per_s(&self, rate: u64) {
        self.shared.bytes_per_s.store(rate, Ordering::SeqCst);
    }

    /// Breaks the connection that sends the byte of this number from now on.
    pub fn break_in(&self, bytes: u64) {
        self.shared.breaks_in.store(bytes as i64, Ordering::SeqCst);
    }

    /// Bytes that went towards the server.
    pub fn up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }
}

impl LineState {
    /// Waits until so many bytes may have passed. All connections take their turns at one line.
    fn pass(&self, bytes: usize) {
        let rate = self.bytes_per_s.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let until = {
            let mut free_at = self.free_at.lock().unwrap();
            let start = (*free_at).max(Instant::now());
            *free_at = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free_at
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// How many of these bytes pass before the line breaks; `None`: all.
    fn breaks(&self, bytes: usize) -> Option<usize> {
        let before = self.breaks_in.load(Ordering::SeqCst);
        if before < 0 {
            return None;
        }
        let after = before - bytes as i64;
        self.breaks_in.store(after.max(-1), Ordering::SeqCst);
        (after < 0).then_some(before as usize)
    }
}

fn relay(mut client: TcpStream, state: &Arc<LineState>) {
    let Ok(mut server) = TcpStream::connect(&state.server) else {
        return;
    };
    // What a router holds is not much.
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = back_from.read(&mut buffer) {
            if back_to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let breaks = state.breaks(count);
        let passed = breaks.unwrap_or(count);
        state.pass(passed);
        state.up.fetch_add(passed as u64, Ordering::SeqCst);
        if server.write_all(&buffer[..passed]).is_err() || breaks.is_some() {
            break;
        }
    }
    // A socket that is closed already is as broken as can be.
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
