//! Where rows are stored: runs of codes, with or without ids, in this file or another.

use super::header::{FourCc, bytes_of, expect, unknown};
use crate::error::Result;
use crate::input::{Cursor, View};

/// Rows of a Panorama block, in files from before the number was written.
pub(super) const PANORAMA_BATCH: u64 = 128;

/// Bytes of a long table that are read at a time.
const TABLE_STEP_BYTES: u64 = 1 << 20;

/// Rows that are stored together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The inverted list they belong to; 0 if the index has none.
    pub list: u64,
    /// Rows in the runs before this one.
    pub first: u64,
    /// How many.
    pub rows: u64,
    /// Where their codes begin.
    pub codes: u64,
    /// Where their ids begin, if they have any.
    pub ids: Option<u64>,
}

/// How the codes of a run are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Row after row.
    Rows,
    /// In blocks of `batch` rows, each block level after level: `level_bytes` of every row, then the next.
    /// The last block is as long as the others.
    Levels {
        /// Bytes of a row in each level but the last.
        level_bytes: u64,
        /// Rows in a block.
        batch: u64,
    },
    /// In blocks of `batch` rows, packed for FastScan: see `fast_scan.rs`. The last block is as long as the others.
    Blocks {
        /// Bytes of a row's code: two parts each.
        pairs: u64,
        /// Rows in a block, a multiple of 32.
        batch: u64,
    },
}

/// Which file the offsets of runs refer to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the index file.
    Here,
    /// In another file.
    Elsewhere {
        /// Its name as it was when the index was made.
        name: Vec<u8>,
        /// Its length.
        bytes: u64,
        /// Where the name is in the index file.
        at: u64,
    },
    /// Nowhere: the index was written without its lists.
    Missing,
    /// Here, in blocks of so many rows and bytes for FastScan.
    Packed {
        /// Rows of a block.
        rows: u64,
        /// Bytes of a block.
        bytes: u64,
    },
}

/// All runs of an index, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lists {
    /// Bytes of a row's code.
    pub code_bytes: u64,
    /// Rows in all.
    pub rows: u64,
    /// How many inverted lists there are, empty ones too; 1 where there are none.
    pub count: u64,
    /// Runs that have rows.
    pub runs: Vec<Run>,
    /// How codes are laid out in a run.
    pub layout: Layout,
    /// Where the runs are.
    pub place: Place,
}

impl Lists {
    /// No run yet.
    pub(super) fn new(code_bytes: u64, count: u64) -> Lists {
        Lists {
            code_bytes,
            rows: 0,
            count,
            runs: Vec::new(),
            layout: Layout::Rows,
            place: Place::Here,
        }
    }

    /// One run without ids.
    pub(super) fn one(code_bytes: u64, rows: u64, codes: u64) -> Lists {
        let mut lists = Lists::new(code_bytes, 1);
        lists.push(0, rows, codes, None);
        lists
    }

    /// Adds a run.
    ///
    /// The sum cannot overflow: each row was found to have at least a byte of its own, or 8 for its id.
    pub(super) fn push(&mut self, list: u64, rows: u64, codes: u64, ids: Option<u64>) {
        if rows > 0 {
            self.runs.push(Run {
                list,
                first: self.rows,
                rows,
                codes,
                ids,
            });
            self.rows = self.rows.saturating_add(rows);
        }
    }

    /// The runs' number from the one that holds this row on; past the last, none.
    pub fn run_of(&self, row: u64) -> usize {
        self.runs
            .partition_point(|run| run.first.saturating_add(run.rows) <= row)
    }
}

/// Calls `each` with the 64-bit numbers of a table, without holding it.
fn numbers(table: &View, each: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
    let mut at = 0u64;
    while at < table.len() {
        let len = table.len().saturating_sub(at).min(TABLE_STEP_BYTES);
        let bytes = table.cut(at, len)?.bytes()?;
        for word in bytes.chunks_exact(8) {
            each(
                at,
                u64::from_le_bytes(word.try_into().expect("chunks_exact(8)")),
            )?;
            at = at.saturating_add(8);
        }
    }
    Ok(())
}

/// Reads inverted lists: four characters, how many, the length of a code, then by kind.
///
/// `code_bytes` is the length of a code according to the index, where known.
pub(super) fn lists(c: &mut Cursor, count: u64, code_bytes: Option<u64>) -> Result<Lists> {
    let at = c.at();
    let fourcc = FourCc::read(c, "inverted lists")?;
    if &fourcc.0 == b"il00" {
        let mut lists = Lists::new(code_bytes.unwrap_or(0), count);
        lists.place = Place::Missing;
        return Ok(lists);
    }
    let known = [b"ilar", b"ilod", b"ilpn", b"ilp2", b"ilbl"];
    if !known.contains(&&fourcc.0) {
        return Err(unknown(c, at, fourcc, "a kind of inverted lists"));
    }
    let at = c.at();
    let found = c.u64("lists.nlist")?;
    expect(c, at, "lists.nlist", found, count)?;
    let at = c.at();
    let found = c.u64("lists.code_size")?;
    if let Some(expected) = code_bytes {
        expect(c, at, "lists.code_size", found, expected)?;
    }
    let code_bytes = found;
    match &fourcc.0 {
        b"ilar" => array(c, count, code_bytes),
        b"ilod" => on_disk(c, count, code_bytes),
        b"ilbl" => packed(c, count, code_bytes),
        b"ilp2" => panorama(c, count, code_bytes, true),
        _ => panorama(c, count, code_bytes, false),
    }
}

/// The sizes of lists, those that have rows, in order: a full table, or pairs of list and size.
fn sizes(c: &mut Cursor, count: u64, each: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let at = c.at();
    let kind = FourCc::read(c, "list type")?;
    match &kind.0 {
        b"full" => {
            let at = c.at();
            let table = c.vector("list sizes", 8)?;
            expect(c, at, "list sizes", table.len() / 8, count)?;
            let mut list = 0u64;
            numbers(&table, &mut |_, size| {
                if size > 0 {
                    each(list, size);
                }
                list = list.saturating_add(1);
                Ok(())
            })
        }
        b"sprs" => {
            let at = c.at();
            let table = c.vector("list sizes", 8)?;
            if table.len() % 16 != 0 {
                let found = table.len() / 8;
                return Err(c.corrupt(
                    at,
                    format!("list sizes = {found}, expected pairs of list and size"),
                ));
            }
            let (mut list, mut next) = (None, 0u64);
            numbers(&table, &mut |at, number| {
                let Some(which) = list.take() else {
                    if number < next || number >= count {
                        let what = format!("list {number}, expected {next} to below {count}");
                        return Err(table.corrupt(at, what));
                    }
                    list = Some(number);
                    next = number.saturating_add(1);
                    return Ok(());
                };
                if number > 0 {
                    each(which, number);
                }
                Ok(())
            })
        }
        _ => {
            let what = format!("list type `{kind}`, expected `full` or `sprs`");
            Err(c.corrupt(at, what))
        }
    }
}

/// Codes and ids of each list, one after the other, without padding.
fn array(c: &mut Cursor, count: u64, code_bytes: u64) -> Result<Lists> {
    let mut found = Vec::new();
    sizes(c, count, &mut |list, size| found.push((list, size)))?;
    let mut lists = Lists::new(code_bytes, count);
    lists.runs.reserve_exact(found.len());
    for (list, size) in found {
        let codes = c.at();
        c.payload("list codes", size, code_bytes)?;
        let ids = c.at();
        c.payload("list ids", size, 8)?;
        lists.push(list, size, codes, Some(ids));
    }
    Ok(lists)
}

/// As an array, but codes in whole blocks, and after the ids a table of norms.
fn panorama(c: &mut Cursor, count: u64, code_bytes: u64, with_batch: bool) -> Result<Lists> {
    let at = c.at();
    let levels = c.u64("lists.n_levels")?;
    let batch = if with_batch {
        c.u64("lists.batch_size")?
    } else {
        PANORAMA_BATCH
    };
    let mut lists = Lists::new(code_bytes, count);
    let (layout, _) = levels_of(c, at, code_bytes, levels, batch)?;
    lists.layout = layout;
    let mut found = Vec::new();
    sizes(c, count, &mut |list, size| found.push((list, size)))?;
    for (list, size) in found {
        let slots = slots(c, c.at(), size, batch)?;
        let codes = c.at();
        c.payload("list codes", slots, code_bytes)?;
        let ids = c.at();
        c.payload("list ids", size, 8)?;
        // For all requested levels, even those that no components are left for.
        c.payload("list norms", slots, norms_bytes(levels))?;
        lists.push(list, size, codes, Some(ids));
    }
    Ok(lists)
}

/// Bytes of a row's norms: one for each level, and a last.
pub(super) fn norms_bytes(levels: u64) -> u64 {
    levels.saturating_add(1).saturating_mul(4)
}

/// The layout of rows of f32 in this many levels, and how many levels that really makes.
pub(super) fn levels_of(
    c: &Cursor,
    at: u64,
    code_bytes: u64,
    levels: u64,
    batch: u64,
) -> Result<(Layout, u64)> {
    let dimension = code_bytes / 4;
    if levels == 0 || levels > dimension || batch == 0 {
        let what = format!(
            "{levels} levels of {dimension} dimensions in blocks of {batch} rows: \
             expected 1 to {dimension} levels, and 1 row or more"
        );
        return Err(c.corrupt(at, what));
    }
    let floats = dimension.div_ceil(levels);
    let layout = Layout::Levels {
        level_bytes: floats.saturating_mul(4),
        batch,
    };
    // Faiss drops levels that no components are left for.
    Ok((layout, dimension.div_ceil(floats.max(1))))
}

/// Rows rounded up to whole blocks.
pub(super) fn slots(c: &Cursor, at: u64, rows: u64, batch: u64) -> Result<u64> {
    bytes_of(c, at, "blocks", rows.div_ceil(batch.max(1)), batch)
}

/// Lists in another file: here is a table of where each is.
///
/// ```text
/// each list: codes, capacity x code bytes | ids, capacity x 8      only the first `size` of both count
/// ```
fn on_disk(c: &mut Cursor, count: u64, code_bytes: u64) -> Result<Lists> {
    let at_table = c.at();
    let table = c.vector("lists", 24)?;
    expect(c, at_table, "lists", table.len() / 24, count)?;
    c.vector("free slots", 16)?;
    let at = c.at();
    let name = c.vector("lists' file name", 1)?;
    if name.len() > 65_536 {
        let what = format!("a file name of {} bytes, expected up to 65536", name.len());
        return Err(c.corrupt(at, what));
    }
    let name = name.bytes()?.to_vec();
    let bytes = c.u64("lists' file size")?;
    let mut lists = Lists::new(code_bytes, count);
    let mut extents = Vec::new();
    let (mut list, mut fields) = (0u64, [0u64; 2]);
    numbers(&table, &mut |at, number| {
        match at % 24 {
            0 => fields[0] = number,
            8 => fields[1] = number,
            _ => {
                let [size, capacity] = fields;
                if size > 0 {
                    let ids = capacity
                        .checked_mul(code_bytes)
                        .and_then(|n| n.checked_add(number));
                    let ends = capacity
                        .checked_mul(8)
                        .and_then(|n| n.checked_add(ids?))
                        .filter(|end| *end <= bytes && size <= capacity);
                    let (Some(ids), Some(end)) = (ids, ends) else {
                        let what = format!(
                            "list {list}: {size} rows in {capacity} places at {number}, \
                             in a file of {bytes} bytes"
                        );
                        return Err(table.corrupt(at.saturating_sub(16), what));
                    };
                    extents.push((number, end));
                    lists.push(list, size, number, Some(ids));
                }
                list = list.saturating_add(1);
            }
        }
        Ok(())
    })?;
    // Lists that overlap would let a small file describe any number of rows.
    extents.sort_unstable();
    for pair in extents.windows(2) {
        if let [(_, end), (start, _)] = pair
            && start < end
        {
            let what = format!("two lists share byte {start} of the lists' file");
            return Err(c.corrupt(at_table, what));
        }
    }
    lists.place = Place::Elsewhere { name, bytes, at };
    Ok(lists)
}

/// FastScan's blocks; only the index knows what is in them.
fn packed(c: &mut Cursor, count: u64, code_bytes: u64) -> Result<Lists> {
    let rows = c.u64("lists.n_per_block")?;
    let bytes = c.u64("lists.block_size")?;
    let mut lists = Lists::new(code_bytes, count);
    lists.place = Place::Packed { rows, bytes };
    for list in 0..count {
        let at = c.at();
        let ids = c.vector("list ids", 8)?.len() / 8;
        let codes = c.at();
        let found = c.vector("list codes", 1)?.len();
        let blocks = ids.div_ceil(rows.max(1));
        let expected = bytes_of(c, codes, "blocks", blocks, bytes)?;
        expect(c, codes, "bytes of list codes", found, expected)?;
        let codes = codes.saturating_add(8);
        lists.push(list, ids, codes, Some(at.saturating_add(8)));
    }
    Ok(lists)
}
