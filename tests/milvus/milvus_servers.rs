//! Servers that are set up in a particular way: logins, TLS, quotas, limits; that go down and come back; and
//! Milvus Lite, which is another program.

use crate::support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Limits, Part, Position, Target};
use milvusdm::buffers::Buffers;
use milvusdm::error::{Error, Kind, Result};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::{Action, Attempt, Sink, Strength};

use support::{Certificates, Engine, Server, finish, open_milvus, target};

fn open(sink: &str) -> Result<Box<dyn Sink>> {
    let collection = if sink.contains("collection:") {
        ""
    } else {
        "collection: c, "
    };
    open_milvus(&format!("{collection}{sink}"), "")
}

fn refused(sink: &str) -> Error {
    match open(sink) {
        Ok(sink) => panic!("opened {}", sink.describe()),
        Err(error) => error,
    }
}

const fn kind(element: Element, dimension: u32) -> VectorType {
    VectorType { element, dimension }
}

const F32X128: VectorType = kind(Element::Float32, 128);

fn batch(kind: VectorType, first: i64, rows: i64) -> Batch {
    let columns = Columns::plain("id", "embedding", kind).unwrap();
    let bytes = vec![0x3c; kind.row_bytes() as usize * rows as usize];
    let file: Arc<Path> = Path::new("x").into();
    let ids = (first..first + rows).collect();
    Batch {
        id: BatchId {
            run: 7,
            shard: 0,
            index: 0,
        },
        target: 0,
        first_row: first as u64,
        parts: vec![Part::of_vectors(&columns, ids, Bytes::from(bytes), &file, 0).unwrap()],
        next: Position::Row(0),
    }
}

fn deliver(sink: &dyn Sink, batch: Batch) -> Result<u32> {
    let parcel = sink.pack(batch, Buffers::default().take())?;
    Ok(sink.deliver(&parcel, Attempt::First)?.rows)
}

/// A target made ready.
fn ready(sink: &dyn Sink, kind: VectorType) -> Target {
    let target = target(sink, kind);
    let decision = sink.decide(&target).unwrap();
    sink.prepare(&target, &decision, false).unwrap();
    target
}

#[test]
fn logins_and_tls_are_used_and_their_failures_explained() {
    let certificates = Certificates::make();
    let (cert, key) = (
        certificates.path("server.pem"),
        certificates.path("server.key"),
    );
    let server = Server::start(Engine::Standalone, &["--auth", "--tls", &cert, &key]);
    let address = server.address();
    let ca = certificates.path("ca.pem");
    let tls = format!("tls: {{ca: '{ca}'}}");
    let secure = format!("address: 'https://{address}', {tls}");

    let sink = open(&format!("{secure}, user: root, password: Milvus")).unwrap();
    let place = ready(&*sink, F32X128);
    assert_eq!(
        deliver(&*sink, batch(F32X128, 0, 10_000)).unwrap(),
        10_000,
        "5 MB through TLS"
    );
    finish(&*sink, &place).unwrap();
    assert_eq!(sink.count(&place).unwrap().rows, 10_000);
    open(&format!("{secure}, token: 'root:Milvus'")).unwrap();
    let named =
        format!("address: 'https://{address}', tls: {{ca: '{ca}', server_name: milvus.test}}");
    open(&format!("{named}, token: 'root:Milvus'")).unwrap();

    let check = |sink: String, kind: Kind, words: &str| {
        let error = refused(&sink);
        let said = error.to_string();
        assert_eq!(error.kind(), kind, "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    check(
        format!("{secure}, user: root, password: hunter2"),
        Kind::Refused,
        "check `user` and `password`",
    );
    check(secure, Kind::Refused, "missing authorization");
    check(
        format!("address: 'https://{address}', token: 'a:b'"),
        Kind::Refused,
        "names the authority",
    );
    let wrong_name = format!("tls: {{ca: '{ca}', server_name: elsewhere.test}}");
    check(
        format!("address: 'https://{address}', {wrong_name}"),
        Kind::Refused,
        "server_name",
    );
    check(
        format!("address: 'http://{address}'"),
        Kind::Unreachable,
        "begins with https://",
    );
    let not_pem = "tls: {ca: /proc/self/cmdline}";
    check(
        format!("address: 'https://{address}', {not_pem}"),
        Kind::Job,
        "sink.milvus.tls.ca: is not a PEM file",
    );
}

#[test]
fn servers_that_want_a_client_certificate_get_one() {
    let certificates = Certificates::make();
    let path = |name| certificates.path(name);
    let tls = [path("server.pem"), path("server.key"), path("ca.pem")];
    let server = Server::start(Engine::Standalone, &["--tls", &tls[0], &tls[1], &tls[2]]);
    let address = server.address();
    let ours = format!(
        "tls: {{ca: '{}', cert: '{}', key: '{}'}}",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let sink = open(&format!("address: '{address}', {ours}")).unwrap();
    ready(&*sink, F32X128);
    assert_eq!(deliver(&*sink, batch(F32X128, 0, 10)).unwrap(), 10);
    let error = refused(&format!(
        "address: '{address}', tls: {{ca: '{}'}}",
        path("ca.pem")
    ));
    // The server's reason and the end of the connection race each other.
    let kinds = [Kind::Refused, Kind::Unreachable];
    assert!(kinds.contains(&error.kind()), "{error}");
    assert!(error.to_string().contains("client certificate"), "{error}");
    let swapped = ours.replace("client.key", "server.key");
    let error = refused(&format!("address: '{address}', {swapped}"));
    assert_eq!(error.kind(), Kind::Job, "{error}");
}

#[test]
fn tls_to_a_server_that_speaks_none_is_explained() {
    let server = Server::shared(Engine::LitePython);
    let error = refused(&format!("address: 'https://{}'", server.address()));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("http://"), "{error}");
}

#[test]
fn too_big_a_request_is_told_apart_from_too_fast_a_one() {
    let server = Server::start(
        Engine::Standalone,
        &[
            "--set",
            "proxy.grpc.serverMaxRecvSize=1000000",
            "--set",
            "quotaAndLimits.enabled=true",
            "--set",
            "quotaAndLimits.dml.enabled=true",
            "--set",
            "quotaAndLimits.dml.insertRate.max=0.5",
            "--set",
            "quotaAndLimits.flushRate.enabled=true",
            "--set",
            "quotaAndLimits.flushRate.max=0.1",
        ],
    );
    let sink = open(&format!("address: '{}'", server.address())).unwrap();
    let place = ready(&*sink, F32X128);
    let error = deliver(&*sink, batch(F32X128, 0, 4000)).unwrap_err();
    assert_eq!(error.kind(), Kind::TooBig, "{error}");
    let (left, _) = batch(F32X128, 0, 2000).halves().unwrap();
    assert_eq!(
        deliver(&*sink, left).unwrap(),
        1000,
        "and the half goes through"
    );
    // Rates are enforced from about 3 s after there is a collection.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut next = 10_000;
    let busy = loop {
        assert!(Instant::now() < deadline, "never too fast");
        next += 1000;
        match deliver(&*sink, batch(F32X128, next, 1000)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(busy.kind(), Kind::Busy, "{busy}");
    let busy = loop {
        sink.unfinish(&place);
        match sink.finish(&place) {
            Ok(_) => assert!(Instant::now() < deadline, "never too fast"),
            Err(error) => break error,
        }
    };
    assert_eq!(busy.kind(), Kind::Busy, "{busy}");
}

#[test]
fn a_rate_limit_needs_no_help_of_an_operator() {
    let limit = [
        "quotaAndLimits.enabled=true",
        "quotaAndLimits.dml.enabled=true",
        "quotaAndLimits.dml.insertRate.max=1",
    ];
    let arguments: Vec<&str> = limit.iter().flat_map(|set| ["--set", set]).collect();
    let server = Server::start(Engine::Standalone, &arguments);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    const ROWS: u64 = 20_000;
    let mut index = b"IxF2".to_vec();
    index.extend(128u32.to_le_bytes());
    index.extend(ROWS.to_le_bytes());
    index.extend([0; 16]);
    index.extend([1, 1, 0, 0, 0]);
    index.extend((ROWS * 128).to_le_bytes());
    index.resize(index.len() + ROWS as usize * 512, 0);
    std::fs::write(path("rows.index"), index).unwrap();
    let job = format!(
        "source: {{faiss: {{path: '{}'}}}}\nsink: {{milvus: {{address: '{}', collection: slow}}}}\n\
         run: {{batch: 256KiB, checkpoint: '{}'}}\n",
        path("rows.index"),
        server.address(),
        path("ckpt")
    );
    std::fs::write(path("job.yaml"), job).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(["run", &path("job.yaml"), "--json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    let progress = &report["progress"];
    assert_eq!(progress["rows"], ROWS, "{report:#}");
    let [batches, put_off] = ["batches", "retries"].map(|key| progress[key].as_u64().unwrap());
    assert!(put_off > 0, "there was no limit: {report:#}");
    assert!(put_off < batches, "it was hammered: {report:#}");
    let [last, end] =
        ["last_receipt_seconds", "seconds"].map(|key| progress[key].as_f64().unwrap());
    assert!(0.0 < last && last < end, "{report:#}");
}

#[test]
fn a_server_without_room_says_so() {
    let server = Server::start(
        Engine::Standalone,
        &[
            "--set",
            "quotaAndLimits.enabled=true",
            "--set",
            "quotaAndLimits.limitWriting.forceDeny=true",
        ],
    );
    let sink = open(&format!("address: '{}'", server.address())).unwrap();
    ready(&*sink, F32X128);
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        assert!(Instant::now() < deadline, "never denied");
        if let Err(error) = deliver(&*sink, batch(F32X128, 0, 1)) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(error.kind(), Kind::Full, "{error}");
    assert!(
        error.what().contains("deactivated by the administrator"),
        "{error}"
    );
}

#[test]
fn a_server_that_goes_down_is_found_again_with_all_it_acknowledged() {
    let server = Server::start(Engine::Standalone, &[]);
    let sink = open(&format!("address: '{}'", server.address())).unwrap();
    let place = ready(&*sink, F32X128);
    assert_eq!(deliver(&*sink, batch(F32X128, 0, 1000)).unwrap(), 1000);
    server.kill();
    // A connection whose end is not yet known here takes the request and loses the answer; a new one is refused.
    let mut lost = 0;
    loop {
        let error = deliver(&*sink, batch(F32X128, 1000, 1000)).unwrap_err();
        if error.kind() == Kind::Unreachable {
            break;
        }
        assert_eq!(error.kind(), Kind::Lost, "{error}");
        lost += 1;
        assert!(lost < 20, "{error}");
    }
    assert_eq!(sink.count(&place).unwrap_err().kind(), Kind::Unreachable);
    server.start_again();
    let mut tries = 0;
    while let Err(error) = deliver(&*sink, batch(F32X128, 1000, 1000)) {
        tries += 1;
        assert!(tries < 20, "{error}");
        std::thread::sleep(Duration::from_millis(500));
    }
    finish(&*sink, &place).unwrap();
    assert_eq!(sink.count(&place).unwrap().rows, 2000);
}

fn carry(server: &Server, sink: &str, kind: VectorType, rows: i64) -> (Action, u64) {
    let sink = open(&format!("address: '{}', {sink}", server.address())).unwrap();
    let place = target(&*sink, kind);
    let decision = sink.decide(&place).unwrap();
    if decision.action == Action::Skip {
        return (decision.action, sink.count(&place).unwrap().rows);
    }
    sink.prepare(&place, &decision, false).unwrap();
    let decision = sink.settle(&place, decision).unwrap();
    let limits = sink.limits(Limits {
        batch_bytes: 4 << 20,
        batch_rows: 1 << 20,
    });
    let step = limits.rows(kind).min(rows as u64) as i64;
    let mut first = decision.rows_before as i64;
    let end = first + rows;
    while first < end {
        let count = step.min(end - first);
        assert_eq!(
            deliver(&*sink, batch(kind, first, count)).unwrap(),
            count as u32
        );
        first += count;
    }
    finish(&*sink, &place).unwrap();
    let count = sink.count(&place).unwrap();
    assert_ne!(count.strength, Strength::Statistics);
    (decision.action, count.rows)
}

#[test]
fn milvus_lite_3_is_a_sink_too() {
    let server = Server::shared(Engine::LitePython);
    let carry = |sink: &str, rows| carry(server, sink, F32X128, rows);
    let sink = open(&format!("address: '{}'", server.address())).unwrap();
    assert!(
        sink.describe().starts_with("Milvus Lite 3.2.2 at"),
        "{}",
        sink.describe()
    );
    assert_eq!(carry("collection: lite", 300), (Action::Create, 300));
    assert_eq!(carry("collection: lite", 50), (Action::Append, 350));
    assert_eq!(
        carry("collection: lite, mode: skip", 1),
        (Action::Skip, 350)
    );
    let index = "metric: L2, index: {type: HNSW, params: {M: 8, efConstruction: 64}}, load: true";
    assert_eq!(
        carry(&format!("collection: lite, mode: overwrite, {index}"), 20),
        (Action::Replace, 20)
    );
    assert_eq!(
        carry("collection: lite, partition: p", 30),
        (Action::Create, 30)
    );
    assert_eq!(
        carry("collection: lite, partition: p, mode: overwrite", 7),
        (Action::Replace, 7)
    );
    assert_eq!(
        carry("collection: other, partition: p", 30),
        (Action::Create, 30)
    );
    let error = sink
        .decide(&target(&*sink, kind(Element::Bit, 16)))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
}

#[test]
fn milvus_lite_2_is_a_sink_too() {
    let server = Server::shared(Engine::LiteCpp);
    let sink = open(&format!("address: '{}'", server.address())).unwrap();
    assert!(
        sink.describe().starts_with("Milvus Lite (C++) at"),
        "{}",
        sink.describe()
    );
    let carry = |sink: &str, element, rows| carry(server, sink, kind(element, 16), rows);
    assert_eq!(
        carry("collection: a", Element::Float32, 2500),
        (Action::Create, 2500)
    );
    assert_eq!(
        carry("collection: a", Element::Float32, 5),
        (Action::Append, 2505)
    );
    let index = "metric: L2, index: {type: IVF_FLAT, params: {nlist: 8}}, load: true";
    let replace = format!("collection: a, mode: overwrite, {index}");
    assert_eq!(carry(&replace, Element::Float32, 20), (Action::Replace, 20));
    assert_eq!(
        carry("collection: b", Element::Bit, 10),
        (Action::Create, 10)
    );
    assert_eq!(
        carry("collection: h", Element::Float16, 10),
        (Action::Create, 10)
    );
    assert_eq!(
        carry("collection: i", Element::BFloat16, 10),
        (Action::Create, 10)
    );
    let partition = open(&format!("address: '{}', partition: p", server.address())).unwrap();
    let error = partition.decide(&target(&*partition, F32X128)).unwrap_err();
    assert!(error.what().contains("has no partitions"), "{error}");
}
