//! How do values without a type of their own in Milvus become text? Dates, times, UUIDs, decimals.
//! Pure.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray, types};
use arrow_schema::{DataType, TimeUnit};

use super::Logical;
use super::convert::{Wrong, integers};
use crate::schema::moment::date;

/// Text of each value.
pub fn text(array: &ArrayRef, logical: Option<Logical>) -> Result<ArrayRef, Wrong> {
    let refuse = |row: usize, what: &str| Err((row, what.to_owned()));
    let one_by_one = |text: &dyn Fn(usize) -> String| -> ArrayRef {
        let texts = (0..array.len()).map(|row| array.is_valid(row).then(|| text(row)));
        Arc::new(texts.collect::<StringArray>())
    };
    Ok(match array.data_type() {
        DataType::Utf8 => array.clone(),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>();
            let (offsets, values, nulls) = bytes.clone().into_parts();
            match StringArray::try_new(offsets, values, nulls) {
                Ok(texts) => Arc::new(texts),
                Err(_) => {
                    let wrong = |row: &usize| std::str::from_utf8(bytes.value(*row)).is_err();
                    return refuse(
                        (0..array.len()).find(wrong).unwrap_or(0),
                        "bytes are not UTF-8 text",
                    );
                }
            }
        }
        DataType::FixedSizeBinary(_) => {
            let bytes = array.as_fixed_size_binary();
            if logical == Some(Logical::Uuid) {
                return Ok(one_by_one(&|row| uuid(bytes.value(row))));
            }
            let wrong = |row: &usize| std::str::from_utf8(bytes.value(*row)).is_err();
            if let Some(row) = (0..array.len()).find(wrong) {
                return refuse(row, "bytes are not UTF-8 text");
            }
            one_by_one(&|row| String::from_utf8_lossy(bytes.value(row)).into_owned())
        }
        DataType::Date32 => {
            let days = array.as_primitive::<types::Date32Type>();
            one_by_one(&|row| date(i64::from(days.value(row))))
        }
        DataType::Time32(_) => {
            let millis = array.as_primitive::<types::Time32MillisecondType>();
            one_by_one(&|row| time(i64::from(millis.value(row)), 3))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<types::Time64MicrosecondType>();
            one_by_one(&|row| time(micros.value(row), 6))
        }
        DataType::Time64(_) => {
            let nanos = array.as_primitive::<types::Time64NanosecondType>();
            one_by_one(&|row| time(nanos.value(row), 9))
        }
        DataType::Decimal256(_, scale) => {
            let all = array.as_primitive::<types::Decimal256Type>();
            one_by_one(&|row| decimal(&all.value(row).to_string(), *scale))
        }
        kind => {
            let scale = match kind {
                DataType::Decimal128(_, s)
                | DataType::Decimal64(_, s)
                | DataType::Decimal32(_, s) => *s,
                _ => 0,
            };
            let Some(all) = integers(array) else {
                return refuse(0, "this type cannot become text");
            };
            one_by_one(&|row| decimal(&all[row].to_string(), scale))
        }
    })
}

/// An integer with its last digits after the decimal point.
pub fn decimal(digits: &str, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{part}")
        }
        Err(_) => format!(
            "{sign}{digits}{}",
            "0".repeat(usize::from(scale.unsigned_abs()))
        ),
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match hex.len() {
        32 => format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        ),
        _ => hex,
    }
}

/// The time of day, with this many fractional digits unless they are zero.
fn time(units: i64, digits: usize) -> String {
    let second = 10i64.pow(digits as u32);
    let (seconds, part) = (units.div_euclid(second), units.rem_euclid(second));
    let whole = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    match part {
        0 => whole,
        _ => format!("{whole}.{part:0digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_points_and_times_have_colons() {
        for (digits, scale, expected) in [
            ("5", 2, "0.05"),
            ("-12345", 3, "-12.345"),
            ("7", 0, "7"),
            ("7", -2, "700"),
            ("-1", 1, "-0.1"),
        ] {
            assert_eq!(decimal(digits, scale), expected);
        }
        assert_eq!(
            (time(3_661_000, 3), time(3_661_001_000, 6)),
            ("01:01:01".to_owned(), "01:01:01.001000".to_owned())
        );
        assert_eq!(uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
