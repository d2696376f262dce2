//! How does one framed request reach a server? One unary gRPC call over a connection.
//! The only async code. A body is a list of bytes, ranges of mappings among them, handed to the connection past
//! tonic's codec, which would copy it again. Judges nothing: it reports what came back, or how far it got.

mod address;
mod describe;
mod endpoint;
#[cfg(feature = "s3")]
mod reactor;
mod socket;
mod tls;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower_service::Service;

use crate::limits;

pub use address::address;
pub use describe::{describe, tls_failed};
pub use endpoint::{channel, endpoint};
#[cfg(feature = "s3")]
pub use reactor::Reactor;
pub use tls::{TLS, Tls, TlsFiles};

/// A password or token; never printed.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The outcome of a call without an answer message.
#[derive(Debug)]
pub enum Failure {
    /// The request was never sent completely: the server cannot have acted on it.
    Unsent(String),
    /// It may have arrived, but there was no answer.
    Silent(String),
    /// The same, because it took too long.
    Slow(String),
    /// The two sides do not agree on TLS: on certificates, or because one of them does not speak it at all.
    Tls(String),
    /// What answered is not a gRPC server, or breaks its rules.
    Foreign(String),
    /// The server answered with a gRPC status other than OK.
    Status {
        /// The gRPC code, 1 to 16.
        code: i32,
        /// Its message.
        message: String,
        /// Whether the request had been sent completely when it came.
        whole: bool,
    },
}

/// One connection to a server, on a thread of its own. Connects when first used, and reconnects if it broke.
pub struct Connection {
    calls: Option<mpsc::UnboundedSender<Call>>,
    out: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

struct Call {
    path: PathAndQuery,
    headers: HeaderMap,
    body: Vec<Bytes>,
    deadline: Duration,
    answer: oneshot::Sender<Result<Bytes, Failure>>,
}

impl Connection {
    /// A connection to an endpoint; nothing is sent yet.
    pub fn new(endpoint: Endpoint, number: usize) -> std::io::Result<Connection> {
        let (calls, queue) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("connection-{number}"))
            .spawn(move || runtime.block_on(serve(endpoint, queue)))?;
        Ok(Connection {
            calls: Some(calls),
            out: Arc::default(),
            thread: Some(thread),
        })
    }

    /// How many calls are in flight on it.
    pub fn out(&self) -> usize {
        self.out.load(Relaxed)
    }

    /// Calls, and waits for the answer message: `body` is a gRPC frame, five bytes of prefix first.
    pub fn call(
        &self,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Vec<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, Failure> {
        let (answer, wait) = oneshot::channel();
        self.out.fetch_add(1, Relaxed);
        let call = Call {
            path,
            headers,
            body,
            deadline,
            answer,
        };
        let calls = self.calls.as_ref().expect("taken only when dropped");
        let answer = match calls.send(call) {
            Ok(()) => wait
                .blocking_recv()
                .unwrap_or_else(|_| Err(Failure::Silent("the connection's thread died".into()))),
            Err(_) => Err(Failure::Unsent("the connection's thread died".into())),
        };
        self.out.fetch_sub(1, Relaxed);
        answer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Dropping the sender ends the thread's loop.
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has already been reported, and there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

async fn serve(endpoint: Endpoint, mut queue: mpsc::UnboundedReceiver<Call>) {
    let channel = channel(&endpoint);
    while let Some(call) = queue.recv().await {
        let channel = channel.clone();
        tokio::spawn(async move {
            let handed = Arc::new(Handed::default());
            let body = List {
                parts: call.body.into(),
                handed: handed.clone(),
            };
            let exchange = exchange(channel, call.path, call.headers, body);
            let answer = in_time(Box::pin(exchange), &handed, call.deadline).await;
            // The receiver is gone only when the program ends.
            let _ = call
                .answer
                .send(answer.map_err(|f| f.sent(handed.whole.load(Relaxed))));
        });
    }
}

/// The outcome of an exchange. Fails if none of its body was taken, and no answer came, for as long as the deadline: a
/// slow line gets the time that it needs.
async fn in_time(
    mut exchange: Pin<Box<impl Future<Output = Result<Bytes, Failure>>>>,
    handed: &Handed,
    deadline: Duration,
) -> Result<Bytes, Failure> {
    handed.now();
    loop {
        let last = handed.last();
        match tokio::time::timeout_at(last + deadline, &mut exchange).await {
            Ok(answer) => return answer,
            Err(_) if handed.last() > last => {}
            Err(_) => {
                let what = format!("no answer within {} s", deadline.as_secs());
                return Err(Failure::Slow(what));
            }
        }
    }
}

impl Failure {
    /// The same for a request that is harmless to repeat: it does not matter whether it was sent completely, and so
    /// may have been carried out.
    pub fn repeatable(self) -> Failure {
        match self {
            Failure::Status {
                code: code @ (8 | 11),
                message,
                ..
            } => Failure::Status {
                code,
                message,
                whole: false,
            },
            other => other,
        }
    }

    /// The same, knowing whether the whole body had been handed to the connection. gRPC announces a message's
    /// length first, so a server cannot have acted on a body whose last bytes were not handed over.
    fn sent(self, whole: bool) -> Failure {
        match self {
            Failure::Silent(words) | Failure::Slow(words) if !whole => Failure::Unsent(words),
            Failure::Status { code, message, .. } => Failure::Status {
                code,
                message,
                whole,
            },
            other => other,
        }
    }
}

async fn exchange(
    mut channel: tonic::transport::Channel,
    path: PathAndQuery,
    headers: HeaderMap,
    body: List,
) -> Result<Bytes, Failure> {
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .map_err(|e| broken(&e))?;
    let mut request = http::Request::new(Body::new(body));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    // The channel prepends scheme and authority.
    *request.uri_mut() = http::Uri::from(path);
    *request.headers_mut() = headers;
    let response = channel.call(request).await.map_err(|e| broken(&e))?;
    let (head, mut body) = response.into_parts();
    if let Some(status) = grpc_status(&head.headers) {
        return Err(status.unwrap_or_else(|| {
            Failure::Foreign("the answer has status OK but no message".to_owned())
        }));
    }
    if head.status != http::StatusCode::OK {
        return Err(http_status(head.status));
    }
    let kind = head.headers.get(http::header::CONTENT_TYPE);
    if !kind.is_some_and(|k| k.as_bytes().starts_with(b"application/grpc")) {
        return Err(Failure::Foreign(
            "the answer is not gRPC: is another service on this port?".to_owned(),
        ));
    }
    let mut message: Vec<u8> = Vec::new();
    let mut status = None;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(|e| broken(&e))?.into_data() {
            Ok(data) => {
                // A frame begins with its length: one that is too long is not read at all.
                let announced = |all: &[u8]| match all {
                    [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
                    _ => 0,
                };
                message.extend_from_slice(&data);
                if announced(&message).max(message.len()) > limits::ANSWER_BYTES_MAX {
                    let most = limits::ANSWER_BYTES_MAX;
                    return Err(Failure::Status {
                        code: 8,
                        message: format!("an answer of more than {most} bytes"),
                        whole: true,
                    });
                }
                let room = announced(&message).saturating_sub(message.len());
                message.reserve_exact(room);
            }
            Err(frame) => status = frame.trailers_ref().and_then(grpc_status),
        }
    }
    match status {
        None => Err(Failure::Silent("the answer broke off".to_owned())),
        Some(Some(failure)) => Err(failure),
        Some(None) => unframe(message),
    }
}

/// A message as a gRPC frame.
pub fn framed(request: &impl Message) -> Vec<Bytes> {
    let mut body = vec![0; 5];
    request.encode(&mut body).expect("a vector grows as needed");
    let len = u32::try_from(body.len() - 5).expect("control messages are short");
    body[1..5].copy_from_slice(&len.to_be_bytes());
    vec![Bytes::from(body)]
}

/// The message of a gRPC frame.
fn unframe(message: Vec<u8>) -> Result<Bytes, Failure> {
    let message = Bytes::from(message);
    let Some((prefix, rest)) = message.split_first_chunk::<5>() else {
        return Err(Failure::Foreign("the answer has no message".to_owned()));
    };
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    // We never announce that we understand compression.
    if prefix[0] != 0 || rest.len() != len {
        return Err(Failure::Foreign(
            "the answer has an invalid frame".to_owned(),
        ));
    }
    Ok(message.slice(5..))
}

/// The gRPC status among headers or trailers: `Some(None)` is OK.
fn grpc_status(headers: &HeaderMap) -> Option<Option<Failure>> {
    let code = headers.get("grpc-status")?.to_str().ok();
    let code = code.and_then(|c| c.parse::<i32>().ok()).unwrap_or(2);
    let message = headers.get("grpc-message").map(|m| m.as_bytes());
    Some((code != 0).then(|| Failure::Status {
        code,
        message: percent_decode(message.unwrap_or_default()),
        whole: true,
    }))
}

/// What a proxy's HTTP status means, as the gRPC specification maps it.
fn http_status(status: http::StatusCode) -> Failure {
    let code = match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        413 => 8,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    };
    Failure::Status {
        code,
        message: format!("HTTP status {status}"),
        whole: true,
    }
}

fn percent_decode(bytes: &[u8]) -> String {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a broken connection means; only the error's words tell its causes apart.
fn broken(error: &(dyn StdError + 'static)) -> Failure {
    let mut words = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        words = error.to_string();
        if words.contains("certificate")
            || words.contains("fatal alert")
            || words.contains("corrupt message")
            || words.contains("HandshakeFailed")
        {
            return Failure::Tls(words);
        }
        // A ping that waited behind bodies on a slow line, unless the peer is gone.
        if words.contains("keep-alive timed out") {
            return Failure::Slow("nothing came back, and a ping was not answered".to_owned());
        }
        // HTTP/2's REFUSED_STREAM: the peer guarantees that it did nothing.
        if words.contains("refused stream") {
            return Failure::Unsent("the server is closing the connection".to_owned());
        }
        cause = error.source();
    }
    Failure::Silent(words)
}

/// How much of a body the connection has taken. It takes more when the server has room.
struct Handed {
    began: Instant,
    /// Milliseconds from then until the last piece.
    last_ms: AtomicU64,
    whole: AtomicBool,
}

impl Default for Handed {
    fn default() -> Handed {
        Handed {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            whole: AtomicBool::new(false),
        }
    }
}

impl Handed {
    fn now(&self) {
        let ms = self.began.elapsed().as_millis() as u64;
        self.last_ms.store(ms, Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_ms.load(Relaxed))
    }
}

/// A body that is a list of bytes, taken piece by piece.
struct List {
    parts: VecDeque<Bytes>,
    handed: Arc<Handed>,
}

impl http_body::Body for List {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.parts.front_mut() {
            Some(part) if part.len() > limits::PIECE_BYTES => {
                Some(part.split_to(limits::PIECE_BYTES))
            }
            _ => self.parts.pop_front(),
        };
        self.handed.now();
        self.handed.whole.store(self.parts.is_empty(), Relaxed);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_decoded_and_broken_escapes_stay() {
        assert_eq!(percent_decode(b"a%20b%C3%A9%"), "a bé%");
        assert_eq!(percent_decode(b"100%zz"), "100%zz");
    }

    #[test]
    fn a_body_is_whole_when_its_last_bytes_were_taken() {
        let handed = Arc::new(Handed::default());
        let long = vec![7; limits::PIECE_BYTES + 1];
        let mut list = List {
            parts: [Bytes::from_static(b"a"), Bytes::from(long)].into(),
            handed: handed.clone(),
        };
        let mut context = Context::from_waker(std::task::Waker::noop());
        for (len, end) in [(1, false), (limits::PIECE_BYTES, false), (1, true)] {
            let frame = Pin::new(&mut list).poll_frame(&mut context);
            let Poll::Ready(Some(Ok(frame))) = frame else {
                panic!("no piece")
            };
            assert_eq!(frame.into_data().unwrap().len(), len);
            assert_eq!(
                (handed.whole.load(Relaxed), list.is_end_stream()),
                (end, end)
            );
        }
    }

    #[test]
    fn a_frame_must_be_as_long_as_it_says() {
        assert_eq!(unframe(vec![0, 0, 0, 0, 1, 9]).unwrap(), &[9][..]);
        for bad in [vec![], vec![0, 0, 0, 0, 2, 9], vec![1, 0, 0, 0, 1, 9]] {
            assert!(matches!(unframe(bad), Err(Failure::Foreign(_))));
        }
    }
}
