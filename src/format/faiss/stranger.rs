//! What is a file that is no index? People name the file beside it, the archive around it, or the page that a download
//! left instead. Looks at the beginning only.

use std::path::Path;

use super::transform;
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::limits;

/// Bytes that are looked at.
const HEAD: u64 = 512;

/// What such a file is, and what to do.
type Words = (&'static str, &'static str);

const UNPACK: &str = "unpack it, and give the index that is in it";
const BUILD: &str = "vectors are not an index: build one of them with faiss, and write_index() it";
const PAGE: &str =
    "a download left it instead of the file: open it to read why, then download again";

/// Beginnings that say what a file is.
const BEGINNINGS: &[(&[u8], Words)] = &[
    (
        b"version https://git-lfs.github.com/spec/",
        (
            "a Git LFS pointer: the file itself was never fetched",
            "fetch it with `git lfs pull`",
        ),
    ),
    (b"\x1f\x8b", ("packed by gzip", UNPACK)),
    (b"\x28\xb5\x2f\xfd", ("packed by zstd", UNPACK)),
    (b"\xfd7zXZ\0", ("packed by xz", UNPACK)),
    (b"BZh", ("packed by bzip2", UNPACK)),
    (b"\x04\x22\x4d\x18", ("packed by lz4", UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", ("a 7-Zip archive", UNPACK)),
    (b"Rar!", ("a RAR archive", UNPACK)),
    (b"\x93NUMPY", ("a NumPy array (.npy)", NUMPY)),
    (
        b"\x89HDF\r\n\x1a\n",
        (
            "an HDF5 file",
            "the source `hdf5` reads it (a classic H2M job does)",
        ),
    ),
    (b"PAR1", ("a Parquet file", BUILD)),
    (b"ARROW1", ("an Arrow file", BUILD)),
    (
        b"SQLite format 3\0",
        (
            "an SQLite database",
            "give the index that stands beside it, if there is one",
        ),
    ),
    (b"%PDF", ("a PDF document", PAGE)),
];

/// What to do with arrays.
const NUMPY: &str = "the source `numpy` reads it";

/// Endings of files of plain rows, and the bytes of a component.
const ROWS: [(&str, u64); 9] = [
    ("fvecs", 4),
    ("ivecs", 4),
    ("bvecs", 1),
    ("fbin", 4),
    ("ibin", 4),
    ("u8bin", 1),
    ("i8bin", 1),
    ("hbin", 2),
    ("f16bin", 2),
];

/// The error that says what a file is which does not begin as an index does; `None` where that is not known.
pub(super) fn named(file: &View) -> Result<Option<Error>> {
    if file.is_empty() {
        let error = file.corrupt(0, "the file is empty: 0 bytes");
        return Ok(Some(error.hint("was the copy or the download finished?")));
    }
    let head = file.cut(0, file.len().min(HEAD))?.bytes()?;
    let (what, hint) = match part(&head) {
        Some(found) => found,
        None => match words(&head, file)? {
            Some((what, hint)) => (what.to_owned(), hint),
            None => return Ok(None),
        },
    };
    let what = format!("is no index of Faiss: it is {what}");
    let error = Error::path(Kind::Unsupported, file.path(), what);
    Ok(Some(error.hint(hint)))
}

fn words(head: &[u8], file: &View) -> Result<Option<Words>> {
    if let Some((_, words)) = BEGINNINGS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(Some(*words));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Some(archive(head, file.path())));
    }
    if let [0x80, 2..=5, ..] = head {
        return Ok(Some((
            "a Python pickle",
            "no code out of a file is run here: load it in Python, and write the index in it with faiss.write_index()",
        )));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Some(("a tar archive", UNPACK)));
    }
    // No more than the name of a kind: an index that was cut short.
    if head.first() == Some(&b'I') && head.len() < 8 {
        return Ok(None);
    }
    if let Some(words) = text(head) {
        return Ok(Some(words));
    }
    if rows(head, file)? {
        return Ok(Some((
            "rows of vectors without an index (fvecs, fbin and the like)",
            "the source `vecs` reads it",
        )));
    }
    if head.iter().all(|byte| *byte == 0) {
        return Ok(Some((
            "zeros from its beginning",
            "a download or copy made room for it and did not fill it: do it again",
        )));
    }
    Ok(None)
}

/// What a ZIP archive holds, by its name and that of its first member.
fn archive(head: &[u8], path: &Path) -> Words {
    let length = head.get(26..28).map_or(0, |two| match two {
        [low, high] => usize::from(u16::from_le_bytes([*low, *high])),
        _ => 0,
    });
    let member = head.get(30..length.saturating_add(30)).unwrap_or_default();
    if member.ends_with(b".npy") || ending(path) == "npz" {
        return ("a NumPy archive (.npz)", NUMPY);
    }
    if member.ends_with(b"/data.pkl") {
        return ("a file of PyTorch", BUILD);
    }
    ("a ZIP archive", UNPACK)
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ending.to_lowercase()
}

/// What a text is, if it is one.
fn text(head: &[u8]) -> Option<Words> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    if valid.contains(|c: char| c.is_control() && !"\t\r\n\x0c".contains(c)) {
        return None;
    }
    let start = valid.trim_start();
    let begins = |word: &str| {
        start
            .get(..word.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(word))
    };
    Some(
        if ["<!doctype html", "<html", "<head", "<body"]
            .iter()
            .any(|w| begins(w))
        {
            ("a web page", PAGE)
        } else if begins("<?xml") || begins("<error") {
            (
                "an XML document, such as stores of objects send instead of a file",
                PAGE,
            )
        } else if start.starts_with(['{', '[']) {
            ("JSON", "give the index that stands beside it")
        } else {
            (
                "text",
                "give the index itself; where it should be one, copy or download it again",
            )
        },
    )
}

/// Whether the lengths in a file are those of rows behind one another.
fn rows(head: &[u8], file: &View) -> Result<bool> {
    let ending = ending(file.path());
    if ROWS.iter().any(|(name, _)| *name == ending) {
        return Ok(true);
    }
    let number = |at: usize| {
        let word = head.get(at..at.saturating_add(4))?;
        Some(u64::from(u32::from_le_bytes(word.try_into().ok()?)))
    };
    let (Some(first), Some(second)) = (number(0), number(4)) else {
        return Ok(false);
    };
    let likely = 1..=limits::DIMENSIONS_MAX;
    for (_, bytes) in ROWS {
        let all = first.saturating_mul(second).saturating_mul(bytes);
        if likely.contains(&second) && first > 0 && file.len() == all.saturating_add(8) {
            return Ok(true);
        }
        let record = first.saturating_mul(bytes).saturating_add(4);
        if !likely.contains(&first) || !file.len().is_multiple_of(record) {
            continue;
        }
        let mut again = [0; 4];
        if file.len() == record {
            return Ok(true);
        }
        file.read(record, &mut again)?;
        if u64::from(u32::from_le_bytes(again)) == first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A part of an index that Faiss writes by itself.
fn part(head: &[u8]) -> Option<(String, &'static str)> {
    let fourcc = head.first_chunk::<4>()?;
    let name = fourcc.escape_ascii();
    if transform::KINDS.contains(&fourcc) {
        return Some((
            format!("a transform alone (`{name}`), without the index it belongs to"),
            "give the index; faiss.IndexPreTransform(transform, index) makes one of both",
        ));
    }
    if [b"ilar", b"ilod", b"ilpn", b"ilp2", b"ilbl", b"il00"].contains(&fourcc) {
        return Some((
            format!("inverted lists alone (`{name}`), without the index they belong to"),
            "give the index; the source's `lists:` says where lists are that lie in a file of their own",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn said(name: &str, bytes: &[u8]) -> String {
        let error = parse(&View::from_bytes(name, bytes.to_vec())).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        format!("{error} {}", error.hint_text().unwrap_or_default())
    }

    fn zip(member: &str) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.resize(26, 0);
        bytes.extend((member.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(member.as_bytes());
        bytes
    }

    fn words(count: usize, first: &[u32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = first.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.resize(count, 0x3f);
        bytes
    }

    #[test]
    fn what_is_no_index_is_named_for_what_it_is() {
        let tar = [&[b'a'; 257][..], b"ustar\x0000"].concat();
        let fvecs = [words(36, &[8]), words(36, &[8])].concat();
        for (name, bytes, what, hint) in [
            (
                "a",
                &b"version https://git-lfs.github.com/spec/v1\noid"[..],
                "Git LFS pointer",
                "git lfs pull",
            ),
            ("a", b"", "is empty", "finished"),
            ("a", b"\x1f\x8b\x08\0rest", "gzip", "unpack"),
            ("a", b"\x28\xb5\x2f\xfdrest", "zstd", "unpack"),
            ("a", b"BZh91AY", "bzip2", "unpack"),
            ("a", &zip("docs/a.txt"), "ZIP", "unpack"),
            ("a", &zip("arr_0.npy"), ".npz", "`numpy`"),
            ("rows.npz", b"PK\x03\x04", ".npz", "`numpy`"),
            ("a", &zip("archive/data.pkl"), "PyTorch", "write_index"),
            ("a", &tar, "tar archive", "unpack"),
            ("a", b"\x80\x04\x95rest", "pickle", "faiss.write_index()"),
            ("a", b"\x80\x02}q", "pickle", "faiss.write_index()"),
            ("a", b"\x93NUMPY\x01\0", ".npy", "`numpy`"),
            ("a", b"\x89HDF\r\n\x1a\n", "HDF5", "`hdf5`"),
            ("a", b"PAR1rest", "Parquet", "faiss"),
            ("a", b"SQLite format 3\0", "SQLite", "beside"),
            (
                "a",
                b"<!DOCTYPE html><html>404</html>",
                "web page",
                "download",
            ),
            ("a", b"\n  <HTML>", "web page", "download"),
            ("a", b"<?xml version='1.0'?><Error/>", "XML", "download"),
            ("a", b"\xef\xbb\xbf{\"a\": 1}", "JSON", "beside"),
            ("a", b"[1, 2]", "JSON", "beside"),
            ("a", b"Not found, says caf\xc3", "text", "index itself"),
            ("a", &fvecs, "rows of vectors", "`vecs`"),
            ("a", &words(4 + 96, &[96]), "rows of vectors", "`vecs`"),
            (
                "a",
                &words(8 + 50 * 8 * 4, &[50, 8]),
                "rows of vectors",
                "`vecs`",
            ),
            (
                "a",
                &words(8 + 50 * 7, &[50, 7]),
                "rows of vectors",
                "`vecs`",
            ),
            (
                "base.fbin",
                &words(8, &[50, 8]),
                "rows of vectors",
                "`vecs`",
            ),
            ("a", &[0; 600], "zeros", "again"),
            (
                "a",
                b"PcamXXXX",
                "a transform alone (`Pcam`)",
                "IndexPreTransform",
            ),
            (
                "a",
                b"rrot\0\0\0\0",
                "a transform alone (`rrot`)",
                "IndexPreTransform",
            ),
            (
                "a",
                b"ilar\x04\0\0\0\0\0\0\0",
                "inverted lists alone",
                "lists:",
            ),
        ] {
            let said = said(name, bytes);
            assert!(
                said.contains(what) && said.contains(hint),
                "{said}, expected {what} ({hint})"
            );
        }
    }

    #[test]
    fn what_begins_as_an_index_stays_one() {
        for (bytes, what) in [
            (&b"IxF2"[..], "d needs 4 bytes, 0 remain"),
            (b"IxZZ\x01\0\0\0", "`IxZZ` is not a kind of index"),
            (b"\x01\x02\x03\x04\x05\x06", "expected the four characters"),
            (b"\xff", "fourcc needs 4 bytes"),
        ] {
            let said = said("a", bytes);
            assert!(said.contains(what), "{said}");
        }
    }
}
