//! How are dates, times and decimals written? Exactly, and so that the text of a column sorts like its values if years
//! have four digits. Pure.

use std::fmt::Write;

use crate::schema::moment;

/// Days from 1970-01-01 to 2000-01-01, the epoch of Postgres.
const EPOCH_DAYS: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;

/// A day, counted from 2000-01-01.
pub fn date(days: i32, out: &mut String) {
    match days {
        i32::MAX => out.push_str("infinity"),
        i32::MIN => out.push_str("-infinity"),
        days => {
            let era = day(i64::from(days), out);
            out.push_str(era);
        }
    }
}

/// A timestamp in microseconds from 2000-01-01; `zone` is appended.
pub fn moment(us: i64, zone: &str, out: &mut String) {
    match us {
        i64::MAX => out.push_str("infinity"),
        i64::MIN => out.push_str("-infinity"),
        us => {
            let era = day(us.div_euclid(DAY_US), out);
            let (s, us) = {
                let us = us.rem_euclid(DAY_US);
                (us / 1_000_000, us % 1_000_000)
            };
            let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
            let written = write!(out, "T{h:02}:{m:02}:{s:02}.{us:06}{zone}{era}");
            written.expect("writing to a string cannot fail");
        }
    }
}

/// Writes year, month and day, and returns what has to be appended at the end.
fn day(days: i64, out: &mut String) -> &'static str {
    let (year, month, day) = moment::civil(days + EPOCH_DAYS);
    let (year, era) = match year {
        ..=0 => (1 - year, " BC"),
        year => (year, ""),
    };
    write!(out, "{year:04}-{month:02}-{day:02}").expect("writing to a string cannot fail");
    era
}

/// A decimal as it is sent: digits of base 10,000.
///
/// ```text
/// | digits 2 | weight 2 | sign 2 | scale 2 | digit 2 … |
/// ```
pub fn numeric(bytes: &[u8], out: &mut String) -> Result<(), String> {
    let words: Vec<u16> = (bytes.as_chunks::<2>().0.iter())
        .map(|word| u16::from_be_bytes(*word))
        .collect();
    let wrong = || Err("is not a decimal".to_owned());
    let [count, weight, sign, scale, digits @ ..] = &words[..] else {
        return wrong();
    };
    match sign {
        0xc000 => out.push_str("NaN"),
        0xd000 => out.push_str("Infinity"),
        0xf000 => out.push_str("-Infinity"),
        0 | 0x4000 => {
            let is_odd = bytes.len() % 2 == 1 || digits.len() != usize::from(*count);
            if is_odd || digits.iter().any(|digit| *digit > 9999) {
                return wrong();
            }
            if *sign == 0x4000 {
                out.push('-');
            }
            let weight = i32::from(*weight as i16);
            let digit = |place: i32| {
                let place = usize::try_from(place).ok();
                place.and_then(|p| digits.get(p)).copied().unwrap_or(0)
            };
            let is_written = |place: i32| if place == 0 { 0 } else { 4 };
            match weight {
                ..0 => out.push('0'),
                weight => {
                    for place in 0..=weight {
                        let width = is_written(place);
                        write!(out, "{:0width$}", digit(place)).expect("it cannot fail");
                    }
                }
            }
            let scale = usize::from(*scale);
            if scale > 0 {
                out.push('.');
                let end = out.len() + scale;
                let mut place = weight + 1;
                while out.len() < end {
                    write!(out, "{:04}", digit(place)).expect("it cannot fail");
                    place += 1;
                }
                out.truncate(end);
            }
        }
        _ => return wrong(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_moments_are_spelt_as_iso_8601() {
        let spelt = |days| {
            let mut out = String::new();
            date(days, &mut out);
            out
        };
        for (days, expected) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-10_957, "1970-01-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (2_921_939, "9999-12-31"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(spelt(days), expected, "{days}");
        }
        let spelt = |us, zone| {
            let mut out = String::new();
            moment(us, zone, &mut out);
            out
        };
        assert_eq!(spelt(0, "Z"), "2000-01-01T00:00:00.000000Z");
        assert_eq!(spelt(-1, ""), "1999-12-31T23:59:59.999999");
        assert_eq!(
            spelt(DAY_US + 3_661_000_002, ""),
            "2000-01-02T01:01:01.000002"
        );
        assert_eq!(spelt(i64::MAX, "Z"), "infinity");
        assert_eq!(
            spelt(-730_120 * DAY_US, "Z"),
            "0001-12-31T00:00:00.000000Z BC"
        );
    }

    #[test]
    fn decimals_are_spelt_exactly() {
        let spelt = |words: &[u16]| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            let mut out = String::new();
            numeric(&bytes, &mut out).map(|()| out)
        };
        let minus = u16::MAX; // As a weight: -1.
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 3], "0.000"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0x4000, 0, 12, 34], "-120034"),
            (&[1, 2, 0, 0, 1], "100000000"),
            (&[2, 0, 0, 2, 12, 3400], "12.34"),
            (&[1, minus, 0, 4, 5], "0.0005"),
            (&[1, minus - 1, 0, 6, 1200], "0.000012"),
            (&[1, 0, 0, 5, 1], "1.00000"),
            (&[0, 0, 0xc000, 0], "NaN"),
            (&[0, 0, 0xf000, 0], "-Infinity"),
        ] {
            assert_eq!(spelt(words).unwrap(), expected, "{words:?}");
        }
        for odd in [
            &[1, 0, 0][..],
            &[2, 0, 0, 0, 1],
            &[1, 0, 0, 0, 10_000],
            &[0, 0, 7, 0],
        ] {
            assert!(spelt(odd).is_err(), "{odd:?}");
        }
    }
}
