//! numpy: what does the header of an .npy file declare?
//! Reads the one Python literal that numpy writes there, and nothing else; holds at most a header.
//!
//! ```text
//! | \x93NUMPY 6 | major 1 | minor 1 | length 2 (version 1) or 4 (2, 3) | {'descr': '<f4', 'fortran_order': False,
//!   'shape': (7, 5), } and spaces | array … |
//! ```

use crate::error::{Error, Kind, Result};
use crate::input::{Cursor, View};
use crate::limits;

/// What files of arrays begin with.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What a header declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type of values.
    pub values: Values,
    /// Whether the first extent varies fastest.
    pub fortran_order: bool,
    /// Extents; none for a single value.
    pub shape: Vec<u64>,
    /// Where the array begins, from the start of the view.
    pub at: u64,
}

/// The type of values: `<f4` is the kind `f`, 4 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// numpy's letter: f floats, i and u whole numbers, b booleans, V and S bytes …
    pub kind: u8,
    /// Bytes of a value.
    pub bytes: u64,
    /// Whether the highest byte comes first.
    pub big_endian: bool,
}

impl Header {
    /// Bytes of the array, unless no file can hold them.
    pub fn array_bytes(&self) -> Option<u64> {
        let count = self.shape.iter().try_fold(1u64, |n, e| n.checked_mul(*e));
        count?.checked_mul(self.values.bytes)
    }
}

/// Reads the header at the start of a view, which may end right after it.
pub fn header(view: &View) -> Result<Header> {
    let mut cursor = Cursor::new(view.clone());
    let magic = cursor.array::<6>("signature")?;
    if magic != *MAGIC {
        return Err(view.corrupt(0, "is not a numpy array: it does not begin with \\x93NUMPY"));
    }
    let (major, minor) = (cursor.u8("version")?, cursor.u8("version")?);
    let length = match (major, minor) {
        (1, 0) => u64::from(cursor.u16("length of the header")?),
        (2 | 3, 0) => u64::from(cursor.u32("length of the header")?),
        _ => {
            let what =
                format!("version {major}.{minor} of numpy's format, expected 1.0, 2.0 or 3.0");
            return Err(view.corrupt(6, what));
        }
    };
    if length > limits::NPY_HEADER_BYTES_MAX {
        let what = format!(
            "a header of {length} bytes, no array of numbers has more than {}",
            limits::NPY_HEADER_BYTES_MAX
        );
        return Err(view.corrupt(8, what));
    }
    let start = cursor.at();
    let text = cursor.payload("header", length, 1)?.bytes()?;
    let mut literal = Literal {
        view,
        start,
        text: &text,
        at: 0,
    };
    let mut header = literal.header()?;
    header.at = cursor.at();
    Ok(header)
}

/// A Python literal, read from front to back.
struct Literal<'t> {
    view: &'t View,
    start: u64,
    text: &'t [u8],
    at: usize,
}

impl<'t> Literal<'t> {
    fn header(&mut self) -> Result<Header> {
        let (mut values, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            let is_new = match key {
                b"descr" => values.replace(self.descr()?).is_none(),
                b"fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                b"shape" => shape.replace(self.tuple()?).is_none(),
                _ => return Err(self.wrong("a key other than descr, fortran_order and shape")),
            };
            if !is_new {
                return Err(self.wrong("the same key twice"));
            }
            if !self.eat(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.blank();
        if !self.rest().is_empty() {
            return Err(self.wrong("something after the header"));
        }
        match (values, fortran_order, shape) {
            (Some(values), Some(fortran_order), Some(shape)) => Ok(Header {
                values,
                fortran_order,
                shape,
                at: 0,
            }),
            _ => Err(self.wrong("a header without descr, fortran_order or shape")),
        }
    }

    /// A type such as `'<f4'`.
    fn descr(&mut self) -> Result<Values> {
        self.blank();
        if self.rest().starts_with(b"[") {
            let what = "the array holds records (a structured type), not numbers";
            return Err(self
                .unsupported(what)
                .hint("save the one field that holds vectors: np.save(path, array['field'])"));
        }
        let descr = self.string()?;
        let (order, rest) = match descr.split_first() {
            Some((order @ (b'<' | b'>' | b'=' | b'|'), rest)) => (*order, rest),
            _ => (b'=', descr),
        };
        let [kind, digits @ ..] = rest else {
            return Err(self.wrong("a type without a name"));
        };
        if *kind == b'O' {
            let what =
                "the array holds Python objects, pickled: only Python can tell what they are";
            return Err(self
                .unsupported(what)
                .hint("save numbers instead: np.save(path, np.stack(array).astype('float32'))"));
        }
        let digits = digits.split(|b| *b == b'[').next().unwrap_or_default();
        let bytes = match (
            kind,
            std::str::from_utf8(digits).ok().map(str::parse::<u64>),
        ) {
            (b'?', _) if digits.is_empty() => Some(1),
            (_, Some(Ok(bytes))) if digits.len() <= 9 && !digits.starts_with(b"+") => Some(bytes),
            _ => None,
        };
        let Some(bytes) = bytes else {
            return Err(self.wrong("a type that is not a letter and a number of bytes"));
        };
        Ok(Values {
            kind: if *kind == b'?' { b'b' } else { *kind },
            bytes,
            big_endian: order == b'>',
        })
    }

    fn boolean(&mut self) -> Result<bool> {
        self.blank();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.rest().starts_with(word) {
                self.skip(word.len());
                return Ok(value);
            }
        }
        Err(self.wrong("neither True nor False"))
    }

    /// Whole numbers in parentheses, of Python 2 too: `(7L, 5L)`.
    fn tuple(&mut self) -> Result<Vec<u64>> {
        /// numpy allows no more extents than 64.
        const EXTENTS_MAX: usize = 64;
        self.expect(b'(')?;
        let mut extents = Vec::new();
        while !self.eat(b')') {
            self.blank();
            let rest = self.rest();
            let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
            let text = rest.get(..digits).and_then(|d| std::str::from_utf8(d).ok());
            let number = text.and_then(|text| text.parse().ok());
            let Some(number) = number.filter(|_| extents.len() < EXTENTS_MAX) else {
                return Err(self.wrong("an extent that is not a valid number"));
            };
            self.skip(digits);
            self.eat(b'L');
            extents.push(number);
            if !self.eat(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(extents)
    }

    /// Text in single or double quotes, without escapes: no name or type that numpy writes for numbers has any.
    fn string(&mut self) -> Result<&'t [u8]> {
        self.blank();
        let Some((quote @ (b'\'' | b'"'), rest)) = self.rest().split_first() else {
            return Err(self.wrong("something other than text in quotes"));
        };
        let end = |c: &u8| c == quote || matches!(c, b'\\' | b'\n');
        let len = rest.iter().position(end);
        match len.and_then(|len| rest.split_at_checked(len)) {
            Some((text, end)) if end.first() == Some(quote) => {
                self.skip(text.len());
                self.skip(2);
                Ok(text)
            }
            _ => Err(self.wrong("text that does not end")),
        }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn blank(&mut self) {
        let blank = |c: &&u8| matches!(c, b' ' | b'\n' | b'\t' | b'\r');
        self.skip(self.rest().iter().take_while(blank).count());
    }

    fn eat(&mut self, symbol: u8) -> bool {
        self.blank();
        let found = self.rest().first() == Some(&symbol);
        self.skip(usize::from(found));
        found
    }

    fn expect(&mut self, symbol: u8) -> Result<()> {
        match self.eat(symbol) {
            true => Ok(()),
            false => Err(self.wrong(&format!(
                "no `{}` where one is expected",
                char::from(symbol)
            ))),
        }
    }

    fn wrong(&self, what: &str) -> Error {
        let at = self.start.saturating_add(self.at as u64);
        self.view
            .corrupt(at, format!("the header of the numpy array has {what}"))
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::new(Kind::Unsupported, what)
            .at(self.view.place(self.start.saturating_add(self.at as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(major: u8, text: &str) -> View {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([major, 0]);
        match major {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        View::from_bytes("a.npy", bytes)
    }

    fn parse(text: &str) -> std::result::Result<(u8, u64, bool, bool, Vec<u64>), String> {
        let found = header(&file(1, text)).map_err(|e| e.to_string())?;
        let Values {
            kind,
            bytes,
            big_endian,
        } = found.values;
        Ok((kind, bytes, big_endian, found.fortran_order, found.shape))
    }

    #[test]
    fn headers_of_every_writer_are_read() {
        let f4 = (b'f', 4, false, false, vec![7, 5]);
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 5), }          \n",
            "{\"shape\": (7L, 5L), \"fortran_order\": False, \"descr\": \"<f4\"}",
            "{'descr':'=f4','fortran_order':False,'shape':(7,5)}\n",
            " { 'descr' : 'f4' , 'fortran_order' : False , 'shape' : ( 7 , 5 , ) , } ",
        ] {
            assert_eq!(parse(text), Ok(f4.clone()), "{text}");
        }
        for (text, expected) in [
            (
                "{'descr': '>i8', 'fortran_order': True, 'shape': (7,), }",
                (b'i', 8, true, true, vec![7]),
            ),
            (
                "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
                (b'b', 1, false, false, vec![]),
            ),
            (
                "{'descr': '?', 'fortran_order': False, 'shape': (2, 8), }",
                (b'b', 1, false, false, vec![2, 8]),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for major in [2, 3] {
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 5), }";
            let found = header(&file(major, text)).unwrap();
            assert_eq!(
                (found.shape, found.at),
                (vec![7, 5], 12 + text.len() as u64)
            );
        }
    }

    #[test]
    fn what_is_no_header_of_numbers_is_refused() {
        for (text, words) in [
            ("", "no `{`"),
            ("{", "text in quotes"),
            ("{}", "without descr"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 5)} x",
                "after the header",
            ),
            (
                "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (7, 5)}",
                "twice",
            ),
            ("{'descr': '<f4', 'other': 1}", "other than"),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (7,)}",
                "pickled",
            ),
            (
                "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (7,)}",
                "records",
            ),
            (
                "{'descr': '<f', 'fortran_order': False, 'shape': (7,)}",
                "number of bytes",
            ),
            (
                "{'descr': '<f99999999999999', 'fortran_order': False, 'shape': (7,)}",
                "number of bytes",
            ),
            (
                "{'descr': '', 'fortran_order': False, 'shape': (7,)}",
                "without a name",
            ),
            (
                "{'descr': '<f4', 'fortran_order': 1, 'shape': (7,)}",
                "neither True",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (-7,)}",
                "not a valid number",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
                "not a valid number",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': 7}",
                "no `(`",
            ),
            ("{'descr': '<f4", "does not end"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
        let many = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({})}}",
            "1,".repeat(65)
        );
        assert!(parse(&many).is_err());
        assert!(header(&file(4, "")).is_err());
        assert!(header(&View::from_bytes("a.npy", b"\x93NUMP".to_vec())).is_err());
        let mut lies = MAGIC.to_vec();
        lies.extend([2, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(
            header(&View::from_bytes("a.npy", lies))
                .unwrap_err()
                .to_string()
                .contains("4294967295")
        );
    }
}
