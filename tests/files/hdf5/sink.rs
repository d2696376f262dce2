//! What the sink writes, as others read it.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use milvusdm::batch::Target;
use milvusdm::buffers::Buffers;
use milvusdm::error::Kind;
use milvusdm::job::Job;
use milvusdm::schema::{Element, VectorType};
use milvusdm::simd::row_digest;
use milvusdm::sink::{Action, Attempt, Sink, Strength};

use crate::hdf5::support::*;

/// What h5py says of a file: type, shape, chunks, filters, attributes, and its rows.
const LOOK: &str = r#"
f = h5py.File(sys.argv[1], 'r')
e, i = f['embeddings'], f['ids']
print(sorted(f), e.dtype.str, e.shape, i.dtype.str, i.shape, e.chunks, e.compression, e.compression_opts, e.shuffle)
print({k: (v.tolist() if hasattr(v, 'tolist') else v) for k, v in sorted(f.attrs.items())})
open(sys.argv[2], 'wb').write(e[()].tobytes())
open(sys.argv[3], 'wb').write(i[()].tobytes())
"#;

/// Writes rows of this type with these settings, and has h5py read them back.
fn check(vector: VectorType, rows: u64, settings: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.h5");
    let sink = sink(&format!("{{path: {}, {settings}}}", path.display()));
    let target = target(0, ("c", "p"), vector, rows);
    let bytes = payload(vector, rows, true);
    let shared = Bytes::from(bytes.clone());
    let digest = carry(&*sink, &target, batches(&target, &shared, &[13, 1, 64]), 1).unwrap();
    let width = vector.row_bytes() as usize;
    let expected_digest = (0..rows)
        .zip(bytes.chunks(width))
        .fold(0u64, |d, (row, b)| {
            d.wrapping_add(row_digest(id_of(row), b))
        });
    assert_eq!(digest, expected_digest);
    let (e, i) = (dir.path().join("e"), dir.path().join("i"));
    let said = py(LOOK, &[&path, &e, &i]);
    assert!(
        said.contains(expected),
        "{vector} × {rows}, {settings}: {said}"
    );
    let stored = std::fs::read(e).unwrap();
    assert!(
        stored == bytes,
        "{vector} × {rows}, {settings}: rows differ"
    );
    let ids: Vec<u8> = (0..rows).flat_map(|r| id_of(r).to_le_bytes()).collect();
    assert!(std::fs::read(i).unwrap() == ids, "{settings}: ids differ");
    let count = sink.count(&target).unwrap();
    assert_eq!((count.rows, count.strength), (rows, Strength::Exact));
    let dumped = Command::new("h5dump")
        .arg("-H")
        .arg(&path)
        .output()
        .unwrap();
    assert!(dumped.status.success(), "h5dump: {dumped:?}");
    sink.finish(&target).unwrap();
    assert_eq!(
        names(dir.path()),
        ["e", "i", "out.h5"],
        "nothing is left behind"
    );
}

#[test]
fn every_type_and_size_is_read_back_by_h5py() {
    let f32s = |d| vector(Element::Float32, d);
    check(
        f32s(7),
        300,
        "",
        "<f4 (300, 7) <i8 (300,) (300, 7) None None False",
    );
    check(f32s(7), 300, "chunk_rows: 50", "(50, 7)");
    check(f32s(7), 307, "chunk_rows: 50", "(50, 7)");
    check(f32s(1), 5000, "chunk_rows: 1", "(1, 1)");
    check(f32s(128), 10_000, "", "(2048, 128)");
    check(f32s(3), 1, "", "<f4 (1, 3)");
    check(f32s(1), 1, "compression: gzip9", "<f4 (1, 1)");
    check(f32s(5), 0, "", "<f4 (0, 5) <i8 (0,)");
    check(f32s(5), 0, "compression: gzip1", "<f4 (0, 5) <i8 (0,)");
    check(f32s(32_768), 40, "", "<f4 (40, 32768)");
    check(
        f32s(32_768),
        9,
        "compression: gzip1",
        "(4, 32768) gzip 1 False",
    );
    check(vector(Element::Bit, 512), 777, "", "|u1 (777, 64)");
    check(vector(Element::Float16, 9), 777, "", "<f2 (777, 9)");
    check(vector(Element::Int8, 9), 777, "", "|i1 (777, 9)");
}

#[test]
fn every_filter_is_read_back_by_h5py() {
    let vector = vector(Element::Float32, 7);
    check(
        vector,
        300,
        "compression: gzip1, chunk_rows: 50",
        "(50, 7) gzip 1 False",
    );
    check(
        vector,
        300,
        "compression: gzip6, shuffle: true, chunk_rows: 7",
        "(7, 7) gzip 6 True",
    );
    check(
        vector,
        300,
        "compression: lzf, shuffle: true, chunk_rows: 50",
        "(50, 7) lzf None True",
    );
    check(vector, 300, "compression: lzf", "(300, 7) lzf None False");
    check(
        vector,
        300,
        "shuffle: true, chunk_rows: 31",
        "(31, 7) None None True",
    );
    for element in [Element::Bit, Element::Float16, Element::Int8] {
        let vector = VectorType { element, ..vector };
        let vector = match element {
            Element::Bit => VectorType {
                dimension: 64,
                ..vector
            },
            _ => vector,
        };
        check(
            vector,
            1000,
            "compression: gzip3, shuffle: true, chunk_rows: 99",
            "gzip 3 True",
        );
    }
}

#[test]
fn bfloat16_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.h5");
    let sink = sink(&format!("{{path: {}}}", path.display()));
    let target = target(0, ("c", "p"), vector(Element::BFloat16, 9), 3);
    let error = sink.decide(&target).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(error.to_string().contains("no bfloat16"), "{error}");
}

#[test]
fn attributes_say_what_the_file_is() {
    let vector = vector(Element::Bit, 16);
    let expected = "{'collection': 'c', 'dimension': 16, 'metric_type': 'JACCARD', 'milvusdm_version': '0.1.0', 'partition': 'p', 'source': 'somewhere'}";
    check(vector, 3, "", expected);
}

#[test]
fn bytes_do_not_depend_on_threads_order_or_batches() {
    let vector = vector(Element::Float32, 16);
    let target = target(0, ("c", ""), vector, 20_000);
    for squeezable in [true, false] {
        let bytes = Bytes::from(payload(vector, target.rows, squeezable));
        for settings in [
            "chunk_rows: auto",
            "chunk_rows: 333",
            "compression: gzip1, shuffle: true, chunk_rows: 333",
            "compression: gzip4",
            "compression: lzf, chunk_rows: 1000",
        ] {
            let mut files = Vec::new();
            for (threads, sizes, turned) in [
                (1, &[1000][..], false),
                (1, &[333], false),
                (4, &[77, 5000], false),
                (3, &[500], true),
            ] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("out.h5");
                let sink = sink(&format!("{{path: {}, {settings}}}", path.display()));
                let mut batches = batches(&target, &bytes, sizes);
                if turned {
                    batches.reverse();
                }
                carry(&*sink, &target, batches, threads).unwrap();
                files.push(std::fs::read(path).unwrap());
            }
            assert!(files.windows(2).all(|f| f[0] == f[1]), "{settings}");
        }
    }
}

#[test]
fn a_batch_that_comes_again_changes_nothing() {
    let vector = vector(Element::Float32, 16);
    let target = target(0, ("c", ""), vector, 2000);
    let bytes = Bytes::from(payload(vector, target.rows, true));
    for settings in ["chunk_rows: 300", "compression: gzip1, chunk_rows: 300"] {
        let mut files = Vec::new();
        for again in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out.h5");
            let sink = sink(&format!("{{path: {}, {settings}}}", path.display()));
            let mut all = batches(&target, &bytes, &[450]);
            if again {
                all = all.iter().chain(&all[1..3]).chain(&all).cloned().collect();
            }
            carry(&*sink, &target, all, 2).unwrap();
            files.push(std::fs::read(path).unwrap());
        }
        assert!(files[0] == files[1], "{settings}");
    }
}

#[test]
fn modes_decide_what_happens_to_a_file_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.h5");
    let vector = vector(Element::Float32, 4);
    let old = target(0, ("c", ""), vector, 10);
    let bytes = Bytes::from(payload(vector, 10, true));
    let with = |mode: &str| sink(&format!("{{path: {}, mode: {mode}}}", path.display()));
    carry(&*with("fail"), &old, batches(&old, &bytes, &[10]), 1).unwrap();
    let before = std::fs::read(&path).unwrap();

    let error = with("fail").decide(&old).unwrap_err();
    assert_eq!(error.kind(), Kind::Job);
    assert!(error.to_string().contains("out.h5: exists"), "{error}");

    let skip = with("skip");
    let decision = skip.decide(&old).unwrap();
    assert_eq!((decision.action, decision.rows_before), (Action::Skip, 10));
    skip.prepare(&old, &decision, false).unwrap();
    skip.finish(&old).unwrap();
    assert!(std::fs::read(&path).unwrap() == before);

    let new = target(0, ("c", ""), vector, 7);
    let overwrite = with("overwrite");
    let decision = overwrite.decide(&new).unwrap();
    assert_eq!(decision.action, Action::Replace);
    overwrite.prepare(&new, &decision, false).unwrap();
    deliver_one(&*overwrite, &new, &bytes);
    assert!(
        std::fs::read(&path).unwrap() == before,
        "replaced before the new one is whole"
    );
    overwrite.abandon(&new, &decision);
    assert_eq!(names(dir.path()), ["out.h5"]);
    carry(&*overwrite, &new, batches(&new, &bytes, &[10]), 1).unwrap();
    assert_eq!(overwrite.count(&new).unwrap().rows, 7);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(overwrite.count(&new).unwrap().rows, 0, "taken away since");
}

fn deliver_one(sink: &dyn Sink, target: &Target, bytes: &Bytes) {
    let batch = batches(target, bytes, &[2]).remove(0);
    let parcel = sink.pack(batch, Buffers::default().take()).unwrap();
    sink.deliver(&parcel, Attempt::First).unwrap();
}

#[test]
fn a_file_that_is_not_whole_never_gets_its_name() {
    let vector = vector(Element::Float32, 4);
    let target = target(0, ("c", ""), vector, 100);
    let bytes = Bytes::from(payload(vector, 100, true));
    for settings in ["chunk_rows: 30", "compression: gzip1"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.h5");
        let sink = sink(&format!("{{path: {}, {settings}}}", path.display()));
        let mut some = batches(&target, &bytes, &[10]);
        some.remove(4);
        let error = carry(&*sink, &target, some, 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Differs);
        assert!(names(dir.path()).is_empty(), "{settings}");
        // Begun anew, it is done.
        let decision = sink.decide(&target).unwrap();
        sink.prepare(&target, &decision, true).unwrap();
        deliver_one(&*sink, &target, &bytes);
        assert_eq!(names(dir.path()).len(), 1);
        drop(sink);
        assert!(
            names(dir.path()).is_empty(),
            "a sink that goes takes its temporary files along"
        );
    }
}

#[test]
fn what_a_killed_run_left_is_replaced_and_what_another_writes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.h5");
    let vector = vector(Element::Float32, 4);
    let target = target(0, ("c", ""), vector, 100);
    let bytes = Bytes::from(payload(vector, 100, true));
    for settings in ["mode: overwrite", "mode: overwrite, compression: gzip1"] {
        let settings = format!("{{path: {}, {settings}}}", path.display());
        let (one, two) = (sink(&settings), sink(&settings));
        let decision = one.decide(&target).unwrap();
        one.prepare(&target, &decision, false).unwrap();
        deliver_one(&*one, &target, &bytes);
        let error = carry(&*two, &target, batches(&target, &bytes, &[10]), 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Job);
        assert!(
            error.to_string().contains("being written by another run"),
            "{error}"
        );
        let temporary = dir.path().join(names(dir.path()).remove(0));
        one.abandon(&target, &decision);
        std::fs::write(&temporary, b"left by a run that was killed").unwrap();
        carry(&*two, &target, batches(&target, &bytes, &[10]), 1).unwrap();
        assert_eq!(names(dir.path()), ["out.h5"]);
    }
}

#[test]
fn a_directory_has_a_file_for_each_partition_and_a_job_that_restores_them() {
    let dir = tempfile::tempdir().unwrap();
    let vector = vector(Element::Float32, 4);
    let bytes = Bytes::from(payload(vector, 100, true));
    let sink = sink(&format!("{{dir: {}/new/er}}", dir.path().display()));
    let tags = ["", "a/b", "..", "nul\0nul", &"long".repeat(99)];
    let targets: Vec<_> = (0..)
        .zip(tags)
        .map(|(n, tag)| target(n, ("col", tag), vector, 10))
        .collect();
    for target in &targets {
        sink.decide(target).unwrap();
    }
    let collection = dir.path().join("new/er/col");
    for target in &targets {
        assert!(!collection.join("H2M.yaml").exists());
        carry(&*sink, target, batches(target, &bytes, &[10]), 1).unwrap();
    }
    let names = names(&collection);
    assert_eq!(names.len(), tags.len() + 1);
    for name in [
        "%2E..h5",
        "H2M.yaml",
        "_default.h5",
        "a%2Fb.h5",
        "nul%00nul.h5",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    let script = "
v = h5py.File(sys.argv[1], 'r').attrs['partition']
print(json.dumps(v if isinstance(v, str) else bytes(v).decode()))";
    let mut read: Vec<String> = (names.iter().filter(|n| n.ends_with(".h5")))
        .map(|n| serde_json::from_str(&py(script, &[&collection.join(n)])).unwrap())
        .collect();
    read.sort();
    let mut tags = tags.map(str::to_owned);
    tags.sort();
    assert_eq!(read, tags);
    let text = std::fs::read_to_string(collection.join("H2M.yaml")).unwrap();
    let job = Job::parse(Path::new("H2M.yaml"), text.clone()).unwrap();
    job.check().unwrap();
    let whole = std::fs::canonicalize(&collection).unwrap();
    assert_eq!(job.source.settings["dir"], whole.to_str().unwrap());
    assert_eq!(job.into.collection.as_deref(), Some("col"));
    assert_eq!(job.into.partition.as_deref(), Some("{partition}"));
    assert_eq!(job.dimension, Some(4));
    assert_eq!(job.sink.settings["metric"], "L2");
}

#[test]
fn two_targets_never_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let vector = vector(Element::Float32, 4);
    let sink = sink(&format!("{{path: {}/a.h5}}", dir.path().display()));
    sink.decide(&target(0, ("c", "p"), vector, 1)).unwrap();
    sink.decide(&target(0, ("c", "p"), vector, 1)).unwrap();
    let error = sink.decide(&target(1, ("c", "q"), vector, 1)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("both c/p and c/q would be this file"),
        "{error}"
    );
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let small = target(0, ("c", ""), vector(Element::Float32, 4), 100_000);
    let big = target(0, ("c", ""), vector(Element::Float32, 1024), 1 << 34);
    for (settings, target, kind, what) in [
        (
            format!("{{path: {at}/no/a.h5}}"),
            &small,
            Kind::Job,
            "does not exist",
        ),
        (
            format!("{{path: {at}}}"),
            &small,
            Kind::Job,
            "is a directory",
        ),
        (
            format!("{{path: {at}/a.h5}}"),
            &big,
            Kind::Io,
            "bytes are needed here",
        ),
        (
            format!("{{dir: {at}/a/b}}"),
            &big,
            Kind::Io,
            "bytes are needed here",
        ),
        (
            format!("{{path: {at}/a.h5, compression: gzip1}}"),
            &big,
            Kind::Io,
            "needed here",
        ),
        (
            format!("{{path: {at}/a.h5, chunk_rows: 1}}"),
            &small,
            Kind::Job,
            "at least 2",
        ),
        (
            format!("{{path: {at}/a.h5, chunk_rows: 99999, compression: lzf}}"),
            &target(0, ("c", ""), vector(Element::Float32, 1024), 1 << 20),
            Kind::Job,
            "at most 16384",
        ),
    ] {
        let error = sink(&settings).decide(target).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(names(dir.path()).is_empty());
    for (settings, what) in [
        ("{}", "exactly one of path and dir"),
        ("{path: a, dir: b}", "exactly one of path and dir"),
        (
            "{path: a, mode: append}",
            "not one of fail, skip, overwrite",
        ),
        ("{path: a, compression: gzip}", "gzip"),
        ("{path: a, chunks: 3}", "unknown key"),
    ] {
        assert!(mistakes(settings).contains(what), "{}", mistakes(settings));
    }
}
