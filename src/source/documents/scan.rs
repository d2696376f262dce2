//! How is JSON read in one pass, strictly and without building values that are not needed? A scanner over a text.

use std::borrow::Cow;
use std::ops::Range;

use crate::limits;

/// The result, or what is wrong with the text.
pub type Read<T> = std::result::Result<T, String>;

/// A place in a JSON text.
pub struct Scan<'t> {
    text: &'t str,
    at: usize,
}

/// Powers of ten that doubles hold exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The digits before the first byte that is not one, a digit a byte, then zeros; and how many digits. No branch depends on
/// their number: no CPU can predict it.
fn leading_digits(text: [u8; 16]) -> (u128, usize) {
    const ONES: u128 = u128::from_le_bytes([1; 16]);
    let digits = u128::from_le_bytes(text) ^ (ONES * 0x30);
    // A byte above 9 has a bit in its high half, or gets one by adding 6; a carry changes only bytes above it.
    let others = (digits | digits.wrapping_add(ONES * 6)) & (ONES * 0xf0);
    let count = others.trailing_zeros() / 8;
    let after = u128::MAX.checked_shl(8 * count).unwrap_or(0);
    (digits & !after, count as usize)
}

/// The number with these eight digits, one a byte, the first in the lowest: pairs, then fours, then all.
fn eight_digits(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

impl<'t> Scan<'t> {
    /// The beginning of a text.
    pub fn new(text: &'t str) -> Scan<'t> {
        Scan { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The first byte of what comes next.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Whether this byte comes next; if so, it is consumed.
    pub fn next_is(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// Consumes this byte, which must come next.
    pub fn expect(&mut self, byte: u8) -> Read<()> {
        match self.next_is(byte) {
            true => Ok(()),
            false => Err(self.wrong(&format!("`{}` is missing", char::from(byte)))),
        }
    }

    /// An error message with the position.
    pub fn wrong(&self, what: &str) -> String {
        format!("is not JSON at byte {}: {what}", self.at)
    }

    /// Refuses anything after the end.
    pub fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("something stands behind its end")),
        }
    }

    /// A string, in its quotes, as it is written.
    fn raw_string(&mut self) -> Read<(&'t str, bool)> {
        self.expect(b'"')?;
        let start = self.at - 1;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    let known = bytes
                        .get(self.at + 1)
                        .is_some_and(|b| b"\"\\/bfnrtu".contains(b));
                    if !known {
                        return Err(self.wrong("an escape that there is not"));
                    }
                    if bytes[self.at + 1] == b'u' {
                        let digits = bytes.get(self.at + 2..self.at + 6);
                        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                            return Err(self.wrong("an escape that there is not"));
                        }
                    }
                    self.at += 2;
                }
                Some(0..=0x1f) => return Err(self.wrong("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.wrong("a string has no end")),
            }
        }
        self.at += 1;
        Ok((&self.text[start..self.at], escaped))
    }

    /// A string.
    pub fn string(&mut self) -> Read<Cow<'t, str>> {
        let (raw, escaped) = self.raw_string()?;
        self.unescaped(raw, escaped)
    }

    fn unescaped(&self, raw: &'t str, escaped: bool) -> Read<Cow<'t, str>> {
        match escaped {
            false => Ok(Cow::Borrowed(&raw[1..raw.len() - 1])),
            true => serde_json::from_str(raw)
                .map(Cow::Owned)
                .map_err(|e| self.wrong(&e.to_string())),
        }
    }

    /// The members of an object: name, name as it is written, and the position of the value, which must be consumed.
    pub fn members(
        &mut self,
        mut each: impl FnMut(&str, &'t str, &mut Scan<'t>) -> Read<()>,
    ) -> Read<()> {
        self.expect(b'{')?;
        if self.next_is(b'}') {
            return Ok(());
        }
        loop {
            self.peek();
            let (raw, escaped) = self.raw_string()?;
            let name = self.unescaped(raw, escaped)?;
            self.expect(b':')?;
            each(&name, raw, self)?;
            if !self.next_is(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// The elements of an array, each of which must be consumed.
    pub fn elements(&mut self, mut each: impl FnMut(&mut Scan<'t>) -> Read<()>) -> Read<()> {
        self.expect(b'[')?;
        if self.next_is(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.next_is(b',') {
                return self.expect(b']');
            }
        }
    }

    /// A value of any kind, as it is written.
    pub fn value(&mut self) -> Read<&'t str> {
        self.peek();
        let start = self.at;
        self.pass(0)?;
        Ok(&self.text[start..self.at])
    }

    /// Skips a value of any kind, and returns its position in the text.
    pub fn place_of(&mut self) -> Read<Range<usize>> {
        let len = self.value()?.len();
        Ok(self.at - len..self.at)
    }

    fn pass(&mut self, depth: usize) -> Read<()> {
        if depth > limits::DOCUMENT_DEPTH_MAX {
            return Err(self.wrong("values lie too deep in one another"));
        }
        match self.peek() {
            Some(b'{') => self.members(|_, _, scan| scan.pass(depth + 1)),
            Some(b'[') => self.elements(|scan| scan.pass(depth + 1)),
            Some(b'"') => self.raw_string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => {
                let rest = &self.text.as_bytes()[self.at..];
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                match words.into_iter().find(|word| rest.starts_with(word)) {
                    Some(word) => {
                        self.at += word.len();
                        Ok(())
                    }
                    None => Err(self.wrong("there is no such value")),
                }
            }
        }
    }

    /// Whether `null` comes next; if so, it is consumed.
    pub fn next_is_null(&mut self) -> bool {
        self.peek();
        let is = self.text.as_bytes()[self.at..].starts_with(b"null");
        self.at += if is { 4 } else { 0 };
        is
    }

    /// A whole number that an int64 holds.
    pub fn whole(&mut self) -> Read<i64> {
        self.peek();
        let start = self.at;
        self.number()?;
        let text = &self.text[start..self.at];
        text.parse()
            .map_err(|_| format!("{text} is not a whole number of 64 bits"))
    }

    /// The next number as [`Scan::float`] returns it, and its length in the text, if it is written like most components of
    /// vectors: a digit, a point, and 1 to 31 digits. Does not consume it.
    #[inline(always)]
    fn component(&self) -> Option<(f32, usize)> {
        let rest = &self.text.as_bytes()[self.at..];
        let negative = *rest.first()? == b'-';
        let text: &[u8; 18] = rest.get(usize::from(negative)..)?.first_chunk()?;
        let whole = text[0].wrapping_sub(b'0');
        let (digits, mut fraction) = leading_digits(*text[2..].first_chunk()?);
        if whole > 9 || text[1] != b'.' || fraction == 0 {
            return None;
        }
        let mantissa = u64::from(whole) * 10_000_000_000_000_000
            + eight_digits(digits as u64) * 100_000_000
            + eight_digits((digits >> 64) as u64);
        // A signed number is converted faster.
        let value = mantissa as i64 as f64 * 1e-16;
        let start = usize::from(negative) + 2;
        if fraction == 16 {
            let more = *rest.get(start + 16..)?.first_chunk()?;
            fraction += leading_digits(more).1;
        }
        let end = start + fraction;
        // Three roundings, and at most 1e-16 for the digits left out, make less than 2000 units in the last place. If the
        // midpoint of two floats is farther away, the nearest double lies on the same side of it.
        let is_near = fraction < 16 || value > 1.0 / 4096.0;
        let below_float = value.to_bits() as u32 & ((1 << 29) - 1);
        let is_clear = below_float.abs_diff(1 << 28) > 4096;
        let is_over = fraction < 32 && !matches!(rest.get(end), Some(b'e' | b'E'));
        (is_near && is_clear && is_over).then(|| {
            let sign = u32::from(negative) << 31;
            (f32::from_bits((value as f32).to_bits() | sign), end)
        })
    }

    /// A number, as the float nearest to the nearest double.
    pub fn float(&mut self) -> Read<f32> {
        self.peek();
        if let Some((float, bytes)) = self.component() {
            self.at += bytes;
            return Ok(float);
        }
        let double = self.number()?;
        let float = double as f32;
        match float.is_finite() {
            true => Ok(float),
            false => Err(format!("holds {double}, which no float holds")),
        }
    }

    /// A number, as the nearest double.
    pub fn number(&mut self) -> Read<f64> {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let negative = bytes.get(self.at) == Some(&b'-');
        let mut at = self.at + usize::from(negative);
        let (mut mantissa, first) = (0u64, at);
        let mut digits = |at: &mut usize, bytes: &[u8]| {
            let from = *at;
            while let Some(digit) = bytes
                .get(*at)
                .map(|b| b.wrapping_sub(b'0'))
                .filter(|d| *d < 10)
            {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                *at += 1;
            }
            *at - from
        };
        let whole = digits(&mut at, bytes);
        if whole == 0 || whole > 1 && bytes[first] == b'0' {
            return Err(self.wrong("there is no such number"));
        }
        let mut fraction = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            fraction = digits(&mut at, bytes);
            if fraction == 0 {
                return Err(self.wrong("there is no such number"));
            }
        }
        let mut exponent = -(fraction as i64);
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            let down = bytes.get(at) == Some(&b'-');
            at += usize::from(down || bytes.get(at) == Some(&b'+'));
            let from = at;
            let mut power = 0i64;
            while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
                power = power
                    .saturating_mul(10)
                    .saturating_add(i64::from(digit - b'0'));
                at += 1;
            }
            if at == from {
                return Err(self.wrong("there is no such number"));
            }
            exponent = exponent.saturating_add(if down { -power } else { power });
        }
        self.at = at;
        // An exact mantissa and an exact power of ten need only one rounding, the correct one; others are left to the
        // library.
        if whole + fraction <= 19 && mantissa <= 1 << 53 && exponent.unsigned_abs() <= 22 {
            let power = POWERS[exponent.unsigned_abs() as usize];
            let value = match exponent < 0 {
                true => mantissa as f64 / power,
                false => mantissa as f64 * power,
            };
            return Ok(if negative { -value } else { value });
        }
        self.text[start..at]
            .parse()
            .map_err(|_| self.wrong("there is no such number"))
    }
}
