//! What do sources of files have in common? Which files are meant, what identifies them, where they are cut.
//! Reads no rows.

use std::cmp::Ordering;
use std::path::Path;

use crate::error::Result;
use crate::input::View;
use crate::limits;

/// The order of people: numbers in names by their value, so that `part2` comes before `part10`.
pub fn natural(one: &Path, two: &Path) -> Ordering {
    let (one, two) = (one.to_string_lossy(), two.to_string_lossy());
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let (m, n) = (digits(a), digits(b));
        let order = if m > 0 && n > 0 {
            let value = |text: &[u8], n: usize| -> Vec<u8> {
                text[..n]
                    .iter()
                    .copied()
                    .skip_while(|c| *c == b'0')
                    .collect()
            };
            let (x, y) = (value(a, m), value(b, n));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
            (a, b) = (&a[m..], &b[n..]);
            order
        } else {
            match (a.split_first(), b.split_first()) {
                (None, None) => return one.cmp(&two),
                (x, y) => {
                    let order = x.map(|x| x.0).cmp(&y.map(|y| y.0));
                    (a, b) = (x.map_or(a, |x| x.1), y.map_or(b, |y| y.1));
                    order
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

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

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["b", "a10", "a2", "a02", "a1/z", "a1", "a10b", "", "a9"].map(Path::new);
        names.sort_by(|one, two| natural(one, two));
        let expected = ["", "a1", "a1/z", "a02", "a2", "a9", "a10", "a10b", "b"];
        assert_eq!(names, expected.map(Path::new));
    }
}
