//! bbolt files: which keys and values are in a bucket? The format of etcd's `member/snap/db`.
//! Reads what the newest valid meta page leads to, and nothing that an older state of the file left behind.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::input::View;
use crate::limits;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Bytes of a page header: page number, flags, count of elements, number of overflow pages.
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// Flag of a leaf element that holds a bucket.
const IS_BUCKET: usize = 1;

/// An open file.
pub struct Bolt {
    view: View,
    bytes: Bytes,
    page: u64,
    root: u64,
    /// The number of the last committed transaction.
    pub transaction: u64,
}

/// Whether a file begins as bbolt files do.
pub fn is_bbolt(view: &View) -> bool {
    let mut head = [0; 4];
    view.read(HEADER as u64, &mut head).is_ok() && u32::from_le_bytes(head) == MAGIC
}

/// The newest valid meta page: page size, root page, transaction number.
fn newest(bytes: &[u8]) -> Option<(u64, u64, u64)> {
    let meta = |at: usize| {
        let meta = bytes.get(at.saturating_add(HEADER)..)?.get(..64)?;
        let (magic, version, page) = (u32_at(meta, 0)?, u32_at(meta, 4)?, u32_at(meta, 8)?);
        let summed = meta.get(..56)?.iter();
        let sum = summed.fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        let is_whole = magic == MAGIC && version == VERSION && u64_at(meta, 56)? == sum;
        (is_whole && page.is_power_of_two() && (512..=1 << 16).contains(&page)).then_some((
            u64::from(page),
            u64_at(meta, 16)?,
            u64_at(meta, 48)?,
        ))
    };
    // The second meta page follows one page later; the first may be damaged.
    let seconds = (9..=16).map(|power| 1usize << power);
    let all = [0].into_iter().chain(seconds).filter_map(meta);
    all.max_by_key(|(_, _, transaction)| *transaction)
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    word(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(u64::from_le_bytes)
}

/// A range of the bytes, if they reach that far.
fn stretch(bytes: &Bytes, start: usize, len: usize) -> Option<Bytes> {
    let end = start.checked_add(len)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// Called with each key and its value, in key order.
pub type Each<'e> = dyn FnMut(Bytes, Bytes) -> Result<()> + 'e;

impl Bolt {
    /// Opens a file.
    pub fn of(view: View) -> Result<Bolt> {
        let bytes = view.bytes()?;
        let Some((page, root, transaction)) = newest(&bytes) else {
            let what = "is not a bbolt file: it has no valid meta page";
            return Err(view.corrupt(0, what));
        };
        Ok(Bolt {
            view,
            bytes,
            page,
            root,
            transaction,
        })
    }

    /// Visits the entries of a bucket; returns whether there is one of this name.
    pub fn bucket(&self, name: &str, each: &mut Each<'_>) -> Result<bool> {
        let mut found = None;
        let mut look = |key: Bytes, value: Bytes| {
            if key == name.as_bytes() {
                found = Some(value);
            }
            Ok(())
        };
        Walk::new(self, true, &mut look).page(self.root, 0)?;
        let Some(value) = found else {
            return Ok(false);
        };
        let root =
            u64_at(&value, 0).zip(stretch(&value, HEADER, value.len().saturating_sub(HEADER)));
        let Some((root, within)) = root else {
            return Err(self.corrupt(&value, format!("bucket {name} is too short")));
        };
        let mut walk = Walk::new(self, false, each);
        match root {
            // A small bucket is stored inline, as the value.
            0 => walk.elements(&within, 0)?,
            root => walk.page(root, 0)?,
        }
        Ok(true)
    }

    /// An error about a part of the file.
    pub fn corrupt(&self, part: &[u8], what: impl Into<String>) -> Error {
        let at = part
            .as_ptr()
            .addr()
            .saturating_sub(self.bytes.as_ptr().addr());
        self.wrong(at as u64, what)
    }

    fn wrong(&self, at: u64, what: impl Into<String>) -> Error {
        self.view.corrupt(at, what).hint(
            "it is damaged, cut short, or was copied while it was written: take `etcdctl snapshot save`, or stop etcd \
             and copy it again",
        )
    }
}

/// A walk through the pages of a bucket.
struct Walk<'b, 'e> {
    bolt: &'b Bolt,
    /// Whether to visit buckets rather than values.
    buckets: bool,
    each: &'b mut Each<'e>,
    /// Pages left to visit: the links in a damaged file can form a cycle.
    left: u64,
    last: Option<Bytes>,
}

impl<'b, 'e> Walk<'b, 'e> {
    fn new(bolt: &'b Bolt, buckets: bool, each: &'b mut Each<'e>) -> Walk<'b, 'e> {
        let pages = (bolt.bytes.len() as u64).checked_div(bolt.page);
        Walk {
            bolt,
            buckets,
            each,
            left: pages.unwrap_or(0),
            last: None,
        }
    }

    /// Visits the elements of a page and of the pages below it.
    fn page(&mut self, number: u64, depth: u32) -> Result<()> {
        let bolt = self.bolt;
        let size = bolt.page;
        let start = number.saturating_mul(size);
        let cut = |pages: u64| {
            let len = usize::try_from(size.saturating_mul(pages)).ok()?;
            stretch(&bolt.bytes, usize::try_from(start).ok()?, len)
        };
        let missing = || {
            let len = bolt.bytes.len();
            bolt.wrong(
                start,
                format!("page {number} is referenced here, but the file has only {len} bytes"),
            )
        };
        let head = cut(1).ok_or_else(missing)?;
        if depth > limits::BBOLT_DEPTH_MAX || self.left == 0 {
            return Err(bolt.corrupt(&head, "the links between pages form a cycle"));
        }
        self.left = self.left.saturating_sub(1);
        if u64_at(&head, 0) != Some(number) {
            return Err(bolt.corrupt(
                &head,
                format!("page {number} carries the number of another page"),
            ));
        }
        let more = u64::from(u32_at(&head, 12).unwrap_or(0));
        let page = cut(more.saturating_add(1)).ok_or_else(missing)?;
        self.elements(&page, depth)
    }

    fn elements(&mut self, page: &Bytes, depth: u32) -> Result<()> {
        let bolt = self.bolt;
        let wrong = |what: &str| bolt.corrupt(page, format!("a page {what}"));
        let (flags, count) = u16_at(page, 8)
            .zip(u16_at(page, 10))
            .ok_or_else(|| wrong("is too short"))?;
        for element in 0..usize::from(count) {
            let short = || wrong(&format!("ends before its element {element} does"));
            let at = HEADER.saturating_add(element.saturating_mul(ELEMENT));
            let words = stretch(page, at, ELEMENT).ok_or_else(short)?;
            let word = |at: usize| u32_at(&words, at).unwrap_or(0) as usize;
            let part = |start: usize, len: usize| stretch(page, at.saturating_add(start), len);
            match flags & (BRANCH | LEAF) {
                BRANCH => {
                    let below = u64_at(&words, 8).ok_or_else(short)?;
                    self.page(below, depth.saturating_add(1))?;
                }
                LEAF => {
                    let (start, len) = (word(4), word(8));
                    let key = part(start, len).ok_or_else(short)?;
                    let value = part(start.saturating_add(len), word(12)).ok_or_else(short)?;
                    if self.last.as_ref().is_some_and(|last| *last >= key) {
                        return Err(wrong("has keys that are not in order"));
                    }
                    self.last = Some(key.clone());
                    if (word(0) & IS_BUCKET != 0) == self.buckets {
                        (self.each)(key, value)?;
                    }
                }
                _ => {
                    return Err(wrong(&format!(
                        "is neither branch nor leaf: flags {flags:#x}"
                    )));
                }
            }
        }
        Ok(())
    }
}
