//! From a file to a socket, compared with the least that the same client could do: into a draining Milvus in another
//! process.
//!
//! `cargo bench --bench wire [-- ROUNDS]`. Four ways alternate, each sending the same rows as the same requests:
//! * the program itself, from a warm mapped file: started, planned, packed, checked, digested, sent, recorded, counted;
//! * *heap*: its client, fed requests that were framed in memory before the clock started;
//! * *prost*: the client that tonic and prost generate, on connections like ours: once with everything else that ours
//!   does, its rows from the same file checked and digested and its messages made on the way; once fed messages that
//!   were made in memory before the clock started.
//!
//! It prints the medians of the rounds' values, and their quartiles.

#![allow(clippy::print_stdout, unsafe_code)]

#[path = "support/drain.rs"]
#[allow(dead_code)] // Each bench uses its own part of it.
mod drain;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use milvusdm::batch::Part;
use milvusdm::input::{Access, View};
use milvusdm::limits;
use milvusdm::milvus::proto::{InsertRequest, LongArray, MutationResult, ScalarField};
use milvusdm::milvus::wire::{Envelope, Piece, frame};
use milvusdm::milvus::{Client, Deadlines, Login, Settings, Write};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::simd::{self, Floats};
use prost::Message;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use drain::{Drain, cpu_s, flat_index, machine_busy_s, noise, quartiles};

const DIM: u32 = 128;
const ROW_BYTES: usize = 4 * DIM as usize;
const BATCH_ROWS: usize = limits::BATCH_BYTES_DEFAULT as usize / (ROW_BYTES + 8);
const BATCHES: usize = 960;
const ROWS: usize = BATCHES * BATCH_ROWS;
/// Requests that are made in advance and sent over and over: far more than any cache holds.
const PREPARED: usize = 240;
const CONNECTIONS: usize = 2;
/// Calls in flight on each.
const OUT: usize = 3;

/// InsertRequest as prost-build generates it: floats in a `Vec<f32>`.
#[derive(Clone, PartialEq, Message)]
struct Generated {
    #[prost(string, tag = "3")]
    collection_name: String,
    #[prost(message, repeated, tag = "5")]
    fields_data: Vec<GeneratedField>,
    #[prost(uint32, tag = "7")]
    num_rows: u32,
}

#[derive(Clone, PartialEq, Message)]
struct GeneratedField {
    #[prost(int32, tag = "1")]
    data_type: i32,
    #[prost(string, tag = "2")]
    field_name: String,
    #[prost(message, optional, tag = "3")]
    scalars: Option<ScalarField>,
    #[prost(message, optional, tag = "4")]
    vectors: Option<GeneratedVectors>,
}

#[derive(Clone, PartialEq, Message)]
struct GeneratedVectors {
    #[prost(int64, tag = "1")]
    dim: i64,
    #[prost(message, optional, tag = "2")]
    float_vector: Option<GeneratedFloats>,
}

#[derive(Clone, PartialEq, Message)]
struct GeneratedFloats {
    #[prost(float, repeated, tag = "1")]
    data: Vec<f32>,
}

/// The same rows as [`Envelope`]'s frame has them.
fn generated(ids: Vec<i64>, vectors: &[u8]) -> Generated {
    let floats = vectors.as_chunks::<4>().0.iter();
    let id = GeneratedField {
        data_type: 5,
        field_name: "id".into(),
        scalars: Some(ScalarField {
            long_data: Some(LongArray { data: ids }),
            ..ScalarField::default()
        }),
        vectors: None,
    };
    let vector = GeneratedField {
        data_type: 101,
        field_name: "embedding".into(),
        scalars: None,
        vectors: Some(GeneratedVectors {
            dim: DIM.into(),
            float_vector: Some(GeneratedFloats {
                data: floats.map(|f| f32::from_le_bytes(*f)).collect(),
            }),
        }),
    };
    Generated {
        collection_name: "bench".into(),
        fields_data: vec![id, vector],
        num_rows: BATCH_ROWS as u32,
    }
}

/// Does what tonic-prost's codec does.
#[derive(Default)]
struct ProstCodec;

impl Codec for ProstCodec {
    type Encode = Arc<Generated>;
    type Decode = MutationResult;
    type Encoder = ProstCodec;
    type Decoder = ProstCodec;

    fn encoder(&mut self) -> ProstCodec {
        ProstCodec
    }

    fn decoder(&mut self) -> ProstCodec {
        ProstCodec
    }
}

impl Encoder for ProstCodec {
    type Item = Arc<Generated>;
    type Error = Status;

    fn encode(&mut self, item: Arc<Generated>, room: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(room).expect("a buffer grows as it must");
        Ok(())
    }
}

impl Decoder for ProstCodec {
    type Item = MutationResult;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<MutationResult>, Status> {
        Ok(Some(MutationResult::decode(bytes).unwrap()))
    }
}

/// Wall seconds and CPU seconds of this process that something takes.
fn timed(deed: impl FnOnce()) -> (f64, f64) {
    let (started, cpu) = (Instant::now(), cpu_s(libc::RUSAGE_SELF));
    deed();
    let cpu = cpu_s(libc::RUSAGE_SELF) - cpu;
    (started.elapsed().as_secs_f64(), cpu)
}

/// Our client, fed from the heap.
fn send(client: &Client, bodies: &[Bytes]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS * OUT {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch >= BATCHES {
                        break;
                    }
                    let body = bodies[batch % PREPARED].clone();
                    let result = client.write(Write::Insert, &[body], "bench");
                    assert_eq!(result.unwrap().insert_cnt, BATCH_ROWS as i64);
                }
            });
        }
    });
}

/// A message, and the channel that waits for its answer.
type Sending = (Arc<Generated>, oneshot::Sender<()>);

/// The generated client, on connections like ours; `message` makes a batch's message, on threads that then wait.
fn send_generated(address: &str, message: &(dyn Fn(usize) -> Arc<Generated> + Sync)) {
    let next = AtomicUsize::new(0);
    let one = async |channel: Channel, message: Arc<Generated>| {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = "/milvus.proto.milvus.MilvusService/Insert";
        let path = http::uri::PathAndQuery::from_static(path);
        let answer = client.unary(tonic::Request::new(message), path, ProstCodec);
        assert_eq!(
            answer.await.unwrap().into_inner().insert_cnt,
            BATCH_ROWS as i64
        );
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let (calls, mut queue) = mpsc::unbounded_channel::<Sending>();
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(LocalSet::new().run_until(async {
                    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
                    let channel = milvusdm::milvus::channel(&endpoint);
                    while let Some((message, done)) = queue.recv().await {
                        let channel = channel.clone();
                        spawn_local(async move {
                            one(channel, message).await;
                            done.send(()).unwrap();
                        });
                    }
                }));
            });
            for _ in 0..OUT {
                let (calls, next) = (calls.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        if batch >= BATCHES {
                            break;
                        }
                        let (done, wait) = oneshot::channel();
                        calls.send((message(batch), done)).ok().unwrap();
                        wait.blocking_recv().unwrap();
                    }
                });
            }
        }
    });
}

/// The ids of a batch.
fn ids(batch: usize) -> Vec<i64> {
    let first = (batch * BATCH_ROWS) as i64;
    (first..first + BATCH_ROWS as i64).collect()
}

/// The vectors of a batch: a window of the mapping.
fn rows(view: &View, batch: usize) -> Bytes {
    let bytes = (BATCH_ROWS * ROW_BYTES) as u64;
    let window = view.cut(45 + batch as u64 * bytes, bytes).unwrap();
    window.bytes().unwrap()
}

fn main() {
    Drain::here();
    let rounds: usize = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(9);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("rows.index");
    flat_index(&path, ROWS as u64, DIM, Some(&mut noise()));

    let kind = VectorType {
        element: Element::Float32,
        dimension: DIM,
    };
    let columns = Columns::plain("id", "embedding", kind).unwrap();
    let envelope = Envelope::plain("", "bench", "", Some("id"), ("embedding", kind));
    let view = View::open(&path, Access::Read).unwrap();
    let (mut heap, mut messages) = (Vec::new(), Vec::new());
    for batch in 0..PREPARED {
        let vectors = rows(&view, batch);
        messages.push(Arc::new(generated(ids(batch), &vectors)));
        let part = Part::of_vectors(&columns, ids(batch), vectors, view.path(), 0).unwrap();
        let mut room = Vec::new();
        let pieces = frame(&envelope, &[part], &mut room);
        let body: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Room(range) => room[range].to_vec(),
                Piece::Mapped(bytes) => bytes.to_vec(),
            })
            .collect();
        heap.push(Bytes::from(body));
    }
    // Checks the answers first: all three say the same.
    let [ours, theirs] = [heap[3].slice(5..), messages[3].encode_to_vec().into()]
        .map(|body| InsertRequest::decode(body).unwrap());
    assert_eq!(ours, theirs);

    let server = Drain::start();
    let settings = Settings {
        address: format!("http://{}", server.address),
        login: Login::None,
        db: String::new(),
        tls: None,
        deadlines: Deadlines::default(),
    };
    let client = Client::open(&settings, CONNECTIONS).unwrap();
    let prepared: usize = heap.iter().map(Bytes::len).sum();
    let gb = (prepared * BATCHES / PREPARED) as f64 / 1e9;
    println!("{ROWS} x {DIM}: {BATCHES} requests, {gb:.2} GB; {rounds} rounds");
    let from_file = |batch| {
        let (ids, vectors) = (ids(batch), rows(&view, batch));
        let (digest, odd) = simd::check_and_digest(Floats::F32, &ids, &vectors, ROW_BYTES);
        assert!(std::hint::black_box(digest) != 0 && odd.is_none());
        Arc::new(generated(ids, &vectors))
    };
    let made = |batch: usize| messages[batch % PREPARED].clone();
    let mut table = Vec::new();
    for round in 0..=rounds {
        // Its pages may have been evicted in the meantime.
        std::io::copy(&mut File::open(&path).unwrap(), &mut std::io::sink()).unwrap();
        let (busy, since) = (machine_busy_s(), server.cpu_s());
        let ours = server.load(&path, "");
        let (heap_s, heap_cpu) = timed(|| send(&client, &heap));
        let (prost_s, prost_cpu) = timed(|| send_generated(&server.address, &from_file));
        let (made_s, made_cpu) = timed(|| send_generated(&server.address, &made));
        let all = machine_busy_s() - busy;
        let bench = ours.cpu_s + heap_cpu + prost_cpu + made_cpu + server.cpu_s() - since;
        if round > 0 {
            table.push([
                gb / ours.wall_s,
                gb / heap_s,
                gb / prost_s,
                gb / made_s,
                ours.cpu_s / gb,
                heap_cpu / gb,
                prost_cpu / gb,
                1.0 - bench / all,
            ]);
        }
    }
    let print = |what: &str, value: &dyn Fn(&[f64; 8]) -> f64| {
        let [low, middle, high] = quartiles(table.iter().map(value));
        println!("{what:<50} {middle:.2} ({low:.2} to {high:.2})");
    };
    print("from the file, GB/s", &|r| r[0]);
    print("from the heap, GB/s", &|r| r[1]);
    print("by prost from the file, GB/s", &|r| r[2]);
    print("by prost from messages made before, GB/s", &|r| r[3]);
    print("from the file, CPU-s per GB (wanted 0.75)", &|r| r[4]);
    print("from the heap, CPU-s per GB", &|r| r[5]);
    print("by prost from the file, CPU-s per GB", &|r| r[6]);
    print("share of the CPU used by others meanwhile", &|r| r[7]);
    print("file / heap (wanted 0.85)", &|r| r[0] / r[1]);
    print("file / prost from the file (wanted 1.80)", &|r| r[0] / r[2]);
    print("file / prost from messages made before", &|r| r[0] / r[3]);
}
