//! The one mmap. Unsafe room 1: the calls that map a file and give its pages back.
//! Hands out windows that own the mapping; never parses.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, UncheckedAdvice};

/// A whole file, mapped read-only.
pub struct Map(Mmap);

impl Map {
    /// Maps all of an open file, which must not be empty.
    pub fn new(file: &File) -> io::Result<Map> {
        // SAFETY: the mapping is read-only and its bytes are only ever read as bytes. We cannot stop another
        // process from truncating or writing the file; readers compare its size, time and inode before each
        // batch (View::unchanged), and no invariant of ours rests on the bytes staying the same.
        let map = unsafe { Mmap::map(file)? };
        // Advice is best effort: a system that does not know it reads all the same.
        let _ = map.advise(Advice::Sequential);
        Ok(Map(map))
    }

    /// All its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A stretch as bytes that own the mapping; its pages are given back when the last of them is dropped.
    pub fn window(map: &Arc<Map>, start: usize, len: usize) -> Bytes {
        assert!(start.checked_add(len).is_some_and(|end| end <= map.0.len()));
        Bytes::from_owner(Window {
            map: map.clone(),
            start,
            len,
        })
    }

    /// Asks for pages ahead of use. Best effort.
    pub fn will_need(&self, start: usize, len: usize) {
        let _ = self.0.advise_range(Advice::WillNeed, start, len);
    }
}

struct Window {
    map: Arc<Map>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        &self.map.0[self.start..self.start + self.len]
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Whole pages from the window's first byte on; the page at its end may belong to a neighbour, whose
        // first page this leaves in place.
        const PAGE: usize = 4096;
        let first = self.start / PAGE * PAGE;
        let len = ((self.start + self.len) / PAGE * PAGE).saturating_sub(first);
        if len > 0 {
            // SAFETY: the mapping is shared, read-only and file-backed: pages given back are read again from
            // the file when touched, so every outstanding view still sees the same bytes.
            let advised = unsafe {
                self.map
                    .0
                    .unchecked_advise_range(UncheckedAdvice::DontNeed, first, len)
            };
            // Best effort: pages that stay cost memory, not correctness.
            let _ = advised;
        }
    }
}
