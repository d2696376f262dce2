//! Where are the chunks of a dataset? A walk over the file's own index, which the library would walk again
//! for each chunk asked for (measured: quadratic over a file).
//! Pure: bytes in, addresses out. Knows version 1 B-trees, which all files except those for the newest readers have;
//! anything else is left to the library.
//!
//! ```text
//! superblock    | \x89HDF\r\n\x1a\n 8 | version 1 | … | offset size | length size | …
//! header v1     | 1 | 0 | messages 2 | references 4 | bytes 4 | – 4 | { type 2 | bytes 2 | flags 1 | – 3 | data }…
//! header v2     | OHDR | 2 | flags 1 | … | bytes 1–8 | { type 1 | bytes 2 | flags 1 | [order 2] | data }… | sum 4 |
//! layout (8)    | version 3 | class 2 | dimensions+1 1 | B-tree 8 | extents 4 each |
//! B-tree node   | TREE | 1 | level 1 | entries 2 | left 8 | right 8 | { key | child 8 }… | key |
//! key           | chunk's bytes 4 | mask 4 | offsets 8 each, dimensions+1 |
//! ```

use std::collections::VecDeque;

use super::raw::Chunk;
use crate::error::Result;
use crate::input::{Cursor, View};

const CONTINUATION: u16 = 0x10;
const LAYOUT: u16 = 0x08;
/// Blocks of one object header; real ones have a few.
const BLOCKS_MAX: usize = 64;
/// Nodes of a B-tree for each chunk it holds: they are at least half full.
const NODES_EACH: usize = 2;

/// A chunk and its first element in each dimension.
pub type Found = (Vec<u64>, Chunk);

/// All chunks of the dataset whose object header is at `header`, in no particular order; `None` if the file
/// keeps them in an unknown way, or contradicts itself.
///
/// `base` is where the superblock begins; `rank` is the number of dimensions; `chunks` the most there may be.
pub fn chunks(file: &View, base: u64, header: u64, rank: usize, chunks: u64) -> Option<Vec<Found>> {
    let walk = Walk {
        file: file.cut(base, file.len().checked_sub(base)?).ok()?,
        base,
        rank,
    };
    // The library reports a field that lies outside the file.
    walk.sizes_are_8().ok()??;
    let root = walk.tree(header).ok()??;
    match root {
        // Nothing was ever written.
        u64::MAX => Some(Vec::new()),
        root => walk.leaves(root, chunks).ok()?,
    }
}

struct Walk {
    file: View,
    base: u64,
    rank: usize,
}

type Maybe<T> = Result<Option<T>>;

impl Walk {
    fn at(&self, address: u64) -> Result<Cursor> {
        let len = self.file.len().saturating_sub(address);
        Ok(Cursor::new(self.file.cut(address, len)?))
    }

    /// Whether addresses and lengths have 8 bytes, as in all but exotic files.
    fn sizes_are_8(&self) -> Maybe<()> {
        let mut start = self.at(0)?;
        if start.u64("signature")?.to_le_bytes() != *b"\x89HDF\r\n\x1a\n" {
            return Ok(None);
        }
        let skip = match start.u8("version")? {
            // Versions of free space, root group and shared headers, and a reserved byte.
            0 | 1 => 4,
            2 | 3 => 0,
            _ => return Ok(None),
        };
        for _ in 0..skip {
            start.u8("versions")?;
        }
        let sizes = (start.u8("offset size")?, start.u8("length size")?);
        Ok((sizes == (8, 8)).then_some(()))
    }

    /// The root of the B-tree that a dataset's layout message names.
    fn tree(&self, header: u64) -> Maybe<u64> {
        let mut start = self.at(header)?;
        let first = start.u32("header")?;
        let (mut blocks, two, order) = if first.to_le_bytes() == *b"OHDR" {
            let (_version, flags) = (start.u8("version")?, start.u8("flags")?);
            let mut before = 6;
            for (bit, bytes) in [(0x20, 16), (0x10, 4)] {
                if flags & bit != 0 {
                    (0..bytes).try_for_each(|_| start.u8("header").map(|_| ()))?;
                    before += bytes;
                }
            }
            let bytes = match flags & 3 {
                0 => u64::from(start.u8("size")?),
                1 => u64::from(start.u16("size")?),
                2 => u64::from(start.u32("size")?),
                _ => start.u64("size")?,
            };
            before += 1 << (flags & 3);
            let blocks = VecDeque::from([(header.saturating_add(before), bytes)]);
            (blocks, true, flags & 4 != 0)
        } else if first & 0xff == 1 {
            let _references = start.u32("references")?;
            let bytes = u64::from(start.u32("size")?);
            let blocks = VecDeque::from([(header.saturating_add(16), bytes)]);
            (blocks, false, false)
        } else {
            return Ok(None);
        };
        let mut seen = 0;
        while let Some((at, bytes)) = blocks.pop_front() {
            seen += 1;
            if seen > BLOCKS_MAX {
                return Ok(None);
            }
            let mut cursor = Cursor::new(self.file.cut(at, bytes)?);
            let head = match (two, order) {
                (false, _) => 8,
                (true, false) => 4,
                (true, true) => 6,
            };
            let mut left = bytes;
            while left >= head {
                let (kind, len) = if two {
                    let kind = u16::from(cursor.u8("message")?);
                    (kind, u64::from(cursor.u16("length")?))
                } else {
                    (cursor.u16("message")?, u64::from(cursor.u16("length")?))
                };
                for _ in 0..head - if two { 3 } else { 4 } {
                    cursor.u8("flags")?;
                }
                left -= head;
                if len > left {
                    // A gap at the end of a block, or garbage.
                    break;
                }
                left -= len;
                let mut data = Cursor::new(cursor.payload("message", len, 1)?);
                match kind {
                    LAYOUT => return self.layout(data),
                    CONTINUATION => {
                        let (at, bytes) = (data.u64("continuation")?, data.u64("length")?);
                        blocks.push_back(match two {
                            false => (at, bytes),
                            // Past the signature OCHK, before the checksum.
                            true => (at.saturating_add(4), bytes.saturating_sub(8)),
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    fn layout(&self, mut data: Cursor) -> Maybe<u64> {
        let (version, class) = (data.u8("layout version")?, data.u8("layout class")?);
        let dimensions = data.u8("dimensions")?;
        let known = version == 3 && class == 2 && usize::from(dimensions) == self.rank + 1;
        let root = data.u64("B-tree")?;
        Ok(known.then_some(root))
    }

    fn leaves(&self, root: u64, chunks: u64) -> Maybe<Vec<Found>> {
        let nodes_max = (chunks as usize).saturating_mul(NODES_EACH).max(8);
        let mut found = Vec::new();
        let mut nodes = vec![(root, None::<u8>)];
        let mut seen = 0usize;
        while let Some((address, parent)) = nodes.pop() {
            seen += 1;
            if seen > nodes_max {
                return Ok(None);
            }
            let mut head = self.at(address)?;
            let signature = head.u32("node")?.to_le_bytes();
            let (kind, level) = (head.u8("node type")?, head.u8("level")?);
            let entries = head.u16("entries")?;
            let deeper = parent.is_none_or(|p| level < p);
            if signature != *b"TREE" || kind != 1 || !deeper {
                return Ok(None);
            }
            let _siblings = (head.u64("left")?, head.u64("right")?);
            // A node is read in one go: if the file is not mapped, each field would cost a call.
            let entry = 8 + 8 * (self.rank as u64 + 1) + 8;
            let body = head.payload("entries", u64::from(entries), entry)?;
            let mut node = Cursor::new(View::from_bytes("index", body.bytes()?));
            for _ in 0..entries {
                let (bytes, mask) = (node.u32("chunk length")?, node.u32("mask")?);
                let mut offset = Vec::with_capacity(self.rank);
                for _ in 0..self.rank {
                    offset.push(node.u64("offset")?);
                }
                let _element = node.u64("offset in element")?;
                let child = node.u64("child")?;
                if level > 0 {
                    nodes.push((child, Some(level)));
                    continue;
                }
                if found.len() as u64 == chunks {
                    return Ok(None);
                }
                let chunk = Chunk {
                    at: child.saturating_add(self.base),
                    bytes: u64::from(bytes),
                    mask,
                };
                found.push((offset, chunk));
            }
        }
        Ok(Some(found))
    }
}
