//! Is a value that was read back the one that was sent?
//! Compared bit for bit, with two exceptions: JSON is compared by content, because servers rewrite it; and any NaN
//! equals any NaN.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};

use crate::digest;
use crate::schema::{ColumnType, Scalar};

/// Whether two values of a column are equal, each a row of an array.
pub fn values(kind: ColumnType, sent: (&ArrayRef, usize), found: (&ArrayRef, usize)) -> bool {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let sent_bytes = digest::value(kind, sent.0, sent.1, &mut one);
    let found_bytes = digest::value(kind, found.0, found.1, &mut two);
    let (Some(sent_bytes), Some(found_bytes)) = (sent_bytes, found_bytes) else {
        return sent_bytes.is_none() && found_bytes.is_none();
    };
    if sent_bytes == found_bytes {
        return true;
    }
    match kind {
        ColumnType::Json => says(sent_bytes).is_some_and(|json| Some(json) == says(found_bytes)),
        ColumnType::Scalar(Scalar::Float) => {
            let value =
                |(array, row): (&ArrayRef, usize)| array.as_primitive::<Float32Type>().value(row);
            value(sent).is_nan() && value(found).is_nan()
        }
        ColumnType::Scalar(Scalar::Double) => {
            let value =
                |(array, row): (&ArrayRef, usize)| array.as_primitive::<Float64Type>().value(row);
            value(sent).is_nan() && value(found).is_nan()
        }
        _ => false,
    }
}

fn says(json: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn json_says_what_it_says_and_nan_is_nan() {
        let json = |text: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let same = |one, other| values(ColumnType::Json, (&json(one), 0), (&json(other), 0));
        let (one, other) = (Some("{\"a\": 1, \"b\": [2]}"), Some("{\"b\":[2],\"a\":1}"));
        assert!(same(one, other));
        assert!(same(None, None));
        for (one, other) in [
            (one, None),
            (Some("{\"a\": 1}"), Some("{\"a\": \"1\"}")),
            (Some("[1, 2]"), Some("[2, 1]")),
            (Some("{no json"), Some("{no  json")),
            (Some("null"), None),
        ] {
            assert!(!same(one, other), "{one:?} {other:?}");
        }
        let double =
            |bits: u64| -> ArrayRef { Arc::new(Float64Array::from(vec![f64::from_bits(bits)])) };
        let same = |one, other| {
            let kind = ColumnType::Scalar(Scalar::Double);
            values(kind, (&double(one), 0), (&double(other), 0))
        };
        // As Milvus 2.3 returns it before a flush, and after.
        assert!(same(0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0001));
        assert!(!same(0.0f64.to_bits(), (-0.0f64).to_bits()));
        assert!(!same(f64::NAN.to_bits(), 0));
    }
}
