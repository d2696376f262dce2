//! Zip: which members does an archive have, and where are their bytes?
//! Reads the directory at its end, and the short header before a member; unpacks nothing.

use crate::error::{Error, Kind, Result};
use crate::input::{Cursor, View};
use crate::limits;

/// What archives begin with, unless they are empty.
pub const MAGIC: &[u8; 4] = b"PK\x03\x04";

const END: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
/// The end record and the longest comment after it.
const TAIL_BYTES_MAX: u64 = END_BYTES + 0xffff;
const ENTRY: &[u8; 4] = b"PK\x01\x02";
/// Marks a number that is in the extra field for 64-bit numbers instead.
const IN_EXTRA: u64 = 0xffff_ffff;

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// How its bytes are packed.
    pub packing: Packing,
    /// Where they start, from the start of the archive.
    pub at: u64,
    /// Their length in the archive.
    pub len: u64,
    /// Their length unpacked.
    pub unpacked: u64,
    /// The CRC-32 of them unpacked.
    pub crc32: u32,
}

/// How the bytes of a member are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Stored,
    /// By deflate.
    Deflated,
    /// By a method of this number, or encrypted.
    Other(u16),
}

/// The members of an archive, in the order of its directory.
pub fn members(view: &View) -> Result<Vec<Member>> {
    let (count, directory) = directory(view)?;
    if count > limits::ZIP_ENTRIES_MAX {
        let what = format!(
            "{count} members, expected at most {}",
            limits::ZIP_ENTRIES_MAX
        );
        return Err(view.corrupt(directory.start().saturating_sub(view.start()), what));
    }
    let mut cursor = Cursor::new(directory);
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(entry(view, &mut cursor)?);
    }
    Ok(members)
}

/// The number of members, and the bytes that list them.
fn directory(view: &View) -> Result<(u64, View)> {
    // A comment of up to 65,535 bytes may follow, and hold the signature, too: the one whose comment length fits is
    // right.
    let tail_bytes = view.len().min(TAIL_BYTES_MAX);
    let start = view.len().saturating_sub(tail_bytes);
    let tail = view.cut(start, tail_bytes)?.bytes()?;
    let fits = |(_, bytes): &(u64, &[u8])| {
        let comment = bytes
            .get(20..22)
            .map(|len| len.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)));
        let rest = bytes.len().checked_sub(END_BYTES as usize);
        bytes.starts_with(END) && comment.is_some() && comment == rest
    };
    let mut ends = (start..).zip((0..tail.len()).map(|at| tail.get(at..).unwrap_or_default()));
    let Some((at, _)) = ends.find(fits) else {
        let what = "is not a complete zip archive: the directory at its end is missing";
        return Err(view.corrupt(view.len(), what));
    };
    let mut end = Cursor::new(view.cut(at, END_BYTES)?);
    end.array::<4>("signature")?;
    let disks = [end.u16("disk")?, end.u16("disk")?];
    let (_, count) = (
        end.u16("members on this disk")?,
        u64::from(end.u16("members")?),
    );
    let (bytes, first) = (
        u64::from(end.u32("bytes of the directory")?),
        u64::from(end.u32("place of the directory")?),
    );
    let (count, bytes, first) = match wide_end(view, at)? {
        Some(wide) => wide,
        None if disks != [0, 0] => {
            return Err(view.corrupt(at, "the archive is split over several files"));
        }
        None => (count, bytes, first),
    };
    Ok((count, view.cut(first, bytes)?))
}

/// What the end of an archive of more than 4 GiB or 65,535 members declares.
fn wide_end(view: &View, end: u64) -> Result<Option<(u64, u64, u64)>> {
    let Some(at) = end.checked_sub(20) else {
        return Ok(None);
    };
    let mut locator = Cursor::new(view.cut(at, 20)?);
    if locator.array::<4>("locator")? != *b"PK\x06\x07" {
        return Ok(None);
    }
    locator.u32("disk")?;
    let at = locator.u64("place of the directory's end")?;
    let mut wide = Cursor::new(view.cut(at, 56)?);
    if wide.array::<4>("end of the directory")? != *b"PK\x06\x06" {
        return Err(view.corrupt(at, "the directory's end is not where the archive places it"));
    }
    wide.payload("versions and disks", 20, 1)?;
    wide.u64("members on this disk")?;
    let count = wide.u64("members")?;
    let bytes = wide.u64("bytes of the directory")?;
    Ok(Some((count, bytes, wide.u64("place of the directory")?)))
}

fn entry(view: &View, cursor: &mut Cursor) -> Result<Member> {
    let at = cursor.at();
    if cursor.array::<4>("member")? != *ENTRY {
        return Err(cursor.corrupt(
            at,
            "the archive's directory has something other than a member here",
        ));
    }
    cursor.u32("versions")?;
    let (flags, method) = (cursor.u16("flags")?, cursor.u16("method")?);
    cursor.u32("time")?;
    let crc32 = cursor.u32("checksum")?;
    let (mut len, mut unpacked) = (
        u64::from(cursor.u32("length")?),
        u64::from(cursor.u32("length unpacked")?),
    );
    let (name, extra, comment) = (
        cursor.u16("name")?,
        cursor.u16("extra fields")?,
        cursor.u16("comment")?,
    );
    cursor.payload("attributes", 8, 1)?;
    let mut header = u64::from(cursor.u32("place")?);
    let name = cursor.payload("name", name.into(), 1)?.bytes()?;
    let mut extra = Cursor::new(cursor.payload("extra fields", extra.into(), 1)?);
    cursor.payload("comment", comment.into(), 1)?;
    while extra.remaining() >= 4 {
        let (id, bytes) = (extra.u16("extra field")?, extra.u16("extra field")?);
        let mut field = Cursor::new(extra.payload("extra field", bytes.into(), 1)?);
        if id == 1 {
            for number in [&mut unpacked, &mut len, &mut header] {
                if *number == IN_EXTRA {
                    *number = field.u64("64-bit number of a member")?;
                }
            }
        }
    }
    let packing = match (flags & 1, method) {
        (0, 0) => Packing::Stored,
        (0, 8) => Packing::Deflated,
        (_, method) => Packing::Other(method),
    };
    let name = String::from_utf8_lossy(&name).into_owned();
    let at = start(view, header, &name)?;
    view.cut(at, len)?;
    if packing == Packing::Stored && len != unpacked {
        let what = format!(
            "`{name}` has {len} bytes, {unpacked} decompressed, though it is not compressed"
        );
        return Err(cursor.corrupt(cursor.at(), what));
    }
    Ok(Member {
        name,
        packing,
        at,
        len,
        unpacked,
        crc32,
    })
}

/// Where the bytes of a member start: after a header of their own.
fn start(view: &View, header: u64, name: &str) -> Result<u64> {
    let mut cursor = Cursor::new(view.cut(header, view.len().saturating_sub(header))?);
    if cursor.array::<4>("member")? != *MAGIC {
        let what = format!("`{name}` is not where the archive's directory places it");
        return Err(Error::new(Kind::Corrupt, what).at(view.place(header)));
    }
    cursor.payload("fields repeated from the directory", 22, 1)?;
    let (name, extra) = (cursor.u16("name")?, cursor.u16("extra fields")?);
    cursor.payload("name", name.into(), 1)?;
    cursor.payload("extra fields", extra.into(), 1)?;
    Ok(header.saturating_add(cursor.at()))
}
