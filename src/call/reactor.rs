//! How does a thread wait for what a library does asynchronously? On one runtime that all threads share.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Kind, Result};

/// Runs what threads wait for.
pub struct Reactor(Runtime);

impl Reactor {
    /// A reactor with a thread of its own, which handles sockets and timers.
    pub fn new() -> Result<Reactor> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("reactor")
            .enable_all()
            .build();
        let wrong = |e| Error::new(Kind::Io, format!("cannot start a thread: {e}"));
        Ok(Reactor(runtime.map_err(wrong)?))
    }

    /// Waits until it is done. Any number of threads may wait at once.
    pub fn wait<F: Future>(&self, done: F) -> F::Output {
        self.0.block_on(done)
    }
}
