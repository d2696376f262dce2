//! Milvus 1.x log: what do the bytes of `<n>.wal` and `mxlog.meta` mean?
//! Pure: opens nothing; holds one block of the log and the names of one record at a time.
//!
//! ```text
//! <n>.wal     | lsn 8 | type 1 | name bytes 2 | tag bytes 2 | vectors 4 | data bytes 4 | name | tag | ids 8 × n | data |
//! mxlog.meta  | a 8 | b 8 | c 8 |        the last lsn is c where b = c, else a; an empty file means 0
//! ```
//! An lsn is the number of the file in its high half and the end of its record in the low half (db/wal/WalBuffer.cpp);
//! there is no checksum, so this is what distinguishes a record from garbage.

use crate::error::Result;
use crate::input::{Cursor, View};

/// What a record does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Nothing.
    None,
    /// Adds rows.
    Insert,
    /// Deletes rows by id.
    Delete,
    /// Replaces rows.
    Update,
    /// Asks for a flush: no rows.
    Flush,
    /// Adds rows of a hybrid collection.
    Entity,
}

/// One record, its rows left where they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the order of all records.
    pub lsn: u64,
    /// What it does.
    pub op: Op,
    /// The collection's name.
    pub collection: String,
    /// The partition's tag; may be empty.
    pub tag: String,
    /// Rows or ids in it.
    pub rows: u32,
}

/// The lsn of the last record that counts, from `mxlog.meta`.
pub fn last_lsn(meta: View) -> Result<u64> {
    if meta.is_empty() {
        return Ok(0);
    }
    let mut cursor = Cursor::new(meta);
    let first = cursor.u64("the first lsn")?;
    let (second, third) = (cursor.u64("the second lsn")?, cursor.u64("the third lsn")?);
    Ok(if second == third { third } else { first })
}

/// The lsn of a record of this file that ends there.
pub fn lsn(file: u32, end: u32) -> u64 {
    u64::from(file) << 32 | u64::from(end)
}

/// The file and the end of the record of an lsn.
pub fn split(lsn: u64) -> (u32, u32) {
    ((lsn >> 32) as u32, lsn as u32)
}

const HEADER_BYTES: u64 = 21;
const BLOCK: u64 = 64 << 10;

/// Reads the records of one file, forward.
pub struct Records {
    view: View,
    file: u32,
    at: u64,
    block: Block,
}

impl Records {
    /// The records of the file with this number; every byte of the view has to belong to one.
    pub fn new(view: View, file: u32) -> Records {
        let block = Block::default();
        Records {
            view,
            file,
            at: 0,
            block,
        }
    }

    /// The next record, or `None` at the end of the view.
    #[allow(clippy::should_implement_trait)] // It can fail, and then it is over.
    pub fn next(&mut self) -> Result<Option<Record>> {
        let at = self.at;
        if at >= self.view.len() {
            return Ok(None);
        }
        let mut header = Cursor::new(self.block.of(&self.view, at, HEADER_BYTES)?);
        let lsn = header.u64("lsn")?;
        let kind = header.u8("type")?;
        let (name_bytes, tag_bytes) = (header.u16("name bytes")?, header.u16("tag bytes")?);
        let (rows, data_bytes) = (header.u32("vectors")?, header.u32("data bytes")?);
        let wrong = |what: String| Err(self.view.corrupt(at, format!("not a log record: {what}")));
        let op = match kind {
            0 => Op::None,
            1 | 2 => Op::Insert,
            3 => Op::Delete,
            4 => Op::Update,
            5 => Op::Flush,
            6 => Op::Entity,
            other => return wrong(format!("type = {other}, expected 0 to 6")),
        };
        let names = u64::from(name_bytes).saturating_add(u64::from(tag_bytes));
        let body = u64::from(rows)
            .saturating_mul(8)
            .saturating_add(u64::from(data_bytes));
        let start = at.saturating_add(HEADER_BYTES);
        let end = start.saturating_add(names).saturating_add(body);
        let (file, said) = split(lsn);
        // Hybrid records have a second header that is not counted; their end is where their lsn says.
        let ends = match op {
            Op::Entity => end <= u64::from(said),
            _ => end == u64::from(said),
        };
        if file != self.file || !ends {
            return wrong(format!(
                "it ends at byte {end} of file {}, but its lsn states byte {said} of file {file}",
                self.file
            ));
        }
        let whole = match op {
            Op::Insert => rows > 0 && data_bytes > 0 && data_bytes.checked_rem(rows) == Some(0),
            Op::Delete => data_bytes == 0,
            _ => true,
        };
        if !whole {
            return wrong(format!("{rows} rows with {data_bytes} bytes of data"));
        }
        let remaining = self.view.len().saturating_sub(at);
        if u64::from(said) > self.view.len() {
            return wrong(format!(
                "it ends at byte {said}, but {remaining} bytes remain"
            ));
        }
        let text = self.block.of(&self.view, start, names)?;
        let mut text = Cursor::new(text);
        let collection = words(text.payload("name", u64::from(name_bytes), 1)?)?;
        let tag = words(text.payload("tag", u64::from(tag_bytes), 1)?)?;
        self.at = u64::from(said);
        Ok(Some(Record {
            lsn,
            op,
            collection,
            tag,
            rows,
        }))
    }
}

/// A block of the log in memory, so that small records do not cost a read each.
#[derive(Default)]
struct Block {
    held: Option<(u64, View)>,
}

impl Block {
    fn of(&mut self, view: &View, at: u64, len: u64) -> Result<View> {
        if let Some((start, held)) = &self.held
            && let Some(offset) = at.checked_sub(*start)
            && offset.saturating_add(len) <= held.len()
        {
            return held.cut(offset, len);
        }
        // Shorter than `len` only if the file is, and then this reports where.
        view.cut(at, len)?;
        let remaining = view.len().saturating_sub(at);
        let bytes = view.cut(at, BLOCK.max(len).min(remaining))?.bytes()?;
        let held = View::from_bytes(&view.path().display().to_string(), bytes);
        let cut = held.cut(0, len)?;
        self.held = Some((at, held));
        Ok(cut)
    }
}

fn words(view: View) -> Result<String> {
    Ok(String::from_utf8_lossy(&view.bytes()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, op: u8, name: &str, tag: &str, rows: u32, data: u32) -> Vec<u8> {
        let body = name.len() as u64 + tag.len() as u64 + 8 * u64::from(rows) + u64::from(data);
        let mut bytes = lsn(3, (at + HEADER_BYTES + body) as u32)
            .to_le_bytes()
            .to_vec();
        bytes.push(op);
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend((tag.len() as u16).to_le_bytes());
        bytes.extend(rows.to_le_bytes());
        bytes.extend(data.to_le_bytes());
        bytes.extend(name.bytes());
        bytes.extend(tag.bytes());
        bytes.resize(bytes.len() + 8 * rows as usize + data as usize, 0);
        bytes
    }

    fn log() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (op, tag, rows, data) in [(2, "", 3000, 96_000), (3, "p1", 2, 0), (5, "", 0, 0)] {
            let next = record(bytes.len() as u64, op, "items", tag, rows, data);
            bytes.extend(next);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<Record>> {
        let mut records = Records::new(View::from_bytes("3.wal", bytes), 3);
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push(record);
        }
        Ok(all)
    }

    #[test]
    fn records_follow_one_another_whatever_their_size() {
        let all = read(log()).unwrap();
        let said: Vec<_> = all.iter().map(|r| (r.op, r.tag.as_str(), r.rows)).collect();
        assert_eq!(
            said,
            [
                (Op::Insert, "", 3000),
                (Op::Delete, "p1", 2),
                (Op::Flush, "", 0)
            ]
        );
        assert_eq!(
            all.last().map(|r| split(r.lsn)),
            Some((3, log().len() as u32))
        );
    }

    #[test]
    fn a_log_cut_anywhere_has_whole_records_or_an_error() {
        let bytes = log();
        let ends: Vec<u64> = read(bytes.clone())
            .unwrap()
            .iter()
            .map(|r| r.lsn & 0xffff_ffff)
            .collect();
        for len in (0..200).chain(bytes.len() - 200..bytes.len()) {
            let whole = len == 0 || ends.contains(&(len as u64));
            assert_eq!(read(bytes[..len].to_vec()).is_ok(), whole, "{len} bytes");
        }
    }

    #[test]
    fn a_flipped_header_bit_is_noticed_or_harmless() {
        for at in 0..HEADER_BYTES as usize {
            for bit in 0..8 {
                let mut bytes = log();
                bytes[at] ^= 1 << bit;
                let rows = read(bytes).map(|all| all.iter().map(|r| u64::from(r.rows)).sum());
                assert!(rows.is_err() || rows.is_ok_and(|n: u64| n == 3002));
            }
        }
    }

    #[test]
    fn the_last_lsn_is_the_third_where_two_agree() {
        let meta = |numbers: [u64; 3]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            last_lsn(View::from_bytes("mxlog.meta", bytes)).unwrap()
        };
        assert_eq!(meta([1750, 1974, 1974]), 1974);
        assert_eq!(meta([1750, 1900, 1974]), 1750);
        assert_eq!(last_lsn(View::from_bytes("m", vec![])).unwrap(), 0);
        assert!(last_lsn(View::from_bytes("m", vec![0; 23])).is_err());
    }
}
