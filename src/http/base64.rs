//! How are bytes spelt in base64? Strictly by section 4 of RFC 4648.
//! Pure.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The six bits of each letter; 64 for other characters.
const BITS: [u8; 256] = {
    let mut bits = [64; 256];
    let mut i = 0;
    while i < 64 {
        bits[LETTERS[i] as usize] = i as u8;
        i += 1;
    }
    bits
};

/// Encodes bytes in base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            match at <= three.len() {
                true => out.push(char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Decodes a text and appends its bytes to `out`. False, with `out` unchanged, if the text is not base64.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    if !text.len().is_multiple_of(4) {
        return false;
    }
    let padding = text
        .iter()
        .rev()
        .take(2)
        .take_while(|b| **b == b'=')
        .count();
    let (letters, _) = text.split_at(text.len() - padding);
    for four in letters.chunks(4) {
        let mut bits = 0u32;
        let mut wrong = false;
        for at in 0..4 {
            let letter = four.get(at).map_or(0, |byte| BITS[*byte as usize]);
            wrong |= letter > 63;
            bits = bits << 6 | u32::from(letter & 63);
        }
        let count = four.len() - 1;
        let [_, bytes @ ..] = bits.to_be_bytes();
        // Unused bits must be zero.
        if wrong || bytes[count..].iter().any(|byte| *byte != 0) {
            out.truncate(before);
            return false;
        }
        out.extend_from_slice(&bytes[..count]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_and_nothing_else() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            let mut out = b"x".to_vec();
            assert!(decode(text.as_bytes(), &mut out));
            assert_eq!(out, format!("x{bytes}").into_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        assert!(decode(encode(&all).as_bytes(), &mut out));
        assert_eq!(out, all);
        for wrong in [
            "Zg=", "Zg", "Zh==", "Z===", "====", "Zm9v\n", "Zm-v", "Zg==Zg==",
        ] {
            let mut out = Vec::new();
            assert!(!decode(wrong.as_bytes(), &mut out), "{wrong}");
            assert!(out.is_empty());
        }
    }
}
