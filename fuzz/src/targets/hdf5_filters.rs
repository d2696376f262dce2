//! Chunks as HDF5's filters left them: `| filters 1 | kinds 1 each | mask 4 | bytes of the chunk 2 | stored … |`.

use milvusdm::h5::filter::{Filter, Packer, Unpacker};

const KINDS: [Filter; 6] = [
    Filter::Deflate(6),
    Filter::Lzf,
    Filter::Fletcher32,
    Filter::Shuffle(1),
    Filter::Shuffle(4),
    Filter::Shuffle(12),
];

pub fn run(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let Some((kinds, rest)) = rest.split_at_checked(usize::from(count % 6)) else {
        return;
    };
    let Some(([a, b, c, d, e, f], stored)) = rest.split_first_chunk::<6>() else {
        return;
    };
    let (mask, len) = (
        u32::from_le_bytes([*a, *b, *c, *d]),
        u16::from_le_bytes([*e, *f]),
    );
    let filters: Vec<Filter> = kinds
        .iter()
        .map(|k| KINDS[usize::from(*k) % KINDS.len()])
        .collect();
    let (mut unpacker, mut chunk) = (Unpacker::default(), vec![0; len.into()]);
    if Unpacker::knows(&filters) {
        let _ = unpacker.unpack(&filters, mask, stored, &mut chunk);
    }
    // And what we pack ourselves comes back.
    for filters in [
        [Filter::Shuffle(4), Filter::Deflate(1)],
        [Filter::Shuffle(12), Filter::Lzf],
    ] {
        let (mask, packed) = Packer::new(&filters).pack(stored);
        let mut back = vec![0; stored.len()];
        unpacker.unpack(&filters, mask, &packed, &mut back).unwrap();
        assert!(back == stored);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let chunk: Vec<u8> = (0..300u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let seed = |kinds: &[u8]| {
        let filters: Vec<Filter> = kinds.iter().map(|k| KINDS[usize::from(*k)]).collect();
        let (mask, stored) = Packer::new(&filters).pack(&chunk);
        let len = (chunk.len() as u16).to_le_bytes();
        [
            &[kinds.len() as u8],
            kinds,
            &mask.to_le_bytes(),
            &len,
            &stored,
        ]
        .concat()
    };
    [&[][..], &[0], &[1], &[4, 0], &[4, 1], &[5, 0], &[3, 1]]
        .map(seed)
        .to_vec()
}
