//! Additive quantizers: sums of codebook entries. Skipped to find what follows them; not decoded.

use crate::error::Result;
use crate::input::Cursor;

/// A kind of additive quantizer.
#[derive(Clone, Copy)]
pub(super) enum Additive {
    /// Residual, in the current layout.
    Residual,
    /// Residual, in the first layout.
    OldResidual,
    /// Local search.
    LocalSearch,
    /// One residual quantizer for each part of the vector.
    ProductResidual,
    /// One local search quantizer for each part of the vector.
    ProductLocalSearch,
}

/// Skips one.
pub(super) fn skip(c: &mut Cursor, which: Additive) -> Result<()> {
    match which {
        Additive::OldResidual => old_residual(c),
        Additive::Residual => residual(c),
        Additive::LocalSearch => local_search(c),
        Additive::ProductResidual => product(c, residual),
        Additive::ProductLocalSearch => product(c, local_search),
    }
}

fn base(c: &mut Cursor) -> Result<()> {
    c.u64("aq.d")?;
    c.u64("aq.M")?;
    c.vector("aq.nbits", 8)?;
    c.bool("aq.is_trained")?;
    c.vector("aq.codebooks", 4)?;
    let search = c.i32("aq.search_type")?;
    c.f32("aq.norm_min")?;
    c.f32("aq.norm_max")?;
    // ST_norm_cqint8 to ST_norm_rq2x4 keep the norms' own codebook; the last two also its tables.
    if (6..=9).contains(&search) {
        c.vector("aq.qnorm", 4)?;
    }
    if (8..=9).contains(&search) {
        c.vector("aq.norm_tabs", 4)?;
    }
    Ok(())
}

fn residual(c: &mut Cursor) -> Result<()> {
    base(c)?;
    c.i32("rq.train_type")?;
    c.i32("rq.max_beam_size")?;
    Ok(())
}

fn old_residual(c: &mut Cursor) -> Result<()> {
    c.u64("rq.d")?;
    c.u64("rq.M")?;
    c.vector("rq.nbits", 8)?;
    c.bool("rq.is_trained")?;
    c.i32("rq.train_type")?;
    c.i32("rq.max_beam_size")?;
    c.vector("rq.codebooks", 4)?;
    c.i32("rq.search_type")?;
    c.f32("rq.norm_min")?;
    c.f32("rq.norm_max")?;
    Ok(())
}

fn local_search(c: &mut Cursor) -> Result<()> {
    base(c)?;
    for field in [
        "lsq.K",
        "lsq.train_iters",
        "lsq.encode_ils_iters",
        "lsq.train_ils_iters",
        "lsq.icm_iters",
    ] {
        c.u64(field)?;
    }
    c.f32("lsq.p")?;
    c.f32("lsq.lambd")?;
    c.u64("lsq.chunk_size")?;
    c.i32("lsq.random_seed")?;
    c.u64("lsq.nperts")?;
    c.bool("lsq.update_codebooks_with_double")?;
    Ok(())
}

fn product(c: &mut Cursor, part: fn(&mut Cursor) -> Result<()>) -> Result<()> {
    base(c)?;
    // Each part takes at least 60 bytes, so the file can hold this many.
    let parts = c.count("paq.nsplits", 60)?;
    for _ in 0..parts {
        part(c)?;
    }
    Ok(())
}
