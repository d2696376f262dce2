//! Where do written bytes wait to be sent? In buffers that are reused.
//! Knows nothing about their content.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Reused buffers: `take` one, fill it, `freeze` it into a parcel; it comes back when the parcel is dropped.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer, with the capacity it once grew to.
    pub fn take(&self) -> Buffer {
        let held = self
            .0
            .lock()
            .expect("no one panics with buffers locked")
            .pop();
        Buffer {
            bytes: held.unwrap_or_default(),
            home: self.clone(),
        }
    }
}

/// A buffer on loan from [`Buffers`].
pub struct Buffer {
    /// The bytes, to be written to.
    pub bytes: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    /// The written bytes, ready to be sent.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if let Ok(mut home) = self.home.0.lock() {
            home.push(bytes);
        }
    }
}
