//! How do rows get into a file whose layout is fixed before the first row arrives?
//! Directly to their position, from any thread, in any order; the library is not involved and holds no lock.

use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::create::{self, Claim, Shape, Space, Temporary};
use super::{Layout, covered::Covered};
use crate::batch::{Batch, Target};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::h5;
use crate::limits;
use crate::sink::Parcel;

/// A file being written. It is created when its first batch arrives: a job may have more targets than a process may
/// have open files.
pub struct Direct {
    target: Target,
    claim: Claim,
    shape: Shape,
    made: Mutex<Option<Arc<Placed>>>,
    covered: Mutex<Covered>,
}

/// A file whose layout is fixed.
struct Placed {
    temporary: Temporary,
    file: File,
    /// Where the first row's vector and id are; the others follow.
    vectors_at: u64,
    ids_at: u64,
}

impl Placed {
    /// Creates the file with room for all rows.
    fn new(target: &Target, shape: &Shape, temporary: Temporary) -> Result<Placed> {
        let mut places = place(&temporary, target, shape, Space::Early)?;
        if places.is_none() {
            // This library does not put chunks one after the other: write without chunks.
            places = place(&temporary, target, shape, Space::OnePiece)?;
        }
        let Some((vectors_at, ids_at)) = places else {
            let what = "the library does not reveal where it puts rows";
            return Err(Error::path(Kind::Io, &temporary.whole, what));
        };
        let file = File::options().read(true).write(true).open(&temporary.path);
        let file = file.map_err(|e| Error::io(&temporary.whole, "open for writing", &e))?;
        Ok(Placed {
            temporary,
            file,
            vectors_at,
            ids_at,
        })
    }

    fn write(&self, pieces: &[Bytes], mut at: u64) -> Result<()> {
        /// The system accepts no more pieces at once.
        const PIECES_MAX: usize = 1024;
        for pieces in pieces.chunks(PIECES_MAX) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, at) {
                    Ok(0) => {
                        let what = "the disk accepted none of the bytes";
                        return Err(Error::path(Kind::Io, &self.temporary.whole, what));
                    }
                    Ok(written) => {
                        at += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => {
                        return Err(Error::io(&self.temporary.whole, "write", &error.into()));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Direct {
    /// Prepares to create the file.
    pub fn new(target: &Target, layout: &Layout, claim: Claim) -> Direct {
        Direct {
            target: target.clone(),
            claim,
            shape: Shape::of(target, layout),
            made: Mutex::default(),
            covered: Mutex::default(),
        }
    }

    fn made(&self) -> Result<Arc<Placed>> {
        let mut made = self.made.lock().expect("no one panics with it locked");
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let new = Placed::new(&self.target, &self.shape, self.claim.temporary()?)?;
        Ok(made.insert(Arc::new(new)).clone())
    }

    /// Writes a batch to its position.
    pub fn deliver(&self, parcel: &Parcel) -> Result<()> {
        let first = parcel.batch.first_row;
        let rows = u64::from(parcel.rows);
        if first
            .checked_add(rows)
            .is_none_or(|end| end > self.shape.rows)
        {
            let what = format!("{} rows were announced, but more arrived", self.shape.rows);
            return Err(Error::path(Kind::Changed, &self.claim.whole, what));
        }
        let Some((ids, vectors)) = parcel.body.split_first() else {
            return Ok(());
        };
        let made = self.made()?;
        made.write(std::slice::from_ref(ids), made.ids_at + first * 8)?;
        let at = made.vectors_at + first * self.shape.row_bytes;
        made.write(vectors, at)?;
        made.temporary
            .write_back(at..at + rows * self.shape.row_bytes);
        let mut covered = self.covered.lock().expect("no one panics with it locked");
        covered.add(first..first + rows);
        Ok(())
    }

    /// Checks that every row arrived, and gives the file its final name.
    pub fn finish(&self) -> Result<()> {
        let covered = self.covered.lock().expect("no one panics with it locked");
        covered.check(&self.target, &self.claim.whole)?;
        let made = self.made()?;
        made.temporary.keep()
    }
}

/// Creates the file and returns where its vectors and ids begin; `None` if either is in more than one piece.
fn place(
    temporary: &Temporary,
    target: &Target,
    shape: &Shape,
    space: Space,
) -> Result<Option<(u64, u64)>> {
    // An earlier attempt may have left its file.
    let _ = std::fs::remove_file(&temporary.path);
    let made = create::make(temporary, target, shape, space)?;
    let begin = |dataset: &hdf5::Dataset, chunk_bytes: u64| {
        if shape.rows == 0 {
            return Some(0);
        }
        if space == Space::OnePiece {
            return dataset.offset();
        }
        // Chunks never overlap: if the last one is exactly where it would be without gaps, so are the others.
        let chunks = dataset.num_chunks()?;
        let (first, last) = (dataset.chunk_info(0)?, dataset.chunk_info(chunks - 1)?);
        let expected = first.addr.checked_add((chunks as u64 - 1) * chunk_bytes)?;
        let ordered = first.offset[0] == 0 && last.addr == expected && first.size == chunk_bytes;
        ordered.then_some(first.addr)
    };
    let vectors = begin(&made.vectors, shape.chunk_bytes());
    let ids = begin(&made.ids, shape.id_chunk_rows * 8);
    let create::Made {
        file,
        vectors: v,
        ids: i,
    } = made;
    drop((v, i));
    file.close()
        .map_err(|e| h5::failed(Kind::Io, &temporary.whole, "create the file", &e))?;
    Ok(vectors.zip(ids))
}

/// A batch in the form in which it is written: its ids, then its vectors in as few pieces as possible.
pub fn pack(batch: &Batch, mut room: Buffer) -> Vec<Bytes> {
    enum Piece {
        Mapped(Bytes),
        Gathered(Range<usize>),
    }
    ids(batch, &mut room.bytes);
    let ids = room.bytes.len();
    let mut pieces = Vec::new();
    for part in &batch.parts {
        let vectors = part.vectors();
        if vectors.len() >= limits::GATHER_BELOW_BYTES {
            pieces.push(Piece::Mapped(part.vector_bytes()));
            continue;
        }
        let start = room.bytes.len();
        room.bytes.extend_from_slice(vectors);
        match pieces.last_mut() {
            Some(Piece::Gathered(range)) if range.end == start => range.end = room.bytes.len(),
            _ => pieces.push(Piece::Gathered(start..room.bytes.len())),
        }
    }
    let room = room.freeze();
    let mut body = vec![room.slice(..ids)];
    body.extend(pieces.into_iter().map(|piece| match piece {
        Piece::Mapped(bytes) => bytes,
        Piece::Gathered(range) => room.slice(range),
    }));
    body
}

/// The ids of a batch as they are stored in the file.
pub fn ids(batch: &Batch, to: &mut Vec<u8>) {
    for part in &batch.parts {
        if cfg!(target_endian = "little") {
            to.extend_from_slice(bytemuck::cast_slice(part.ids()));
        } else {
            to.extend(part.ids().iter().flat_map(|id| id.to_le_bytes()));
        }
    }
}
