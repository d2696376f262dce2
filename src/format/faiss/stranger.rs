//! What is a file that is not an index? A part that Faiss can write separately, or a file of another kind.

use super::transform;
use crate::error::{Error, Kind, Result};
use crate::format::known;
use crate::input::View;

/// The error that names what a file is if it does not begin as an index does; `None` if that is unknown.
pub(super) fn named(file: &View) -> Result<Option<Error>> {
    let head = file.cut(0, file.len().min(4))?.bytes()?;
    let Some((what, hint)) = part(&head) else {
        return known::named(file, "a Faiss index", "faiss");
    };
    let what = format!("is not a Faiss index: it is {what}");
    let error = Error::path(Kind::Unsupported, file.path(), what);
    Ok(Some(error.hint(hint)))
}

/// Whether a file begins as Faiss begins an index, or a part of one.
pub fn begins(file: &View) -> Result<bool> {
    let head = file.cut(0, file.len().min(4))?.bytes()?;
    if part(&head).is_some() {
        return Ok(true);
    }
    Ok(head.first() == Some(&b'I') && known::named(file, "", "faiss")?.is_none())
}

/// A part of an index that Faiss can write separately.
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
            "give the index; if its lists are in a file of their own, name that file in the source's `lists:`",
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
            ("a", &zip("archive/data.pkl"), "PyTorch", ".npy"),
            ("a", &tar, "tar archive", "unpack"),
            ("a", b"\x80\x04\x95rest", "pickle", "faiss.write_index()"),
            ("a", b"\x80\x02}q", "pickle", "faiss.write_index()"),
            ("a", b"\x93NUMPY\x01\0", ".npy", "`numpy`"),
            ("a", b"\x89HDF\r\n\x1a\n", "HDF5", "`hdf5`"),
            ("a", b"PAR1rest", "Parquet", "`parquet`"),
            ("a", b"SQLite format 3\0", "SQLite", "`milvus_lite`"),
            (
                "a",
                b"<!DOCTYPE html><html>404</html>",
                "web page",
                "download",
            ),
            ("a", b"\n  <HTML>", "web page", "download"),
            ("a", b"<?xml version='1.0'?><Error/>", "XML", "download"),
            ("a", b"\xef\xbb\xbf{\"a\": 1}", "JSON", "next to it"),
            ("a", b"[1, 2]", "JSON", "next to it"),
            ("a", b"Not found, says caf\xc3", "text", "file itself"),
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
