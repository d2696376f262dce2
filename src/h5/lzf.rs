//! LZF, the fast compression that comes with h5py: one literal or match token after another.
//! Pure: slices in, slices out; no input makes it panic or grow past its target.

/// The shortest match worth a token, and the longest that one token can express.
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
/// How far back a match may lie.
const REACH: usize = 1 << 13;
/// The longest literal run of one token.
const LITERALS_MAX: usize = 32;
const HASH_BITS: u32 = 14;

/// The compressed form of `from`, appended to `to`; false, and `to` as it was, unless it is shorter.
pub fn compress(from: &[u8], to: &mut Vec<u8>) -> bool {
    let start = to.len();
    let mut seen = vec![0u32; 1 << HASH_BITS];
    let (mut at, mut literal) = (0, 0);
    while at + MATCH_MIN < from.len() {
        let slot = hash(&from[at..at + MATCH_MIN]);
        // Positions are stored plus one, so that 0 means "none".
        let before = std::mem::replace(&mut seen[slot], at as u32 + 1) as usize;
        let found = before > 0 && at - (before - 1) <= REACH && {
            let before = before - 1;
            from[before..before + MATCH_MIN] == from[at..at + MATCH_MIN]
        };
        if !found {
            at += 1;
            continue;
        }
        let before = before - 1;
        let longest = MATCH_MAX.min(from.len() - at);
        let same = (MATCH_MIN..longest).find(|i| from[before + i] != from[at + i]);
        let len = same.unwrap_or(longest);
        literals(&from[literal..at], to);
        let (distance, code) = (at - before - 1, len - 2);
        if code < 7 {
            to.push((code << 5 | distance >> 8) as u8);
        } else {
            to.extend([(7 << 5 | distance >> 8) as u8, (code - 7) as u8]);
        }
        to.push(distance as u8);
        at += len;
        literal = at;
        if to.len() - start >= from.len() {
            break;
        }
    }
    literals(&from[literal..], to);
    let shorter = to.len() - start < from.len();
    if !shorter {
        to.truncate(start);
    }
    shorter
}

fn hash(bytes: &[u8]) -> usize {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

fn literals(bytes: &[u8], to: &mut Vec<u8>) {
    for run in bytes.chunks(LITERALS_MAX) {
        to.push((run.len() - 1) as u8);
        to.extend_from_slice(run);
    }
}

/// Fills `to` from the compressed `from`; `None` if the result does not have exactly its length.
pub fn decompress(from: &[u8], to: &mut [u8]) -> Option<()> {
    let (mut rest, mut at) = (from, 0usize);
    while let Some((control, after)) = rest.split_first() {
        rest = after;
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let (run, after) = rest.split_at_checked(control + 1)?;
            to.get_mut(at..at + run.len())?.copy_from_slice(run);
            at += run.len();
            rest = after;
            continue;
        }
        let mut len = (control >> 5) + 2;
        if len == 9 {
            let (more, after) = rest.split_first()?;
            len += usize::from(*more);
            rest = after;
        }
        let (low, after) = rest.split_first()?;
        rest = after;
        let distance = (control & 0x1f) << 8 | usize::from(*low);
        let before = at.checked_sub(distance + 1)?;
        if at + len > to.len() {
            return None;
        }
        // Source and target may overlap: bytes just written are read again.
        for i in 0..len {
            to[at + i] = to[before + i];
        }
        at += len;
    }
    (at == to.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], shrinks: bool) {
        let mut packed = vec![9];
        assert_eq!(
            compress(bytes, &mut packed),
            shrinks,
            "{} bytes",
            bytes.len()
        );
        if shrinks {
            let mut back = vec![0; bytes.len()];
            decompress(&packed[1..], &mut back).unwrap();
            assert_eq!(back, bytes);
        } else {
            assert_eq!(packed, [9]);
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut state = 1u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        check(&[], false);
        check(b"abc", false);
        check(&[7; 100_000], true);
        check(
            &(0..100_000).map(|i| (i / 300) as u8).collect::<Vec<_>>(),
            true,
        );
        let noise: Vec<u8> = (0..50_000).map(|_| random()).collect();
        check(&noise, false);
        check(
            &[noise.clone(), noise[..9000].to_vec(), vec![0; 3000]].concat(),
            true,
        );
        check(&noise.iter().map(|b| b & 3).collect::<Vec<_>>(), true);
    }

    #[test]
    fn broken_tokens_give_none() {
        for bytes in [
            &[5u8, 1][..],
            &[0xff],
            &[0xff, 1],
            &[0x20, 0],
            &[0, 1, 0x20, 9],
            &[0, 1, 0xe0, 255, 0],
        ] {
            assert_eq!(decompress(bytes, &mut [0; 100]), None, "{bytes:?}");
        }
        assert_eq!(decompress(&[1, 1, 2], &mut [0; 1]), None, "too long");
    }
}
