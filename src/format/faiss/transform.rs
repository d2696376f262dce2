//! Transforms: what was done to vectors before an index took them.

use super::header::{FourCc, bytes_of, expect, unknown};
use crate::error::Result;
use crate::input::{Cursor, View};
use crate::limits;

/// Characters that transforms begin with.
pub(super) const KINDS: [&[u8; 4]; 11] = [
    b"rrot", b"LTra", b"PCAm", b"PcAm", b"Pcam", b"Viqm", b"RmDT", b"VNrm", b"VCnt", b"HRot",
    b"Viqt",
];

/// What was done to a vector.
#[derive(Clone, Debug)]
pub struct Transform {
    /// Its four characters.
    pub fourcc: FourCc,
    /// Components before.
    pub from: u32,
    /// Components after.
    pub to: u32,
    /// Whether it was trained.
    pub trained: bool,
    /// What it does.
    pub act: Act,
}

/// What a transform does.
#[derive(Clone, Debug)]
pub enum Act {
    /// y = A x + b; A has `to` rows of `from`, f32.
    Linear {
        /// A.
        matrix: View,
        /// b, if there is one.
        bias: Option<View>,
    },
    /// Component i is the former component `map[i]`, or 0 if that is −1.
    Remap(View),
    /// Brought to unit length.
    Normalize,
    /// The mean was subtracted.
    Center(View),
    /// Three rounds of random signs and a Walsh-Hadamard transform; the signs derive from the seed.
    Hadamard(u32),
    /// Centred, brought to unit length, rotated for binarization.
    Itq,
}

impl Transform {
    /// A few words for people.
    pub fn name(&self) -> &'static str {
        match (&self.fourcc.0, &self.act) {
            (b"rrot", _) => "random rotation",
            (b"PCAm" | b"PcAm" | b"Pcam", _) => "principal components",
            (b"Viqm", _) => "rotation for binarization (ITQ)",
            (_, Act::Linear { .. }) => "linear map",
            (_, Act::Remap(_)) => "dimension remap",
            (_, Act::Normalize) => "L2 normalisation",
            (_, Act::Center(_)) => "centring",
            (_, Act::Hadamard(_)) => "Hadamard rotation",
            (_, Act::Itq) => "ITQ",
        }
    }
}

/// Reads one. The dimensions come last.
pub(super) fn transform(c: &mut Cursor, depth: u32) -> Result<Transform> {
    let at = c.at();
    if depth >= limits::NESTING_MAX {
        return Err(c.corrupt(at, "transforms are nested too deep"));
    }
    let fourcc = FourCc::read(c, "transform")?;
    let act = match &fourcc.0 {
        b"rrot" | b"LTra" => linear(c)?,
        b"PCAm" | b"PcAm" | b"Pcam" => {
            c.f32("pca.eigen_power")?;
            if &fourcc.0 == b"Pcam" {
                c.f32("pca.epsilon")?;
            }
            c.bool("pca.random_rotation")?;
            if &fourcc.0 != b"PCAm" {
                c.i32("pca.balanced_bins")?;
            }
            c.vector("pca.mean", 4)?;
            c.vector("pca.eigenvalues", 4)?;
            c.vector("pca.PCAMat", 4)?;
            linear(c)?
        }
        b"Viqm" => {
            c.i32("itq.max_iter")?;
            c.i32("itq.seed")?;
            linear(c)?
        }
        b"RmDT" => Act::Remap(c.vector("remap.map", 4)?),
        b"VNrm" => {
            c.f32("norm")?;
            Act::Normalize
        }
        b"VCnt" => Act::Center(c.vector("centre.mean", 4)?),
        b"HRot" => Act::Hadamard(c.u32("hadamard.seed")?),
        b"Viqt" => {
            c.vector("itq.mean", 4)?;
            c.bool("itq.do_pca")?;
            transform(c, depth.saturating_add(1))?;
            transform(c, depth.saturating_add(1))?;
            Act::Itq
        }
        _ => return Err(unknown(c, at, fourcc, "a transform")),
    };
    let at = c.at();
    let from = super::header::dimension(c)?;
    let to = super::header::dimension(c)?;
    let trained = c.bool("transform.is_trained")?;
    let made = Transform {
        fourcc,
        from,
        to,
        trained,
        act,
    };
    if trained {
        check(c, at, &made)?;
    }
    Ok(made)
}

fn linear(c: &mut Cursor) -> Result<Act> {
    let biased = c.bool("linear.have_bias")?;
    let matrix = c.vector("linear.A", 4)?;
    let bias = c.vector("linear.b", 4)?;
    Ok(Act::Linear {
        matrix,
        bias: biased.then_some(bias),
    })
}

/// Checks what was read against the dimensions that follow it.
fn check(c: &Cursor, at: u64, made: &Transform) -> Result<()> {
    let (from, to) = (u64::from(made.from), u64::from(made.to));
    match &made.act {
        Act::Linear { matrix, bias } => {
            let cells = bytes_of(c, at, "rows", to, from)?;
            expect(c, at, "cells of the matrix", matrix.len() / 4, cells)?;
            if let Some(bias) = bias {
                expect(c, at, "cells of the bias", bias.len() / 4, to)?;
            }
        }
        Act::Remap(map) => expect(c, at, "entries of the map", map.len() / 4, to)?,
        Act::Normalize => expect(c, at, "d_out", to, from)?,
        Act::Center(mean) => {
            expect(c, at, "d_out", to, from)?;
            expect(c, at, "entries of the mean", mean.len() / 4, from)?;
        }
        Act::Hadamard(_) => {
            let power = made.from.max(1).checked_next_power_of_two().unwrap_or(0);
            expect(c, at, "d_out", to, u64::from(power))?;
        }
        Act::Itq => {}
    }
    Ok(())
}
