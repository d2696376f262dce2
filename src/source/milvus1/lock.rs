//! Is a Milvus running on this directory? Asks which process holds its lock; never takes it.

use std::path::Path;

use rustix::process::{Flock, FlockType, fcntl_getlk};

/// A warning if a server holds the lock of the directory.
pub fn held(root: &Path) -> Option<String> {
    let path = root.join("lock");
    let file = std::fs::File::open(&path).ok()?;
    // Best effort: some file systems do not know locks, and a server on another machine may not show.
    let holder = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let who = holder
        .pid
        .map(|pid| format!(" (process {})", pid.as_raw_nonzero()))
        .unwrap_or_default();
    Some(format!(
        "{} is locked by a running Milvus{who}: rows that it writes from now on are missed, and the run stops if it changes files that are read; stop it first",
        path.display()
    ))
}
