//! What do HDF5's filters do to a chunk? Shuffle, deflate, LZF, szip and Fletcher's checksum, done outside the library
//! and its lock. Pure: opens nothing.

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::lzf;
use super::szip::Szip;

/// One step of a dataset's pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// The first bytes of all elements, then the second bytes, …; for elements of this many bytes.
    Shuffle(usize),
    /// A zlib stream, packed at this level.
    Deflate(u8),
    /// LZF.
    Lzf,
    /// Szip; read only.
    Szip(Szip),
    /// A checksum of 4 bytes after the data.
    Fletcher32,
}

impl Filter {
    fn compresses(self) -> bool {
        matches!(self, Filter::Deflate(_) | Filter::Lzf | Filter::Szip(_))
    }
}

/// Packs chunks for one pipeline; keeps its buffers.
pub struct Packer {
    filters: Vec<Filter>,
    deflate: Option<Compressor>,
    shuffled: Vec<u8>,
}

impl Packer {
    /// A packer for this pipeline: with or without shuffle, then at most one compression.
    pub fn new(filters: &[Filter]) -> Packer {
        let level = filters.iter().find_map(|f| match f {
            Filter::Deflate(level) => Some(*level),
            _ => None,
        });
        let level = level.map(|l| CompressionLvl::new(i32::from(l)).unwrap_or_default());
        Packer {
            filters: filters.to_vec(),
            deflate: level.map(Compressor::new),
            shuffled: Vec::new(),
        }
    }

    /// A whole chunk as it is stored, and the mask of the filters it was left out of: a chunk that
    /// a compression would not make shorter is stored without it, as the library does.
    pub fn pack(&mut self, chunk: &[u8]) -> (u32, Vec<u8>) {
        let mut bytes = chunk;
        if let Some(Filter::Shuffle(element)) = self.filters.first() {
            shuffle(chunk, *element, &mut self.shuffled);
            bytes = &self.shuffled;
        }
        let compression = self.filters.iter().position(|f| f.compresses());
        let Some(compression) = compression else {
            return (0, bytes.to_vec());
        };
        // Space for the chunk's own length: a result that does not fit is not shorter.
        let mut room = Vec::with_capacity(bytes.len());
        let shorter = match &mut self.deflate {
            Some(deflate) => {
                room.resize(bytes.len(), 0);
                let len = deflate.zlib_compress(bytes, &mut room).ok();
                len.filter(|l| *l < bytes.len())
                    .map(|len| room.truncate(len))
                    .is_some()
            }
            None => lzf::compress(bytes, &mut room),
        };
        match shorter {
            true => (0, room),
            false => (1 << compression, bytes.to_vec()),
        }
    }
}

/// Undoes pipelines; keeps its buffers.
pub struct Unpacker {
    inflate: Decompressor,
    now: Vec<u8>,
    next: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker {
            inflate: Decompressor::new(),
            now: Vec::new(),
            next: Vec::new(),
        }
    }
}

impl Unpacker {
    /// Whether a pipeline can be undone here: at most one compression, so that every length on the way is known.
    pub fn knows(filters: &[Filter]) -> bool {
        filters.iter().filter(|f| f.compresses()).count() <= 1
    }

    /// Undoes these filters, except those in `mask`, on the stored chunk `stored`, and writes the result to `to`, which
    /// has the chunk's length. Returns what is wrong if that fails.
    pub fn unpack(
        &mut self,
        filters: &[Filter],
        mask: u32,
        stored: &[u8],
        to: &mut [u8],
    ) -> Result<(), String> {
        let used: Vec<Filter> = (filters.iter().enumerate())
            .filter(|(i, _)| mask >> i & 1 == 0)
            .map(|(_, f)| *f)
            .collect();
        let mut first = true;
        for (i, filter) in used.iter().enumerate().rev() {
            let from: &[u8] = if first { stored } else { &self.now };
            first = false;
            let sums = used[..i].iter().filter(|f| **f == Filter::Fletcher32);
            let len = match filter {
                Filter::Fletcher32 => from.len().saturating_sub(4),
                Filter::Shuffle(_) => from.len(),
                Filter::Deflate(_) | Filter::Lzf | Filter::Szip(_) => to.len() + 4 * sums.count(),
            };
            let room: &mut [u8] = if i == 0 && len == to.len() {
                &mut *to
            } else {
                self.next.resize(len, 0);
                &mut self.next
            };
            match filter {
                Filter::Fletcher32 => room.copy_from_slice(checked(from)?),
                Filter::Shuffle(element) => unshuffle(from, *element, room),
                Filter::Deflate(_) => {
                    let got = self.inflate.zlib_decompress(from, room);
                    let got = got.map_err(|e| format!("cannot be inflated: {e}"))?;
                    if got != len {
                        return Err(format!("inflates to {got} bytes, {len} are needed"));
                    }
                }
                Filter::Szip(szip) => szip.unpack(from, room)?,
                Filter::Lzf => {
                    lzf::decompress(from, room).ok_or("is not LZF of the chunk's length")?;
                }
            }
            if i == 0 && len == to.len() {
                return Ok(());
            }
            std::mem::swap(&mut self.now, &mut self.next);
        }
        let bytes: &[u8] = if first { stored } else { &self.now };
        if bytes.len() != to.len() {
            return Err(format!(
                "gives {} bytes, {} are needed",
                bytes.len(),
                to.len()
            ));
        }
        to.copy_from_slice(bytes);
        Ok(())
    }
}

/// The first bytes of all elements, then the second bytes, and so on; an incomplete last element is copied as it is.
fn shuffle(from: &[u8], element: usize, to: &mut Vec<u8>) {
    to.resize(from.len(), 0);
    match element {
        0 | 1 => to.copy_from_slice(from),
        2 => shuffle_by::<2>(from, to),
        4 => shuffle_by::<4>(from, to),
        8 => shuffle_by::<8>(from, to),
        _ => {
            let count = from.len() / element;
            for (i, bytes) in from.chunks_exact(element).enumerate() {
                for (b, byte) in bytes.iter().enumerate() {
                    to[b * count + i] = *byte;
                }
            }
            to[count * element..].copy_from_slice(&from[count * element..]);
        }
    }
}

fn shuffle_by<const N: usize>(from: &[u8], to: &mut [u8]) {
    let count = from.len() / N;
    let (elements, rest) = from.as_chunks::<N>();
    to[count * N..].copy_from_slice(rest);
    if count == 0 {
        return;
    }
    for (b, plane) in to[..count * N].chunks_exact_mut(count).enumerate() {
        for (byte, element) in plane.iter_mut().zip(elements) {
            *byte = element[b];
        }
    }
}

/// Undoes [`shuffle`]; `to` is as long as `from`.
fn unshuffle(from: &[u8], element: usize, to: &mut [u8]) {
    match element {
        0 | 1 => to.copy_from_slice(from),
        2 => unshuffle_by::<2>(from, to),
        4 => unshuffle_by::<4>(from, to),
        8 => unshuffle_by::<8>(from, to),
        _ => {
            let count = from.len() / element;
            for (i, bytes) in to.chunks_exact_mut(element).enumerate() {
                for (b, byte) in bytes.iter_mut().enumerate() {
                    *byte = from[b * count + i];
                }
            }
            to[count * element..].copy_from_slice(&from[count * element..]);
        }
    }
}

fn unshuffle_by<const N: usize>(from: &[u8], to: &mut [u8]) {
    let count = from.len() / N;
    let (elements, rest) = to.as_chunks_mut::<N>();
    rest.copy_from_slice(&from[count * N..]);
    // Blocks, so that the elements stay in the cache while their bytes come one plane after the other.
    const BLOCK: usize = 1024;
    for (i, block) in elements.chunks_mut(BLOCK).enumerate() {
        for b in 0..N {
            let plane = &from[b * count + i * BLOCK..][..block.len()];
            for (element, byte) in block.iter_mut().zip(plane) {
                element[b] = *byte;
            }
        }
    }
}

/// The bytes before a checksum, if it matches them.
fn checked(bytes: &[u8]) -> Result<&[u8], String> {
    let Some((data, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(format!("{} bytes are too few for a checksum", bytes.len()));
    };
    let (stored, sum) = (u32::from_le_bytes(*sum), fletcher32(data));
    // Libraries before 1.6.3 swapped the bytes of each half on little-endian machines.
    let swapped = (sum & 0x00ff_00ff) << 8 | (sum & 0xff00_ff00) >> 8;
    if stored != sum && stored != swapped {
        return Err(format!(
            "has checksum {stored:08x}, its bytes give {sum:08x}"
        ));
    }
    Ok(data)
}

/// Fletcher's checksum as HDF5 computes it: over big-endian 16-bit words, an odd last byte as the high half of one.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut one, mut two) = (0u32, 0u32);
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    // The sums of at most 360 words fit into 32 bits.
    for block in bytes.chunks(720) {
        for word in block.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            one += u32::from(word[0]) << 8 | u32::from(low);
            two += one;
        }
        (one, two) = (fold(one), fold(two));
    }
    fold(two) << 16 | fold(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats() -> Vec<u8> {
        let values = (0..3000).map(|i| ((i as f32) * 0.37).sin());
        values.flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn what_was_packed_comes_back() {
        let chunk = floats();
        for filters in [
            vec![],
            vec![Filter::Shuffle(4)],
            vec![Filter::Deflate(1)],
            vec![Filter::Shuffle(4), Filter::Deflate(9)],
            vec![Filter::Shuffle(2), Filter::Lzf],
            vec![Filter::Shuffle(8), Filter::Lzf],
            vec![Filter::Shuffle(12), Filter::Deflate(6)],
            vec![Filter::Shuffle(1), Filter::Deflate(6)],
        ] {
            let (mask, stored) = Packer::new(&filters).pack(&chunk);
            let mut back = vec![0; chunk.len()];
            let mut unpacker = Unpacker::default();
            unpacker.unpack(&filters, mask, &stored, &mut back).unwrap();
            assert!(back == chunk, "{filters:?}");
            if filters.len() == 2 {
                assert!(stored.len() < chunk.len() || mask == 2, "{filters:?}");
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..9999)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        for filter in [Filter::Deflate(1), Filter::Lzf] {
            let (mask, stored) = Packer::new(&[filter]).pack(&noise);
            assert_eq!((mask, stored == noise), (1, true), "{filter:?}");
        }
    }

    #[test]
    fn a_checksum_is_checked_wherever_it_stands() {
        let chunk = floats();
        let mut sealed = chunk.clone();
        sealed.extend(fletcher32(&chunk).to_le_bytes());
        let (_, packed) = Packer::new(&[Filter::Deflate(4)]).pack(&sealed);
        let mut back = vec![0; chunk.len()];
        let mut unpacker = Unpacker::default();
        let filters = [Filter::Fletcher32, Filter::Deflate(4)];
        unpacker.unpack(&filters, 0, &packed, &mut back).unwrap();
        assert!(back == chunk);
        sealed[17] ^= 1;
        let error = unpacker.unpack(&[Filter::Fletcher32], 0, &sealed, &mut back);
        assert!(error.unwrap_err().starts_with("has checksum"));
        let error = unpacker.unpack(&[Filter::Fletcher32], 0, &[1], &mut back);
        assert!(error.unwrap_err().contains("too few"));
    }

    #[test]
    fn a_wrong_length_is_said() {
        let chunk = floats();
        let mut unpacker = Unpacker::default();
        for filter in [Filter::Deflate(1), Filter::Lzf, Filter::Shuffle(4)] {
            let (mask, stored) = Packer::new(&[filter]).pack(&chunk);
            for len in [0, 1, chunk.len() - 1, chunk.len() + 1] {
                let mut back = vec![0; len];
                assert!(
                    unpacker
                        .unpack(&[filter], mask, &stored, &mut back)
                        .is_err()
                );
            }
        }
    }
}
