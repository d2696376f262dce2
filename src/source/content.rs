//! Is it the same data? A digest of a file's bytes, independent of its name, time and inode.
//! Reads short files whole, and samples of long ones.

use std::collections::BTreeMap;

use crate::digest;
use crate::error::Result;
use crate::input::View;
use crate::job::absolute;
use crate::limits;

/// The word that marks a digest of samples.
pub const SAMPLED: &str = "sampled";

/// The length of a file and a digest of all its bytes, or of blocks spread over it, including the first and the last.
pub fn of(file: &View) -> Result<String> {
    let len = file.len();
    if len > limits::CONTENT_WHOLE_BYTES {
        let digest = sample(file, limits::CONTENT_BLOCKS)?;
        return Ok(format!("{len} bytes, {SAMPLED} digest {digest:016x}"));
    }
    let block = limits::CONTENT_BLOCK_BYTES;
    let starts = (0..len.div_ceil(block)).map(|number| number * block);
    let digest = blocks(file, starts, block)?;
    Ok(format!("{len} bytes, digest {digest:016x}"))
}

/// The digests of some files, by path.
pub fn of_all<'v>(files: impl Iterator<Item = &'v View>) -> Result<BTreeMap<String, String>> {
    let pieces = files.map(|file| {
        let path = absolute(file.path()).display().to_string();
        Ok((path, of(file)?))
    });
    pieces.collect()
}

/// A digest of this many blocks of a file, at least two: the first, the last, and some between.
pub fn sample(file: &View, count: u64) -> Result<u64> {
    let block = limits::CONTENT_BLOCK_BYTES.min(file.len());
    let spread = u128::from(file.len() - block);
    let start = |number: u64| (spread * u128::from(number) / u128::from(count - 1)) as u64;
    blocks(file, (0..count).map(start), block)
}

fn blocks(file: &View, starts: impl Iterator<Item = u64>, block: u64) -> Result<u64> {
    let mut digest = 0;
    for at in starts {
        let bytes = file.cut(at, block.min(file.len() - at))?.bytes()?;
        digest = digest::chained(digest, &bytes);
    }
    Ok(digest)
}
