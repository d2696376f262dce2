//! Inverted files: what all of them begin with, and the layouts of before 2018.

use std::sync::Arc;

use super::header::{FourCc, Header, bytes_of, expect, header};
use super::index::{Body, Node, Stored, float_bytes, node};
use super::lists::{Layout, Lists, lists};
use super::quantizer::{self, Codec};
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

/// Skips the map of where each id is. A map by hash has an array too, an empty one, before its pairs.
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

/// Ids of the lists of a file from before 2018: they come before the direct map, the codes at the end.
pub(super) struct OldIds(Vec<Ids>);

struct Ids {
    list: u64,
    rows: u64,
    at: u64,
}

/// Reads what such a file begins with, ids included.
pub(super) fn old_head(c: &mut Cursor, depth: u32) -> Result<(Head, OldIds)> {
    let head = head_without_map(c, depth)?;
    // Each list takes at least a length of 8 bytes.
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

pub(super) fn flat(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    if matches!(&fourcc.0, b"IvFL" | b"IvFl") {
        let (head, ids) = old_head(c, depth)?;
        let unit = if &fourcc.0 == b"IvFL" { 1 } else { 4 };
        let code_bytes = float_bytes(&head.header);
        let lists = old_lists(c, head.lists, code_bytes, &ids, unit)?;
        let body = Stored::over(Codec::Float, lists, head.quantizer);
        let class = "inverted file of vectors, written before 2018 (IndexIVFFlat)";
        return Ok(Node::new(fourcc, class, at, head.header, body));
    }
    let head = head(c, depth)?;
    let code_bytes = float_bytes(&head.header);
    let mut duplicates = None;
    let class = match &fourcc.0 {
        b"IwFd" => {
            let at = c.at();
            let table = c.vector("duplicates", 8)?;
            if table.len() % 16 != 0 {
                let found = table.len() / 8;
                return Err(c.corrupt(at, format!("duplicates = {found}, expected pairs of ids")));
            }
            duplicates = Some(table);
            "inverted file of distinct vectors (IndexIVFFlatDedup)"
        }
        b"IwPn" | b"IwP2" => {
            c.u64("n_levels")?;
            if &fourcc.0 == b"IwP2" {
                c.u64("batch_size")?;
            }
            "inverted file of vectors by levels (IndexIVFFlatPanorama)"
        }
        _ => "inverted file of vectors (IndexIVFFlat)",
    };
    let at_lists = c.at();
    let found = lists(c, head.lists, Some(code_bytes))?;
    let by_levels = matches!(found.layout, Layout::Levels { .. });
    if by_levels && !fourcc.0.starts_with(b"IwP") {
        return Err(c.corrupt(at_lists, "lists by levels in an index that has none"));
    }
    let mut stored = Stored::new(Codec::Float, found);
    stored.quantizer = Some(head.quantizer);
    stored.duplicates = duplicates;
    let body = Body::Rows(Arc::new(stored));
    Ok(Node::new(fourcc, class, at, head.header, body))
}

pub(super) fn scalar(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let old = &fourcc.0 == b"IvSQ";
    let (head, ids) = if old {
        let (head, ids) = old_head(c, depth)?;
        (head, Some(ids))
    } else {
        (head(c, depth)?, None)
    };
    let scalar = quantizer::scalar(c, &head.header)?;
    let at_size = c.at();
    let code_bytes = c.u64("code_size")?;
    expect(c, at_size, "code_size", code_bytes, scalar.code_bytes)?;
    // Files from before the flag always meant residuals.
    let by_residual = match &fourcc.0 {
        b"IwSq" => c.bool("by_residual")?,
        _ => true,
    };
    let found = match ids {
        Some(ids) => old_lists(c, head.lists, code_bytes, &ids, 1)?,
        None => lists(c, head.lists, Some(code_bytes))?,
    };
    let mut stored = Stored::new(Codec::Scalar(scalar), found);
    stored.quantizer = Some(head.quantizer);
    stored.by_residual = by_residual;
    let body = Body::Rows(Arc::new(stored));
    let class = "inverted file of scalar quantizer codes (IndexIVFScalarQuantizer)";
    Ok(Node::new(fourcc, class, at, head.header, body))
}

pub(super) fn product(c: &mut Cursor, fourcc: FourCc, at: u64, depth: u32) -> Result<Node> {
    let (head, ids) = if fourcc.0.starts_with(b"Iv") {
        let (head, ids) = old_head(c, depth)?;
        (head, Some(ids))
    } else {
        (head(c, depth)?, None)
    };
    let by_residual = c.bool("by_residual")?;
    let at_size = c.at();
    let code_bytes = c.u64("code_size")?;
    let pq = quantizer::product(c, head.header.dimension)?;
    expect(c, at_size, "code_size", code_bytes, pq.code_bytes())?;
    let found = match ids {
        Some(ids) => old_lists(c, head.lists, code_bytes, &ids, 1)?,
        None => lists(c, head.lists, Some(code_bytes))?,
    };
    let mut stored = Stored::new(Codec::Product(pq), found);
    let mut class = "inverted file of product quantizer codes (IndexIVFPQ)";
    if fourcc.0.ends_with(b"QR") {
        class = "inverted file of product quantizer codes, refined (IndexIVFPQR)";
        if head.header.trained {
            let second = quantizer::product(c, head.header.dimension)?;
            let codes = c.vector("refine codes", 1)?;
            c.f32("k_factor")?;
            stored.second = Some((second, codes));
        }
    }
    stored.quantizer = Some(head.quantizer);
    stored.by_residual = by_residual;
    let body = Body::Rows(Arc::new(stored));
    Ok(Node::new(fourcc, class, at, head.header, body))
}
