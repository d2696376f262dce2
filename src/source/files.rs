//! What do sources of files have in common? Which files are meant, what identifies them, where they are cut.
//! Reads no rows.

use crate::error::Result;
use crate::input::View;
use crate::limits;

/// What identifies a file: when any of it differs, the data may.
pub fn identity(file: &View) -> Result<String> {
    let head = file.cut(0, file.len().min(limits::HEAD_BYTES))?.bytes()?;
    let head = format!("head_crc32 {:08x}", crc32fast::hash(&head));
    Ok(match file.stamp() {
        Some(stamp) => format!(
            "{} bytes, modified {} ns, inode {}:{}, {head}",
            stamp.bytes, stamp.modified_ns, stamp.inode.0, stamp.inode.1
        ),
        None => head,
    })
}

/// Rows of a shard: whole batches and whole seams where that can be, and no more shards than `most`.
pub fn shard_rows(rows: u64, batch: u64, seam: u64, most: u64) -> u64 {
    let least = rows.div_ceil(most).max(1);
    let whole = |n: u64, unit: u64| n.div_ceil(unit).saturating_mul(unit);
    if seam > 1 {
        whole(least.max(batch), seam)
    } else {
        whole(least, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_whole_batches_and_seams() {
        assert_eq!(shard_rows(1_000_000, 1000, 1, 64), 16_000);
        assert_eq!(shard_rows(100, 1000, 1, 64), 1000);
        assert_eq!(shard_rows(0, 1000, 1, 64), 1000);
        assert_eq!(shard_rows(1_000_000, 1000, 3000, 64), 18_000);
        assert_eq!(shard_rows(1_000_000, 1000, 7, 1_000_000), 1001);
        assert_eq!(shard_rows(10, 1000, u64::MAX, 64), u64::MAX);
    }
}
