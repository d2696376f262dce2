//! Graphs: links between rows, which a migration does not need. Skipped, never kept.

use super::header::expect;
use super::index::Hnsw;
use crate::error::Result;
use crate::input::Cursor;

/// Neighbours are scanned this many at a time: a graph may be larger than memory.
const NEIGHBOURS_AT_ONCE: u64 = 1 << 18;

/// HNSW: five vectors with their lengths, then five numbers. For a billion rows the neighbours alone are
/// hundreds of gigabytes, and none of it is read.
pub(super) fn hnsw(c: &mut Cursor, rows: u64) -> Result<Option<Hnsw>> {
    c.vector("assign_probas", 8)?;
    let sums = c.vector("cum_nneighbor_per_level", 4)?;
    let at = c.at();
    let levels = c.vector("levels", 4)?.len() / 4;
    expect(c, at, "levels", levels, rows)?;
    let at = c.at();
    let offsets = c.vector("offsets", 8)?.len() / 8;
    expect(c, at, "offsets", offsets, rows.saturating_add(1))?;
    c.vector("neighbors", 4)?;
    c.i32("entry_point")?;
    c.i32("max_level")?;
    let candidates = u32::try_from(c.i32("efConstruction")?).ok();
    c.i32("efSearch")?;
    c.i32("upper_beam")?;
    if sums.len() < 8 {
        return Ok(None);
    }
    // The second sum says where the links of the lowest level end: there are twice as many as on the levels above.
    let mut lowest = Cursor::new(sums.cut(4, 4)?);
    let links = u32::try_from(lowest.i32("cum_nneighbor_per_level")? / 2).ok();
    Ok(links
        .zip(candidates)
        .map(|(links, candidates)| Hnsw { links, candidates }))
}

/// NSG: each row's neighbours are a run of numbers that ends with −1, without a length, so they have to be
/// scanned.
pub(super) fn nsg(c: &mut Cursor, rows: u64) -> Result<()> {
    let at = c.at();
    let nodes = c.i32("nsg.ntotal")?;
    let at_width = c.at();
    let width = c.i32("nsg.R")?;
    for field in ["nsg.L", "nsg.C", "nsg.search_L", "nsg.enterpoint"] {
        c.i32(field)?;
    }
    if !c.bool("nsg.is_built")? {
        return Ok(());
    }
    let nodes = u64::try_from(nodes).map_err(|_| c.corrupt(at, "nsg.ntotal is negative"))?;
    expect(c, at, "nsg.ntotal", nodes, rows)?;
    if width <= 0 {
        return Err(c.corrupt(at_width, format!("nsg.R = {width}, expected more than 0")));
    }
    neighbours(c, nodes, u64::from(width.unsigned_abs()))
}

fn neighbours(c: &mut Cursor, nodes: u64, width: u64) -> Result<()> {
    let (mut done, mut run) = (0u64, 0u64);
    while done < nodes {
        let some = (c.remaining() / 4).clamp(1, NEIGHBOURS_AT_ONCE);
        let start = c.at();
        let mut ahead = c.clone();
        let bytes = ahead.payload("neighbours", some, 4)?.bytes()?;
        let mut passed = 0u64;
        for word in bytes.chunks_exact(4) {
            let id = i32::from_le_bytes(word.try_into().expect("chunks_exact(4)"));
            let at = start.saturating_add(passed.saturating_mul(4));
            passed = passed.saturating_add(1);
            if id == -1 {
                (done, run) = (done.saturating_add(1), 0);
                if done == nodes {
                    break;
                }
                continue;
            }
            run = run.saturating_add(1);
            if run > width || u64::try_from(id).map_or(true, |id| id >= nodes) {
                let what = format!(
                    "neighbour {id} of row {done}, expected up to {width} of {nodes} rows, then -1"
                );
                return Err(c.corrupt(at, what));
            }
        }
        c.payload("neighbours", passed, 4)?;
    }
    Ok(())
}

/// NNDescent: nine numbers, a flag, and a graph with its length.
pub(super) fn nndescent(c: &mut Cursor, rows: u64) -> Result<()> {
    let at = c.at();
    let nodes = c.i32("nndescent.ntotal")?;
    for field in [
        "nndescent.d",
        "nndescent.K",
        "nndescent.S",
        "nndescent.R",
        "nndescent.L",
        "nndescent.iter",
        "nndescent.search_L",
        "nndescent.random_seed",
    ] {
        c.i32(field)?;
    }
    if c.bool("nndescent.has_built")? && i64::from(nodes) != i64::try_from(rows).unwrap_or(-1) {
        return Err(c.corrupt(at, format!("nndescent.ntotal = {nodes}, expected {rows}")));
    }
    c.vector("nndescent.final_graph", 4)?;
    Ok(())
}
