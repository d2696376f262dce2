//! How does a batch become a parcel? Looks at each row once, in steps that stay in the cache: is it finite, what
//! is its digest. This is where pages of a mapping fault in.

use crate::batch::{Batch, Part};
use crate::error::{Error, Kind, Result};
use crate::job::NonFinite;
use crate::limits;
use crate::milvus::wire::{Envelope, Piece, frame};
use crate::schema::Element;
use crate::simd;
use crate::sink::{LeftOut, Parcel, Room};

/// Packs a batch for the place that the envelope names.
pub fn pack(
    envelope: &Envelope,
    non_finite: NonFinite,
    mut batch: Batch,
    mut room: Room,
) -> Result<Parcel> {
    let element = envelope.kind.element;
    let mut kept = Vec::with_capacity(batch.parts.len());
    let mut left_out = Vec::new();
    let mut digest = 0u64;
    for part in &batch.parts {
        let checked = check(part, element, &mut digest);
        if checked.is_empty() {
            kept.push(part.clone());
        } else if non_finite == NonFinite::Fail {
            return Err(refused(part, checked[0], element).batch(batch.id));
        } else {
            leave_out(part, &checked, &mut kept, &mut left_out);
        }
    }
    batch.parts = kept;
    let rows = batch.rows();
    let pieces = match rows {
        0 => Vec::new(),
        _ => frame(envelope, &batch.parts, &mut room.bytes),
    };
    let room = room.freeze();
    let body = pieces.into_iter().map(|piece| match piece {
        Piece::Room(range) => room.slice(range),
        Piece::Mapped(bytes) => bytes,
    });
    Ok(Parcel {
        id: batch.id,
        rows: u32::try_from(rows).expect("batches have at most BATCH_ROWS_MAX rows"),
        payload_bytes: rows * (envelope.kind.row_bytes() + 8),
        digest,
        body: body.collect(),
        left_out,
        batch,
    })
}

/// The rows of a part that are not finite; the digests of the others are added up.
fn check(part: &Part, element: Element, digest: &mut u64) -> Vec<usize> {
    let vectors = part.vectors();
    let width = vectors.len() / part.len().max(1);
    let step_rows = (limits::CHECK_STEP_BYTES / width.max(1)).max(1);
    let mut odd = Vec::new();
    let steps = vectors
        .chunks(step_rows * width)
        .zip(part.ids().chunks(step_rows));
    for (step, (vectors, ids)) in steps.enumerate() {
        let all_finite = is_finite(element, vectors);
        let rows = vectors.chunks_exact(width).zip(ids).enumerate();
        for (row, (vector, id)) in rows {
            if all_finite || is_finite(element, vector) {
                *digest = digest.wrapping_add(simd::row_digest(*id, vector));
            } else {
                odd.push(step * step_rows + row);
            }
        }
    }
    odd
}

fn is_finite(element: Element, bytes: &[u8]) -> bool {
    match element {
        Element::Float32 => simd::finite_f32(bytes),
        Element::Float16 => simd::finite_f16(bytes),
        Element::BFloat16 => simd::finite_bf16(bytes),
        Element::Int8 | Element::Bit => true,
    }
}

fn refused(part: &Part, row: usize, element: Element) -> Error {
    let width = part.vectors().len() / part.len();
    let vector = &part.vectors()[row * width..(row + 1) * width];
    let bytes = if element == Element::Float32 { 4 } else { 2 };
    let component = vector
        .chunks_exact(bytes)
        .position(|c| !is_finite(element, c))
        .expect("the row was found not to be finite");
    Error::path(
        Kind::Unsupported,
        &part.file,
        format!(
            "row {} (id {}) has NaN or infinity as component {component}, which Milvus 2.x refuses",
            part.row + row as u64,
            part.ids()[row]
        ),
    )
    .hint("`run.non_finite: skip` leaves such rows out, and counts and lists them")
}

/// Adds the stretches between rows that are left out to what is kept.
fn leave_out(part: &Part, odd: &[usize], kept: &mut Vec<Part>, left_out: &mut Vec<LeftOut>) {
    let mut from = 0;
    for row in odd.iter().copied() {
        if row > from {
            kept.push(part.slice(from, row - from));
        }
        from = row + 1;
        left_out.push(LeftOut {
            id: part.ids()[row],
            row: part.row + row as u64,
            file: part.file.clone(),
        });
    }
    if from < part.len() {
        kept.push(part.slice(from, part.len() - from));
    }
}
