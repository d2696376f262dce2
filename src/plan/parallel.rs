//! How is something done to many targets? One after the other, or several at a time if the destination is a server.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::batch::Target;
use crate::error::{Error, Result};
use crate::limits;
use crate::sink::Sink;

/// The results so far, by position in the list, and the first error.
type Brought<T> = (BTreeMap<usize, T>, Option<Error>);

/// Does something for each target, and returns the results in order. The first target comes alone: it may create, or
/// discover, what the others share. After an error it waits for what is under way, and ends.
pub fn side_by_side<T: Send>(
    sink: &dyn Sink,
    targets: &[&Target],
    deed: &(dyn Fn(&Target) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let Some((first, others)) = targets.split_first() else {
        return Ok(Vec::new());
    };
    let mut all = vec![deed(first)?];
    if !sink.remote() {
        for target in others {
            all.push(deed(target)?);
        }
        return Ok(all);
    }
    let next = AtomicUsize::new(0);
    let brought: Mutex<Brought<T>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..limits::TARGETS_SIDE_BY_SIDE.min(others.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(target) = others.get(at) else { return };
                    let one = deed(target);
                    let mut brought = brought.lock().expect("no one panics with it locked");
                    match one {
                        Ok(one) => {
                            brought.0.insert(at, one);
                        }
                        Err(error) => {
                            next.store(others.len(), Ordering::Relaxed);
                            brought.1.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    let (found, failed) = brought.into_inner().expect("no one panics with it locked");
    match failed {
        Some(error) => Err(error),
        None => {
            all.extend(found.into_values());
            Ok(all)
        }
    }
}
