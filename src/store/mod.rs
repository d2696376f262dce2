//! Which objects are in a bucket, and how are they read and written? S3, and what speaks it: MinIO, Ceph, SeaweedFS.
//!
//! Objects are whole or absent, and are known by their entity tag: a stretch is read of the very object that was looked
//! at, or not at all. Requests that fail for a while are sent again here; what outlasts that is the caller's to wait for.

mod address;
mod places;
#[cfg(feature = "s3")]
mod s3;
mod settings;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::input::{Access, Volume};

pub use address::{Address, is_address};
pub use settings::{Login, S3};

/// What is known of an object without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its key in the bucket, from the first character on.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// Its entity tag: another object under this key has another one.
    pub tag: String,
    /// When it was written, in nanoseconds since the epoch.
    pub modified_ns: i128,
}

/// What is directly below a prefix.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Names that have something below them, without the `/`.
    pub folders: Vec<String>,
    /// Objects.
    pub objects: Vec<Found>,
}

/// A bucket. Shared by threads; its calls block.
pub trait Bucket: Send + Sync {
    /// What is directly below a prefix, which is empty or ends in `/`.
    fn list(&self, prefix: &str) -> Result<Listing>;

    /// All objects below a prefix, in pages of some; `each` says by `false` that it has enough.
    fn walk(&self, prefix: &str, each: &mut dyn FnMut(Vec<Found>) -> bool) -> Result<()>;

    /// What is under a key; `None`: nothing.
    fn look(&self, key: &str) -> Result<Option<Found>>;

    /// A stretch of an object that was looked at. `Changed` where there is another one now, or none.
    fn read(&self, found: &Found, range: Range<u64>) -> Result<Bytes>;

    /// Writes an object in one request.
    fn put(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Writes a file as an object: in parts, some at a time, where it is long. It is there whole or not at all.
    fn upload(&self, key: &str, file: &Path) -> Result<()>;

    /// Removes an object, if it is there.
    fn delete(&self, key: &str) -> Result<()>;
}

/// Opens a bucket; nothing is asked yet.
#[cfg(feature = "s3")]
pub fn open(address: &Address, login: &Login) -> Result<Arc<dyn Bucket>> {
    Ok(Arc::new(s3::S3::open(address, login)?))
}

/// Says that this program cannot.
#[cfg(not(feature = "s3"))]
pub fn open(address: &Address, _: &Login) -> Result<Arc<dyn Bucket>> {
    use crate::error::{Error, Kind};
    let what = format!(
        "s3://{}: this program was built without `s3`",
        address.bucket
    );
    Err(Error::new(Kind::Unsupported, what).hint("cargo build --features s3"))
}

/// Where files of a source are that a job names so: on a disk, or in a bucket.
pub fn volume(path: &Path, access: Access, login: &Login) -> Result<Volume> {
    match Address::of(path)? {
        None => Ok(Volume::Disk(access)),
        Some(address) => Ok(volume_of(&address.bucket, open(&address, login)?)),
    }
}

/// The objects of a bucket as files, as they are from now on: what was looked at once is not looked at again.
pub fn volume_of(name: &str, bucket: Arc<dyn Bucket>) -> Volume {
    Volume::Remote(Arc::new(places::Places::new(name.to_owned(), bucket)))
}
