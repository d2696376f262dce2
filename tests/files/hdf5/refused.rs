//! What the source refuses: what it cannot carry, and files that are damaged.

use milvusdm::error::Kind;
use milvusdm::h5::index;
use milvusdm::input::View;
use milvusdm::source::hdf5::inspect;

use crate::hdf5::source::{Made, made, refused};
use crate::hdf5::support::*;

#[test]
fn what_cannot_be_carried_is_refused_in_a_sentence() {
    let x = "x = np.zeros((10, 4), '<f4')\n";
    for (script, more, kind, words) in [
        (
            "f['train'] = x",
            "",
            Kind::Unsupported,
            "has no dataset `embeddings`; it has `train`",
        ),
        (
            "f['train'] = x",
            "vectors: trian",
            Kind::Job,
            "has no dataset `trian`",
        ),
        (
            "f['embeddings'] = x",
            "ids: id",
            Kind::Job,
            "has no dataset `id` of ids",
        ),
        (
            "f['embeddings'] = x; f['ids'] = np.arange(9)",
            "",
            Kind::Corrupt,
            "`ids` has 9 rows, `embeddings` has 10",
        ),
        (
            "f['embeddings'] = x; f['ids'] = np.arange(10.0) / 2",
            "",
            Kind::Unsupported,
            "`ids` row 1: 0.5 is not a whole number below 2^53",
        ),
        (
            "f['embeddings'] = x; f['ids'] = np.zeros((10, 2), 'i8')",
            "",
            Kind::Unsupported,
            "ids are one number to a row",
        ),
        (
            "f['embeddings'] = x; f['ids'] = np.zeros(10, '?')",
            "",
            Kind::Unsupported,
            "ids are one whole number to a row",
        ),
        (
            "f['embeddings'] = x; f['ids'] = np.full(10, 2**63, 'u8')",
            "",
            Kind::Unsupported,
            "`ids` row 0: 9223372036854775808 is larger than the largest id",
        ),
        (
            "f['embeddings'] = x.astype('f8') + np.eye(10, 4) * 1e39",
            "",
            Kind::Unsupported,
            "`embeddings` row 0: 1e39 is out of range for float32",
        ),
        (
            "f['embeddings'] = x.astype('i4') + 256",
            "",
            Kind::Unsupported,
            "row 0: 256 is not a byte",
        ),
        (
            "f['embeddings'] = x[:, 0]",
            "",
            Kind::Unsupported,
            "has one dimension",
        ),
        (
            "f['embeddings'] = x[:, :0]",
            "",
            Kind::Unsupported,
            "vectors of 0 columns, which cannot be carried",
        ),
        (
            "f['embeddings'] = x.reshape(10, 2, 2)",
            "",
            Kind::Unsupported,
            "has 3 dimensions",
        ),
        (
            "f['embeddings'] = 3.0",
            "",
            Kind::Unsupported,
            "single value",
        ),
        (
            "f['embeddings'] = x > 0",
            "",
            Kind::Unsupported,
            "named values (Python's booleans",
        ),
        (
            "f['embeddings'] = np.zeros((10, 4), 'c8')",
            "",
            Kind::Unsupported,
            "holds compound values: it has the members `r`, `i`",
        ),
        (
            "f['embeddings'] = ['a', 'b']",
            "",
            Kind::Unsupported,
            "variable length",
        ),
        (
            "d = f.create_dataset('embeddings', (3,), h5py.vlen_dtype('f4'))
for i in range(3): d[i] = x[i, :4 - i // 2]",
            "",
            Kind::Unsupported,
            "`embeddings` row 2 has 3 components, the first row has 4",
        ),
        (
            "f['embeddings/a'] = x",
            "",
            Kind::Unsupported,
            "`embeddings` as a group holds rows, but its `a` is 10 × 4",
        ),
        (
            "f['embeddings'] = h5py.SoftLink('/nowhere')",
            "",
            Kind::Unsupported,
            "link to nowhere",
        ),
        (
            "g = h5py.File(sys.argv[1] + '.2', 'w'); g['x'] = x; g.close()
f['embeddings'] = h5py.ExternalLink(sys.argv[1] + '.2', 'x')",
            "",
            Kind::Unsupported,
            "is an external link into",
        ),
        (
            "f.create_dataset('embeddings', (10, 4), 'f4', external=[(sys.argv[1] + '.raw', 0, 160)])",
            "",
            Kind::Unsupported,
            "external files",
        ),
        (
            "f['real'] = x
l = h5py.VirtualLayout((10, 4), 'f4'); l[:] = h5py.VirtualSource(f['real'])
f.create_virtual_dataset('embeddings', l)",
            "",
            Kind::Unsupported,
            "is a virtual dataset",
        ),
        (
            "f['embeddings'] = x.astype('u1'); f.attrs['metric_type'] = 'L2'",
            "",
            Kind::Unsupported,
            "holds uint8 as components",
        ),
        (
            "t = h5py.h5t.IEEE_F32LE.copy(); t.set_fields(15, 7, 8, 0, 7); t.set_size(2)
h5py.h5d.create(f.id, b'embeddings', t, h5py.h5s.create_simple((10, 4)))",
            "",
            Kind::Unsupported,
            "not IEEE's",
        ),
        (
            "f.create_dataset('embeddings', (10**6, 1000), 'f4', chunks=(10**6, 1), compression='gzip')",
            "",
            Kind::Unsupported,
            "`h5repack -l embeddings:CHUNK=262x1000`",
        ),
    ] {
        refused(&format!("{x}{script}"), more, kind, words);
    }
}

#[test]
fn damaged_files_are_refused_not_believed() {
    let made = made(
        "f.create_dataset('embeddings', data=np.zeros((1000, 4), 'f4'), chunks=(100, 4), compression='gzip', fletcher32=True)
f['ids'] = np.arange(1000); f.close()",
    );
    let bytes = std::fs::read(&made.path).unwrap();
    for len in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&made.path, &bytes[..len]).unwrap();
        let error = source(&made.settings("")).err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{len}: {error}");
    }
    // A byte of a packed chunk.
    let at = py(
        "print(h5py.File(sys.argv[1])['embeddings'].id.get_chunk_info(3).byte_offset)",
        &[&{
            std::fs::write(&made.path, &bytes).unwrap();
            made.path.clone()
        }],
    );
    let mut broken = bytes.clone();
    broken[at.parse::<usize>().unwrap() + 20] ^= 0x40;
    std::fs::write(&made.path, &broken).unwrap();
    let source = source(&made.settings("")).unwrap();
    let error = read_all(&*source, limits(100)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("`embeddings` row 300 is in a chunk that has checksum"),
        "{error}"
    );
}

#[test]
fn what_is_no_hdf5_file_is_named_for_what_it_is() {
    let made = made("f['embeddings'] = np.zeros((1000, 4), 'f4'); f.close()");
    let whole = std::fs::read(&made.path).unwrap();
    let unfinished = &whole[..whole.len() - 40];
    let cut = format!(
        "is cut short: it should have {} bytes but has {}",
        whole.len(),
        unfinished.len()
    );
    for (bytes, words, hint) in [
        (
            &b"\x89PNG\r\n\x1a\n0000"[..],
            "is not an HDF5 file: it is a PNG image",
            "vectors",
        ),
        (
            b"\x7fELF\x02\x01\x01",
            "is not an HDF5 file: it is a program or library of Linux",
            "vectors",
        ),
        (
            b"PAR1....PAR1",
            "is not an HDF5 file: it is a Parquet file",
            "source `parquet`",
        ),
        (
            b"\x93NUMPY\x01\0",
            "is not an HDF5 file: it is a NumPy array",
            "source `numpy`",
        ),
        (
            b"PK\x03\x04",
            "is not an HDF5 file: it is a ZIP archive",
            "unpack",
        ),
        (
            b"\x80\x04\x95",
            "is not an HDF5 file: it is a Python pickle",
            "numpy.save()",
        ),
        (
            b"IxF2\x08\0\0\0\x01\0\0\0",
            "is not an HDF5 file: it is a Faiss index",
            "source `faiss`",
        ),
        (
            b"\xfe\xdc\xba\x98\x76",
            "it does not begin like one",
            "download",
        ),
        (unfinished, &cut, "copy it again"),
    ] {
        std::fs::write(&made.path, bytes).unwrap();
        let error = source(&made.settings("")).err().unwrap();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        let said = error.to_string();
        assert!(
            said.contains(words) && said.contains(hint),
            "{words}: {said}"
        );
    }
}

/// A copy of a file that is being written, or that its writer died over.
#[test]
fn a_file_that_was_never_closed_says_so() {
    let made = made(
        "import shutil
f.close(); f = h5py.File(sys.argv[1], 'w', libver='latest')
d = f.create_dataset('embeddings', data=np.zeros((9, 4), 'f4'), chunks=(3, 4), maxshape=(None, 4))
f.swmr_mode = True; f.flush(); shutil.copy(sys.argv[1], sys.argv[1] + '.open'); f.close()",
    );
    let open = made.path.with_extension("h5.open");
    std::fs::rename(open, &made.path).unwrap();
    let error = source(&made.settings("")).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    let said = error.to_string();
    for words in ["was not closed by the program that wrote it", "h5clear -s"] {
        assert!(said.contains(words), "{said}");
    }
    let said = inspect(&made.path).unwrap_err().to_string();
    assert!(said.contains("was not closed"), "{said}");
}

#[test]
fn a_damaged_index_is_walked_without_harm() {
    let made = made(
        "d = f.create_dataset('embeddings', data=np.zeros((200, 4), 'f4'), chunks=(2, 4))
for i in range(5): d.attrs[str(i)] = 'x' * 100
f.close()",
    );
    let bytes = std::fs::read(&made.path).unwrap();
    let header = "print(h5py.h5o.get_info(h5py.File(sys.argv[1])['embeddings'].id).addr)";
    let header: u64 = py(header, &[&made.path]).parse().unwrap();
    let walk = |bytes: Vec<u8>| index::chunks(&View::from_bytes("x", bytes), 0, header, 2, 100);
    assert_eq!(walk(bytes.clone()).unwrap().len(), 100);
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            if let Some(found) = walk(bytes) {
                assert!(found.len() <= 100);
            }
        }
    }
    for len in 0..bytes.len() {
        walk(bytes[..len].to_vec());
    }
}

/// A file by h5py with these numbers, each found once or more as it stands in it, replaced by others.
fn patched(script: &str, numbers: &[(Vec<u8>, Vec<u8>)]) -> Made {
    let made = made(&format!("{script}\nf.close()"));
    let mut bytes = std::fs::read(&made.path).unwrap();
    for (from, to) in numbers {
        let places: Vec<usize> = (0..bytes.len() - from.len())
            .filter(|at| bytes[*at..].starts_with(from))
            .collect();
        assert!(!places.is_empty(), "the file does not hold {from:?}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    std::fs::write(&made.path, bytes).unwrap();
    made
}

#[test]
fn headers_that_promise_more_than_is_there_are_refused() {
    let numbers = |all: &[u64]| -> Vec<u8> { all.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let short = |all: &[u32]| -> Vec<u8> { all.iter().flat_map(|n| n.to_le_bytes()).collect() };
    // libhdf5 1.10 read past the end of what the header holds; 2.2 compares the two when it opens the dataset.
    let compact = "p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)
d = h5py.h5d.create(f.id, b'embeddings', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((77, 4)), p)
d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros((77, 4), 'f4'))";
    let packed = "f.create_dataset('embeddings', data=np.zeros((77, 4), 'f4'), chunks=(77, 4), maxshape=(None, 4),
    compression='gzip')";
    let (rows, many) = (77, 7_000_000);
    let long = |rows: u64| numbers(&[rows]);
    for (script, patches, words) in [
        (
            compact,
            vec![(long(rows), long(many))],
            "size of compact dataset's data buffer doesn't match",
        ),
        (
            packed,
            vec![
                (long(rows), long(many)),
                (short(&[77, 4, 4]), short(&[7_000_000, 4, 4])),
            ],
            "which cannot hold 112000000",
        ),
    ] {
        let made = patched(script, &patches);
        let error = source(&made.settings("")).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}
