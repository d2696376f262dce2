//! Indexes of bits.

use super::graph;
use super::header::{FourCc, Header, binary_header, bytes_of, expect, unknown};
use super::index::{Body, Node, Stored, agree, deeper, id_map, node as float_node};
use super::ivf::direct_map;
use super::lists::{Lists, lists};
use super::quantizer::Codec;
use crate::error::Result;
use crate::input::{Cursor, View};

/// Reads an index of bits.
pub(super) fn node(c: &mut Cursor, depth: u32) -> Result<Node> {
    let depth = deeper(c, depth)?;
    let at = c.at();
    let fourcc = FourCc::read(c, "fourcc")?;
    if !fourcc.0.starts_with(b"IB") {
        return Err(unknown(c, at, fourcc, "a kind of index of bits"));
    }
    let known = [
        b"IBxF", b"IBwF", b"IBFf", b"IBHf", b"IBHc", b"IBMp", b"IBM2", b"IBHh", b"IBHm",
    ];
    if !known.contains(&&fourcc.0) {
        return Err(unknown(c, at, fourcc, "a kind of index of bits"));
    }
    let header = binary_header(c, fourcc)?;
    let width = u64::from(header.dimension / 8);
    let (class, body) = match &fourcc.0 {
        b"IBxF" => {
            let at = c.at();
            let expected = bytes_of(c, at, "rows", header.rows, width)?;
            let rows = c.vector("codes", 1)?;
            expect(c, at, "bytes of codes", rows.len(), expected)?;
            let lists = Lists::one(width, header.rows, at.saturating_add(8));
            (
                "flat bits (IndexBinaryFlat)",
                Stored::body(Codec::Bits, lists),
            )
        }
        b"IBwF" => {
            let count = c.u64("nlist")?;
            c.u64("nprobe")?;
            let quantizer = node(c, depth)?;
            direct_map(c)?;
            let found = lists(c, count, Some(width))?;
            let body = Stored::over(Codec::Bits, found, quantizer);
            ("inverted file of bits (IndexBinaryIVF)", body)
        }
        b"IBFf" => {
            let inner = float_node(c, depth)?;
            if !matches!(inner.body, Body::Missing) {
                let (found, expected) = (u64::from(inner.dimension), u64::from(header.dimension));
                expect(c, inner.at, "d of the index inside", found, expected)?;
            }
            let body = Body::FromFloat(Box::new(inner));
            ("bits in an index of floats (IndexBinaryFromFloat)", body)
        }
        b"IBHf" | b"IBHc" => {
            if &fourcc.0 == b"IBHc" {
                c.bool("keep_max_size_level0")?;
                c.bool("base_level_only")?;
                c.i32("num_base_level_search_entrypoints")?;
            }
            let hnsw = graph::hnsw(c, header.rows)?;
            let storage = node_or_null(c, depth)?;
            agree(c, &header, &storage)?;
            let storage = Box::new(storage);
            let body = Body::Graph { storage, hnsw };
            ("graph of neighbours over bits (IndexBinaryHNSW)", body)
        }
        b"IBMp" | b"IBM2" => {
            let inner = node(c, depth)?;
            let body = id_map(c, &header, inner)?;
            ("bits with ids of their own (IndexBinaryIDMap)", body)
        }
        b"IBHh" => {
            let body = Stored::body(Codec::Bits, buckets(c, &header)?);
            ("bits by hash (IndexBinaryHash)", body)
        }
        _ => {
            let storage = node(c, depth)?;
            agree(c, &header, &storage)?;
            multi_hash(c)?;
            let storage = Box::new(storage);
            let hnsw = None;
            let body = Body::Graph { storage, hnsw };
            ("bits by several hashes (IndexBinaryMultiHash)", body)
        }
    };
    let mut made = Node::new(fourcc, class, at, header, body);
    made.binary = true;
    Ok(made)
}

fn node_or_null(c: &mut Cursor, depth: u32) -> Result<Node> {
    let fourcc = FourCc::read(&mut c.clone(), "fourcc")?;
    if &fourcc.0 == b"null" {
        return float_node(c, depth);
    }
    node(c, depth)
}

/// Buckets: a table of bits with each bucket's hash and size, then for each its ids and its rows.
fn buckets(c: &mut Cursor, header: &Header) -> Result<Lists> {
    let at = c.at();
    let hash_bits = c.i32("hash.b")?;
    c.i32("hash.nflip")?;
    // Each bucket takes at least two lengths of 8 bytes.
    let count = c.count("hash.buckets", 16)?;
    let size_bits = c.i32("hash.size_bits")?;
    let bits = |n: i32, least: i32| {
        u64::try_from(n)
            .ok()
            .filter(|n| n <= &64 && n >= &least.unsigned_abs().into())
    };
    let (Some(hash_bits), Some(size_bits)) = (bits(hash_bits, 1), bits(size_bits, 0)) else {
        let what = format!("{hash_bits} and {size_bits} bits of hash and size, expected up to 64");
        return Err(c.corrupt(at, what));
    };
    let at = c.at();
    let table = c.vector("hash.table", 1)?;
    let entry = hash_bits.saturating_add(size_bits);
    let needed = bytes_of(c, at, "bits", count, entry)?.div_ceil(8);
    if table.len() < needed {
        let what = format!("{} bytes for {count} buckets of {entry} bits", table.len());
        return Err(c.corrupt(at, what));
    }
    let width = u64::from(header.dimension / 8);
    let mut lists = Lists::new(width, count);
    for bucket in 0..count {
        let at = c.at();
        let ids = c.vector("bucket ids", 8)?.len() / 8;
        let place = bucket.saturating_mul(entry).saturating_add(hash_bits);
        expect(
            c,
            at,
            "ids of the bucket",
            ids,
            bits_at(&table, place, size_bits)?,
        )?;
        let at_rows = c.at();
        let rows = c.vector("bucket rows", 1)?;
        let expected = bytes_of(c, at_rows, "rows", ids, width)?;
        expect(c, at_rows, "bytes of the bucket", rows.len(), expected)?;
        lists.push(
            bucket,
            ids,
            at_rows.saturating_add(8),
            Some(at.saturating_add(8)),
        );
    }
    Ok(lists)
}

/// Up to 64 bits of a table, counted from the lowest bit of its first byte.
fn bits_at(table: &View, first: u64, bits: u64) -> Result<u64> {
    let mut room = [0u8; 16];
    let from = first / 8;
    let len = table.len().saturating_sub(from).min(16);
    let piece = table.cut(from, len)?.bytes()?;
    for (to, byte) in room.iter_mut().zip(piece.iter()) {
        *to = *byte;
    }
    let all = u128::from_le_bytes(room) >> (first % 8);
    let mask = (1u128 << bits).wrapping_sub(1);
    Ok(u64::try_from(all & mask).unwrap_or(u64::MAX))
}

/// Hash tables over rows that are stored elsewhere; not needed here.
fn multi_hash(c: &mut Cursor) -> Result<()> {
    c.i32("hash.b")?;
    let at = c.at();
    let maps = c.i32("hash.nhash")?;
    c.i32("hash.nflip")?;
    let maps = u64::try_from(maps)
        .map_err(|_| c.corrupt(at, format!("hash.nhash = {maps}, expected 0 or more")))?;
    // Each has two numbers and a length.
    c.clone().payload("hash tables", maps, 20)?;
    for _ in 0..maps {
        c.i32("hash.id_bits")?;
        c.u64("hash.buckets")?;
        c.vector("hash.table", 1)?;
    }
    Ok(())
}
