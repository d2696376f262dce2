//! Rows and chunks of an HDF5 file whose headers are whole, which libhdf5 would have to judge (README.md):
//! `| layout 1 | where 2 | bytes that stand there instead … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::h5::index::chunks;
use milvusdm::input::View;
use milvusdm::source::hdf5::{KIND, inspect};

use super::support::{hdf5_files, open, read_all, room};

static PATH: LazyLock<PathBuf> = LazyLock::new(|| room("hdf5").join("a.h5"));
static FILES: LazyLock<Vec<(Vec<u8>, Vec<usize>)>> = LazyLock::new(|| {
    let files = hdf5_files().into_iter();
    files.map(|file| (file.clone(), places(file))).collect()
});

/// Every byte of a file that is in a chunk of vectors or ids.
fn places(file: Vec<u8>) -> Vec<usize> {
    let view = View::from_bytes("a.h5", file);
    let mut places = Vec::new();
    for rank in [1, 2] {
        let mut headers = 0..view.len();
        let found =
            headers.find_map(|at| chunks(&view, 0, at, rank, 2000).filter(|f| !f.is_empty()));
        for (_, chunk) in found.expect("the file has chunks") {
            places.extend(chunk.at as usize..(chunk.at + chunk.bytes) as usize);
        }
    }
    places
}

pub fn run(bytes: &[u8]) {
    let Some(([layout, a, b], bytes)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let (file, places) = &FILES[usize::from(*layout) % FILES.len()];
    let mut file = file.clone();
    let first = usize::from(u16::from_le_bytes([*a, *b])) % places.len();
    for (place, byte) in places[first..].iter().zip(bytes) {
        file[*place] = *byte;
    }
    std::fs::write(&*PATH, file).unwrap();
    let access = ["map", "read"][bytes.len() % 2];
    let settings = format!("{{paths: ['{}'], access: {access}}}", PATH.display());
    // Only what is packed can be wrong.
    let read = open(&KIND, &settings).and_then(|source| read_all(&*source));
    assert!(read.is_ok() || usize::from(*layout) % FILES.len() > 1);
    let _ = inspect(&PATH).map(|d| d.to_string());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let files = FILES.iter().enumerate();
    let seed = |(layout, (file, places)): (usize, &(Vec<u8>, Vec<usize>))| {
        let stored = places.iter().take(3000).map(|at| file[*at]);
        [layout as u8, 0, 0].into_iter().chain(stored).collect()
    };
    files.map(seed).collect()
}
