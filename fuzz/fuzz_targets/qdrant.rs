#![no_main]
use milvusdm_fuzz::{plant, targets::qdrant as target};

libfuzzer_sys::fuzz_target!(init: plant(&target::seeds), |bytes: &[u8]| target::run(bytes));
