//! Ids from a separate file: one a line, or a numpy array. Row n of the index, or label n of its lists, gets the n-th.
//! A list of lines is read once and kept as numbers in a temporary file; nothing is held in memory.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::format::npy;
use crate::input::{Access, View};
use crate::limits;

/// The ids, and the file they were read from.
pub struct IdFile {
    /// The file as the job names it.
    pub file: View,
    /// The ids, i64 little-endian.
    pub ids: View,
    // Removed when dropped.
    _numbers: Option<tempfile::NamedTempFile>,
}

impl IdFile {
    /// Opens one.
    pub fn open(path: &Path, access: Access) -> Result<IdFile> {
        let file = View::open(path, access)?;
        let mut magic = [0; npy::MAGIC.len()];
        let is_array = file.len() >= magic.len() as u64
            && file.read(0, &mut magic).is_ok()
            && magic == *npy::MAGIC;
        if is_array {
            let ids = array(&file)?;
            return Ok(IdFile {
                file,
                ids,
                _numbers: None,
            });
        }
        let numbers = lines(&file)?;
        let ids = View::open(numbers.path(), access)?;
        Ok(IdFile {
            file,
            ids,
            _numbers: Some(numbers),
        })
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.ids.len() / 8
    }
}

/// The ids of an array.
fn array(file: &View) -> Result<View> {
    let header = npy::header(file)?;
    let values = header.values;
    if (values.kind, values.bytes, values.big_endian) != (b'i', 8, false) || header.shape.len() != 1
    {
        let what = format!(
            "ids must be a one-dimensional array of int64, but this one is of {}{} and has {} dimensions",
            char::from(values.kind),
            values.bytes,
            header.shape.len()
        );
        return Err(Error::path(Kind::Unsupported, file.path(), what)
            .hint("in Python: np.save(path, ids.astype('int64').ravel())"));
    }
    let found = file.len().saturating_sub(header.at);
    match header.array_bytes() {
        Some(bytes) if bytes == found => file.cut(header.at, bytes),
        _ => {
            let what = format!(
                "an array of {:?} int64, {found} bytes are there",
                header.shape
            );
            Err(file.corrupt(header.at, what).hint("is the copy whole?"))
        }
    }
}

/// Converts lines to numbers, in a temporary file.
fn lines(file: &View) -> Result<tempfile::NamedTempFile> {
    let here = std::env::temp_dir();
    let failed = |e: std::io::Error| Error::io(&here, "keep ids in", &e);
    let numbers = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut out = std::io::BufWriter::new(&numbers);
    let (mut at, mut line, mut rest) = (0u64, 1u64, Vec::new());
    let mut blank = None;
    let mut take = |text: &[u8], line: u64| -> Result<()> {
        let text = String::from_utf8_lossy(text);
        let text = match line {
            1 => text.trim_start_matches('\u{feff}').trim(),
            _ => text.trim(),
        };
        if text.is_empty() {
            blank.get_or_insert(line);
            return Ok(());
        }
        let id = text.parse::<i64>().ok().filter(|_| blank.is_none());
        let Some(id) = id else {
            let (line, what) = match blank {
                Some(blank) => (blank, "is empty".to_owned()),
                None => (line, format!("`{text}`")),
            };
            let what = format!("line {line}: {what}, expected one whole number a line, an id");
            return Err(Error::path(Kind::Corrupt, file.path(), what));
        };
        out.write_all(&id.to_le_bytes()).map_err(failed)
    };
    while at < file.len() {
        let some = limits::ID_LINES_AT_ONCE.min(file.len() - at);
        let bytes = file.cut(at, some)?.bytes()?;
        at += some;
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if rest.len() + piece.len() > limits::ID_LINE_BYTES_MAX {
                let what =
                    format!("line {line} is too long, expected one whole number a line, an id");
                return Err(Error::path(Kind::Corrupt, file.path(), what));
            }
            rest.extend_from_slice(piece);
            if pieces.peek().is_some() {
                take(&rest, line)?;
                rest.clear();
                line += 1;
            }
        }
    }
    take(&rest, line)?;
    out.flush().map_err(failed)?;
    drop(out);
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> std::result::Result<Vec<i64>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let ids = IdFile::open(file.path(), Access::Map).map_err(|e| e.to_string())?;
        Ok(ids.ids.i64s(0, ids.count()).unwrap())
    }

    fn npy(descr: &str, shape: &str, array: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(array);
        bytes
    }

    #[test]
    fn ids_are_read_from_lines_and_arrays() {
        let expected = Ok(vec![7, -1, i64::MAX]);
        let text = "7\n-1\n9223372036854775807";
        assert_eq!(read(text.as_bytes()), expected);
        assert_eq!(read(format!("{text}\n").as_bytes()), expected);
        assert_eq!(
            read(format!("\u{feff}{}\r\n\n", text.replace('\n', " \r\n")).as_bytes()),
            expected
        );
        let array: Vec<u8> = [7, -1, i64::MAX]
            .iter()
            .flat_map(|id: &i64| id.to_le_bytes())
            .collect();
        assert_eq!(read(&npy("<i8", "(3,)", &array)), expected);
        assert_eq!(read(b""), Ok(vec![]));
        // Longer than what is read at once: lines are cut anywhere.
        let many: Vec<i64> = (0..400_000).collect();
        let text: String = many.iter().map(|id| format!("{id}\n")).collect();
        assert!(text.len() as u64 > 2 * limits::ID_LINES_AT_ONCE);
        assert_eq!(read(text.as_bytes()), Ok(many));
    }

    #[test]
    fn what_is_no_list_of_ids_is_refused_where_it_is_wrong() {
        let long = vec![b'1'; 1 << 21];
        for (bytes, what) in [
            (&b"1\n2\nthree\n"[..], "line 3: `three`"),
            (b"1\n\n2\n", "line 2: is empty"),
            (b"1\n9223372036854775808\n", "line 2"),
            (b"1.5\n", "line 1"),
            (b"1 2\n", "line 1"),
            (b"\0\0\0\0", "line 1"),
            (&long, "line 1 is too long"),
            (&npy("<i4", "(3,)", &[0; 12]), "int64"),
            (&npy(">i8", "(3,)", &[0; 24]), "int64"),
            (&npy("<i8", "(3, 1)", &[0; 24]), "2 dimensions"),
            (&npy("<i8", "(3,)", &[0; 23]), "23 bytes are there"),
            (&npy("<i8", "(3,)", &[0; 32]), "32 bytes are there"),
        ] {
            let said = read(bytes).unwrap_err();
            assert!(said.contains(what), "{said}, expected {what}");
        }
    }
}
