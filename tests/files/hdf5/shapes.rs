//! Layouts that are one step from a table of vectors and a list of ids, and what must not be taken for one.

use milvusdm::error::Kind;
use milvusdm::source::hdf5::inspect;

use crate::hdf5::source::{check, made, refused};
use crate::hdf5::support::*;

const X: &str = "x = rng.standard_normal((n, 8)).astype('<f4')\n";

#[test]
fn axes_of_length_1_are_left_out() {
    for (shape, layout) in [
        ("(n, 1, 8)", ""),
        ("(n, 1, 1, 8)", ""),
        ("(n, 8, 1)", ""),
        ("(1, n, 8)", ""),
        ("(n, 1, 8)", ", chunks=(70, 1, 8)"),
        (
            "(n, 1, 8)",
            ", chunks=(70, 1, 3), compression='gzip', shuffle=True",
        ),
        ("(1, n, 8)", ", chunks=(1, 70, 8), compression='lzf'"),
        (
            "(n, 1, 8)",
            ", chunks=(70, 4, 8), maxshape=(None, None, 8), compression='gzip'",
        ),
        ("(n, 1, 8)", ", chunks=(70, 1, 8), libver"),
    ] {
        let latest = layout.ends_with("libver");
        let open = match latest {
            true => "f.close(); f = h5py.File(sys.argv[1], 'w', libver='latest')\n",
            false => "",
        };
        let layout = layout.trim_end_matches(", libver");
        let script = format!(
            "{open}{X}f.create_dataset('embeddings', data=x.reshape({shape}){layout}); f['ids'] = ids"
        );
        check(&format!("{shape}{layout}"), &script, "");
    }
    refused(
        "f.create_dataset('embeddings', data=np.zeros((10, 2, 4), 'f4'), chunks=(5, 2, 4))",
        "",
        Kind::Unsupported,
        "has 3 dimensions (10 × 2 × 4), vectors have two",
    );
}

#[test]
fn ids_in_a_row_as_floats_or_as_digits_are_ids() {
    for ids in [
        "ids.reshape(1, n)",
        "ids.reshape(1, n).astype('f8')",
        "ids.reshape(n, 1, 1)",
        "ids.astype('<f8')",
        "ids.astype('>f8')",
        "ids.astype('f4')",
        "np.array([str(i) for i in ids], 'S')",
        "np.array([str(i) for i in ids], 'S20')",
        "[str(i) for i in ids]",
    ] {
        check(
            ids,
            &format!("{X}f['embeddings'] = x; f['ids'] = {ids}"),
            "",
        );
        let chunked = format!("{X}f['embeddings'] = x; d = np.array({ids}, dtype=h5py.string_dtype() if isinstance({ids}, list) else None)
f.create_dataset('ids', data=d, chunks=True, compression='gzip')");
        check(&format!("{ids}, packed"), &chunked, "");
    }
    let spaces = "t = h5py.h5t.C_S1.copy(); t.set_size(12); t.set_strpad(h5py.h5t.STR_SPACEPAD)
d = h5py.h5d.create(f.id, b'ids', t, h5py.h5s.create_simple((n,)))
d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([str(i).ljust(12) for i in ids], 'S12'), t)";
    check("spaces", &format!("{X}f['embeddings'] = x\n{spaces}"), "");
    let x = "f['embeddings'] = np.zeros((3, 4), 'f4')\n";
    for (ids, words) in [
        ("['P1', 'P2', 'P3']", "row 0: `P1` is not a whole number"),
        (
            "np.array(['1', '2', '03'], 'S')",
            "row 2: `03` is not a whole number",
        ),
        (
            "['1', '2', '9223372036854775808']",
            "row 2: `9223372036854775808` is not",
        ),
        (
            "['1', '2', '123456789012345678901234567890']",
            "is not a number",
        ),
        (
            "[1.0, 2.5, 3.0]",
            "row 1: 2.5 is not a whole number below 2^53",
        ),
        (
            "[1.0, 2.0, 2.0**53]",
            "row 2: 9007199254740992 is not a whole number",
        ),
        ("[1.0, 2.0, np.nan]", "row 2: NaN is not a whole number"),
    ] {
        refused(
            &format!("{x}f['ids'] = {ids}"),
            "",
            Kind::Unsupported,
            words,
        );
    }
}

#[test]
fn members_of_compounds_are_named_behind_the_dataset() {
    let table = "s = np.zeros(n, [('id', '<i8'), ('vec', '<f4', (8,)), ('in', [('deep', '>f8', (8,))]), ('price', 'f8')])
s['id'] = ids; s['vec'] = x; s['in']['deep'] = x; s['price'] = 7\n";
    for (layout, vectors) in [
        ("", "vec"),
        (", chunks=(70,)", "vec"),
        (", chunks=(70,), compression='gzip', shuffle=True", "vec"),
        (", chunks=(70,), compression='gzip'", "in/deep"),
    ] {
        let script = format!("{X}{table}f.create_dataset('deep/table', data=s{layout})");
        let settings = format!("vectors: deep/table/{vectors}, ids: deep/table/id");
        check(&format!("{vectors}{layout}"), &script, &settings);
    }
    let array = "d = f.create_dataset('embeddings', (n,), np.dtype(('<f4', (8,)))); d[...] = x; f['ids'] = ids";
    check("arrays", &format!("{X}{array}"), "");
    let array = "d = f.create_dataset('embeddings', (n,), np.dtype(('<f4', (8,))), chunks=(70,), compression='gzip', shuffle=True)
d[...] = x; f['ids'] = ids";
    check("arrays, packed", &format!("{X}{array}"), "");
    let small = "s = np.zeros(3, [('id', '<i8'), ('vec', '<f4', (8,)), ('name', h5py.string_dtype())]); s['name'] = 'x'; f['embeddings'] = s";
    refused(
        small,
        "",
        Kind::Unsupported,
        "it has the members `id`, `vec`, `name`\n  hint: name a member after the dataset",
    );
    refused(
        small,
        "vectors: embeddings/vek",
        Kind::Unsupported,
        "`embeddings` has the members `id`, `vec`, `name`",
    );
    refused(
        small,
        "vectors: embeddings/name",
        Kind::Unsupported,
        "variable length in a compound",
    );
    refused(
        small,
        "vectors: embeddings/id",
        Kind::Unsupported,
        "has one dimension",
    );
}

#[test]
fn rows_of_a_length_of_their_own_are_read_where_all_are_equal() {
    for (dtype, layout) in [
        ("'<f4'", ""),
        ("'>f8'", ", chunks=(70,)"),
        ("'<f4'", ", chunks=(70,), compression='gzip'"),
    ] {
        let script = format!(
            "{X}v = f.create_dataset('embeddings', (n,), h5py.vlen_dtype({dtype}){layout}); f['ids'] = ids
for i in range(n): v[i] = x[i]"
        );
        check(&format!("{dtype}{layout}"), &script, "");
    }
    let script = "n = 5000; v = f.create_dataset('embeddings', (n,), h5py.vlen_dtype('f4'))
for i in range(n): v[i] = np.zeros(8 - (i == 4321), 'f4')";
    refused(
        script,
        "",
        Kind::Unsupported,
        "row 4321 has 7 components, the first row has 8",
    );
    let none = "f.create_dataset('embeddings', (0,), h5py.vlen_dtype('f4'))";
    refused(none, "", Kind::Unsupported, "has no rows");
}

#[test]
fn rows_and_columns_that_changed_places_are_put_back() {
    for layout in [
        "",
        ", chunks=(8, 100)",
        ", chunks=(3, 70)",
        ", chunks=(3, 1000), compression='gzip', shuffle=True",
        ", chunks=(8, 70), compression='gzip', fletcher32=True",
        ", chunks=(3, 70), compression='lzf', maxshape=(8, None)",
        ", chunks=(3, 70), scaleoffset=4",
        ", dtype='>f8', chunks=(3, 70)",
        ", dtype='f8'",
    ] {
        let script = format!(
            "x = rng.integers(0, 99, (n, 8)).astype('<f4')
d = f.create_dataset('embeddings', data=x.T{layout}); d.attrs['MATLAB_class'] = np.bytes_('single')
f['ids'] = ids.reshape(1, n).astype('f8'); f['ids'].attrs['MATLAB_class'] = np.bytes_('double')"
        );
        check(&format!("turned{layout}"), &script, "transpose: true");
    }
    let compact = "n = 100; ids = ids[:n]; x = x[:n]; f['ids'] = ids
p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)
d = h5py.h5d.create(f.id, b'embeddings', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((8, n)), p)
d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(x.T))";
    check(
        "turned, compact",
        &format!("{X}{compact}"),
        "transpose: true",
    );
    let block = "f.close(); f = h5py.File(sys.argv[1], 'w', userblock_size=512)\n";
    check(
        "turned, user block",
        &format!("{block}{X}f['embeddings'] = x.T; f['ids'] = ids"),
        "transpose: true",
    );
    let matlab = "f['embeddings'] = np.zeros((4, 9), 'f4'); f['embeddings'].attrs['MATLAB_class'] = np.bytes_('single')";
    refused(
        matlab,
        "",
        Kind::Unsupported,
        "hint: `transpose: true` in the source reads 9 rows of 4",
    );
    check(
        "as it lies there",
        &format!(
            "{X}f['embeddings'] = x; f['embeddings'].attrs['MATLAB_class'] = np.bytes_('single'); f['ids'] = ids"
        ),
        "transpose: false",
    );
    let unsaid = "f['embeddings'] = np.zeros((4, 9), 'f4'); f['ids'] = np.arange(9)";
    refused(unsaid, "", Kind::Corrupt, "`transpose: true`");
}

#[test]
fn whole_numbers_are_components_and_booleans_bits_where_the_job_says_so() {
    for dtype in ["u1", "i1", "<i2", ">u4", "<i8"] {
        let script = format!(
            "x = rng.integers(0, 100, (n, 8)).astype('{dtype}'); f['embeddings'] = x; f['ids'] = ids; x = x.astype('<f4')"
        );
        check(dtype, &script, "as: float32");
    }
    let every = "x = np.arange(n * 8).astype('u1').reshape(n, 8); f['embeddings'] = x; f['ids'] = ids; x = x.astype('<f4')";
    check("every byte", every, "as: float32");
    for dtype in ["bool", "u1", "<i4"] {
        for layout in ["", ", chunks=(70, 5), compression='gzip'"] {
            let script = format!(
                "x = rng.integers(0, 2, (n, 24)).astype('{dtype}')
f.create_dataset('embeddings', data=x{layout}); f['ids'] = ids; x = np.packbits(x.astype(bool), axis=1)"
            );
            check(&format!("{dtype}{layout}"), &script, "pack: bits");
        }
    }
    let odd = "f['embeddings'] = np.full((3, 8), 2, 'u1')";
    refused(
        odd,
        "pack: bits",
        Kind::Unsupported,
        "row 0: 2 is neither 0 nor 1",
    );
    let twelve = "f['embeddings'] = np.zeros((3, 12), '?')";
    refused(twelve, "pack: bits", Kind::Unsupported, "a multiple of 8");
    refused(
        twelve,
        "",
        Kind::Unsupported,
        "`pack: bits` in the source packs booleans",
    );
    let large = "f['embeddings'] = np.full((3, 8), 2**24 + 1)";
    refused(
        large,
        "as: float32",
        Kind::Unsupported,
        "16777217 is not exactly a float32",
    );
    let error = source("{paths: a.h5, as: float32, pack: bits}")
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Job, "{error}");
}

/// What is said of a file: metric and warnings.
fn said(script: &str, more: &str) -> (Option<String>, String) {
    let made = made(&format!("{script}\nf.close()"));
    let survey = source(&made.settings(more))
        .unwrap()
        .survey(limits(100))
        .unwrap();
    let metric = survey.manifest.targets[0]
        .metric()
        .map(|m| m.name().to_owned());
    (metric, survey.warnings.join("; "))
}

#[test]
fn distances_of_benchmarks_are_metrics_and_bytes_are_doubted() {
    for (word, metric) in [
        ("euclidean", Some("L2")),
        ("angular", Some("COSINE")),
        ("Cosine", Some("COSINE")),
        ("dot", Some("IP")),
        ("4.5 km", None),
    ] {
        let script = format!("f['train'] = np.zeros((9, 8), 'f4'); f.attrs['distance'] = '{word}'");
        assert_eq!(
            said(&script, "vectors: train").0.as_deref(),
            metric,
            "{word}"
        );
    }
    let bytes = "f['train'] = np.zeros((9, 8), 'u1')\n";
    let (metric, warnings) = said(
        &format!("{bytes}f.attrs['distance'] = 'euclidean'"),
        "vectors: train",
    );
    assert_eq!(metric, None);
    for words in [
        "though the attribute `distance` declares euclidean",
        "`as: float32` in the source",
    ] {
        assert!(warnings.contains(words), "{warnings}");
    }
    let (metric, warnings) = said(
        &format!("{bytes}f.attrs['distance'] = 'euclidean'"),
        "vectors: train, as: float32",
    );
    assert_eq!(metric.as_deref(), Some("L2"));
    assert!(!warnings.contains("float32"), "{warnings}");
    let (_, warnings) = said(bytes, "vectors: train");
    assert!(warnings.contains("`as: float32`"), "{warnings}");
    for binary in [
        "f.attrs['distance'] = 'hamming'",
        "f.attrs['metric_type'] = 'JACCARD'",
        "f.attrs['dimension'] = 64",
    ] {
        let (_, warnings) = said(&format!("{bytes}{binary}"), "vectors: train");
        assert!(!warnings.contains("`as: float32`"), "{binary}: {warnings}");
    }
    let (metric, warnings) = said(
        "f['train'] = np.zeros((9, 8), 'f4'); f.attrs['distance'] = 'angular'; f.attrs['metric_type'] = 'L2'; f.attrs['dimension'] = 9",
        "vectors: train",
    );
    assert_eq!(metric.as_deref(), Some("L2"));
    assert!(
        warnings.contains("`distance` declares angular"),
        "{warnings}"
    );
    assert!(
        warnings.contains("`dimension` declares 9, the vectors have 8"),
        "{warnings}"
    );
}

#[test]
fn attributes_that_cannot_be_understood_or_contradict_the_data_are_noted() {
    let floats = "f['embeddings'] = np.zeros((9, 8), 'f4'); f['ids'] = np.arange(9)\n";
    let none = "is ignored";
    for (script, metric, words) in [
        (
            "f.attrs['distance'] = '4.5 km'",
            None,
            &["`4.5 km`, which names no metric", none][..],
        ),
        (
            "f.attrs['distance'] = 7",
            None,
            &["`distance` is not text", none],
        ),
        (
            "f.attrs['distance'] = np.array(['L2', 'IP'], 'S2')",
            None,
            &["`distance` is not text"],
        ),
        (
            "f.attrs['distance'] = 'hamming'",
            None,
            &["declares hamming, which does not measure float", none],
        ),
        ("f.attrs['distance'] = h5py.Empty('S4')", None, &[]),
        ("f.attrs['distance'] = ''", None, &[]),
        (
            "f.attrs['dimension'] = 'wide'",
            None,
            &["not a whole number above 0", "wide"],
        ),
        (
            "f.attrs['dimension'] = 8.5",
            None,
            &["not a whole number above 0", "8.5"],
        ),
        (
            "f.attrs['dimension'] = -8",
            None,
            &["not a whole number above 0", "-8"],
        ),
        (
            "f.attrs['dimension'] = 0",
            None,
            &["not a whole number above 0"],
        ),
        (
            "f.attrs['dimension'] = np.array([8, 8])",
            None,
            &["not a whole number above 0", "2 values"],
        ),
        (
            "f.attrs['dimension'] = np.nan",
            None,
            &["not a whole number above 0"],
        ),
        (
            "f.attrs['dimension'] = '9'",
            None,
            &["`dimension` declares 9, the vectors have 8"],
        ),
        (
            "f.attrs['dimension'] = 9.0",
            None,
            &["`dimension` declares 9, the vectors have 8"],
        ),
        ("f.attrs['dimension'] = 8.0", None, &[]),
        ("f.attrs['dimension'] = '8'", None, &[]),
        ("f.attrs['dimension'] = h5py.Empty('i4')", None, &[]),
        (
            "f.attrs['distance'] = 'dot'; f.attrs['dimension'] = 8",
            Some("IP"),
            &[],
        ),
    ] {
        let (found, notes) = said(&format!("{floats}{script}"), "");
        assert_eq!(found.as_deref(), metric, "{script}");
        assert_eq!(notes.is_empty(), words.is_empty(), "{script}: {notes}");
        for word in words {
            assert!(notes.contains(word), "{script}: {notes}");
        }
    }
    let bits = "f['embeddings'] = np.ones((9, 16), '?'); f['ids'] = np.arange(9); f.attrs['distance'] = 'euclidean'";
    let (metric, notes) = said(bits, "pack: bits");
    assert_eq!(metric, None);
    assert!(
        notes.contains("euclidean, which does not measure binary"),
        "{notes}"
    );
    // `inspect` notes it, too.
    let made = made(&format!("{floats}f.attrs['dimension'] = 'wide'\nf.close()"));
    let shown = inspect(&made.path).unwrap();
    let note = "the attribute `dimension` is not a whole number above 0, and is ignored: wide";
    assert_eq!(shown.carried.as_ref().unwrap().notes, [note]);
    assert!(
        shown.to_string().ends_with(&format!("\nnote: {note}")),
        "{shown}"
    );
}

#[test]
fn a_list_of_chunks_that_contradicts_itself_is_refused() {
    // Keys of the chunk index: offsets of 8 bytes for each dimension, and one of 0 within an element.
    let key = |row: u64, column: u64| [row, column, 0].map(u64::to_le_bytes).concat();
    let damaged = |from: Vec<u8>, to: Vec<u8>| {
        let made = made(
            "f.create_dataset('embeddings', data=np.zeros((256, 24), 'f4'), chunks=(64, 8)); f.close()",
        );
        let mut bytes = std::fs::read(&made.path).unwrap();
        let mut at = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(&from));
        let at = at.next_back().expect("the key is there");
        bytes[at..at + to.len()].copy_from_slice(&to);
        std::fs::write(&made.path, bytes).unwrap();
        let error = source(&made.settings("")).err();
        let error = error.unwrap_or_else(|| panic!("{to:?} was believed"));
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        inspect(&made.path).unwrap();
        error.to_string()
    };
    let twice = damaged(key(64, 8), key(64, 0));
    assert!(twice.contains("twice"), "{twice}");
    let beyond = damaged(key(192, 16), key(256, 16));
    assert!(beyond.contains("beyond its extents"), "{beyond}");
    let beside = damaged(key(64, 16), key(64, 24));
    assert!(beside.contains("beyond its extents"), "{beside}");
    let off = damaged(key(64, 8), key(64, 12));
    assert!(
        off.contains("where none begins") || off.contains("offset"),
        "{off}"
    );
    // The extents and their maximum stand one after the other.
    let most = [256u64, 24, 256, 24].map(u64::to_le_bytes).concat();
    let above = damaged(most, [256u64, 24, 256, 8].map(u64::to_le_bytes).concat());
    assert!(
        above.contains("greater than maxdim") || above.contains("at most"),
        "{above}"
    );
}

#[test]
fn files_of_a_directory_come_in_the_order_of_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let script = "for p in range(12):
    with h5py.File(f'{sys.argv[1]}/part_{p}.v50.h5', 'w') as f: f['embeddings'] = np.full((10, 8), p, 'f4')";
    py(script, &[dir.path()]);
    let source = source(&format!("{{dir: {}}}", dir.path().display())).unwrap();
    let rows = &read_all(&*source, limits(7)).unwrap()[0];
    assert_eq!(rows.0, (0..120).collect::<Vec<i64>>());
    let firsts = rows
        .1
        .chunks(8 * 4)
        .map(|row| f32::from_le_bytes(row[..4].try_into().unwrap()));
    let expected = (0..120).map(|row| (row / 10) as f32);
    assert!(firsts.eq(expected), "files out of order");
}
