//! Does a value fit its field? Checked while a batch is packed, so that nothing is sent that a server would refuse, or
//! would accept and crash on.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::schema::{ColumnType, Role, Scalar, TooLong, moment};

/// Which values a field accepts.
#[derive(Clone, Debug)]
pub struct Check {
    /// The number of the column.
    pub column: usize,
    /// The type of its values.
    pub kind: ColumnType,
    /// Its role.
    pub role: Role,
    /// Whether a row may have no value.
    pub nulls: bool,
    /// Bytes of the longest text, or of the longest JSON.
    pub bytes_max: usize,
    /// Values of the longest list.
    pub values_max: usize,
    /// Whether NaN and infinity are accepted.
    pub takes_nan: bool,
    /// Whether JSON must be an object.
    pub objects_only: bool,
    /// Whether sparse vectors may be empty.
    pub takes_empty: bool,
    /// Names that keys of a dynamic field must not have.
    pub taken: Vec<String>,
    /// What to do with text that is too long.
    pub too_long: TooLong,
}

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is no value.
    Null,
    /// Its bytes, and how many are allowed.
    TooLong(usize, usize),
    /// The values of a list, and how many are allowed.
    TooMany(usize, usize),
    /// A list with a null in it.
    NullInside,
    /// NaN or infinity.
    NotFinite,
    /// It is not JSON, or not allowed here.
    Json(String),
    /// It is not a sparse vector, or not allowed here.
    Sparse(&'static str),
    /// A timestamp whose year does not have four digits.
    Moment(i64),
    /// It is not one of the allowed shapes.
    Shape,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Null => f.write_str("has no value, but the field needs one"),
            Misfit::TooLong(bytes, most) => {
                write!(f, "has {bytes} bytes, but the field allows {most}")
            }
            Misfit::TooMany(values, most) => {
                write!(f, "is a list of {values}, but the field allows {most}")
            }
            Misfit::NullInside => f.write_str("is a list that contains a null"),
            Misfit::NotFinite => f.write_str("is NaN or infinite, which Milvus refuses"),
            Misfit::Json(why) => write!(f, "is JSON that Milvus does not accept: {why}"),
            Misfit::Sparse(why) => write!(f, "is a sparse vector that Milvus does not accept: {why}"),
            Misfit::Moment(micros) => {
                write!(
                    f,
                    "is {}, but Milvus accepts only years from 1 to 9999",
                    moment::shown(*micros)
                )
            }
            Misfit::Shape => f.write_str(
                "is neither a POINT (x y) nor a POLYGON ((x y, …)), the only shapes that this server accepts",
            ),
        }
    }
}

impl Check {
    /// The rows whose values do not fit.
    pub fn misfits(&self, array: &ArrayRef) -> Vec<(usize, Misfit)> {
        let nulls = array.null_count() > 0;
        let none = || (!self.nulls).then_some(Misfit::Null);
        let rows = (0..array.len()).filter_map(|row| {
            let misfit = match nulls && array.is_null(row) {
                true => none(),
                false => self.misfit(array, row),
            };
            misfit.map(|misfit| (row, misfit))
        });
        match self.kind {
            // All their values fit.
            ColumnType::Scalar(scalar) if !nulls && !self.may_be_odd(scalar) => Vec::new(),
            ColumnType::Vector(_) if !nulls => Vec::new(),
            _ => rows.collect(),
        }
    }

    fn may_be_odd(&self, scalar: Scalar) -> bool {
        matches!(scalar, Scalar::Float | Scalar::Double) && !self.takes_nan
    }

    fn misfit(&self, array: &ArrayRef, row: usize) -> Option<Misfit> {
        match self.kind {
            ColumnType::Scalar(Scalar::Float) if !self.takes_nan => {
                let value = array.as_primitive::<Float32Type>().value(row);
                (!value.is_finite()).then_some(Misfit::NotFinite)
            }
            ColumnType::Scalar(Scalar::Double) if !self.takes_nan => {
                let value = array.as_primitive::<Float64Type>().value(row);
                (!value.is_finite()).then_some(Misfit::NotFinite)
            }
            ColumnType::VarChar { .. } => self.text(array.as_string::<i32>().value(row)),
            ColumnType::Json => self.json(array.as_string::<i32>().value(row)),
            ColumnType::Array { of, .. } => {
                let list = array.as_list::<i32>().value(row);
                if list.len() > self.values_max {
                    return Some(Misfit::TooMany(list.len(), self.values_max));
                }
                if list.null_count() > 0 {
                    return Some(Misfit::NullInside);
                }
                match of {
                    Scalar::VarChar => {
                        let texts = list.as_string::<i32>();
                        (0..texts.len()).find_map(|at| self.text(texts.value(at)))
                    }
                    _ => None,
                }
            }
            ColumnType::Sparse => {
                sparse(array.as_binary::<i64>().value(row), self.takes_empty).map(Misfit::Sparse)
            }
            ColumnType::Timestamptz => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                (!moment::FOUR_DIGITS.contains(&micros)).then_some(Misfit::Moment(micros))
            }
            ColumnType::Geometry => {
                let text = array.as_string::<i32>().value(row);
                let shape = text.split('(').next().unwrap_or_default().trim();
                let is_known = ["POINT", "POLYGON"]
                    .iter()
                    .any(|s| shape.eq_ignore_ascii_case(s));
                (!is_known).then_some(Misfit::Shape)
            }
            _ => None,
        }
    }

    fn text(&self, text: &str) -> Option<Misfit> {
        let is_long = text.len() > self.bytes_max;
        is_long.then_some(Misfit::TooLong(text.len(), self.bytes_max))
    }

    fn json(&self, text: &str) -> Option<Misfit> {
        if let Some(long) = self.text(text) {
            return Some(long);
        }
        let whole = match serde_json::from_str::<Whole>(text) {
            Ok(whole) => whole,
            Err(why) => return Some(Misfit::Json(why.to_string())),
        };
        let Whole::Object(keys) = whole else {
            let needs_object = self.objects_only || self.role == Role::Dynamic;
            return needs_object.then(|| Misfit::Json("it is not an object".to_owned()));
        };
        if self.role != Role::Dynamic {
            return None;
        }
        let taken = |key: &String| key == "$meta" || self.taken.contains(key);
        let key = keys.into_iter().find(taken)?;
        Some(Misfit::Json(format!(
            "its key `{key}` is the name of a field"
        )))
    }
}

/// What is wrong with a sparse vector.
fn sparse(bytes: &[u8], takes_empty: bool) -> Option<&'static str> {
    let (pairs, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Some("it does not consist of pairs of an index and a value of 4 bytes each");
    }
    if pairs.is_empty() && !takes_empty {
        return Some("it is empty, which this server refuses");
    }
    let mut last = None;
    for pair in pairs {
        let [a, b, c, d, rest @ ..] = *pair;
        let index = u32::from_le_bytes([a, b, c, d]);
        let value = f32::from_le_bytes(rest);
        if last >= Some(index) {
            return Some("its indices are not in ascending order");
        }
        if index == u32::MAX {
            return Some("the index 4294967295 is too large");
        }
        if !value.is_finite() {
            return Some("it holds NaN or infinity");
        }
        if value < 0.0 {
            return Some("it holds a negative value");
        }
        last = Some(index);
    }
    None
}

/// What is kept of a JSON text that was read to its end.
enum Whole {
    /// An object, and its keys.
    Object(Vec<String>),
    /// Anything else.
    Other,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Whole, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

macro_rules! takes {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Whole, E> {
            Ok(Whole::Other)
        })*
    };
}

impl<'de> Visitor<'de> for Reading {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    takes!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_str: &str);

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Whole, E> {
        match value.is_finite() {
            true => Ok(Whole::Other),
            false => Err(E::custom("a number is too large")),
        }
    }

    fn visit_unit<E>(self) -> Result<Whole, E> {
        Ok(Whole::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Whole, A::Error> {
        while list.next_element::<Whole>()?.is_some() {}
        Ok(Whole::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Whole>()
                .map_err(|e| A::Error::custom(format!("under `{key}`: {e}")))?;
            keys.push(key);
        }
        Ok(Whole::Object(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(role: Role) -> Check {
        Check {
            column: 0,
            kind: ColumnType::Json,
            role,
            nulls: false,
            bytes_max: 40,
            values_max: 0,
            takes_nan: false,
            objects_only: false,
            takes_empty: false,
            taken: vec!["title".to_owned()],
            too_long: TooLong::Fail,
        }
    }

    #[test]
    fn json_is_read_to_its_end() {
        let fits = |role, text: &str| check(role).json(text).is_none();
        for good in [r#"{"a": [1, {"b": null}]}"#, "null", "[]", "3.5", r#""x""#] {
            assert!(fits(Role::Plain, good), "{good}");
        }
        for bad in ["", "{", r#"{"a": 1e400}"#, "{} x", "nul", r#"{"a": [1,]}"#] {
            assert!(!fits(Role::Plain, bad), "{bad}");
        }
        assert!(!fits(Role::Plain, &"[".repeat(39)));
        assert!(!fits(Role::Plain, &format!("\"{}\"", "x".repeat(39))));
        for bad in ["null", "[]", r#"{"$meta": 1}"#, r#"{"title": 1}"#] {
            assert!(!fits(Role::Dynamic, bad), "{bad}");
        }
        assert!(fits(Role::Dynamic, r#"{"a": {"title": 1}}"#));
    }

    #[test]
    fn sparse_vectors_are_pairs_in_order() {
        let row = |pairs: &[(u32, f32)]| -> Vec<u8> {
            let bytes = pairs
                .iter()
                .map(|(i, v)| [i.to_le_bytes(), v.to_le_bytes()]);
            bytes.flatten().flatten().collect()
        };
        let fits = |bytes: &[u8]| sparse(bytes, true).is_none();
        assert!(fits(&row(&[])) && sparse(&[], false).is_some());
        assert!(fits(&row(&[(0, 1.0), (7, -0.0), (u32::MAX - 1, f32::MAX)])));
        assert!(!fits(&row(&[(3, 1.0), (3, 1.0)])));
        assert!(!fits(&row(&[(3, 1.0), (2, 1.0)])));
        assert!(!fits(&row(&[(u32::MAX, 1.0)])));
        assert!(!fits(&row(&[(1, f32::NAN)])));
        assert!(!fits(&row(&[(1, -1.0)])));
        assert!(!fits(&row(&[(1, 1.0)])[..7]));
    }
}
