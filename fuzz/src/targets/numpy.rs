//! An array, or an archive of arrays, whose vectors and ids are taken from it: `| choice 1 | file … |`.

use std::path::PathBuf;
use std::sync::LazyLock;

use milvusdm::source::numpy::KIND;

use super::support::{open, read_all, room};

static ROOM: LazyLock<PathBuf> = LazyLock::new(|| room("numpy"));

pub fn run(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else {
        return;
    };
    let path = ROOM.join("a.npz");
    std::fs::write(&path, file).unwrap();
    let access = ["map", "read"][bytes.len() % 2];
    let name = ["", ":x"][usize::from(*choice) % 2];
    let becomes = ["", ", as: float32", ", as: int8", ", as: binary"][usize::from(*choice) / 2 % 4];
    let path = path.display();
    for ids in ["", ", ids: '{path}:ids'"] {
        let ids = ids.replace("{path}", &path.to_string());
        let settings = format!("{{vectors: '{path}{name}', access: {access}{becomes}{ids}}}");
        let _ = open(&KIND, &settings).and_then(|source| read_all(&*source));
    }
}

fn array(descr: &str, fortran_order: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let text =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((text.len() as u16).to_le_bytes());
    array.extend(text.as_bytes());
    array.extend((0..bytes).map(|i| i as u8));
    array
}

pub fn seeds() -> Vec<Vec<u8>> {
    let x = array("<f4", "False", "(5, 8)", 160);
    let arrays = [
        array(">f8", "True", "(5, 8)", 320),
        array("|b1", "False", "(5, 8)", 40),
        array("|u1", "False", "(5, 8)", 40),
        array("<f2", "False", "(5, 8)", 80),
        x.clone(),
    ];
    let mut seeds: Vec<Vec<u8>> = arrays.iter().map(|a| [&[0], &a[..]].concat()).collect();
    // Not packed, and packed as one stretch that deflate stores as it is.
    for deflate in [false, true] {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, array) in [
            ("x.npy", &x),
            ("ids.npy", &array("<i8", "False", "(5,)", 40)),
        ] {
            let len = (array.len() as u16).to_le_bytes();
            let head = [1, len[0], len[1], !len[0], !len[1]];
            let packed = [if deflate { &head[..] } else { &[] }, array].concat();
            let mut shared = vec![20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
            shared.extend(crc32fast::hash(array).to_le_bytes());
            shared.extend((packed.len() as u32).to_le_bytes());
            shared.extend((array.len() as u32).to_le_bytes());
            shared.extend([name.len() as u8, 0, 0, 0]);
            directory.extend([b"PK\x01\x02\x14\x00", &shared[..], &[0; 10]].concat());
            directory.extend((archive.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            archive.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), &packed].concat());
        }
        let first = (archive.len() as u32).to_le_bytes();
        let len = (directory.len() as u32).to_le_bytes();
        archive.extend(&directory);
        archive.extend(
            [
                &b"PK\x05\x06\0\0\0\0\x02\0\x02\0"[..],
                &len,
                &first,
                &[0, 0],
            ]
            .concat(),
        );
        seeds.push([&[1], &archive[..]].concat());
    }
    seeds
}
