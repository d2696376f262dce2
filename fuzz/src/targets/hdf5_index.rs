//! The chunk index of an HDF5 file, walked by us: `| rank 1 | user block 2 | object header 4 | chunks 2 | file … |`.

use milvusdm::h5::index::chunks;
use milvusdm::input::View;

use super::support::hdf5_files;

pub fn run(bytes: &[u8]) {
    let Some(([rank, a, b, c, d, e, f, g, h], file)) = bytes.split_first_chunk::<9>() else {
        return;
    };
    let base = u16::from_le_bytes([*a, *b]).into();
    let header = u32::from_le_bytes([*c, *d, *e, *f]).into();
    let most = u16::from_le_bytes([*g, *h]).into();
    let rank = usize::from(*rank % 4);
    if let Some(found) = chunks(
        &View::from_bytes("a.h5", file.to_vec()),
        base,
        header,
        rank,
        most,
    ) {
        assert!(found.len() as u64 <= most && found.iter().all(|(offset, _)| offset.len() == rank));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |file: Vec<u8>| {
        let view = View::from_bytes("a.h5", file.clone());
        // Where the header of the vectors is, found by trying.
        let is_header =
            |at: &u64| chunks(&view, 0, *at, 2, 1000).is_some_and(|found| !found.is_empty());
        let header = (0..file.len() as u64)
            .find(is_header)
            .expect("the file has chunks");
        [
            &[2, 0, 0][..],
            &(header as u32).to_le_bytes(),
            &[0, 4],
            &file,
        ]
        .concat()
    };
    hdf5_files().into_iter().map(seed).collect()
}
