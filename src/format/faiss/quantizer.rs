//! Quantizers: how a code represents a vector, and how long it is.

use super::header::{Header, bytes_of, expect};
use crate::error::Result;
use crate::input::{Cursor, View};

/// What a row of codes is.
#[derive(Clone, Debug)]
pub enum Codec {
    /// The components themselves, f32 little-endian.
    Float,
    /// The bits themselves.
    Bits,
    /// Each component by itself, in fewer bits.
    Scalar(Scalar),
    /// Parts of the vector, each as the number of a centroid.
    Product(Product),
}

impl Codec {
    /// A few words for people.
    pub fn name(&self) -> String {
        match self {
            Codec::Float => "float32".to_owned(),
            Codec::Bits => "bits".to_owned(),
            Codec::Scalar(scalar) => scalar.name().to_owned(),
            Codec::Product(pq) => format!("product quantizer, {} x {} bits", pq.parts, pq.bits),
        }
    }
}

/// A scalar quantizer.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// Faiss's number for what a component is.
    pub kind: u32,
    /// Components.
    pub dimension: u32,
    /// Bytes of a row.
    pub code_bytes: u64,
    /// Ranges, f32: minima and widths.
    pub trained: View,
}

impl Scalar {
    /// What a component is.
    pub fn name(&self) -> &'static str {
        match self.kind {
            0 => "8 bits a component, a range for each dimension",
            1 => "4 bits a component, a range for each dimension",
            2 => "8 bits a component, one range",
            3 => "4 bits a component, one range",
            4 => "float16",
            5 => "unsigned bytes",
            6 => "6 bits a component, a range for each dimension",
            7 => "bfloat16",
            8 => "signed bytes",
            9 => "no bits: centroids only",
            10..=18 => "TurboQuant",
            _ => "EDEN",
        }
    }

    /// Bytes a row must have, for the kinds that we decode.
    fn expected_bytes(&self) -> Option<u64> {
        let d = u64::from(self.dimension);
        match self.kind {
            0 | 2 | 5 | 8 => Some(d),
            1 | 3 => Some(d.div_ceil(2)),
            4 | 7 => Some(d.saturating_mul(2)),
            6 => Some(d.saturating_mul(6).div_ceil(8)),
            _ => None,
        }
    }

    /// Ranges it must have, for the kinds that we decode.
    fn expected_ranges(&self) -> Option<u64> {
        match self.kind {
            0 | 1 | 6 => Some(u64::from(self.dimension).saturating_mul(2)),
            2 | 3 => Some(2),
            4 | 5 | 7 | 8 => Some(0),
            _ => None,
        }
    }

    /// Whether we decode it.
    pub fn is_known(&self) -> bool {
        self.expected_bytes().is_some()
    }
}

/// Reads a scalar quantizer.
///
/// ```text
/// | qtype 4 | rangestat 4 | argument 4 | d 8 | code size 8 | count 8 | ranges … |
/// ```
pub(super) fn scalar(c: &mut Cursor, header: &Header) -> Result<Scalar> {
    let at = c.at();
    let kind = c.i32("sq.qtype")?;
    let kind = u32::try_from(kind).ok().filter(|kind| *kind <= 26);
    let kind = kind.ok_or_else(|| c.corrupt(at, "sq.qtype, expected 0 to 26"))?;
    c.i32("sq.rangestat")?;
    c.f32("sq.rangestat_arg")?;
    let at = c.at();
    let d = c.u64("sq.d")?;
    expect(c, at, "sq.d", d, u64::from(header.dimension))?;
    let at = c.at();
    let code_bytes = c.u64("sq.code_size")?;
    let at_trained = c.at();
    let trained = c.vector("sq.trained", 4)?;
    let scalar = Scalar {
        kind,
        dimension: header.dimension,
        code_bytes,
        trained,
    };
    if let Some(expected) = scalar.expected_bytes() {
        expect(c, at, "sq.code_size", code_bytes, expected)?;
    }
    let ranges = scalar.trained.len() / 4;
    match scalar.expected_ranges() {
        Some(expected) if header.trained || ranges > 0 => {
            expect(c, at_trained, "sq.trained", ranges, expected)?;
        }
        _ => {}
    }
    Ok(scalar)
}

/// A product quantizer.
#[derive(Clone, Debug)]
pub struct Product {
    /// Components.
    pub dimension: u32,
    /// Parts a vector is cut into.
    pub parts: u64,
    /// Bits of the number of a centroid.
    pub bits: u32,
    /// Centroids, f32: for each part, 2^bits of `dimension / parts`.
    pub centroids: View,
}

impl Product {
    /// Bytes of a row: the numbers of the centroids, packed from the lowest bit on.
    pub fn code_bytes(&self) -> u64 {
        self.parts.saturating_mul(u64::from(self.bits)).div_ceil(8)
    }
}

/// Reads a product quantizer.
///
/// ```text
/// | d 8 | M 8 | nbits 8 | count 8 | centroids … |
/// ```
pub(super) fn product(c: &mut Cursor, dimension: u32) -> Result<Product> {
    let at = c.at();
    let d = c.u64("pq.d")?;
    expect(c, at, "pq.d", d, u64::from(dimension))?;
    let at = c.at();
    let parts = c.u64("pq.M")?;
    if parts == 0 || !d.is_multiple_of(parts) {
        return Err(c.corrupt(at, format!("pq.M = {parts}, expected a divisor of {d}")));
    }
    let at = c.at();
    let bits = c.u64("pq.nbits")?;
    let bits = u32::try_from(bits)
        .ok()
        .filter(|bits| (1..=24).contains(bits));
    let bits = bits.ok_or_else(|| c.corrupt(at, "pq.nbits, expected 1 to 24"))?;
    let expected = bytes_of(c, at, "centroids", d, 1u64.wrapping_shl(bits))?;
    let at = c.at();
    let centroids = c.vector("pq.centroids", 4)?;
    expect(c, at, "pq.centroids", centroids.len() / 4, expected)?;
    Ok(Product {
        dimension,
        parts,
        bits,
        centroids,
    })
}
