//! The footer that search engines built on Lucene (OpenSearch, Elasticsearch's k-NN) append to a Faiss index.
//!
//! ```text
//! | index … | magic c0 28 93 e8 | algorithm 4: 0 | CRC-32 8, of all before | – 16 bytes, big-endian
//! ```
//!
//! Lucene's `CodecUtil.writeFooter`; it checks files by it, and so do we.

use crate::error::{Error, Kind, Result};
use crate::input::{Cursor, View};
use crate::limits;

const MAGIC: [u8; 4] = [0xc0, 0x28, 0x93, 0xe8];
const BYTES: u64 = 16;

/// Whether a file ends as Lucene's do.
pub(super) fn is_there(file: &View) -> Result<bool> {
    let Some(at) = file.len().checked_sub(BYTES) else {
        return Ok(false);
    };
    let mut magic = [0; 4];
    file.read(at, &mut magic)?;
    Ok(magic == MAGIC)
}

/// Skips a footer if nothing else is left. Reads the whole file to check its CRC, a piece at a time.
pub(super) fn skip(c: &mut Cursor) -> Result<()> {
    let at = c.at();
    let file = c.view().clone();
    if c.remaining() != BYTES || !is_there(&file)? {
        return Ok(());
    }
    c.array::<4>("footer's magic")?;
    let algorithm = u32::from_be_bytes(c.array("footer's algorithm")?);
    if algorithm != 0 {
        let what = format!("Lucene's footer: algorithm = {algorithm}, expected 0, CRC-32");
        return Err(file.corrupt(at, what));
    }
    let summed = c.at();
    let stored = u64::from_be_bytes(c.array("footer's sum")?);
    let found = u64::from(crc32(&file, summed)?);
    if stored != found {
        let what = format!(
            "Lucene's footer states that the CRC-32 of the bytes before it is {stored:08x}, but it is {found:08x}"
        );
        return Err(Error::new(Kind::Corrupt, what)
            .at(file.place(summed))
            .hint("the file is damaged: get another copy, from a snapshot or a replica"));
    }
    Ok(())
}

fn crc32(file: &View, len: u64) -> Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut at = 0u64;
    while at < len {
        let some = len.saturating_sub(at).min(limits::SUMMED_AT_ONCE);
        hasher.update(&file.cut(at, some)?.bytes()?);
        at = at.saturating_add(some);
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn file(index: &[u8], algorithm: u32, sum: impl Fn(u32) -> u64) -> View {
        let mut bytes = [index, &MAGIC, &algorithm.to_be_bytes()].concat();
        bytes.extend(sum(crc32fast::hash(&bytes)).to_be_bytes());
        View::from_bytes("_0_165_vec.faiss", bytes)
    }

    fn flat() -> Vec<u8> {
        let mut file = b"IxF2".to_vec();
        file.extend(1i32.to_le_bytes());
        file.extend(1i64.to_le_bytes());
        file.extend([0; 16]);
        file.extend([1, 1, 0, 0, 0]);
        file.extend(1u64.to_le_bytes());
        file.extend(2.5f32.to_le_bytes());
        file
    }

    #[test]
    fn stray_bytes_behind_an_index_are_said_with_where_it_ends() {
        let view = View::from_bytes("x", [&flat()[..], b"123"].concat());
        let error = parse(&view).unwrap_err();
        assert!(error.to_string().contains("3 bytes follow"), "{error}");
        let hint = error.hint_text().unwrap_or_default();
        assert!(hint.contains("`head -c 49`"), "{hint}");
    }

    #[test]
    fn a_footer_is_known_by_its_sum() {
        let said = |view: View| {
            parse(&view)
                .map(|node| node.rows)
                .map_err(|e| e.to_string())
        };
        let right = u64::from;
        assert_eq!(said(file(&flat(), 0, right)), Ok(1));
        for (view, expected) in [
            (file(&flat(), 1, right), "algorithm = 1"),
            (file(&flat(), 0, |sum| u64::from(sum ^ 1)), "it is"),
            (file(&flat(), 0, |sum| u64::from(sum) | 1 << 40), "it is"),
            (
                file(&[flat(), flat()].concat(), 0, right),
                "65 bytes follow",
            ),
            (
                file(&[flat(), vec![0]].concat(), 0, right),
                "17 bytes follow",
            ),
        ] {
            let error = said(view).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        // A bit that is turned over anywhere does not pass.
        let whole = file(&flat(), 0, right).bytes().unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 4;
            assert!(parse(&View::from_bytes("x", bytes)).is_err(), "byte {at}");
        }
    }
}
