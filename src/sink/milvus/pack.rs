//! How does a batch become a parcel? Each row is looked at once (is it finite, what is its digest), and copied while
//! it is in the cache where it lies alone. This is where pages of a mapping fault in.

use crate::batch::{Batch, LeftOut, Part};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::job::NonFinite;
use crate::milvus::wire::{Envelope, Piece, frame, frame_checked};
use crate::schema::Element;
use crate::simd::{self, Floats};
use crate::sink::Parcel;

/// Packs a batch for the place that the envelope names.
pub fn pack(
    envelope: &Envelope,
    non_finite: NonFinite,
    mut batch: Batch,
    mut room: Buffer,
) -> Result<Parcel> {
    let floats = floats(envelope.kind.element);
    let (mut left_out, mut digest) = (Vec::new(), 0u64);
    // Nearly always all is finite: framed as if it were, and looked at on the way.
    let framed = frame_checked(envelope, &batch.parts, &mut room.bytes, |part, room| {
        let (ids, vectors) = (part.ids(), part.vectors());
        let width = vectors.len() / ids.len().max(1);
        let (sum, odd) = match room {
            Some(room) => simd::check_and_gather(floats, ids, vectors, width, room),
            None => simd::check_and_digest(floats, ids, vectors, width),
        };
        digest = digest.wrapping_add(sum);
        odd.is_none()
    });
    let pieces = match framed {
        Some(pieces) => pieces,
        None => {
            room.bytes.clear();
            (left_out, digest) = leave_out(&mut batch, non_finite, floats)?;
            match batch.rows() {
                0 => Vec::new(),
                _ => frame(envelope, &batch.parts, &mut room.bytes),
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
        payload_bytes: rows * (envelope.kind.row_bytes() + 8),
        digest,
        body: body.collect(),
        left_out,
        batch,
    })
}

/// The floats of vectors of these elements, to be looked at.
pub fn floats(element: Element) -> Floats {
    match element {
        Element::Float32 => Floats::F32,
        Element::Float16 => Floats::F16,
        Element::BFloat16 => Floats::Bf16,
        Element::Int8 | Element::Bit => Floats::None,
    }
}

/// Takes rows that are not finite out of a batch, if that is allowed; they, and the digest of the others.
pub fn leave_out(
    batch: &mut Batch,
    non_finite: NonFinite,
    floats: Floats,
) -> Result<(Vec<LeftOut>, u64)> {
    let mut kept = Vec::with_capacity(batch.parts.len());
    let (mut left_out, mut digest) = (Vec::new(), 0);
    for part in &batch.parts {
        let odd = check(part, floats, &mut digest);
        match odd.first() {
            None => kept.push(part.clone()),
            Some(row) if non_finite == NonFinite::Fail => {
                return Err(refused(part, *row, floats).batch(batch.id));
            }
            Some(_) => {
                part.without(&odd, &mut kept);
                left_out.extend(odd.iter().map(|row| LeftOut::of(part, *row)));
            }
        }
    }
    batch.parts = kept;
    Ok((left_out, digest))
}

/// The rows of a part that are not finite; the digests of the others are added up.
fn check(part: &Part, floats: Floats, digest: &mut u64) -> Vec<usize> {
    let width = part.vectors().len() / part.len().max(1);
    let rows = part.ids().iter().zip(part.vectors().chunks_exact(width));
    let mut odd = Vec::new();
    for (row, (id, vector)) in rows.enumerate() {
        if simd::finite(floats, vector) {
            *digest = digest.wrapping_add(simd::row_digest(*id, vector));
        } else {
            odd.push(row);
        }
    }
    odd
}

fn refused(part: &Part, row: usize, floats: Floats) -> Error {
    let width = part.vectors().len() / part.len();
    let vector = &part.vectors()[row * width..(row + 1) * width];
    let bytes = if floats == Floats::F32 { 4 } else { 2 };
    let component = vector
        .chunks_exact(bytes)
        .position(|c| !simd::finite(floats, c))
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
