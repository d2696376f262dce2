//! Inverted files: what all of them begin with, and the layouts of before 2018.

use super::header::{Header, bytes_of, expect, header};
use super::index::{Node, node};
use super::lists::Lists;
use crate::error::Result;
use crate::input::Cursor;

/// What every inverted file begins with.
pub(super) struct Head {
    pub header: Header,
    /// How many lists.
    pub lists: u64,
    /// Which rows are the lists' centres.
    pub quantizer: Node,
}

/// Reads it.
///
/// ```text
/// | header | nlist 8 | nprobe 8 | quantizer: a whole index | direct map |
/// ```
pub(super) fn head(c: &mut Cursor, depth: u32) -> Result<Head> {
    let head = head_without_map(c, depth)?;
    direct_map(c)?;
    Ok(head)
}

fn head_without_map(c: &mut Cursor, depth: u32) -> Result<Head> {
    let header = header(c)?;
    let lists = c.u64("nlist")?;
    c.u64("nprobe")?;
    let quantizer = node(c, depth)?;
    Ok(Head {
        header,
        lists,
        quantizer,
    })
}

/// Where each id is: not needed here. A map by hash has an array too, of no entries, before its pairs.
pub(super) fn direct_map(c: &mut Cursor) -> Result<()> {
    let at = c.at();
    let kind = c.u8("direct map")?;
    if kind > 2 {
        return Err(c.corrupt(at, format!("direct map = {kind}, expected 0, 1 or 2")));
    }
    c.vector("direct map", 8)?;
    if kind == 2 {
        c.vector("direct map", 16)?;
    }
    Ok(())
}

/// Ids of the lists of a file from before 2018: they stood before the direct map, the codes at the end.
pub(super) struct OldIds(Vec<Ids>);

struct Ids {
    list: u64,
    rows: u64,
    at: u64,
}

/// Reads what such a file begins with, ids included.
pub(super) fn old_head(c: &mut Cursor, depth: u32) -> Result<(Head, OldIds)> {
    let head = head_without_map(c, depth)?;
    // Each list has a length of 8 bytes, if nothing else.
    c.clone().payload("list lengths", head.lists, 8)?;
    let mut found = Vec::new();
    for list in 0..head.lists {
        let at = c.at();
        let rows = c.vector("list ids", 8)?.len() / 8;
        if rows > 0 {
            found.push(Ids {
                list,
                rows,
                at: at.saturating_add(8),
            });
        }
    }
    direct_map(c)?;
    Ok((head, OldIds(found)))
}

/// Reads the codes of such a file: for each list a length in units of `unit` bytes, and codes.
pub(super) fn old_lists(
    c: &mut Cursor,
    count: u64,
    code_bytes: u64,
    ids: &OldIds,
    unit: u64,
) -> Result<Lists> {
    let mut lists = Lists::new(code_bytes, count);
    let mut wanted = ids.0.iter().peekable();
    for list in 0..count {
        let at = c.at();
        let codes = c.vector("list codes", unit)?;
        let place = wanted.next_if(|ids| ids.list == list);
        let rows = place.map_or(0, |ids| ids.rows);
        let expected = bytes_of(c, at, "rows", rows, code_bytes)?;
        expect(c, at, "bytes of list codes", codes.len(), expected)?;
        lists.push(list, rows, at.saturating_add(8), place.map(|ids| ids.at));
    }
    Ok(lists)
}
