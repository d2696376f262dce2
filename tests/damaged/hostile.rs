//! Broken Faiss files: truncated anywhere, or with any bit of them turned over. An error or rows, never a panic. And more
//! files than may be open.

use crate::support::faiss as support;

use milvusdm::error::Kind;
use milvusdm::format::faiss::{Decoder, Rows, inspect, parse};
use milvusdm::input::{Access, View, origin};
use support::*;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(format!("{name}.index"))).unwrap()
}

#[test]
fn a_truncated_index_says_where() {
    for name in names() {
        let whole = bytes(&name);
        for len in 0..whole.len() {
            let view = View::from_bytes("cut.index", whole[..len].to_vec());
            let error = parse(&view).expect_err(&name);
            assert_eq!(error.kind(), Kind::Corrupt, "{name} at {len}: {error}");
            let said = error.to_string();
            assert!(
                said.contains("cut.index at byte "),
                "{name} at {len}: {said}"
            );
        }
    }
}

#[test]
fn what_follows_an_index_is_refused() {
    for name in names() {
        let mut longer = bytes(&name);
        longer.push(0);
        let error = parse(&View::from_bytes("long.index", longer)).expect_err(&name);
        assert!(error.to_string().contains("follow"), "{name}: {error}");
    }
}

/// Takes a file as far as it goes.
fn take(bytes: Vec<u8>) {
    let view = View::from_bytes("odd.index", bytes);
    let Ok(node) = parse(&view) else { return };
    let _ = inspect(&view).map(|description| description.to_string());
    let Ok(rows) = Rows::of(&view, &node) else {
        return;
    };
    let Ok(decoder) = Decoder::new(&rows) else {
        return;
    };
    let lists = &rows.stored.lists;
    for run in &lists.runs {
        let (mut codes, mut out) = (Vec::new(), Vec::new());
        if lists
            .fetch(&view, run, 0, run.rows.min(7), &mut codes)
            .is_ok()
        {
            let _ = decoder.decode(
                run.list,
                &codes,
                Some(&[0, 1, -1, 3, i64::MAX, 2, 5]),
                &mut out,
            );
        }
    }
}

#[test]
fn a_bit_turned_over_never_panics() {
    for name in names() {
        let whole = bytes(&name);
        for at in 0..whole.len() {
            for flip in [1 << (at % 8), 0xff] {
                let mut odd = whole.clone();
                odd[at] ^= flip;
                take(odd);
            }
        }
    }
}

#[test]
fn large_numbers_anywhere_never_panic() {
    for name in names() {
        let whole = bytes(&name);
        for at in (0..whole.len().min(600)).step_by(2) {
            for word in [
                u64::MAX,
                i64::MAX as u64,
                1 << 61,
                1 << 32,
                u64::from(u32::MAX),
            ] {
                let mut odd = whole.clone();
                for (to, from) in odd[at..].iter_mut().zip(word.to_le_bytes()) {
                    *to = from;
                }
                take(odd);
            }
        }
    }
}

#[test]
fn a_broken_file_read_as_a_source_is_an_error_or_rows() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("odd.index");
    for name in [
        "idmap_ivf",
        "ivf_dedup",
        "ivf_pqr",
        "panorama_ivf",
        "binary_hash",
    ] {
        let whole = bytes(name);
        for at in (0..whole.len()).step_by(3) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << (at % 8);
            std::fs::write(&path, odd).unwrap();
            if let Ok(source) = open(&settings(&path, true, "")) {
                let _ = all(&*source);
            }
        }
    }
}

#[test]
fn indexes_too_deep_inside_one_another_are_refused() {
    let flat = bytes("idmap");
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend(&flat[..37]);
    }
    let error = parse(&View::from_bytes("deep.index", deep)).unwrap_err();
    assert!(error.to_string().contains("deep"), "{error}");
}

#[test]
fn codes_of_a_quantizer_without_ranges_are_refused() {
    for name in ["sq8", "sq4_uniform", "sq6"] {
        let mut odd = bytes(name);
        // | header 37 | qtype 4 | rangestat 4 | argument 4 | d 8 | code size 8 | count 8 | ranges … |
        let count = u64::from_le_bytes(odd[65..73].try_into().unwrap()) as usize;
        assert!(count > 0 && odd[32] == 1, "{name}");
        odd[32] = 0;
        odd[65..73].fill(0);
        odd.drain(73..73 + 4 * count);
        let view = View::from_bytes("odd.index", odd);
        let node = parse(&view).unwrap();
        let error = Decoder::new(&Rows::of(&view, &node).unwrap()).err();
        let said = error.expect("it was taken").to_string();
        assert!(said.contains("never trained"), "{name}: {said}");
    }
}

#[test]
fn of_many_mappings_few_keep_their_files_open() {
    let directory = tempfile::tempdir().unwrap();
    let open = |i: usize| {
        let path = directory.path().join(i.to_string());
        std::fs::write(&path, [i as u8; 5000]).unwrap();
        View::open(&path, Access::Map).unwrap()
    };
    let views: Vec<View> = (0..1000).map(open).collect();
    let kept = views.iter().filter(|view| {
        let bytes = view.bytes().unwrap();
        origin(&bytes).is_some()
    });
    assert_eq!(kept.count(), 128);
    for (i, view) in views.iter().enumerate() {
        assert_eq!(view.bytes().unwrap(), [i as u8; 5000][..]);
    }
}

/// HDF5 files with chunks stay open, each.
#[test]
fn more_hdf5_files_than_a_shell_allows_are_read_and_more_than_the_system_allows_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for i in 0..80 {
        let name = format!("{i}.h5");
        let file = hdf5::File::create(directory.path().join(&name)).unwrap();
        let dataset = file.new_dataset::<f32>().shape([4, 2]).chunk([2, 2]);
        dataset.create("embeddings").unwrap();
        names.push(name);
    }
    let run = |limit: &str, name: &str| {
        let job = format!(
            "source: {{hdf5: {{paths: [{}]}}}}\nsink: {{hdf5: {{path: {name}.hdf5}}}}\nrun: {{checkpoint: {name}.ckpt}}\n",
            names.join(", ")
        );
        std::fs::write(directory.path().join(name), job).unwrap();
        let ended = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{limit} && exec \"$0\" run {name}"))
            .arg(env!("CARGO_BIN_EXE_milvusdm"))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        (ended.status.code(), said)
    };
    let (code, said) = run("ulimit -Sn 64", "soft.yaml");
    assert!(code == Some(0) && said.contains("done: 320 rows"), "{said}");
    let (code, said) = run("ulimit -n 64", "hard.yaml");
    assert!(
        code == Some(6) && said.contains(".h5: cannot be opened: Too many open files"),
        "{said}"
    );
    assert!(said.contains("ulimit -n"), "{said}");
}
