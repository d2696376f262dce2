//! Kinds whose codes this program does not decode. They are skipped to reach what is stored next to or after them.

use super::additive::{Additive, skip};
use super::header::{Header, header};
use super::index::{Body, Node, Remedy, node};
use super::ivf;
use super::lists::lists;
use super::quantizer;
use super::transform::transform;
use crate::error::Result;
use crate::input::Cursor;

/// A kind that keeps no vectors, or keeps them in a form we do not decode.
pub(super) struct Coded {
    pub class: &'static str,
    pub header: Header,
    pub body: Body,
}

const ADDITIVE: &str = "keeps additive quantizer codes, which this program does not decode";
const ADDITIVE_FAST_SCAN: &str =
    "keeps additive quantizer codes packed for FastScan, which this program does not decode";
const RABITQ: &str =
    "keeps RaBitQ codes: a bit or a few for each component, hardly more than a direction";
const EDEN: &str = "keeps EDEN codes, which this program does not decode";
const LSH: &str = "keeps only the signs of projections (LSH)";
const SPECTRAL: &str = "keeps only a spectral hash of each vector";
const COARSE: &str = "holds centres of clusters and no rows";
const LATTICE: &str = "is a lattice codec; Faiss does not write its rows";
const TWO_LEVEL: &str = "keeps two-level codes, which this program does not decode";

/// The ones that libfaiss 1.12, which the crate `faiss` builds, can read and reconstruct vectors from, as
/// `tests/files/faiss_oracle.rs` checks. FastScan's inverted files are not among them: libfaiss uses a quantizer that
/// it never set when it read one from a file, and the process dies.
pub(super) const LIBFAISS_DECODES: [&[u8; 4]; 15] = [
    b"IxRq", b"IxLS", b"IxPR", b"IxPL", b"IwRQ", b"IwLS", b"IwPR", b"IwPL", b"IRfs", b"ILfs",
    b"IPRf", b"IPLf", b"Ix2L", b"Ixrq", b"Iwrq",
];

/// Reads one if the four characters name one, else returns `None`.
pub(super) fn coded(c: &mut Cursor, fourcc: &[u8; 4], depth: u32) -> Result<Option<Coded>> {
    let made = match fourcc {
        b"IxHE" | b"IxHe" => lsh(c)?,
        b"IxRQ" => additive(c, Additive::OldResidual)?,
        b"IxRq" => additive(c, Additive::Residual)?,
        b"IxLS" => additive(c, Additive::LocalSearch)?,
        b"IxPR" => additive(c, Additive::ProductResidual)?,
        b"IxPL" => additive(c, Additive::ProductLocalSearch)?,
        b"IwRQ" => ivf_additive(c, depth, Additive::Residual)?,
        b"IwLS" => ivf_additive(c, depth, Additive::LocalSearch)?,
        b"IwPR" => ivf_additive(c, depth, Additive::ProductResidual)?,
        b"IwPL" => ivf_additive(c, depth, Additive::ProductLocalSearch)?,
        b"IRfs" => additive_fast_scan(c, Additive::Residual)?,
        b"ILfs" => additive_fast_scan(c, Additive::LocalSearch)?,
        b"IPRf" => additive_fast_scan(c, Additive::ProductResidual)?,
        b"IPLf" => additive_fast_scan(c, Additive::ProductLocalSearch)?,
        b"IVRf" => ivf_additive_fast_scan(c, depth, Additive::Residual)?,
        b"IVLf" => ivf_additive_fast_scan(c, depth, Additive::LocalSearch)?,
        b"NPRf" => ivf_additive_fast_scan(c, depth, Additive::ProductResidual)?,
        b"NPLf" => ivf_additive_fast_scan(c, depth, Additive::ProductLocalSearch)?,
        b"ImRQ" => residual_coarse(c)?,
        b"IxLa" => lattice(c)?,
        b"IwSh" => spectral_hash(c, depth)?,
        b"Ix2L" => two_level(c, depth)?,
        b"IxEd" | b"IxEe" => eden(c, fourcc == b"IxEe")?,
        b"IwEd" | b"IwEe" => ivf_eden(c, depth, fourcc == b"IwEe")?,
        b"Ixrq" | b"Ixrr" => rabitq(c, fourcc == b"Ixrr")?,
        b"Iwrq" | b"Iwrr" => ivf_rabitq(c, depth, fourcc == b"Iwrr")?,
        b"Irfn" | b"Irfs" => rabitq_fast_scan(c, fourcc == b"Irfs")?,
        b"Iwrn" | b"Iwrf" => ivf_rabitq_fast_scan(c, depth, fourcc == b"Iwrf")?,
        _ => return Ok(None),
    };
    Ok(Some(made))
}

fn made(class: &'static str, header: Header, why: &'static str, how: Remedy) -> Coded {
    Coded {
        class,
        header,
        body: Body::Coded {
            why,
            how,
            inner: None,
        },
    }
}

fn made_over(class: &'static str, head: ivf::Head, why: &'static str, how: Remedy) -> Coded {
    let inner = Some(Box::new(head.quantizer));
    Coded {
        class,
        header: head.header,
        body: Body::Coded { why, how, inner },
    }
}

fn lsh(c: &mut Cursor) -> Result<Coded> {
    let header = header(c)?;
    c.i32("lsh.nbits")?;
    c.bool("lsh.rotate_data")?;
    c.bool("lsh.train_thresholds")?;
    c.vector("lsh.thresholds", 4)?;
    c.i32("lsh.code_size")?;
    transform(c, 0)?;
    c.vector("codes", 1)?;
    Ok(made(
        "locality-sensitive hash (IndexLSH)",
        header,
        LSH,
        Remedy::Gone,
    ))
}

fn additive(c: &mut Cursor, which: Additive) -> Result<Coded> {
    let header = header(c)?;
    skip(c, which)?;
    c.u64("code_size")?;
    c.vector("codes", 1)?;
    Ok(made("additive quantizer", header, ADDITIVE, Remedy::Rows))
}

fn ivf_additive(c: &mut Cursor, depth: u32, which: Additive) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    c.u64("code_size")?;
    skip(c, which)?;
    c.bool("by_residual")?;
    c.i32("use_precomputed_table")?;
    lists(c, head.lists, None)?;
    let class = "inverted file of additive quantizer codes";
    Ok(made_over(class, head, ADDITIVE, Remedy::Lists))
}

fn additive_fast_scan(c: &mut Cursor, which: Additive) -> Result<Coded> {
    let header = header(c)?;
    skip(c, which)?;
    for field in ["implem", "bbs", "qbs"] {
        c.i32(field)?;
    }
    for field in ["M", "nbits", "ksub", "code_size", "ntotal2", "M2"] {
        c.u64(field)?;
    }
    c.bool("rescale_norm")?;
    c.i32("norm_scale")?;
    c.u64("max_train_points")?;
    c.vector("codes", 1)?;
    let class = "additive quantizer for FastScan";
    Ok(made(class, header, ADDITIVE_FAST_SCAN, Remedy::Rows))
}

fn ivf_additive_fast_scan(c: &mut Cursor, depth: u32, which: Additive) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    skip(c, which)?;
    c.bool("by_residual")?;
    for field in ["implem", "bbs", "qbs"] {
        c.i32(field)?;
    }
    for field in ["M", "nbits", "ksub", "code_size", "qbs2", "M2"] {
        c.u64(field)?;
    }
    c.bool("rescale_norm")?;
    c.i32("norm_scale")?;
    c.u64("max_train_points")?;
    lists(c, head.lists, None)?;
    let class = "inverted file of additive quantizer codes for FastScan";
    // Faiss 1.15 crashes when it decodes one that it read from a file: the quantizer is not set.
    Ok(made_over(class, head, ADDITIVE_FAST_SCAN, Remedy::Gone))
}

fn residual_coarse(c: &mut Cursor) -> Result<Coded> {
    let header = header(c)?;
    skip(c, Additive::Residual)?;
    c.f32("beam_factor")?;
    let class = "coarse quantizer by residuals (ResidualCoarseQuantizer)";
    Ok(made(class, header, COARSE, Remedy::Gone))
}

fn lattice(c: &mut Cursor) -> Result<Coded> {
    for field in ["d", "nsq", "scale_nbit", "r2"] {
        c.i32(field)?;
    }
    let header = header(c)?;
    c.vector("trained", 4)?;
    Ok(made(
        "lattice codec (IndexLattice)",
        header,
        LATTICE,
        Remedy::Gone,
    ))
}

fn spectral_hash(c: &mut Cursor, depth: u32) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    transform(c, 0)?;
    c.i32("nbit")?;
    c.f32("period")?;
    c.i32("threshold_type")?;
    c.vector("trained", 4)?;
    lists(c, head.lists, None)?;
    let class = "inverted file of spectral hashes (IndexIVFSpectralHash)";
    Ok(made_over(class, head, SPECTRAL, Remedy::Gone))
}

fn two_level(c: &mut Cursor, depth: u32) -> Result<Coded> {
    let header = header(c)?;
    let quantizer = node(c, depth)?;
    c.u64("q1.nlist")?;
    c.u8("q1.quantizer_trains_alone")?;
    quantizer::product(c, header.dimension)?;
    for field in ["code_size_1", "code_size_2", "code_size"] {
        c.u64(field)?;
    }
    c.vector("codes", 1)?;
    Ok(Coded {
        class: "two-level codes (Index2Layer)",
        header,
        body: Body::Coded {
            why: TWO_LEVEL,
            how: Remedy::Rows,
            inner: Some(Box::new(quantizer)),
        },
    })
}

fn eden_quantizer(c: &mut Cursor, with_scale: bool) -> Result<()> {
    c.u64("eden.d")?;
    c.u64("eden.code_size")?;
    c.i32("eden.metric_type")?;
    c.u64("eden.nb_bits")?;
    if with_scale {
        c.i32("eden.scale_type")?;
    }
    Ok(())
}

fn eden(c: &mut Cursor, with_scale: bool) -> Result<Coded> {
    let header = header(c)?;
    eden_quantizer(c, with_scale)?;
    c.vector("codes", 1)?;
    c.vector("center", 4)?;
    Ok(made("EDEN codes (IndexEDEN)", header, EDEN, Remedy::Rows))
}

fn ivf_eden(c: &mut Cursor, depth: u32, with_scale: bool) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    eden_quantizer(c, with_scale)?;
    c.u64("code_size")?;
    c.bool("by_residual")?;
    lists(c, head.lists, None)?;
    let class = "inverted file of EDEN codes (IndexIVFEDEN)";
    Ok(made_over(class, head, EDEN, Remedy::Lists))
}

fn rabitq_quantizer(c: &mut Cursor, with_bits: bool) -> Result<()> {
    c.u64("rabitq.d")?;
    c.u64("rabitq.code_size")?;
    c.i32("rabitq.metric_type")?;
    if with_bits {
        c.u64("rabitq.nb_bits")?;
    }
    Ok(())
}

fn rabitq(c: &mut Cursor, with_bits: bool) -> Result<Coded> {
    let header = header(c)?;
    rabitq_quantizer(c, with_bits)?;
    c.vector("codes", 1)?;
    c.vector("center", 4)?;
    c.u8("qb")?;
    Ok(made(
        "RaBitQ codes (IndexRaBitQ)",
        header,
        RABITQ,
        Remedy::Rows,
    ))
}

fn ivf_rabitq(c: &mut Cursor, depth: u32, with_bits: bool) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    rabitq_quantizer(c, with_bits)?;
    c.u64("code_size")?;
    c.bool("by_residual")?;
    c.u8("qb")?;
    lists(c, head.lists, None)?;
    let class = "inverted file of RaBitQ codes (IndexIVFRaBitQ)";
    Ok(made_over(class, head, RABITQ, Remedy::Lists))
}

fn rabitq_fast_scan(c: &mut Cursor, old: bool) -> Result<Coded> {
    let header = header(c)?;
    rabitq_quantizer(c, true)?;
    c.vector("center", 4)?;
    c.u8("qb")?;
    if old {
        c.vector("flat_storage", 1)?;
    }
    c.i32("bbs")?;
    c.u64("ntotal2")?;
    c.u64("M2")?;
    c.u64("code_size")?;
    c.vector("codes", 1)?;
    let class = "RaBitQ codes for FastScan (IndexRaBitQFastScan)";
    Ok(made(class, header, RABITQ, Remedy::Rows))
}

fn ivf_rabitq_fast_scan(c: &mut Cursor, depth: u32, old: bool) -> Result<Coded> {
    let head = ivf::head(c, depth)?;
    rabitq_quantizer(c, true)?;
    c.bool("by_residual")?;
    c.u64("code_size")?;
    c.i32("bbs")?;
    c.u64("qbs2")?;
    c.u64("M2")?;
    c.i32("implem")?;
    c.u8("qb")?;
    c.bool("centered")?;
    if old {
        c.vector("flat_storage", 1)?;
    }
    lists(c, head.lists, None)?;
    let class = "inverted file of RaBitQ codes for FastScan (IndexIVFRaBitQFastScan)";
    Ok(made_over(class, head, RABITQ, Remedy::Lists))
}

/// Intel's SVS keeps a stream without a length, so nothing after it can be found.
pub(super) const SVS: [&[u8; 4]; 8] = [
    b"ILVQ", b"ISVL", b"ISVD", b"ISV2", b"ISVF", b"ISIQ", b"ISIL", b"ISID",
];

/// Describes an SVS index by its header; nothing else is read.
pub(super) fn svs(c: &mut Cursor) -> Result<Node> {
    let at = c.at().saturating_sub(4);
    let mut again = Cursor::new(c.view().cut(at, 4)?);
    let fourcc = super::header::FourCc::read(&mut again, "fourcc")?;
    let header = header(c)?;
    let why = "keeps its vectors in a stream that only Intel's SVS library reads";
    let made = made("Intel SVS index", header, why, Remedy::Rows);
    Ok(Node::new(fourcc, made.class, at, made.header, made.body))
}
