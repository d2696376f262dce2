//! A Milvus 2.3.5 at rest, unpacked from tests/fixtures/milvus2x.

use std::path::Path;
use std::process::Command;

/// Unpacks `storage/`, `expected/` and `backup/` into a directory.
pub fn unpack(dir: &Path) {
    let archive =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/milvus2x/golden.tar.gz");
    // In a backup each segment lies below its group, here of its own number.
    let script = r#"
        set -eu
        tar -xzf "$1" -C "$2"
        cd "$2/storage"
        find insert_log delta_log -mindepth 3 -maxdepth 3 -type d | while read -r segment; do
            group="../backup/binlogs/$segment"
            mkdir -p "$group"
            cp -r "$segment" "$group"
        done"#;
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&archive, dir])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
