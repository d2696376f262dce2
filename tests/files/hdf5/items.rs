//! Groups whose datasets are rows: named by id, or only in order.

use milvusdm::batch::Keys;
use milvusdm::error::Kind;

use crate::hdf5::source::{check, made, refused};
use crate::hdf5::support::*;

const X: &str = "n = 120; ids = ids[:n]\nx = rng.standard_normal((n, 8)).astype('<f4')\n";

#[test]
fn datasets_named_by_id_are_rows_of_that_id() {
    let numbers = "ids = np.sort(ids)\n";
    for (what, make) in [
        ("contiguous", "g[str(i)] = v"),
        ("big-endian", "g[str(i)] = v.astype('>f4')"),
        ("float64", "g[str(i)] = v.astype('f8')"),
        ("one row each", "g[str(i)] = v.reshape(1, 8)"),
        (
            "packed",
            "g.create_dataset(str(i), data=v, chunks=(8,), compression='gzip', shuffle=True)",
        ),
        (
            "in several chunks",
            "g.create_dataset(str(i), data=v, chunks=(3,), maxshape=(None,))",
        ),
        (
            "packed some",
            "g.create_dataset(str(i), data=v, **({'chunks': (8,), 'compression': 'lzf'} if i % 2 else {}))",
        ),
        (
            "compact",
            "p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)
    d = h5py.h5d.create(g.id, str(i).encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((8,)), p)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, v)",
        ),
    ] {
        let script = format!(
            "{X}{numbers}g = f.create_group('by/id')\nfor at in rng.permutation(n):\n    i, v = int(ids[at]), x[at]\n    {make}\n"
        );
        check(what, &script, "vectors: by/id");
    }
}

#[test]
fn other_names_give_the_order_of_people_and_rows_their_numbers() {
    let named = |first: &str, group: &str| {
        format!(
            "{X}ids = np.arange(n)\nfor at in rng.permutation(n): f[f'{group}{first}{{at}}'] = x[at]\n"
        )
    };
    check("root", &named("P", ""), "vectors: /");
    check("group", &named("item-", "g/h/"), "vectors: g/h");
    // Nobody has said `vectors`: the group is called as the dataset would be.
    check("embeddings", &named("row", "embeddings/"), "");
    let first = named("P", "").replace("np.arange(n)", "np.arange(n) + 40");
    check("first_id", &first, "vectors: /, first_id: 40");
    // Numbers that the job does not want as ids.
    check("row_number", &named("", ""), "vectors: /, ids: row_number");
    // Ids that lie beside the rows, in their order.
    let beside = format!("{}f['keys'] = ids * 3\nids = ids * 3\n", named("P", ""));
    check("beside", &beside, "vectors: /, ids: keys");
}

#[test]
fn a_plan_says_what_names_and_order_are_taken_for() {
    for (names, keys, words) in [
        (
            "'12', '7'",
            Keys::Stored,
            "each of the 2 datasets of `/` is a row; their names are the ids",
        ),
        (
            "'P10', 'P9'",
            Keys::RowNumbers,
            "in the order of their names, from `P9` to `P10`",
        ),
        ("'7', 'x'", Keys::RowNumbers, "stay behind"),
    ] {
        let made = made(&format!(
            "for k in [{names}]: f[k] = np.zeros(4, 'f4')\nf.close()"
        ));
        let source = source(&made.settings("vectors: /")).unwrap();
        let survey = source.survey(limits(10)).unwrap();
        assert_eq!(survey.manifest.targets[0].keys, keys, "{names}");
        let said = survey.warnings.join("\n");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn datasets_that_are_no_rows_are_named() {
    let two = "f['a'] = np.zeros(8, 'f4'); ";
    for (other, words) in [
        (
            "f['b'] = np.zeros(9, 'f4')",
            "its `a` is 8 × float32 and its `b` is 9 × float32",
        ),
        (
            "f['b'] = np.zeros(8, 'f8')",
            "its `a` is 8 × float32 and its `b` is 8 × float64",
        ),
        (
            "f['b'] = np.zeros((2, 4), 'f4')",
            "its `b` is 2 × 4, not a list of numbers",
        ),
        ("f['b'] = 'text'", "its `b` is a single value"),
        (
            "f['b'] = ['x', 'y']",
            "its `b` holds 21 bytes, not a list of numbers",
        ),
        (
            "f['b'] = np.zeros(0, 'f4')",
            "its `b` holds float32, not a list of numbers",
        ),
        ("f['b'] = h5py.Empty('f4')", "its `b` has no values at all"),
        (
            "f.create_group('b')",
            "its `b` is not a dataset of this file",
        ),
        (
            "f['b'] = h5py.SoftLink('/nowhere')",
            "its `b` is not a dataset of this file",
        ),
        (
            "f['b'] = h5py.ExternalLink('other.h5', 'x')",
            "its `b` is not a dataset of this file",
        ),
    ] {
        refused(
            &format!("{two}{other}"),
            "vectors: /",
            Kind::Unsupported,
            words,
        );
    }
    refused(
        "f.create_group('g')",
        "vectors: g",
        Kind::Unsupported,
        "is an empty group",
    );
    refused(
        two,
        "vectors: /, transpose: true",
        Kind::Unsupported,
        "nothing to transpose",
    );
    refused(
        two,
        "",
        Kind::Unsupported,
        "if each dataset is a row, as `a` with its 8 values could be: `vectors: /`",
    );
    let made = made("f['7'] = np.zeros(4, 'f4'); f['007'] = np.ones(4, 'f4'); f.close()");
    let source = source(&made.settings("vectors: /")).unwrap();
    assert_eq!(read_all(&*source, limits(9)).unwrap()[0].0, [7, 7]);
}
