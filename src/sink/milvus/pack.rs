//! How does a batch become a parcel? Each row is visited once (does it fit, is it finite, what is its digest), and
//! copied while it is in the cache if it is stored separately. This is where pages of a mapping fault in.

use super::check::Check;
use super::mend::fitted;
use crate::batch::{Batch, LeftOut, Part};
use crate::buffers::Buffer;
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::{Misfits, NonFinite};
use crate::milvus::wire::{Envelope, Piece, frame, frame_checked};
use crate::schema::{ColumnType, Element, VectorType};
use crate::simd::{self, Floats};
use crate::sink::Parcel;

/// What to do with rows that a collection does not accept.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For rows that have NaN or infinity in a vector.
    pub non_finite: NonFinite,
    /// For rows that have another value that does not fit.
    pub misfit: Misfits,
}

/// Packs a batch for the destination in the envelope. Values have to pass `checks`.
pub fn pack(
    envelope: &Envelope,
    checks: &[Check],
    rules: Rules,
    batch: Batch,
    mut room: Buffer,
) -> Result<Parcel> {
    let (mut batch, mut left_out) = fitted(checks, rules.misfit, batch)?;
    let mut digest = 0u64;
    let pieces = match batch.rows() {
        // The server refuses empty inserts.
        0 => Vec::new(),
        // Almost always everything is finite: frame it on that assumption, and check meanwhile.
        _ => {
            let framed = frame_checked(
                envelope,
                &batch.parts,
                &mut room.bytes,
                |part, column, room| {
                    let ColumnType::Vector(kind) = part.columns().all()[column].kind else {
                        unreachable!("only dense vectors are checked");
                    };
                    let (sum, odd) = look(part, column, kind, room);
                    digest = digest.wrapping_add(sum);
                    odd.is_none()
                },
            );
            match framed {
                Some(pieces) => {
                    digest = digest.wrapping_add(other_digests(&batch.parts));
                    pieces
                }
                None => {
                    room.bytes.clear();
                    left_out.extend(leave_out(&mut batch, rules.non_finite)?);
                    let digests = batch.parts.iter().map(digest::part);
                    digest = digests.fold(0, u64::wrapping_add);
                    match batch.rows() {
                        0 => Vec::new(),
                        _ => frame(envelope, &batch.parts, &mut room.bytes),
                    }
                }
            }
        }
    };
    let rows = batch.rows();
    let room = room.freeze();
    let body = pieces.into_iter().map(|piece| match piece {
        Piece::Room(range) => room.slice(range),
        Piece::Mapped(bytes) => bytes,
    });
    Ok(Parcel {
        id: batch.id,
        rows: u32::try_from(rows).expect("batches have at most BATCH_ROWS_MAX rows"),
        payload_bytes: batch.bytes(),
        digest,
        body: body.collect(),
        left_out,
        batch,
    })
}

/// The digest of a part's vectors, and whether one is not finite; gathers them if there is a buffer.
fn look(
    part: &Part,
    column: usize,
    kind: VectorType,
    room: Option<&mut Vec<u8>>,
) -> (u64, Option<usize>) {
    let (keys, width) = (digest::keys(part, column), kind.row_bytes() as usize);
    let (floats, vectors) = (floats(kind.element), part.vectors_of(column));
    match room {
        Some(room) => simd::check_and_gather(floats, &keys, vectors, width, room),
        None => simd::check_and_digest(floats, &keys, vectors, width),
    }
}

/// The digests of columns that are not dense vectors.
fn other_digests(parts: &[Part]) -> u64 {
    let mut sum = 0u64;
    for part in parts {
        let columns = part.columns();
        for (number, column) in columns.all().iter().enumerate() {
            let is_dense = matches!(column.kind, ColumnType::Vector(_));
            if !is_dense && number != columns.key_number() {
                sum = sum.wrapping_add(digest::column(part, number));
            }
        }
    }
    sum
}

/// The floats in vectors of this element type, to be checked.
fn floats(element: Element) -> Floats {
    match element {
        Element::Float32 => Floats::F32,
        Element::Float16 => Floats::F16,
        Element::BFloat16 => Floats::Bf16,
        Element::Int8 | Element::Bit => Floats::None,
    }
}

/// Removes rows that are not finite from a batch, if that is allowed.
pub fn leave_out(batch: &mut Batch, rule: NonFinite) -> Result<Vec<LeftOut>> {
    let mut kept = Vec::with_capacity(batch.parts.len());
    let mut left_out = Vec::new();
    for part in &batch.parts {
        let mut odd = Vec::new();
        for (number, column) in part.columns().vectors() {
            if let ColumnType::Vector(kind) = column.kind {
                let rows = part
                    .vectors_of(number)
                    .chunks_exact(kind.row_bytes() as usize);
                let rows = rows.enumerate();
                let found = rows.filter(|(_, row)| !simd::finite(floats(kind.element), row));
                odd.extend(found.map(|(row, _)| (row, number, kind)));
            }
        }
        match odd.first() {
            None => kept.push(part.clone()),
            Some((row, number, kind)) if rule == NonFinite::Fail => {
                return Err(refused(part, *row, *number, *kind).batch(batch.id));
            }
            Some(_) => {
                let mut rows: Vec<usize> = odd.iter().map(|(row, ..)| *row).collect();
                rows.sort_unstable();
                rows.dedup();
                part.without(&rows, &mut kept);
                left_out.extend(rows.iter().map(|row| LeftOut::of(part, *row)));
            }
        }
    }
    batch.parts = kept;
    Ok(left_out)
}

fn refused(part: &Part, row: usize, column: usize, kind: VectorType) -> Error {
    let width = kind.row_bytes() as usize;
    let vector = &part.vectors_of(column)[row * width..][..width];
    let floats = floats(kind.element);
    let bytes = if floats == Floats::F32 { 4 } else { 2 };
    let component = vector
        .chunks_exact(bytes)
        .position(|c| !simd::finite(floats, c))
        .expect("the row was found not to be finite");
    let LeftOut { key, row, file } = LeftOut::of(part, row);
    let of = match part.columns().as_plain() {
        Some(_) => String::new(),
        None => format!(" of `{}`", part.columns().all()[column].name),
    };
    Error::path(
        Kind::Unsupported,
        &file,
        format!(
            "row {row} (id {key}) has NaN or infinity as component {component}{of}, which Milvus 2.x refuses",
        ),
    )
    .hint("`run.non_finite: skip` leaves such rows out, and counts and lists them")
}
