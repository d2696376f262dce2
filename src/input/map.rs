//! The one mmap. Unsafe room 1: the calls that map a file and release its pages.
//! Hands out windows that own the mapping; never parses.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, UncheckedAdvice};
use rustix::fs::fadvise;
use rustix::system::sysinfo;

use super::guard::{Guarded, guard};
use super::shown::{Listed, list};

/// A whole file, mapped read-only. Fields are dropped in order: guard and list go before the mapping.
pub struct Map {
    guarded: Guarded,
    _listed: Listed,
    map: Mmap,
    /// The file, if memory cannot hold all of it: what was read then leaves the page cache, too, which would evict it
    /// anyway
    /// before it is read again, along with the pages of other programs, such as the server.
    uncached: Option<Arc<File>>,
}

impl Map {
    /// Maps all of an open file, which must not be empty; `None` if too many mappings are held.
    pub fn new(file: &Arc<File>) -> io::Result<Option<Map>> {
        // SAFETY: the mapping is read-only and its bytes are only ever read as bytes. We cannot stop another
        // process from truncating or writing the file; input/guard.rs turns the fault of a vanished page into
        // zeros, readers compare the file's size, time and inode after reading (View::unchanged), and no
        // invariant of ours rests on the bytes staying the same.
        let map = unsafe { Mmap::map(&**file)? };
        // Advice is best effort: a system without it can read, too.
        let _ = map.advise(Advice::Sequential);
        let guarded = guard(map.as_ptr() as usize, map.len())?;
        let is_too_big = map.len() as u64 > memory_bytes();
        Ok(guarded.map(|guarded| Map {
            guarded,
            _listed: list(&map, file),
            map,
            uncached: is_too_big.then(|| file.clone()),
        }))
    }

    /// Whether a page of it could not be read and was replaced by zeros.
    pub fn is_holed(&self) -> bool {
        self.guarded.is_holed()
    }

    /// All its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// A range as bytes that own the mapping; its pages are released when the last of these bytes is dropped.
    pub fn window(map: &Arc<Map>, start: usize, len: usize) -> Bytes {
        assert!(
            start
                .checked_add(len)
                .is_some_and(|end| end <= map.map.len())
        );
        Bytes::from_owner(Window {
            map: map.clone(),
            start,
            len,
        })
    }

    /// Asks for pages ahead of use. Best effort.
    pub fn will_need(&self, start: usize, len: usize) {
        let _ = self.map.advise_range(Advice::WillNeed, start, len);
    }
}

/// Bytes of memory that this machine has.
fn memory_bytes() -> u64 {
    let info = sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

struct Window {
    map: Arc<Map>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        &self.map.map[self.start..self.start + self.len]
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // A fault maps more than the page: the 64 KiB around it (fault_around_bytes) and, since Linux 6.18, the whole
        // folio in the page cache, of up to 2 MiB; so also pages of a neighbour that was dropped already. All of
        // that is released. A thread that still reads there faults again, without a disk. Small windows are too many for so
        // much work: of them only pages go that no later one needs, so that nothing has to fault again.
        const FOLIO: usize = 2 << 20;
        const SMALL: usize = 64 << 10;
        const PAGE: usize = 4096;
        let base = self.map.map.as_ptr() as usize;
        let (start, end) = (base + self.start, base + self.start + self.len);
        let (first, end) = match self.len < SMALL {
            true => (start / PAGE * PAGE, end / PAGE * PAGE),
            false => (start / FOLIO * FOLIO, end.next_multiple_of(FOLIO)),
        };
        let first = first.saturating_sub(base);
        let len = (end - base).min(self.map.map.len()).saturating_sub(first);
        if len > 0 {
            // SAFETY: the range is within the mapping, which is shared, read-only and file-backed: pages given back are
            // read again from the file when touched, so every outstanding view still sees the same bytes.
            let advised = unsafe {
                self.map
                    .map
                    .unchecked_advise_range(UncheckedAdvice::DontNeed, first, len)
            };
            // Best effort: pages that stay cost memory, not correctness.
            let _ = advised;
            // The page cache keeps whole folios, of which a small window is a part.
            if let Some(file) = &self.map.uncached
                && self.len >= SMALL
            {
                let len = NonZeroU64::new(len as u64);
                let _ = fadvise(&**file, first as u64, len, rustix::fs::Advice::DontNeed);
            }
        }
    }
}
