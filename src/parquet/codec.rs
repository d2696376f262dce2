//! How is a page decompressed? Into exactly as many bytes as its header says, never more.

use std::io::Read;

use ::parquet::basic::Compression;

/// Decompresses pages of one codec.
pub enum Codec {
    /// They are not compressed.
    None,
    Snappy,
    Gzip,
    Brotli,
    /// LZ4 frames, or blocks with two lengths before each, as Hadoop writes them.
    Lz4,
    Lz4Raw,
    Zstd(Box<zstd::bulk::Decompressor<'static>>),
}

impl Codec {
    /// The codec of a column, or why it cannot be read.
    pub fn of(compression: Compression) -> Result<Codec, String> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Codec::None,
            Compression::SNAPPY => Codec::Snappy,
            Compression::GZIP(_) => Codec::Gzip,
            Compression::BROTLI(_) => Codec::Brotli,
            Compression::LZ4 => Codec::Lz4,
            Compression::LZ4_RAW => Codec::Lz4Raw,
            Compression::ZSTD(_) => {
                let made = zstd::bulk::Decompressor::new();
                Codec::Zstd(Box::new(made.map_err(|e| format!("zstd: {e}"))?))
            }
            other => return Err(format!("compressed with {other}, which is not supported")),
        })
    }

    /// Decompresses `from` into exactly `len` bytes, which are appended; fewer or more are an error.
    pub fn unpack(&mut self, from: &[u8], len: usize, to: &mut Vec<u8>) -> Result<(), String> {
        let start = to.len();
        let wrong = |e: String| format!("cannot be decompressed: {e}");
        match self {
            Codec::None => to.extend_from_slice(from),
            Codec::Zstd(zstd) => {
                let mut room = vec![0; len];
                let done = zstd.decompress_to_buffer(from, &mut room[..]);
                let count = done.map_err(|e| wrong(e.to_string()))?;
                room.truncate(count);
                match to.is_empty() {
                    true => *to = room,
                    false => to.extend_from_slice(&room),
                }
            }
            Codec::Snappy => {
                to.resize(start + len, 0);
                let done = snap::raw::Decoder::new().decompress(from, &mut to[start..]);
                to.truncate(start + done.map_err(|e| wrong(e.to_string()))?);
            }
            Codec::Lz4Raw => {
                to.resize(start + len, 0);
                let done = lz4_flex::block::decompress_into(from, &mut to[start..]);
                to.truncate(start + done.map_err(|e| wrong(e.to_string()))?);
            }
            Codec::Gzip => {
                read_all(flate2::read::MultiGzDecoder::new(from), len, to).map_err(wrong)?
            }
            Codec::Brotli => {
                read_all(brotli::Decompressor::new(from, 4096), len, to).map_err(wrong)?
            }
            Codec::Lz4 => {
                if hadoop(from, len, to).is_none() {
                    to.truncate(start);
                    let frames = lz4_flex::frame::FrameDecoder::new(from);
                    if read_all(frames, len, to).is_err() {
                        to.truncate(start);
                        to.resize(start + len, 0);
                        let done = lz4_flex::block::decompress_into(from, &mut to[start..]);
                        to.truncate(start + done.map_err(|e| wrong(e.to_string()))?);
                    }
                }
            }
        }
        let found = to.len() - start;
        match found == len {
            true => Ok(()),
            false => Err(format!(
                "decompresses to {found} bytes, its header declares {len}"
            )),
        }
    }
}

/// All of a stream, or one byte more than allowed.
fn read_all(from: impl Read, len: usize, to: &mut Vec<u8>) -> Result<(), String> {
    let done = from.take(len as u64 + 1).read_to_end(to);
    done.map(drop).map_err(|e| e.to_string())
}

/// Blocks of LZ4, each preceded by its uncompressed and its compressed length, both big-endian.
fn hadoop(mut from: &[u8], len: usize, to: &mut Vec<u8>) -> Option<()> {
    let start = to.len();
    while !from.is_empty() {
        let (unpacked, rest) = from.split_first_chunk::<4>()?;
        let (packed, rest) = rest.split_first_chunk::<4>()?;
        let (unpacked, packed) = (u32::from_be_bytes(*unpacked), u32::from_be_bytes(*packed));
        let block = rest.get(..packed as usize)?;
        let at = to.len();
        if at - start + unpacked as usize > len {
            return None;
        }
        to.resize(at + unpacked as usize, 0);
        let done = lz4_flex::block::decompress_into(block, &mut to[at..]).ok()?;
        if done != unpacked as usize {
            return None;
        }
        from = &rest[packed as usize..];
    }
    (to.len() - start == len).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_longer_or_shorter_than_announced_is_refused_and_not_unpacked_further() {
        let bytes = vec![7u8; 1 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gzip.write_all(&bytes).unwrap();
        let mut brotli = Vec::new();
        let mut packer = brotli::CompressorWriter::new(&mut brotli, 4096, 3, 20);
        packer.write_all(&bytes).unwrap();
        drop(packer);
        let mut frames = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frames.write_all(&bytes).unwrap();
        let raw = lz4_flex::block::compress(&bytes);
        let lengths = [bytes.len() as u32, raw.len() as u32]
            .map(u32::to_be_bytes)
            .concat();
        let packed: Vec<(Compression, Vec<u8>)> = vec![
            (Compression::UNCOMPRESSED, bytes.clone()),
            (
                Compression::SNAPPY,
                snap::raw::Encoder::new().compress_vec(&bytes).unwrap(),
            ),
            (
                Compression::GZIP(Default::default()),
                gzip.finish().unwrap(),
            ),
            (Compression::BROTLI(Default::default()), brotli),
            (Compression::LZ4, frames.finish().unwrap()),
            (Compression::LZ4, [lengths, raw.clone()].concat()),
            (Compression::LZ4, raw.clone()),
            (Compression::LZ4_RAW, raw),
            (
                Compression::ZSTD(Default::default()),
                zstd::bulk::compress(&bytes, 3).unwrap(),
            ),
        ];
        for (compression, packed) in packed {
            let mut codec = Codec::of(compression).unwrap();
            let mut to = vec![1];
            codec.unpack(&packed, bytes.len(), &mut to).unwrap();
            assert_eq!(to[1..], bytes, "{compression}");
            for len in [0, 1, bytes.len() - 1, bytes.len() + 1] {
                let mut to = Vec::new();
                assert!(
                    codec.unpack(&packed, len, &mut to).is_err(),
                    "{compression} {len}"
                );
                assert!(to.capacity() <= bytes.len() * 2 + 64, "{compression} {len}");
            }
            if !matches!(codec, Codec::None) {
                let mut to = Vec::new();
                assert!(
                    codec
                        .unpack(&packed[..packed.len() / 2], bytes.len(), &mut to)
                        .is_err()
                );
            }
        }
        assert!(Codec::of(Compression::LZO).is_err());
    }
}
