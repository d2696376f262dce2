//! How is a compressed member of an archive read? From its start, one step at a time, in constant memory.

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::limits::{INFLATE_STEP_BYTES, NPY_HEADER_BYTES_MAX};

/// A part of a file compressed by deflate, and its content.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Where it starts in the file.
    pub at: u64,
    /// Its compressed length.
    pub len: u64,
    /// Its uncompressed length.
    pub unpacked: u64,
    /// Uncompressed bytes before the first row.
    pub skip: u64,
    /// The CRC-32 of the whole uncompressed content.
    pub crc32: u32,
}

impl Packed {
    /// Its first uncompressed bytes, as many as a header can have.
    pub fn head(&self, view: &View) -> Result<Vec<u8>> {
        let len = self.unpacked.min(NPY_HEADER_BYTES_MAX + 16);
        let mut head = vec![0; len as usize];
        Inflater::new(view, self).fill(&mut head)?;
        Ok(head)
    }
}

/// Decompresses forward.
pub struct Inflater {
    view: View,
    packed: Packed,
    inflate: Decompress,
    /// Bytes of the file consumed so far, and the step being read.
    taken: u64,
    step: Vec<u8>,
    used: usize,
    /// Bytes produced so far.
    out: u64,
    crc32: crc32fast::Hasher,
}

impl Inflater {
    /// Starts at the beginning of a member of the file.
    pub fn new(view: &View, packed: &Packed) -> Inflater {
        Inflater {
            view: view.clone(),
            packed: packed.clone(),
            inflate: Decompress::new(false),
            taken: 0,
            step: Vec::new(),
            used: 0,
            out: 0,
            crc32: crc32fast::Hasher::new(),
        }
    }

    /// The number of bytes of rows produced so far.
    pub fn at(&self) -> u64 {
        self.out.saturating_sub(self.packed.skip)
    }

    /// Decompresses and discards what comes before this byte of the rows.
    pub fn skip_to(&mut self, at: u64) -> Result<()> {
        let mut left = (self.packed.skip + at).saturating_sub(self.out);
        let mut room = vec![0; left.min(INFLATE_STEP_BYTES) as usize];
        while left > 0 {
            let len = room.len().min(left as usize);
            self.fill(&mut room[..len])?;
            left -= len as u64;
        }
        Ok(())
    }

    /// The next bytes.
    pub fn fill(&mut self, to: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < to.len() {
            if self.used == self.step.len() {
                let len = INFLATE_STEP_BYTES.min(self.packed.len - self.taken);
                self.step.resize(len as usize, 0);
                self.view
                    .read(self.packed.at + self.taken, &mut self.step)?;
                (self.taken, self.used) = (self.taken + len, 0);
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(
                &self.step[self.used..],
                &mut to[done..],
                FlushDecompress::None,
            );
            let read = (self.inflate.total_in() - before_in) as usize;
            let made = (self.inflate.total_out() - before_out) as usize;
            (self.used, done) = (self.used + read, done + made);
            match status {
                Err(_) => return Err(self.corrupt("is not valid deflate data")),
                Ok(Status::StreamEnd) if done < to.len() => {
                    return Err(self.corrupt("ends before its rows do"));
                }
                Ok(_) if read == 0 && made == 0 && self.taken == self.packed.len => {
                    return Err(self.corrupt("ends before its rows do"));
                }
                Ok(_) => {}
            }
        }
        self.out += to.len() as u64;
        self.crc32.update(to);
        let whole = self.out == self.packed.unpacked;
        if whole && self.crc32.clone().finalize() != self.packed.crc32 {
            return Err(self.corrupt("is damaged: its checksum differs"));
        }
        Ok(())
    }

    fn corrupt(&self, what: &str) -> Error {
        let place = self.view.place(self.packed.at);
        Error::new(Kind::Corrupt, format!("the packed array {what}")).at(place)
    }
}
