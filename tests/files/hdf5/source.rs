//! What the source reads of files by h5py, the Python tool and this program.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use milvusdm::batch::Keys;
use milvusdm::error::Kind;
use milvusdm::schema::Element;
use milvusdm::source::hdf5::inspect;

use crate::hdf5::support::*;

/// Ids and vectors that a script puts down as `ids` (int64) and `x` (as it travels).
const PUT: &str = "
open(sys.argv[2], 'wb').write(np.ascontiguousarray(x).tobytes())
open(sys.argv[3], 'wb').write(np.ascontiguousarray(ids, dtype='<i8').tobytes())
";

pub struct Made {
    pub dir: tempfile::TempDir,
    pub path: PathBuf,
}

/// A file by h5py: the script has it open as `f`, with `rng` and `n` rows at hand.
pub fn made(script: &str) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let script = format!("f = h5py.File(sys.argv[1], 'w')\n{script}");
    py(
        &script,
        &[&path, &dir.path().join("x"), &dir.path().join("ids")],
    );
    Made { dir, path }
}

impl Made {
    pub fn settings(&self, more: &str) -> String {
        format!("{{paths: {}, {more}}}", self.path.display())
    }
}

/// What is read of a file that a script makes is what the script says it is, by either access and in batches
/// of any size.
pub fn check(what: &str, script: &str, more: &str) {
    let before = "rng = np.random.default_rng(1); n = 1000\nids = rng.permutation(n) * 977 - 5\n";
    let made = made(&format!("{before}{script}\nf.close()\n{PUT}"));
    let ids = std::fs::read(made.dir.path().join("ids")).unwrap();
    let x = std::fs::read(made.dir.path().join("x")).unwrap();
    for access in ["map", "read"] {
        for rows in [70, 1 << 20] {
            let settings = made.settings(&format!("access: {access}, {more}"));
            let source = source(&settings).unwrap_or_else(|e| panic!("{what}: {e}"));
            let all = read_all(&*source, limits(rows)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(all.len(), 1);
            let read: Vec<u8> = all[0].0.iter().flat_map(|i| i.to_le_bytes()).collect();
            assert!(read == ids, "{what}, {access}, {rows}: ids differ");
            assert!(all[0].1 == x, "{what}, {access}, {rows}: vectors differ");
        }
    }
}

/// A file is refused, with these words.
pub fn refused(script: &str, more: &str, kind: Kind, words: &str) {
    let made = made(&format!("{script}\nf.close()"));
    let error = match source(&made.settings(more)) {
        Err(error) => error,
        Ok(source) => read_all(&*source, limits(100)).unwrap_err(),
    };
    assert!(error.to_string().contains(words), "{words}: {error}");
    assert_eq!(error.kind(), kind, "{error}");
    inspect(&made.path).unwrap().to_string();
}

#[test]
fn floats_of_every_width_and_order_become_float32() {
    for (dtype, to) in [
        ("<f4", "<f4"),
        (">f4", "<f4"),
        ("<f8", "<f4"),
        (">f8", "<f4"),
        ("<f2", "<f4"),
        (">f2", "<f4"),
    ] {
        let script = format!(
            "x = rng.standard_normal((n, 6)).astype('{dtype}')
x[3, 2] = np.inf; x[4, 1] = -0.0
f['embeddings'] = x; f['ids'] = ids
x = x.astype('{to}')"
        );
        check(dtype, &script, "");
    }
    let script = "x = rng.integers(0, 2**32, (n, 5), dtype=np.uint32).view('<f4')
f['embeddings'] = x; f['ids'] = ids";
    check("every bit pattern", script, "");
}

#[test]
fn binary_vectors_are_bytes_numbers_or_strings() {
    for dtype in ["u1", "i1", "<u2", ">i4", "<i8", ">u8"] {
        let script = format!(
            "x = rng.integers(0, 256, (n, 16)).astype('u1')
f['embeddings'] = x.astype('{dtype}') if '{dtype}' != 'i1' else x.view('i1')
f['ids'] = ids"
        );
        check(dtype, &script, "");
    }
    for (dtype, make) in [("S64", "x.view('S64')"), ("V64", "x.view('V64')")] {
        let script = format!(
            "x = rng.integers(0, 256, (n, 64)).astype('u1'); x[:9] = 0; x[5, 60:] = 0
f['embeddings'] = {make}.reshape(n); f['ids'] = ids"
        );
        check(dtype, &script, "");
    }
    let script = "x = rng.integers(0, 256, (n, 64)).astype('u1')
t = h5py.h5t.C_S1.copy(); t.set_size(64); t.set_strpad(h5py.h5t.STR_SPACEPAD)
d = h5py.h5d.create(f.id, b'embeddings', t, h5py.h5s.create_simple((n,)))
d.write(h5py.h5s.ALL, h5py.h5s.ALL, x.view('S64').reshape(n), t); f['ids'] = ids";
    check("space-padded strings", script, "");
}

#[test]
fn every_layout_is_read() {
    let layouts = [
        "chunks=(100, 12)",
        "chunks=(7, 12)",
        "chunks=(1000, 12)",
        "chunks=(2000, 12), maxshape=(None, 12)",
        "chunks=(64, 5)",
        "chunks=(1000, 1)",
        "chunks=True, maxshape=(None, None)",
        "chunks=(100, 12), compression='gzip'",
        "chunks=(99, 5), compression='gzip', compression_opts=9, shuffle=True",
        "chunks=(99, 12), compression='lzf'",
        "chunks=(99, 12), compression='lzf', shuffle=True, fletcher32=True",
        "chunks=(99, 12), compression='gzip', shuffle=True, fletcher32=True, maxshape=(None, 12)",
        "chunks=(99, 7), fletcher32=True",
        "chunks=(99, 12), shuffle=True",
        "chunks=(99, 12), compression='szip'",
        "chunks=(99, 12), compression='szip', compression_opts=('ec', 16)",
        "dtype='u1', chunks=(99, 12), compression='szip', compression_opts=('nn', 32)",
        "dtype='i2', chunks=(99, 5), compression='szip', compression_opts=('nn', 10)",
        "dtype='>u2', chunks=(1000, 12), compression='szip', compression_opts=('ec', 8)",
        "dtype='f8', chunks=(64, 12), compression='szip', shuffle=True, fletcher32=True",
        "chunks=(99, 12), scaleoffset=0",
        "dtype='>f8', chunks=(64, 5), compression='gzip', shuffle=True",
        "dtype='<f8', chunks=(64, 12)",
    ];
    // The default format, newer ones with other indexes and headers, and one behind a user block.
    let formats = [
        "",
        ", libver=('v110', 'v110')",
        ", libver='latest'",
        ", userblock_size=1024",
        ", libver='latest', userblock_size=512",
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut script = "rng = np.random.default_rng(1); n = 1000
ids = rng.permutation(n) * 977 - 5
x = rng.integers(0, 9, (n, 12)).astype('<f4')
open(sys.argv[1] + '/x', 'wb').write(x.tobytes())
"
    .to_owned();
    let mut files = Vec::new();
    for format in formats {
        for layout in layouts {
            let path = dir.path().join(format!("{}.h5", files.len()));
            script += &format!(
                "f = h5py.File('{}', 'w'{format})
f.create_dataset('embeddings', data=x, {layout}); f['ids'] = ids; f.close()
",
                path.display()
            );
            files.push((path, format!("{layout}{format}")));
        }
    }
    py(&script, &[dir.path()]);
    let x = std::fs::read(dir.path().join("x")).unwrap();
    for (path, what) in files {
        for settings in ["", "access: read"] {
            let settings = format!("as: float32, {settings}");
            let source = source(&format!("{{paths: {}, {settings}}}", path.display()));
            let source = source.unwrap_or_else(|e| panic!("{what}: {e}"));
            let all = read_all(&*source, limits(130)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(all[0].1 == x, "{what}, {settings}");
        }
    }
}

#[test]
fn odd_places_are_read() {
    let x = "x = rng.integers(0, 9, (n, 12)).astype('<f4')\n";
    let compact = "n = 100; ids = ids[:n]; x = x[:n]; f['ids'] = ids
p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)
d = h5py.h5d.create(f.id, b'embeddings', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((n, 12)), p)
d.write(h5py.h5s.ALL, h5py.h5s.ALL, x)";
    check("compact", &format!("{x}{compact}"), "");
    let soft = "f['deep/er/x'] = x; f['ids'] = ids; f['embeddings'] = h5py.SoftLink('/deep/er/x')";
    check("soft link", &format!("{x}{soft}"), "");
    let deep = "f['deep/er/x'] = x; f['deep/i'] = ids";
    check(
        "in a group",
        &format!("{x}{deep}"),
        "vectors: deep/er/x, ids: /deep/i",
    );
    check(
        "user block",
        &format!(
            "f.close(); f = h5py.File(sys.argv[1], 'w', userblock_size=512)\n{x}f['embeddings'] = x; f['ids'] = ids"
        ),
        "",
    );
    for layout in [
        "chunks=(10, 12)",
        "chunks=(10, 5)",
        "chunks=(10, 12), compression='gzip'",
    ] {
        let gaps = format!(
            "d = f.create_dataset('embeddings', (n, 12), '<f4', {layout}, fillvalue=3)
d[100:150] = x[:50]; x = d[()]; f['ids'] = ids"
        );
        check(
            &format!("never written, {layout}"),
            &format!("{x}{gaps}"),
            "",
        );
    }
    let never = "d = f.create_dataset('embeddings', (n, 12), '<f4'); x = d[()]; f['ids'] = ids";
    check("never written at all", &format!("{x}{never}"), "");
    let grown =
        "d = f.create_dataset('embeddings', (0, 12), '<f4', maxshape=(None, 12), chunks=(30, 12))
for i in range(0, n, 17):
    d.resize((min(n, i + 17), 12)); d[i:i + 17] = x[i:i + 17]; f.flush(); f.create_group(str(i))
f['ids'] = ids";
    check("grown", &format!("{x}{grown}"), "");
    let many = "f.create_dataset('embeddings', data=x, chunks=(1, 1)); f['ids'] = ids";
    check("12,000 chunks", &format!("{x}{many}"), "");
    let many = "f.close(); f = h5py.File(sys.argv[1], 'w', libver=('v110', 'v110'))
f.create_dataset('embeddings', data=x, chunks=(1, 1), compression='gzip'); f['ids'] = ids";
    check("12,000 chunks, latest", &format!("{x}{many}"), "");
    let dense = "f.close(); f = h5py.File(sys.argv[1], 'w', track_order=True)
d = f.create_dataset('embeddings', data=x, chunks=(50, 12)); f['ids'] = ids
for i in range(30): d.attrs[str(i)] = 'x' * 500";
    check("a header in many blocks", &format!("{x}{dense}"), "");
}

#[test]
fn sizes_at_the_edges_are_read() {
    check(
        "one row",
        "n = 1; ids = ids[:1]; x = np.ones((1, 3), '<f4'); f['embeddings'] = x; f['ids'] = ids",
        "",
    );
    check(
        "one dimension",
        "x = rng.standard_normal((n, 1)).astype('<f4'); f['embeddings'] = x; f['ids'] = ids",
        "",
    );
    check(
        "wide",
        "n = 20; ids = ids[:n]; x = rng.standard_normal((n, 32768)).astype('<f4'); f['embeddings'] = x; f['ids'] = ids",
        "",
    );
    for more in [
        "",
        ", chunks=(10, 3), maxshape=(None, 3)",
        ", chunks=(10, 3), maxshape=(None, 3), compression='gzip'",
    ] {
        let script = format!(
            "ids = ids[:0]; x = np.zeros((0, 3), '<f4')
f.create_dataset('embeddings', data=x{more}); f.create_dataset('ids', data=ids{})",
            more.replace(", 3)", ",)")
        );
        check(&format!("no rows{more}"), &script, "");
    }
}

#[test]
fn ids_of_every_type_are_read_and_missing_ones_are_row_numbers() {
    let x = "x = rng.standard_normal((n, 3)).astype('<f4'); f['embeddings'] = x\n";
    for dtype in ["<i8", ">i8", "<i4", ">u4", "<u8", "<i2"] {
        let ids = format!(
            "ids = np.abs(ids).astype('{dtype}') % 1000; f['ids'] = ids; ids = ids.astype('<i8')"
        );
        check(dtype, &format!("{x}{ids}"), "");
    }
    check(
        "one column",
        &format!("{x}f['ids'] = ids.reshape(n, 1)"),
        "",
    );
    check(
        "packed",
        &format!(
            "{x}f.create_dataset('ids', data=ids, compression='gzip', shuffle=True, chunks=(70,))"
        ),
        "",
    );
    check("missing", &format!("{x}ids = np.arange(n)"), "");
    check(
        "not wanted",
        &format!("{x}f['ids'] = ids; ids = np.arange(n)"),
        "ids: row_number",
    );
    check(
        "another",
        &format!("{x}f['other'] = ids; f['ids'] = ids[:1]"),
        "ids: other",
    );
    let script = "f['train'] = x = rng.standard_normal((n, 3)).astype('<f4')
f['test'] = x[:5]; f['neighbors'] = np.zeros((5, 10), 'i4'); ids = np.arange(n)";
    check("ann-benchmarks", script, "vectors: train");
}

#[test]
fn a_file_that_changes_is_noticed() {
    let made = made("f['embeddings'] = np.zeros((1000, 4), 'f4'); f.close()");
    let source = source(&made.settings("")).unwrap();
    let manifest = source.survey(limits(10)).unwrap().manifest;
    let shard = &manifest.shards[0];
    let mut reader = source.open(shard, shard.start.clone(), limits(10)).unwrap();
    reader.next().unwrap();
    let mut bytes = std::fs::read(&made.path).unwrap();
    bytes.push(0);
    std::fs::write(&made.path, bytes).unwrap();
    assert_eq!(
        reader.files().unchanged().unwrap_err().kind(),
        Kind::Changed
    );
    assert_eq!(source.unchanged().unwrap_err().kind(), Kind::Changed);
}

#[test]
fn files_go_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, script: &str| {
        let path = dir.path().join(name);
        let script = format!("f = h5py.File(sys.argv[1], 'w')\n{script}\nf.close()");
        py(&script, &[&path]);
        path
    };
    let (a, b) = (
        write("a.h5", "f['embeddings'] = np.zeros((3, 4), 'f4')"),
        write("b.hdf5", "f['embeddings'] = np.ones((2, 4), 'f4')"),
    );
    std::fs::write(dir.path().join("c.txt"), "no").unwrap();
    let all = source(&format!("{{dir: {}}}", dir.path().display())).unwrap();
    let survey = all.survey(limits(100)).unwrap();
    assert!(
        survey.warnings[0].contains("and 1 more: no ids: row numbers over all files"),
        "{:?}",
        survey.warnings
    );
    assert_eq!(survey.manifest.targets[0].keys, Keys::RowNumbers);
    assert_eq!(survey.identity.len(), 2);
    assert_eq!(read_all(&*all, limits(2)).unwrap()[0].0, [0, 1, 2, 3, 4]);
    let back = source(&format!("{{paths: [{}, {}]}}", b.display(), a.display())).unwrap();
    assert_eq!(
        read_all(&*back, limits(2)).unwrap()[0].1[..4],
        1f32.to_le_bytes()
    );

    for (name, script, words) in [
        (
            "d.h5",
            "f['embeddings'] = np.zeros((3, 5), 'f4')",
            "holds float32 × 5, but",
        ),
        (
            "e.h5",
            "f['embeddings'] = np.zeros((3, 4), 'u1')",
            "holds binary × 32, but",
        ),
        (
            "f.h5",
            "f['embeddings'] = np.zeros((3, 4), 'f8'); f['ids'] = np.arange(3)",
            "has ids, but",
        ),
    ] {
        let other = write(name, script);
        let error = source(&format!(
            "{{paths: [{}, {}]}}",
            a.display(),
            other.display()
        ))
        .err()
        .unwrap();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), Kind::Job);
        std::fs::remove_file(other).unwrap();
    }
    let twice = format!(
        "{{paths: [{}, {}/../{}/a.h5]}}",
        a.display(),
        dir.path().display(),
        dir.path().file_name().unwrap().display()
    );
    assert!(
        source(&twice)
            .err()
            .unwrap()
            .to_string()
            .contains("is the same file as")
    );
    for (settings, words) in [
        ("{}".to_owned(), "exactly one of path, paths, dir and glob"),
        (
            "{paths: []}".to_owned(),
            "exactly one of path, paths, dir and glob",
        ),
        ("{path: {a: b}}".to_owned(), "path: must be a single value"),
        (
            format!("{{paths: {}, dir: x}}", a.display()),
            "exactly one of path, paths, dir and glob: there are paths, dir",
        ),
        ("{paths: /nowhere/a.h5}".to_owned(), "there is no such file"),
        ("{dir: /nowhere}".to_owned(), "there is no such directory"),
        (
            format!("{{dir: {}}}", dir.path().join("empty").display()),
            "has no files that end in .h5 or .hdf5",
        ),
    ] {
        let _ = std::fs::create_dir(dir.path().join("empty"));
        let error = source(&settings).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), Kind::Job);
    }
}

#[test]
fn the_published_examples_are_read_as_they_are() {
    let fixture = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/hdf5")
            .join(name)
    };
    let source_of =
        |name: &str| source(&format!("{{paths: {}}}", fixture(name).display())).unwrap();
    let all = read_all(&*source_of("byte_example.h5"), limits(2)).unwrap();
    let (ids, bytes) = &all[0];
    assert_eq!(ids, &[1, 2, 3, 4, 5]);
    let sha = "634f31690b58895f6011af615d58b515a42b59ad9677414b135fc036ffca653e";
    assert_eq!(sha256(bytes), sha);
    let all = read_all(&*source_of("float_example.h5"), limits(777)).unwrap();
    let (ids, bytes) = &all[0];
    let rows = ids.iter().zip(bytes.chunks(400));
    let rows: Vec<u8> = rows
        .flat_map(|(id, row)| [&id.to_le_bytes()[..], row].concat())
        .collect();
    let sha = "3009cba92571fcef20cca85ecbe9ddd9b969278371b597b239844404fd38afb7";
    assert_eq!(sha256(&rows), sha);
}

fn sha256(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    std::fs::write(&path, bytes).unwrap();
    py(
        "print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())",
        &[&path],
    )
}

#[test]
fn what_the_sink_writes_comes_back_with_its_names() {
    for settings in [
        "chunk_rows: auto",
        "chunk_rows: 30",
        "compression: gzip1, shuffle: true, chunk_rows: 30",
        "compression: lzf",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&format!("{{dir: {}, {settings}}}", dir.path().display()));
        let mut expected = Vec::new();
        for (number, (tag, element, dimension)) in [
            ("", Element::Float32, 6),
            ("a/b", Element::Float32, 6),
            ("nul\0", Element::Float32, 6),
        ]
        .into_iter()
        .enumerate()
        {
            let vector = vector(element, dimension);
            let target = target(number as u32, ("col", tag), vector, 100);
            let bytes = payload(vector, 100, true);
            let shared = Bytes::from(bytes.clone());
            carry(&*sink, &target, batches(&target, &shared, &[17]), 2).unwrap();
            expected.push((tag.to_owned(), bytes));
        }
        let source = source(&format!("{{dir: {}/col}}", dir.path().display())).unwrap();
        let survey = source.survey(limits(9)).unwrap();
        let read = read_all(&*source, limits(9)).unwrap();
        let names = survey
            .manifest
            .targets
            .iter()
            .map(|t| t.name.partition.clone());
        let mut read: Vec<(String, Vec<u8>)> =
            names.zip(read).map(|(n, (_, bytes))| (n, bytes)).collect();
        read.sort();
        expected.sort();
        assert!(read == expected, "{settings}");
        let target = &survey.manifest.targets[0];
        assert_eq!(target.name.collection, "col");
        assert_eq!(target.metric().map(|m| m.name()), Some("L2"));
        assert!(survey.warnings.is_empty(), "{:?}", survey.warnings);
    }
    for element in [Element::Bit, Element::Int8] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let vector = vector(element, 16);
        let target = target(0, ("c", ""), vector, 50);
        let bytes = payload(vector, 50, true);
        let sink = sink(&format!("{{path: {}}}", path.display()));
        carry(
            &*sink,
            &target,
            batches(&target, &Bytes::from(bytes.clone()), &[17]),
            1,
        )
        .unwrap();
        let source = source(&format!("{{paths: {}}}", path.display())).unwrap();
        let back = source.survey(limits(9)).unwrap().manifest.targets[0].vector();
        assert_eq!(back, vector);
        assert!(read_all(&*source, limits(9)).unwrap()[0].1 == bytes);
    }
}

#[test]
fn files_with_equal_names_are_one_target() {
    let dir = tempfile::tempdir().unwrap();
    for (name, collection, partition) in [
        ("a", "x", "p"),
        ("b", "y", ""),
        ("c", "x", "p"),
        ("d", "x", "q"),
    ] {
        let script = format!(
            "f = h5py.File(sys.argv[1], 'w'); f['embeddings'] = np.full((2, 2), ord('{name}'), 'f4')
f['ids'] = np.arange(2); f.attrs['collection'] = '{collection}'; f.attrs['partition'] = np.bytes_('{partition}')
f.attrs['metric_type'] = 'IP'; f.attrs['dimension'] = 2; f.close()"
        );
        py(&script, &[&dir.path().join(format!("{name}.h5"))]);
    }
    let source = source(&format!("{{dir: {}}}", dir.path().display())).unwrap();
    let manifest = source.survey(limits(1)).unwrap().manifest;
    let names: Vec<String> = manifest
        .targets
        .iter()
        .map(|t| format!("{} {}", t.name, t.rows))
        .collect();
    assert_eq!(names, ["x/p 4", "y 2", "x/q 2"]);
    let all = read_all(&*source, limits(1)).unwrap();
    let firsts: Vec<f32> = all[0]
        .1
        .chunks(8)
        .map(|c| f32::from_le_bytes(c[..4].try_into().unwrap()))
        .collect();
    assert_eq!(firsts, [97.0, 97.0, 99.0, 99.0]);
}

#[test]
fn a_description_names_what_would_travel() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hdf5/byte_example.h5");
    let description = inspect(&fixture).unwrap();
    let said = description.to_string();
    for words in [
        "embeddings: 5 × 64 bytes, contiguous",
        "could be vectors: binary × 512",
        "5 rows would be migrated: vectors `embeddings`, binary × 512, mapped; ids `ids`, int64, 1 to 5",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    serde_json::to_string(&description).unwrap();
}

#[test]
fn mapped_rows_are_not_copied() {
    let made = made(
        "f['embeddings'] = np.zeros((50000, 32), 'f4'); f['ids'] = np.arange(50000); f.close()",
    );
    let source = source(&made.settings("")).unwrap();
    let shard = &source.survey(limits(20_000)).unwrap().manifest.shards[0];
    let read = || {
        source
            .open(shard, shard.start.clone(), limits(20_000))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
    };
    let (one, two) = (read(), read());
    let at = |cut: &milvusdm::batch::Cut| cut.parts[0].vectors().as_ptr();
    assert_eq!(at(&one), at(&two), "both are the mapping");
}
