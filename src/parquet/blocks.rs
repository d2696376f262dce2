//! How many rows of a row group may be read at once? Enough to fill the bytes allowed, wherever the longest values are:
//! the headers of text pages, and the dictionary, are inspected to find out.

use ::parquet::basic::{Encoding, Type};
use ::parquet::file::metadata::ColumnChunkMetaData;

use super::File;
use super::pages::{Pages, Skimmed};
use crate::limits;

/// The number of rows of these columns to read at once.
pub fn rows_at_once(file: &File, columns: &[usize], group: usize) -> usize {
    let metadata = file.metadata.row_group(group);
    let rows = file.group_rows(group).max(1);
    let leaves = columns
        .iter()
        .flat_map(|column| file.columns[*column].leaves.clone());
    let leaves = leaves.map(|leaf| metadata.column(leaf));
    let bytes = leaves.clone().map(|leaf| {
        let values = u64::try_from(leaf.num_values())
            .unwrap_or(0)
            .saturating_mul(4);
        u64::try_from(leaf.uncompressed_size())
            .unwrap_or(0)
            .max(values)
    });
    let each = bytes.fold(0, u64::saturating_add) / rows;
    let usual = limits::PARQUET_BLOCK_BYTES / each.max(1);
    let texts = leaves.filter(|leaf| leaf.column_type() == Type::BYTE_ARRAY);
    let least = texts.filter_map(|leaf| of_texts(file, leaf, rows)).min();
    let most = limits::PARQUET_BLOCK_ROWS_MAX;
    usual.min(least.unwrap_or(most)).clamp(1, most) as usize
}

/// The same for one text column, by its pages; errors in them are found when they are read.
fn of_texts(file: &File, chunk: &ColumnChunkMetaData, rows: u64) -> Option<u64> {
    let most = limits::PARQUET_BLOCK_BYTES;
    let values = u64::try_from(chunk.num_values()).ok()?.max(1);
    let mut pages = Pages::new(&file.view, chunk).ok()?;
    let (mut least, mut longest) = (u64::MAX, 1);
    while let Ok(Some(page)) = pages.skim() {
        least = least.min(match page {
            Skimmed::Dictionary(texts) => {
                longest = self::longest(&texts).max(1);
                continue;
            }
            Skimmed::Data(header) => match header.encoding {
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => most / longest,
                // Each value may share a prefix of any length with the value before it.
                Encoding::DELTA_BYTE_ARRAY => limits::PARQUET_BLOCK_ROWS_DELTA,
                _ => {
                    let rows = u64::from(header.values).saturating_mul(rows) / values;
                    rows.saturating_mul(most) / u64::from(header.unpacked).max(1)
                }
            },
        });
    }
    Some(least)
}

/// Bytes of the longest of these length-prefixed texts.
fn longest(mut texts: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((len, rest)) = texts.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len);
        longest = longest.max(u64::from(len));
        texts = rest.get(len as usize..).unwrap_or_default();
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_is_found_and_cut_ones_end_the_search() {
        let texts = [
            &3u32.to_le_bytes()[..],
            b"abc",
            &5u32.to_le_bytes(),
            b"abcde",
            &0u32.to_le_bytes(),
        ]
        .concat();
        assert_eq!(longest(&texts), 5);
        assert_eq!(longest(&texts[..12]), 5);
        assert_eq!(longest(&texts[..9]), 3);
        assert_eq!(longest(&texts[..6]), 3);
        assert_eq!(longest(&[]), 0);
    }
}
