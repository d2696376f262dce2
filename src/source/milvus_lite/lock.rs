//! Is a Milvus Lite running on this directory? None may start there while it is read.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// The name of the lock file in the directory.
pub const LOCK: &str = "LOCK";

/// The result of an attempt to share the lock.
pub enum Lock {
    /// It is shared until this is dropped; `None` if there is none to share.
    Shared(Option<File>),
    /// A Milvus Lite holds it: its process id, if known.
    Held(Option<u32>),
}

/// Shares the lock of a directory with other readers.
pub fn share(root: &Path) -> Lock {
    // A copy of a directory may have no lock file, and some file systems do not support locks.
    let Ok(file) = File::open(root.join(LOCK)) else {
        return Lock::Shared(None);
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Lock::Shared(Some(file)),
        Err(Errno::WOULDBLOCK) => Lock::Held(holder(&file)),
        Err(_) => Lock::Shared(None),
    }
}

/// The process that holds the lock, according to Linux.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 4: FLOCK ADVISORY WRITE 7319 fe:00:9978346 0 EOF
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        let is_it = kind == "FLOCK" && place.rsplit(':').next() == Some(&inode);
        is_it.then(|| pid.parse().ok())?
    })
}

/// The holder, for messages.
pub fn named(holder: Option<u32>) -> String {
    holder.map_or(String::new(), |pid| format!(" (process {pid})"))
}

/// The process that is writing to a SQLite file right now, if any: the inner option is its id, if known.
pub fn writer(path: &Path) -> Option<Option<u32>> {
    let file = File::open(path).ok()?;
    // SQLite's readers share locks too: only a writer's locks prevent another shared lock.
    let held = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).ok()??;
    Some(
        held.pid
            .and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
    )
}
