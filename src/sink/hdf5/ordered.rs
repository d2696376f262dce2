//! How do chunks of unknown length get into a file in an order that does not depend on threads?
//! They are compressed in parallel and appended in order; parcels that arrive early wait here.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::Layout;
use super::covered::Covered;
use super::create::{self, Claim, Made, Shape, Space, Temporary};
use super::direct;
use crate::batch::{Batch, Target};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::h5::{self, filter::Packer, raw};
use crate::limits;
use crate::schema::VectorType;
use crate::sink::Parcel;

/// A file being written. It is created when its first batch arrives: a job may have more targets than a process may
/// have open files.
pub struct Ordered {
    target: Target,
    claim: Claim,
    shape: Shape,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Both exist from the first batch to the end; the file is closed before it is renamed.
    made: Option<Made>,
    temporary: Option<Temporary>,
    /// Rows written, or held in the fragments below.
    next_row: u64,
    /// Bytes of chunks written so far.
    written: u64,
    /// Parcels that arrived early, by first row.
    early: BTreeMap<u64, (u64, Vec<Bytes>)>,
    early_bytes: u64,
    /// Rows of the unfinished chunk, as they will be in the file.
    fragment: Vec<u8>,
    /// Ids not yet written.
    ids: Vec<u8>,
    id_chunks: u64,
}

impl State {
    /// The first waiting parcel, if it is the next one.
    fn ready(&mut self) -> Option<(u64, (u64, Vec<Bytes>))> {
        let entry = self.early.first_entry()?;
        if *entry.key() > self.next_row {
            return None;
        }
        let (first, (rows, body)) = entry.remove_entry();
        self.early_bytes -= body.iter().map(|b| b.len() as u64).sum::<u64>();
        Some((first, (rows, body)))
    }
}

impl Ordered {
    /// Prepares to create the file.
    pub fn new(target: &Target, layout: &Layout, claim: Claim) -> Ordered {
        Ordered {
            target: target.clone(),
            claim,
            shape: Shape::of(target, layout),
            state: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// A batch in the form in which it is appended: ids; masks of its whole chunks; its rows before the first whole
    /// chunk; the compressed chunks; the rows after them.
    pub fn pack(&self, batch: &Batch, vector: VectorType, mut room: Buffer) -> Vec<Bytes> {
        let spans = Spans::of(batch.first_row, batch.rows(), self.shape.chunk_rows);
        let rows = Rows { batch, vector };
        let pack = |packer: &mut (Packer, Vec<u8>), chunk: usize| {
            let first = spans.head + chunk as u64 * self.shape.chunk_rows;
            let (packer, gathered) = packer;
            match rows.together(first, self.shape.chunk_rows) {
                Some(bytes) => packer.pack(bytes),
                None => {
                    gathered.clear();
                    rows.gather(first, self.shape.chunk_rows, gathered);
                    packer.pack(gathered)
                }
            }
        };
        // On the calling pool: idle threads take chunks.
        let packed: Vec<(u32, Vec<u8>)> = (0..spans.chunks as usize)
            .into_par_iter()
            .with_max_len(1)
            .map_init(|| (Packer::new(&self.shape.filters), Vec::new()), pack)
            .collect();
        direct::ids(batch, &mut room.bytes);
        let ids = room.bytes.len();
        let masks = packed.iter().flat_map(|(mask, _)| mask.to_le_bytes());
        room.bytes.extend(masks);
        let masks = room.bytes.len();
        rows.gather(0, spans.head, &mut room.bytes);
        let head = room.bytes.len();
        rows.gather(batch.rows() - spans.tail, spans.tail, &mut room.bytes);
        let room = room.freeze();
        let mut body = vec![
            room.slice(..ids),
            room.slice(ids..masks),
            room.slice(masks..head),
        ];
        body.extend(packed.into_iter().map(|(_, bytes)| Bytes::from(bytes)));
        body.push(room.slice(head..));
        body
    }

    /// Appends a batch once all rows before it have arrived; keeps it until then.
    pub fn deliver(&self, parcel: &Parcel) -> Result<()> {
        let (first, rows) = (parcel.batch.first_row, u64::from(parcel.rows));
        let mut state = self.state.lock().expect("no one panics with it locked");
        // Delivery threads overtake each other by a parcel or two; one that is far ahead waits a while for the others.
        // Never forever: when the run is being stopped, the missing parcel may not come.
        if first > state.next_row && state.early_bytes > limits::HDF5_EARLY_BYTES {
            let wait = Duration::from_millis(200);
            let behind =
                |s: &mut State| first > s.next_row && s.early_bytes > limits::HDF5_EARLY_BYTES;
            let waited = self.moved.wait_timeout_while(state, wait, behind);
            state = waited.expect("no one panics with it locked").0;
        }
        if first < state.next_row {
            // It has already arrived.
            return Ok(());
        }
        let early = state.early.insert(first, (rows, parcel.body.clone()));
        if early.is_none() {
            state.early_bytes += parcel.body_bytes();
        }
        while let Some((first, (rows, body))) = state.ready() {
            if first == state.next_row {
                self.append(&mut state, rows, &body)?;
            }
        }
        self.moved.notify_all();
        Ok(())
    }

    fn make(&self, state: &mut State) -> Result<()> {
        if state.made.is_none() {
            let temporary = self.claim.temporary()?;
            let made = create::make(&temporary, &self.target, &self.shape, Space::AsWritten)?;
            (state.made, state.temporary) = (Some(made), Some(temporary));
        }
        Ok(())
    }

    fn append(&self, state: &mut State, rows: u64, body: &[Bytes]) -> Result<()> {
        self.make(state)?;
        let shape = &self.shape;
        let first = state.next_row;
        if first.checked_add(rows).is_none_or(|end| end > shape.rows) {
            let what = format!("{} rows were announced, but more arrived", shape.rows);
            return Err(Error::path(Kind::Changed, &self.claim.whole, what));
        }
        let spans = Spans::of(first, rows, shape.chunk_rows);
        let [ids, masks, head, chunks @ .., tail] = body else {
            return Err(Error::path(
                Kind::Io,
                &self.claim.whole,
                "a parcel of another kind arrived",
            ));
        };
        state.ids.extend_from_slice(ids);
        state.fragment.extend_from_slice(head);
        if spans.head > 0 && (first + spans.head).is_multiple_of(shape.chunk_rows) {
            let chunk = (first / shape.chunk_rows) * shape.chunk_rows;
            self.write_fragment(state, chunk)?;
        }
        let masks = masks.as_chunks::<4>().0;
        for (i, (bytes, mask)) in chunks.iter().zip(masks).enumerate() {
            let chunk = first + spans.head + i as u64 * shape.chunk_rows;
            self.write(state, chunk, u32::from_le_bytes(*mask), bytes)?;
        }
        state.fragment.extend_from_slice(tail);
        state.next_row += rows;
        if let Some(temporary) = &state.temporary {
            // The file grows at its end.
            let written: u64 = chunks.iter().map(|c| c.len() as u64).sum();
            temporary.write_back(state.written..state.written + written);
            state.written += written;
        }
        Ok(())
    }

    /// Writes the chunk that was assembled here, padded with zeros.
    fn write_fragment(&self, state: &mut State, chunk: u64) -> Result<()> {
        let mut fragment = std::mem::take(&mut state.fragment);
        fragment.resize(self.shape.chunk_bytes() as usize, 0);
        let (mask, bytes) = Packer::new(&self.shape.filters).pack(&fragment);
        fragment.clear();
        state.fragment = fragment;
        self.write(state, chunk, mask, &bytes)
    }

    /// Writes a chunk of vectors, and the chunk of ids that ends with it, if one does.
    fn write(&self, state: &mut State, chunk: u64, mask: u32, bytes: &[u8]) -> Result<()> {
        let failed = |e| h5::failed(Kind::Io, &self.claim.whole, "write", &e);
        let Some(made) = &state.made else {
            return Err(Error::path(
                Kind::Io,
                &self.claim.whole,
                "is already closed",
            ));
        };
        raw::write_chunk(&made.vectors, &[chunk, 0], mask, bytes).map_err(failed)?;
        let end = chunk + self.shape.chunk_rows;
        if end.is_multiple_of(self.shape.id_chunk_rows) && end <= self.shape.rows {
            self.write_ids(state)?;
        }
        Ok(())
    }

    /// Writes the next chunk of ids, padded with zeros.
    fn write_ids(&self, state: &mut State) -> Result<()> {
        let chunk_bytes = (self.shape.id_chunk_rows * 8) as usize;
        let rest = state.ids.split_off(state.ids.len().min(chunk_bytes));
        let mut ids = std::mem::replace(&mut state.ids, rest);
        // The last one is padded.
        ids.resize(chunk_bytes, 0);
        let (mask, bytes) = Packer::new(&self.shape.id_filters).pack(&ids);
        let at = state.id_chunks * self.shape.id_chunk_rows;
        let Some(made) = &state.made else {
            return Err(Error::path(
                Kind::Io,
                &self.claim.whole,
                "is already closed",
            ));
        };
        raw::write_chunk(&made.ids, &[at], mask, &bytes)
            .map_err(|e| h5::failed(Kind::Io, &self.claim.whole, "write", &e))?;
        state.id_chunks += 1;
        Ok(())
    }

    /// Writes what is left, checks that every row arrived, and gives the file its final name.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.state.lock().expect("no one panics with it locked");
        let mut covered = Covered::default();
        covered.add(0..state.next_row);
        covered.check(&self.target, &self.claim.whole)?;
        self.make(&mut state)?;
        if !state.fragment.is_empty() {
            let chunk = (self.shape.rows / self.shape.chunk_rows) * self.shape.chunk_rows;
            self.write_fragment(&mut state, chunk)?;
        }
        if !state.ids.is_empty() {
            self.write_ids(&mut state)?;
        }
        if let Some(Made { file, vectors, ids }) = state.made.take() {
            drop((vectors, ids));
            let failed = |e| h5::failed(Kind::Io, &self.claim.whole, "close", &e);
            file.flush().map_err(failed)?;
            file.close().map_err(failed)?;
        }
        match state.temporary.take() {
            Some(temporary) => temporary.keep(),
            None => Ok(()),
        }
    }
}

/// How a batch is aligned to the chunks: rows before its first whole chunk, whole chunks, rows after them.
struct Spans {
    head: u64,
    chunks: u64,
    tail: u64,
}

impl Spans {
    fn of(first: u64, rows: u64, chunk_rows: u64) -> Spans {
        let head = (first.next_multiple_of(chunk_rows) - first).min(rows);
        let rest = rows - head;
        Spans {
            head,
            chunks: rest / chunk_rows,
            tail: rest % chunk_rows,
        }
    }
}

/// The rows of a batch, by their number in it.
struct Rows<'b> {
    batch: &'b Batch,
    vector: VectorType,
}

impl<'b> Rows<'b> {
    /// Rows that are contiguous in memory as they will be in the file.
    fn together(&self, first: u64, count: u64) -> Option<&'b [u8]> {
        let bytes = self.pieces(first, count).next()?;
        (bytes.len() as u64 == count * self.vector.row_bytes()).then_some(bytes)
    }

    /// Appends rows as they will be in the file.
    fn gather(&self, first: u64, count: u64, to: &mut Vec<u8>) {
        for bytes in self.pieces(first, count) {
            to.extend_from_slice(bytes);
        }
    }

    fn pieces(&self, first: u64, count: u64) -> impl Iterator<Item = &'b [u8]> {
        let width = self.vector.row_bytes();
        let mut before = 0;
        self.batch.parts.iter().filter_map(move |part| {
            let (start, end) = (before, before + part.len() as u64);
            before = end;
            let (from, to) = (first.max(start), (first + count).min(end));
            if from >= to {
                return None;
            }
            let bytes = ((from - start) * width) as usize..((to - start) * width) as usize;
            Some(&part.vectors()[bytes])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_whole_chunks_and_ends() {
        let spans = |first, rows| {
            let s = Spans::of(first, rows, 10);
            (s.head, s.chunks, s.tail)
        };
        assert_eq!(spans(0, 25), (0, 2, 5));
        assert_eq!(spans(5, 3), (3, 0, 0));
        assert_eq!(spans(5, 5), (5, 0, 0));
        assert_eq!(spans(5, 27), (5, 2, 2));
    }
}
