//! milvusdm moves vectors into, out of and between Milvus installations, and never loses or duplicates a row
//! silently.
//!
//! A migration is many batches carried along one straight path:
//!
//! ```text
//! job.yaml ──► Job ──► Plan ──► Shard ──► Batch ──► Parcel ──► Receipt
//!              what     what     a stretch  rows      bytes      the
//!              was      will     of the     with a    on the     sink's
//!              asked    be done  source     name      wire       answer
//!             (job)    (plan)   (source)  (source)   (sink)     (sink)
//!                                 └ pool: read, pack ┘ └ connections: deliver ┘
//!                                   └──── checkpoint ◄── recorded ──┘
//! ```
//!
//! * A **rayon pool** takes shards in order. For each it repeats *read → pack* and hands the parcel on: here pages
//!   fault in, floats are checked, digests are computed, bytes are framed. If the job asks for another vector type, a
//!   batch is *converted* in between, so that sources and sinks need not know about it; digests cover what is sent.
//! * A **bounded channel** connects the two. It is the only queue: when it is full, the pool waits.
//! * **Delivery threads** take parcels, *deliver*, and *record* the receipt. Mapped pages pass through them into
//!   the kernel; a server on this host gets them as ranges of their file, uncopied. The threads read pages only after a
//!   connection has broken. They check the source's files once more before they record a receipt. `run/flow.rs` derives
//!   from the server's answers how many threads deliver at a time, and how fast once the server has said "later".
//!
//! Memory is `(pool threads + channel + delivery threads) × batch`, whatever the size of the data. Batches are
//! a pure function of the plan. One synced record precedes the first batch of each window; after a crash, only the
//! batches of such windows that have no receipt are in doubt.
//!
//! # Words
//!
//! A **Job** is the YAML, checked for shape. A **Plan** is the job made concrete. A **Shard** is a range of
//! the source, read in order by one pool thread. A **Batch** is rows that are sent together, named by its `BatchId`.
//! A **Parcel** is a packed batch; a **Receipt** is the destination's answer to it. A **Target** is one place where
//! rows end up: a collection and partition, or a file. A **Manifest** describes the data. The verbs are *survey*,
//! *read*, *pack*, *deliver*, *record*.
//!
//! # Rooms
//!
//! Each room answers one question, and calls only the rooms in its last column (`tests/program/house.rs` enforces this
//! table).
//!
//! | room | answers | may call |
//! |---|---|---|
//! | `cli` | what does the operator see? | job plan run checkpoint verify progress source sink format input batch schema limits error |
//! | `run` | who carries what now? | plan batch source convert sink buffers checkpoint progress retry job error limits |
//! | `verify` | is it the same data? | plan checkpoint source sink job batch digest buffers simd error limits |
//! | `checkpoint` | what has arrived? | job plan sink batch error limits |
//! | `plan` | what will be done? | job schema batch source convert sink digest buffers error limits |
//! | `convert` | what do values become on the way? | job json batch schema simd buffers error limits |
//! | `source` | how is this kind of source read? | job json format h5 parquet milvus call http retry store digest input batch schema simd error limits |
//! | `sink` | how is this kind of destination written to? | job json h5 parquet milvus call store digest input buffers batch schema simd progress error limits |
//! | `milvus` | how is Milvus asked? | job call http batch schema simd error limits |
//! | `store` | which objects are in a bucket? | job call input error limits |
//! | `http` | how is an HTTP server asked? | job error limits |
//! | `call` | how does a request reach a server? | job input error limits |
//! | `parquet` | what do the pages of a Parquet file, or the batches of an Arrow stream, hold? | input schema simd error limits |
//! | `h5` | what does libhdf5 know about a file? | input batch schema simd error limits |
//! | `format` | what do these bytes mean? | input schema simd error limits |
//! | `job` | what was asked for? | schema error limits |
//! | `batch` | what is sent together? | schema error |
//! | `schema` | what columns are there, and how are they spelt in Arrow? | error |
//! | `json` | which values do the keys of a JSON object have? | |
//! | `input` | where are the bytes? | error limits |
//! | `digest` | how are names and rows identified? | batch schema simd |
//! | `buffers` | where do written bytes wait until they are sent? | |
//! | `simd` | how fast can this loop go? | |
//! | `progress` | how far? | limits |
//! | `retry` | how long to wait? | |
//! | `limits` | how much is too much? | |
//! | `error` | what went wrong? | limits |
//!
//! Deliberate restrictions: `format` opens nothing; `simd` does not know what a vector means; tonic, tokio and `async`
//! exist only in `call`; only `run` retries, and only the room that speaks a protocol decides whether an answer was a
//! refusal, a "later" or silence; libfaiss is called only in `source/faiss/foreign.rs`, and only with the feature
//! `faiss`; no core type is `Serialize`, and the only global is in `input`, the list of mappings, because there is one
//! address space.
//!
//! Unsafe code is denied except in the files named here:
//! `input/map.rs` (mapping files), `input/guard.rs` (pages that vanish while they are read),
//! `h5/raw.rs`, `h5/types.rs`, `h5/attributes.rs` (calls of libhdf5 that no crate wraps),
//! `simd/mod.rs` (calls of what was detected), `simd/avx2.rs`, `simd/avx512.rs` (loads and stores at any alignment).

pub mod batch;
pub mod buffers;
pub mod call;
pub mod checkpoint;
pub mod cli;
pub mod convert;
pub mod digest;
pub mod error;
pub mod format;
pub mod h5;
#[cfg(feature = "network")]
pub mod http;
pub mod input;
pub mod job;
pub mod json;
pub mod limits;
pub mod milvus;
pub mod parquet;
pub mod plan;
pub mod progress;
pub mod retry;
pub mod run;
pub mod schema;
pub mod simd;
pub mod sink;
pub mod source;
pub mod store;
pub mod verify;
