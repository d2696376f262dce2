//! Is a value that was read back the one that was sent?
//! Bit for bit, with two exceptions: JSON is compared by what it says, because servers rewrite it; and a NaN is a NaN.

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
