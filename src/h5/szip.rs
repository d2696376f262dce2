//! Szip, the entropy coder of CCSDS 121.0 as HDF5 uses it: decoding only, so that old files can be read without a
//! library.
//! Pure: slices in, slices out; no input makes it panic or grow past its target.
//!
//! ```text
//! chunk   | bytes before packing 4, little-endian | intervals of reference … |
//! interval| blocks, each: an option, a reference sample in the first where samples are predicted, samples |
//! option  | 0…0 0: blocks of zeros | 0…0 1: pairs | k+1: k low bits beside each unary high part | 1…1: as they are |
//! ```

/// How a dataset's chunks were packed: the four settings of its filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Szip {
    options: u32,
    block: usize,
    bits: usize,
    line: usize,
}

/// Samples are differences from the previous one.
const NEAREST_NEIGHBOUR: u32 = 32;
/// Samples of two bytes are stored with the high byte first.
const HIGH_FIRST: u32 = 16;
/// One code covers all blocks of zeros up to the next multiple of this many blocks.
const SEGMENT: usize = 64;
/// The unary code for that.
const REST_OF_SEGMENT: u32 = 5;
/// The largest sum of a pair that has a code: no encoder writes larger ones.
const PAIR_SUM_MAX: u32 = 12;

impl Szip {
    /// The filter with these settings; `None` if no encoder could have had them.
    pub fn new(values: &[u32]) -> Option<Szip> {
        let [options, block, bits, line] = *values else {
            return None;
        };
        let known = (2..=32).contains(&block)
            && block.is_multiple_of(2)
            && matches!(bits, 1..=24 | 32 | 64)
            && (block..=4096).contains(&line);
        known.then_some(Szip {
            options,
            block: block as usize,
            bits: bits as usize,
            line: line as usize,
        })
    }

    /// Unpacks a chunk into `to`, which has its length.
    pub fn unpack(&self, from: &[u8], to: &mut [u8]) -> Result<(), String> {
        let Some((head, packed)) = from.split_first_chunk::<4>() else {
            return Err(format!("has {} bytes, too few for szip", from.len()));
        };
        let said = u32::from_le_bytes(*head) as usize;
        if said != to.len() {
            return Err(format!("unpacks to {said} bytes, {} are needed", to.len()));
        }
        // Samples of 32 and 64 bits are packed as planes of bytes.
        let planes = if matches!(self.bits, 32 | 64) {
            self.bits / 8
        } else {
            1
        };
        let bits = if planes > 1 { 8 } else { self.bits };
        let sample = match bits {
            0..=8 => 1,
            9..=16 => 2,
            _ => 4,
        };
        if !to.len().is_multiple_of(sample.max(planes)) {
            return Err("has no whole number of samples".to_owned());
        }
        let mut decoder = Decoder {
            bits: Bits {
                from: packed,
                at: 0,
            },
            width: bits,
            predicted: self.options & NEAREST_NEIGHBOUR != 0,
            block: self.block,
            blocks: self.line.div_ceil(self.block),
        };
        let samples = to.len() / sample;
        let mut interval = Vec::with_capacity(decoder.blocks * self.block);
        let mut put = 0;
        while put < samples {
            let wanted = (samples - put).min(self.line);
            decoder
                .interval(wanted, &mut interval)
                .ok_or("is not szip, or was cut")?;
            // A line was padded after its last whole block.
            for value in &interval[..wanted] {
                let bytes = match self.options & HIGH_FIRST != 0 {
                    true => value << (32 - 8 * sample),
                    false => value.swap_bytes(),
                };
                let at = match planes {
                    1 => put * sample,
                    _ => put % (samples / planes) * planes + put / (samples / planes),
                };
                to[at..at + sample].copy_from_slice(&bytes.to_be_bytes()[..sample]);
                put += 1;
            }
        }
        Ok(())
    }
}

struct Decoder<'b> {
    bits: Bits<'b>,
    /// Bits in a sample.
    width: usize,
    predicted: bool,
    block: usize,
    /// Blocks in an interval.
    blocks: usize,
}

impl Decoder<'_> {
    /// The next interval, of which at least `wanted` samples are needed; `None` if the bits end or are invalid.
    fn interval(&mut self, wanted: usize, to: &mut Vec<u32>) -> Option<()> {
        to.clear();
        let option_bits = match self.width {
            0..=8 => 3,
            9..=16 => 4,
            _ => 5,
        };
        let as_they_are = (1 << option_bits) - 1;
        let mut number = 0;
        while to.len() < wanted {
            let option = self.bits.take(option_bits)?;
            let pairs = option == 0 && self.bits.take(1)? == 1;
            // The first sample of an interval is stored as it is; those after it are differences.
            let references = usize::from(self.predicted && to.is_empty());
            if references == 1 {
                to.push(self.bits.take(self.width)?);
            }
            let left = self.block - references;
            let mut done = 1;
            match option {
                0 if pairs => {
                    let mut i = references;
                    while i < self.block {
                        let code = self.bits.unary()?;
                        let sum = (0..=PAIR_SUM_MAX).find(|s| code < (s + 1) * (s + 2) / 2)?;
                        let second = code - sum * (sum + 1) / 2;
                        if i % 2 == 0 {
                            to.push(sum - second);
                            i += 1;
                        }
                        to.push(second);
                        i += 1;
                    }
                }
                0 => {
                    let code = self.bits.unary()? + 1;
                    done = match code {
                        REST_OF_SEGMENT => (self.blocks - number).min(SEGMENT - number % SEGMENT),
                        code if code > REST_OF_SEGMENT => code as usize - 1,
                        code => code as usize,
                    };
                    if done > self.blocks - number {
                        return None;
                    }
                    to.resize(to.len() + done * self.block - references, 0);
                }
                option if option == as_they_are => {
                    for _ in 0..left {
                        to.push(self.bits.take(self.width)?);
                    }
                }
                option => {
                    let low = option as usize - 1;
                    let start = to.len();
                    for _ in 0..left {
                        to.push(self.bits.unary()?);
                    }
                    for value in &mut to[start..] {
                        *value = value.checked_shl(low as u32)? | self.bits.take(low)?;
                    }
                }
            }
            number += done;
        }
        // An encoder pads the last line to whole blocks, and the rest begins with the next interval.
        if self.predicted {
            self.undo(to);
        }
        Some(())
    }

    /// Adds up differences, which were folded into the range left below and above the previous value.
    fn undo(&self, samples: &mut [u32]) {
        let most = u64::from(u32::MAX >> (32 - self.width));
        let Some((first, rest)) = samples.split_first_mut() else {
            return;
        };
        let mut before = u64::from(*first);
        for sample in rest {
            let code = u64::from(*sample);
            let room = before.min(most - before);
            before = match code {
                code if code > 2 * room && before <= most / 2 => code,
                code if code > 2 * room => most.saturating_sub(code),
                code if code % 2 == 0 => before + code / 2,
                code => before - code.div_ceil(2),
            } & most;
            *sample = before as u32;
        }
    }
}

/// Bits, the highest bit of a byte first.
struct Bits<'b> {
    from: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    /// This many bits, at most 32, as a number.
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0u64;
        let (mut left, mut at) = (count, self.at);
        while left > 0 {
            let byte = *self.from.get(at / 8)?;
            let here = (8 - at % 8).min(left);
            let part = (byte << (at % 8)) >> (8 - here);
            value = value << here | u64::from(part);
            (left, at) = (left - here, at + here);
        }
        self.at = at;
        Some(value as u32)
    }

    /// The number of zeros before the next one bit.
    fn unary(&mut self) -> Option<u32> {
        let mut zeros = 0;
        loop {
            let byte = *self.from.get(self.at / 8)?;
            let rest = byte << (self.at % 8);
            if rest != 0 {
                let here = rest.leading_zeros();
                self.at += here as usize + 1;
                return Some(zeros + here);
            }
            let here = 8 - self.at % 8;
            zeros += here as u32;
            self.at += here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/hdf5` checks what h5py (libaec) decodes for these values; this test, that nothing panics.
    #[test]
    fn any_bytes_are_unpacked_or_refused() {
        let mut seed = 7u64;
        for round in 0..20_000 {
            let mut next = || {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                (seed >> 33) as u32
            };
            let block = [2, 8, 16, 32][round % 4];
            let bits = [1, 8, 12, 16, 24, 32, 64][round % 7];
            let options = [32 | 8, 4 | 8, 32 | 16][round % 3];
            let szip = Szip::new(&[options, block, bits, block + next() % 300]).unwrap();
            let len = 8 * (next() as usize % 100);
            let mut packed = (len as u32).to_le_bytes().to_vec();
            packed.extend((0..next() % 200).map(|_| next() as u8 & next() as u8));
            let _ = szip.unpack(&packed, &mut vec![0; len]);
        }
        assert!(Szip::new(&[32, 3, 8, 100]).is_none());
        assert!(Szip::new(&[32, 8, 65, 100]).is_none());
        assert!(Szip::new(&[32, 8, 8]).is_none());
    }
}
