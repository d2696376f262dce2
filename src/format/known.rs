//! What is a file that a source did not expect? People name the wrong file of several, the archive around it, or the
//! error page that a download left instead. Looks at the beginning only.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::limits;

/// Bytes at the beginning that are examined.
const HEAD: u64 = 512;

/// A kind of file that is known by its beginning.
#[derive(Clone, Copy)]
struct Known {
    what: &'static str,
    /// The source that reads it, if one does.
    source: &'static str,
    /// What to do if none does.
    todo: &'static str,
}

const fn read_by(source: &'static str, what: &'static str) -> Known {
    let todo = "";
    Known { what, source, todo }
}

const fn other(what: &'static str, todo: &'static str) -> Known {
    let source = "";
    Known { what, source, todo }
}

const UNPACK: &str = "unpack it, and give the file that is in it";
const SAVE: &str = "no source reads it: save its vectors as HDF5, Parquet or .npy first";
const PAGE: &str =
    "a download left it instead of the file: open it to read why, then download again";
const NAME: &str = "it holds no vectors: give the file that does";
const BESIDE: &str = "give the file of vectors next to it, if there is one";

/// Beginnings that say what a file is.
const BEGINNINGS: &[(&[u8], Known)] = &[
    (
        b"version https://git-lfs.github.com/spec/",
        other(
            "a Git LFS pointer: the file itself was never fetched",
            "fetch it with `git lfs pull`",
        ),
    ),
    (b"\x1f\x8b", other("compressed with gzip", UNPACK)),
    (b"\x28\xb5\x2f\xfd", other("compressed with zstd", UNPACK)),
    (b"\xfd7zXZ\0", other("compressed with xz", UNPACK)),
    (b"BZh", other("compressed with bzip2", UNPACK)),
    (b"\x04\x22\x4d\x18", other("compressed with lz4", UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", other("a 7-Zip archive", UNPACK)),
    (b"Rar!", other("a RAR archive", UNPACK)),
    (b"\x93NUMPY", read_by("numpy", "a NumPy array (.npy)")),
    (b"\x89HDF\r\n\x1a\n", read_by("hdf5", "an HDF5 file")),
    (b"PAR1", read_by("parquet", "a Parquet file")),
    (b"ARROW1", other("an Arrow file", SAVE)),
    (b"FEA1", other("a Feather file", SAVE)),
    (b"ORC", other("an ORC file", SAVE)),
    (b"Obj\x01", other("an Avro file", SAVE)),
    (b"GGUF", other("a model in GGUF", SAVE)),
    (b"CDF\x01", other("a netCDF file from before HDF5", SAVE)),
    (b"CDF\x02", other("a netCDF file from before HDF5", SAVE)),
    (
        b"\x0e\x03\x13\x01",
        other("an HDF4 file", "`h4toh5convert` converts it to HDF5"),
    ),
    (
        b"MATLAB 5.0 MAT-file",
        other(
            "a MATLAB file from before version 7.3",
            "`save(…, '-v7.3')` in MATLAB writes HDF5, which the source `hdf5` reads",
        ),
    ),
    (
        b"SQLite format 3\0",
        other(
            "a SQLite database",
            "the source `milvus_lite` reads files of Milvus Lite 2.x, the source `chroma` directories with a \
             chroma.sqlite3",
        ),
    ),
    (b"%PDF", other("a PDF document", PAGE)),
    (b"\x89PNG\r\n\x1a\n", other("a PNG image", NAME)),
    (b"\xff\xd8\xff", other("a JPEG image", NAME)),
    (b"GIF8", other("a GIF image", NAME)),
    (b"RIFF", other("an image, audio or video file (RIFF)", NAME)),
    (
        b"\x7fELF",
        other("a program or library of Linux (ELF)", NAME),
    ),
    (b"MZ", other("a program or library of Windows", NAME)),
];

/// Extensions of files of plain rows, and the bytes of a component.
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

/// The error that names what a file is, if it does not begin as the `wanted` kind that the source of this name takes;
/// `None` if that is unknown.
pub fn named(file: &View, wanted: &str, source: &str) -> Result<Option<Error>> {
    if file.is_empty() {
        let error = file.corrupt(0, "the file is empty: 0 bytes");
        return Ok(Some(error.hint("was the copy or the download finished?")));
    }
    let head = file.cut(0, file.len().min(HEAD))?.bytes()?;
    let is_own = |known: &Known| !source.is_empty() && known.source == source;
    let known = known(&head, file)?.filter(|known| !is_own(known));
    Ok(known.map(|known| {
        let what = format!("is not {wanted}: it is {}", known.what);
        let error = Error::path(Kind::Unsupported, file.path(), what);
        error.hint(match known.source {
            "" => known.todo.to_owned(),
            source => format!("the source `{source}` reads it"),
        })
    }))
}

fn known(head: &[u8], file: &View) -> Result<Option<Known>> {
    if let Some((_, known)) = BEGINNINGS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(Some(*known));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Some(archive(head, file.path())));
    }
    if let [0x80, 2..=5, ..] = head {
        return Ok(Some(other(
            "a Python pickle",
            "this program runs no code from files: load it in Python, then write the index with faiss.write_index(), or the \
             array with numpy.save()",
        )));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Some(other("a tar archive", UNPACK)));
    }
    if head.get(8..12) == Some(b"DUCK") {
        let todo = "`COPY … TO 'x.parquet'` in DuckDB writes what the source `parquet` reads";
        return Ok(Some(other("a DuckDB database", todo)));
    }
    // No more than the name of a kind: an index that was cut short.
    if head.first() == Some(&b'I') && head.len() < 8 {
        return Ok(None);
    }
    if is_safetensors(head, file) {
        return Ok(Some(other(
            "a safetensors file",
            "load it in Python with safetensors.numpy.load_file(), and save its array with numpy.save(): the source \
             `numpy` reads that",
        )));
    }
    if is_hnswlib(head) {
        return Ok(Some(other(
            "an index of hnswlib, judging by its beginning",
            "load it in Python with hnswlib, and save what get_items() and get_ids_list() give with numpy.save(): the \
             source `numpy` reads that",
        )));
    }
    if is_faiss(head) {
        return Ok(Some(read_by("faiss", "a Faiss index")));
    }
    if let Some(known) = text(head) {
        return Ok(Some(known));
    }
    if rows(head, file)? {
        return Ok(Some(read_by(
            "vecs",
            "rows of vectors without an index (fvecs, fbin and the like)",
        )));
    }
    if head.iter().all(|byte| *byte == 0) {
        return Ok(Some(other(
            "all zeros at its beginning",
            "a download or copy reserved space for it but did not fill it: do it again",
        )));
    }
    Ok(None)
}

/// What a ZIP archive is, judging by its name and that of its first member.
fn archive(head: &[u8], path: &Path) -> Known {
    let length = head.get(26..28).map_or(0, |two| match two {
        [low, high] => usize::from(u16::from_le_bytes([*low, *high])),
        _ => 0,
    });
    let member = head.get(30..length.saturating_add(30)).unwrap_or_default();
    if member.ends_with(b".npy") || ending(path) == "npz" {
        return read_by("numpy", "a NumPy archive (.npz)");
    }
    if member.ends_with(b"/data.pkl") {
        return other("a file of PyTorch", SAVE);
    }
    other("a ZIP archive", UNPACK)
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ending.to_lowercase()
}

/// A number of 8 bytes.
fn long(head: &[u8], at: usize) -> Option<u64> {
    let bytes = head.get(at..at.saturating_add(8))?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The length of a JSON object, and the object.
fn is_safetensors(head: &[u8], file: &View) -> bool {
    let within = |length: u64| length >= 2 && length <= file.len().saturating_sub(8);
    long(head, 0).is_some_and(within) && head.get(8) == Some(&b'{')
}

/// Where level 0 begins, most elements, elements, bytes of each: `saveIndex` of hnswlib writes these first.
fn is_hnswlib(head: &[u8]) -> bool {
    let likely = 1..=1u64 << 40;
    let (Some(0), Some(most), Some(now), Some(bytes)) =
        (long(head, 0), long(head, 8), long(head, 16), long(head, 24))
    else {
        return false;
    };
    likely.contains(&most) && (1..=most).contains(&now) && (1..=1u64 << 32).contains(&bytes)
}

/// Four characters like Faiss's, and a plausible dimension.
fn is_faiss(head: &[u8]) -> bool {
    let dimension = head.get(4..8).and_then(|four| four.try_into().ok());
    let dimension = dimension.map_or(0, u32::from_le_bytes);
    let kind = head.get(..4).unwrap_or_default();
    kind.first() == Some(&b'I')
        && kind.iter().all(u8::is_ascii_alphanumeric)
        && (1..=limits::DIMENSIONS_MAX).contains(&u64::from(dimension))
}

/// What a text is, if it is one.
fn text(head: &[u8]) -> Option<Known> {
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
            other("a web page", PAGE)
        } else if begins("<?xml") || begins("<error") {
            other(
                "an XML document, such as an object store sends instead of a file",
                PAGE,
            )
        } else if start.starts_with(['{', '[']) {
            other("JSON", BESIDE)
        } else {
            other(
                "text",
                "give the file itself; if this is meant to be it, copy or download it again",
            )
        },
    )
}

/// Whether the lengths in a file fit rows stored one after the other.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, bytes: &[u8], wanted: &str, source: &str) -> Option<String> {
        let view = View::from_bytes(name, bytes.to_vec());
        let error = named(&view, wanted, source).unwrap()?;
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        let hint = error.hint_text().unwrap_or_default();
        Some(format!("{error} {hint}"))
    }

    /// The beginning of a file of hnswlib: `M` 16, `dim` 8, as its `saveIndex` writes it.
    fn hnswlib() -> Vec<u8> {
        let links = 32 * 4 + 4;
        let label = links + 8 * 4;
        let words: [u64; 6] = [0, 100, 7, label + 8, label, links];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn files_of_other_kinds_are_named_whatever_was_expected() {
        let safetensors = [&16u64.to_le_bytes()[..], b"{\"a\":{\"x\":1}}   "].concat();
        let duck = [&[7; 8][..], b"DUCK", &[0; 20]].concat();
        let faiss = [&b"IxF2"[..], &8u32.to_le_bytes(), &[0; 40]].concat();
        for (bytes, what, hint) in [
            (&b"\x89PNG\r\n\x1a\n0000"[..], "a PNG image", "no vectors"),
            (b"\xff\xd8\xff\xe0", "a JPEG image", "no vectors"),
            (b"\x7fELF\x02\x01", "(ELF)", "no vectors"),
            (&safetensors, "a safetensors file", "`numpy`"),
            (&hnswlib(), "hnswlib", "get_items()"),
            (&duck, "DuckDB", "`parquet`"),
            (&faiss, "a Faiss index", "the source `faiss` reads it"),
            (
                b"\x93NUMPY\x01\0",
                "a NumPy array",
                "the source `numpy` reads it",
            ),
            (
                b"PAR1rest",
                "a Parquet file",
                "the source `parquet` reads it",
            ),
            (b"\x1f\x8b\x08\0rest", "compressed with gzip", "unpack"),
            (b"PK\x03\x04", "a ZIP archive", "unpack"),
            (b"\x80\x04\x95rest", "a Python pickle", "numpy.save()"),
            (
                b"MATLAB 5.0 MAT-file, Platform",
                "from before version 7.3",
                "-v7.3",
            ),
        ] {
            for wanted in ["an HDF5 file", "a NumPy array"] {
                let said = said("a", bytes, wanted, "");
                let said = said.unwrap_or_else(|| panic!("{what} is not known"));
                let whole = format!("is not {wanted}: it is ");
                assert!(said.contains(&whole), "{said}");
                assert!(said.contains(what) && said.contains(hint), "{said}");
            }
        }
    }

    #[test]
    fn what_a_source_reads_itself_is_for_it_to_say() {
        assert_eq!(
            said("a", b"\x93NUMPY\x01\0", "a NumPy array", "numpy"),
            None
        );
        assert_eq!(said("a", b"IxZZ\x01\0\0\0", "a Faiss index", "faiss"), None);
        assert_eq!(said("a", b"\x01\x02\x03\x04\x05\x06", "x", ""), None);
        // Neither zeros nor a count above the most are hnswlib's.
        assert!(!is_hnswlib(&[0; 64]));
        let mut odd = hnswlib();
        odd[16] = 101;
        assert!(!is_hnswlib(&odd));
    }
}
