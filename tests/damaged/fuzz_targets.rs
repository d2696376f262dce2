//! The targets of fuzz/ over the inputs that their fuzzing starts from: so that they are built and run with every
//! change, and a seed that no longer says anything is noticed.

use crate::targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Every seed as it is, cut short, and with a byte turned over here and there.
fn check(name: &str, seeds: Vec<Vec<u8>>, run: fn(&[u8])) {
    assert!(seeds.len() >= 2, "{name} starts from nothing");
    for (number, seed) in seeds.iter().enumerate() {
        let mut inputs = vec![seed.clone(), seed[..seed.len() / 2].to_vec()];
        for at in (0..seed.len()).step_by(seed.len() / 8 + 1) {
            let mut odd = seed.clone();
            odd[at] ^= 1 << (at % 8);
            inputs.push(odd);
        }
        for (variant, input) in inputs.iter().enumerate() {
            let went = catch_unwind(AssertUnwindSafe(|| run(input)));
            assert!(went.is_ok(), "{name}: seed {number}, variant {variant}");
        }
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), targets::$name::seeds(), targets::$name::run);
        })*
    };
}

targets!(
    answers,
    checkpoint,
    documents,
    faiss,
    hdf5_rows,
    hdf5_filters,
    hdf5_index,
    job,
    langchain,
    milvus1_directory,
    milvus1_log,
    milvus1_meta,
    milvus1_segment,
    milvus_lite,
    milvus2_backup,
    milvus2_log,
    milvus2_meta,
    numpy,
    parquet,
    qdrant,
    vecs
);
