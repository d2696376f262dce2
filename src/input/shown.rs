//! Which file does this memory show? Mapped bytes can go to a socket as a range of their file, which saves a copy
//! (`call/socket.rs`). Bytes of a mapping own the mapping, so no other can have taken its place.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, PoisonError, RwLock};

struct Shown {
    end: usize,
    file: Arc<File>,
}

/// Mappings by their first address: there is one address space, so there is one list.
static SHOWN: RwLock<BTreeMap<usize, Shown>> = RwLock::new(BTreeMap::new());

/// A mapping that is listed until this is dropped.
pub struct Listed(usize);

impl Drop for Listed {
    fn drop(&mut self) {
        let mut shown = SHOWN.write().unwrap_or_else(PoisonError::into_inner);
        shown.remove(&self.0);
    }
}

/// Mappings that are listed at a time: each keeps its file open, and the number of open files is limited (often to
/// 1024).
const LISTED_MAX: usize = 128;

/// Lists a mapping of all of a file, unless too many are.
pub fn list(memory: &[u8], file: &Arc<File>) -> Listed {
    let range = memory.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let mut shown = SHOWN.write().unwrap_or_else(PoisonError::into_inner);
    if shown.len() < LISTED_MAX {
        let file = file.clone();
        shown.insert(start, Shown { end, file });
    }
    Listed(start)
}

/// The file that bytes of a mapping come from, and the offset of the first; `None` for any other memory, and for
/// mappings beyond the first that are listed.
pub fn origin(bytes: &[u8]) -> Option<(Arc<File>, u64)> {
    let range = bytes.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let shown = SHOWN.read().unwrap_or_else(PoisonError::into_inner);
    let (first, mapping) = shown.range(..=start).next_back()?;
    (end <= mapping.end).then(|| (mapping.file.clone(), (start - first) as u64))
}
