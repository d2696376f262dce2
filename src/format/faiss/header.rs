//! The fields that every index begins with: four characters, then dimension, rows, training, metric.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::input::Cursor;
use crate::limits;
use crate::schema::Metric;

/// Four characters that say what follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// Reads one.
    pub(super) fn read(c: &mut Cursor, field: &'static str) -> Result<FourCc> {
        Ok(FourCc(c.array(field)?))
    }

    /// Whether all four are characters that names are made of.
    pub(super) fn is_text(self) -> bool {
        self.0.iter().all(u8::is_ascii_alphanumeric)
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// How an index measures distances: Faiss's number for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measure(pub i32);

impl Measure {
    /// Inner product.
    pub const IP: Measure = Measure(0);
    /// Squared Euclidean distance.
    pub const L2: Measure = Measure(1);

    /// Its name, if Faiss has a metric of this number.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "IP",
            1 => "L2",
            2 => "L1",
            3 => "Linf",
            4 => "Lp",
            20 => "Canberra",
            21 => "BrayCurtis",
            22 => "JensenShannon",
            23 => "Jaccard",
            24 => "NaNEuclidean",
            25 => "Gower",
            _ => return None,
        })
    }

    /// The metric as this program names it. Milvus has only the first two: its Jaccard compares bits, this one floats.
    pub fn metric(self) -> Metric {
        match self {
            Measure::IP => Metric::Ip,
            Measure::L2 => Metric::L2,
            other => Metric::Other(other.name().unwrap_or("unknown").to_owned()),
        }
    }
}

/// The fields that every index begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Components, or bits.
    pub dimension: u32,
    /// Rows it declares.
    pub rows: u64,
    /// Whether it was trained.
    pub trained: bool,
    /// How it measures.
    pub measure: Measure,
}

/// The header of a float index.
///
/// ```text
/// | d 4 | ntotal 8 | – 16 | trained 1 | metric 4 | argument 4, only where metric > 1 |
/// ```
pub(super) fn header(c: &mut Cursor) -> Result<Header> {
    let dimension = dimension(c)?;
    let rows = row_count(c)?;
    // Two placeholders for fields that Faiss no longer has.
    c.array::<16>("reserved")?;
    let trained = c.bool("is_trained")?;
    let measure = measure(c)?;
    if measure.0 > 1 {
        c.f32("metric_arg")?;
    }
    Ok(Header {
        dimension,
        rows,
        trained,
        measure,
    })
}

/// The header of a binary index; it never has an argument.
///
/// ```text
/// | d 4 | code size 4 | ntotal 8 | trained 1 | metric 4 |
/// ```
pub(super) fn binary_header(c: &mut Cursor, fourcc: FourCc) -> Result<Header> {
    let at = c.at();
    let dimension = dimension(c)?;
    if dimension == 0 || dimension % 8 != 0 {
        return Err(c.corrupt(
            at,
            format!("d = {dimension} bits, expected a multiple of 8"),
        ));
    }
    let at = c.at();
    let code_bytes = c.i32("code_size")?;
    // Faiss 1.5.3 to 1.7.4 never set it in a map of ids; the index inside has it.
    let unset = code_bytes == 0 && matches!(&fourcc.0, b"IBMp" | b"IBM2");
    if i64::from(code_bytes) != i64::from(dimension / 8) && !unset {
        let expected = dimension / 8;
        return Err(c.corrupt(at, format!("code_size = {code_bytes}, expected {expected}")));
    }
    let rows = row_count(c)?;
    let trained = c.bool("is_trained")?;
    let measure = measure(c)?;
    Ok(Header {
        dimension,
        rows,
        trained,
        measure,
    })
}

pub(super) fn dimension(c: &mut Cursor) -> Result<u32> {
    let at = c.at();
    let d = c.i32("d")?;
    match u32::try_from(d) {
        Ok(dimension) if u64::from(dimension) <= limits::DIMENSIONS_MAX => Ok(dimension),
        _ => {
            let max = limits::DIMENSIONS_MAX;
            Err(c.corrupt(at, format!("d = {d}, expected 0 to {max}")))
        }
    }
}

pub(super) fn row_count(c: &mut Cursor) -> Result<u64> {
    let at = c.at();
    let rows = c.i64("ntotal")?;
    u64::try_from(rows).map_err(|_| c.corrupt(at, format!("ntotal = {rows}, expected 0 or more")))
}

fn measure(c: &mut Cursor) -> Result<Measure> {
    let at = c.at();
    let measure = Measure(c.i32("metric_type")?);
    if measure.name().is_none() {
        let what = format!("metric_type = {}, expected 0 to 4 or 20 to 25", measure.0);
        return Err(c.corrupt(at, what));
    }
    Ok(measure)
}

/// The error for a file whose first four bytes are not among those expected.
pub(super) fn unknown(c: &Cursor, at: u64, fourcc: FourCc, what: &str) -> Error {
    let place = c.view().place(at);
    if fourcc.is_text() && (at > 0 || fourcc.0.starts_with(b"I")) {
        Error::new(
            Kind::Unsupported,
            format!("`{fourcc}` is not {what} of Faiss that we know"),
        )
        .at(place)
        .hint("if Faiss can read it, add its vectors with their ids to an IndexIDMap of an IndexFlat, and use that")
    } else {
        Error::new(
            Kind::Corrupt,
            format!("found `{fourcc}`, expected the four characters of {what} of Faiss"),
        )
        .at(place)
    }
}

/// `rows` times `width` bytes, or an error if no file can hold so many.
pub(super) fn bytes_of(c: &Cursor, at: u64, what: &str, rows: u64, width: u64) -> Result<u64> {
    rows.checked_mul(width).ok_or_else(|| {
        c.corrupt(
            at,
            format!("{rows} {what} of {width} bytes each are more than any file holds"),
        )
    })
}

/// Returns an error unless a block is as long as the fields before it declare.
pub(super) fn expect(c: &Cursor, at: u64, what: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(c.corrupt(at, format!("{what} = {found}, expected {expected}")))
}
