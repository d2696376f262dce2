//! What a server answers: `| which call 1 | how 1 | gRPC status 1 | bytes of words 1 | words … | message … |`.
//! A server in this process sends it, so that everything from HTTP/2's frames to the verdict is gone through.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use milvusdm::milvus::proto::{ConnectResponse, MutationResult, ServerInfo, Status, V1StringReply};
use milvusdm::milvus::{Client, Deadlines, Flushing, Login, Settings, Write, v1::V1};
use prost::Message;
use tonic::body::Body;

static ANSWER: Mutex<Answer> = Mutex::new(Answer {
    how: 0,
    status: 0,
    words: Vec::new(),
    message: Vec::new(),
});
static CLIENTS: LazyLock<(Client, V1)> = LazyLock::new(connect);

#[derive(Clone)]
struct Answer {
    /// Bits: 0 the message is framed as it stands; 1 no trailers; 2 status in the headers; 3 HTTP status 503; 4 the 2.x service is unknown.
    how: u8,
    status: u8,
    words: Vec<u8>,
    message: Vec<u8>,
}

fn say(how: u8, message: &impl Message) {
    let message = message.encode_to_vec();
    *ANSWER.lock().unwrap() = Answer {
        how,
        status: 0,
        words: Vec::new(),
        message,
    };
}

pub fn run(bytes: &[u8]) {
    let Some(([call, how, status, words], rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let (words, message) = rest.split_at(rest.len().min(usize::from(*words)));
    let (client, v1) = &*CLIENTS;
    *ANSWER.lock().unwrap() = Answer {
        how: *how,
        status: *status,
        words: words.to_vec(),
        message: message.to_vec(),
    };
    let body = [Bytes::from_static(&[0; 5])];
    // A connection of its own is dear: only one call in a hundred opens one.
    match call % 200 {
        0 => drop(client.write(Write::Insert, &body, "k")),
        1 => drop(
            client
                .collection("c")
                .map(|c| c.map(|c| c.fields.iter().map(|f| f.describe()).collect::<String>())),
        ),
        2 => drop(client.has_partition("c", "p")),
        3 => drop(client.statistics("c", None)),
        4 => drop(client.count("c", None)),
        5 => drop(client.is_loaded("c", None)),
        6 => drop(client.loading_progress("c")),
        7 => drop(client.flush("c")),
        8 => drop(client.is_flushed("c", &Flushing::default())),
        9 => drop(client.index("c", "embedding")),
        10 => drop(client.drop_collection("c")),
        11 => drop(v1.collection("c")),
        12 => drop(v1.has_partition("c", "p")),
        13 => drop(v1.rows("c")),
        14 => drop(v1.insert(&body)),
        15 => drop(v1.present("c", "p", &[1, 2])),
        16 => drop(v1.delete("c", "p", &[1])),
        17 => drop(v1.index("c")),
        18 => drop(v1.flush("c")),
        19 => drop(v1.load("c")),
        20 | 40 => drop(Client::open(&settings(), 1).map(|c| c.server().to_string())),
        21 | 41 => drop(V1::open(&settings(), 1).map(|v1| v1.describe())),
        _ => {}
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let inserted = MutationResult {
        insert_cnt: 3,
        ..MutationResult::default()
    };
    let status = |error_code, code, reason: &str| {
        let status = Status {
            error_code,
            code,
            reason: reason.to_owned(),
            retriable: true,
        };
        MutationResult {
            status: Some(status),
            ..MutationResult::default()
        }
        .encode_to_vec()
    };
    let messages = [
        inserted.encode_to_vec(),
        status(49, 8, "rate limit"),
        status(4, 100, "not found"),
        Vec::new(),
    ];
    let each = |call: u8| {
        messages
            .iter()
            .map(move |m| [&[call, 0, 0, 0][..], m].concat())
    };
    let mut seeds: Vec<Vec<u8>> = (0..22).flat_map(each).collect();
    seeds.extend((0..17).map(|code| [&[0, code % 16, code, 5][..], b"too%20big"].concat()));
    seeds.push(
        [
            &[13, 0, 0, 0, 0x12, 57][..],
            br#"{"partitions":[{"row_count":3,"tag":"_default"}],"row_count":7}"#,
        ]
        .concat(),
    );
    seeds
}

fn settings() -> Settings {
    static ADDRESS: LazyLock<String> = LazyLock::new(serve);
    Settings {
        address: format!("http://{}", *ADDRESS),
        login: Login::None,
        db: String::new(),
        tls: None,
        deadlines: Deadlines::default(),
    }
}

fn connect() -> (Client, V1) {
    let server_info = Some(ServerInfo {
        build_tags: "v2.3.5".into(),
        ..ServerInfo::default()
    });
    say(
        0,
        &ConnectResponse {
            server_info,
            ..ConnectResponse::default()
        },
    );
    let client = Client::open(&settings(), 1).unwrap();
    say(
        16,
        &V1StringReply {
            string_reply: "1.1.1".into(),
        },
    );
    (client, V1::open(&settings(), 1).unwrap())
}

fn serve() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let incoming =
                tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap())
                    .unwrap()
                    .with_nodelay(Some(true));
            tell.send(incoming.local_addr().unwrap().to_string())
                .unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(Named::<false>)
                .add_service(Named::<true>);
            server.serve_with_incoming(incoming).await.unwrap();
        });
    });
    told.recv().unwrap()
}

#[derive(Clone)]
struct Named<const V1: bool>;

impl tonic::server::NamedService for Named<false> {
    const NAME: &'static str = "milvus.proto.milvus.MilvusService";
}

impl tonic::server::NamedService for Named<true> {
    const NAME: &'static str = "milvus.grpc.MilvusService";
}

impl<const V: bool> tower_service::Service<Request<Body>> for Named<V> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut answer = ANSWER.lock().unwrap().clone();
        if answer.how & 16 != 0 && !V {
            answer.status = 12;
        }
        ready(Ok(answer.response()))
    }
}

impl Answer {
    fn response(self) -> Response<Body> {
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from(i32::from(self.status)));
        if let Ok(words) = HeaderValue::from_bytes(&self.words) {
            status.insert("grpc-message", words);
        }
        let mut frame = self.message;
        if self.how & 1 == 0 {
            let len = (frame.len() as u32).to_be_bytes();
            frame.splice(..0, [&[0][..], &len].concat());
        }
        let mut frames = VecDeque::from([Frame::data(Bytes::from(frame))]);
        if self.how & 2 == 0 {
            frames.push_back(Frame::trailers(status.clone()));
        }
        let mut response = Response::new(Body::new(Frames(frames)));
        if self.how & 4 != 0 {
            *response.headers_mut() = status;
        }
        if self.how & 8 != 0 {
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        response
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }
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
