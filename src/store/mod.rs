//! Which objects are in a bucket, and how are they read and written? S3, and servers that speak it: MinIO, Ceph,
//! SeaweedFS.
//!
//! Objects are complete or absent, and identified by their entity tag: a range is read from exactly the object that was
//! found before, or not at all. Requests that fail temporarily are repeated here for a while; after that, waiting is
//! the caller's decision.

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

/// Metadata of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its full key in the bucket.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// Its entity tag: a different object under this key has a different one.
    pub tag: String,
    /// When it was written, in nanoseconds since the epoch.
    pub modified_ns: i128,
}

/// What is directly below a prefix.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Names that have something below them, without the trailing `/`.
    pub folders: Vec<String>,
    /// Objects.
    pub objects: Vec<Found>,
}

/// A bucket. Shared by threads; its calls block.
pub trait Bucket: Send + Sync {
    /// What is directly below a prefix, which is empty or ends in `/`.
    fn list(&self, prefix: &str) -> Result<Listing>;

    /// All objects below a prefix, in pages; `each` returns `false` to stop.
    fn walk(&self, prefix: &str, each: &mut dyn FnMut(Vec<Found>) -> bool) -> Result<()>;

    /// The object under a key, if there is one.
    fn look(&self, key: &str) -> Result<Option<Found>>;

    /// A range of an object that was found before. `Changed` if it was replaced or removed since.
    fn read(&self, found: &Found, range: Range<u64>) -> Result<Bytes>;

    /// Writes an object in one request.
    fn put(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Writes a file as an object: a long one in parts, several at a time. It becomes visible whole or not at all.
    fn upload(&self, key: &str, file: &Path) -> Result<()>;

    /// Removes an object, if it exists.
    fn delete(&self, key: &str) -> Result<()>;
}

/// Opens a bucket; no request is sent yet.
#[cfg(feature = "s3")]
pub fn open(address: &Address, login: &Login) -> Result<Arc<dyn Bucket>> {
    Ok(Arc::new(s3::S3::open(address, login)?))
}

/// Returns an error: this build has no S3.
#[cfg(not(feature = "s3"))]
pub fn open(address: &Address, _: &Login) -> Result<Arc<dyn Bucket>> {
    use crate::error::{Error, Kind};
    let what = format!(
        "s3://{}: this program was built without `s3`",
        address.bucket
    );
    Err(Error::new(Kind::Unsupported, what).hint("cargo build --features s3"))
}

/// Where a job's source files are: on a disk, or in a bucket.
pub fn volume(path: &Path, access: Access, login: &Login) -> Result<Volume> {
    match Address::of(path)? {
        None => Ok(Volume::Disk(access)),
        Some(address) => Ok(volume_of(&address.bucket, open(&address, login)?)),
    }
}

/// The objects of a bucket as files, as they are from now on: what was listed is not requested again.
pub fn volume_of(name: &str, bucket: Arc<dyn Bucket>) -> Volume {
    Volume::Remote(Arc::new(places::Places::new(name.to_owned(), bucket)))
}
