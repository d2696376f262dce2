//! What is fuzzed, and where it starts from. The targets themselves are in `targets`, which the main tests run too.

pub mod targets;

/// Writes a target's seeds into `$MILVUSDM_SEEDS`, if that is set; libFuzzer then reads them from there.
pub fn plant(seeds: &dyn Fn() -> Vec<Vec<u8>>) {
    let Some(directory) = std::env::var_os("MILVUSDM_SEEDS") else {
        return;
    };
    for (number, seed) in seeds().into_iter().enumerate() {
        let path = std::path::Path::new(&directory).join(format!("seed-{number:03}"));
        std::fs::write(path, seed).expect("the directory of seeds can be written");
    }
}
