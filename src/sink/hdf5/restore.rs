//! How can a collection be restored? By an H2M job that is written next to its files.
//! Writes one small file, and never touches one that somebody may have edited.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::batch::Target;
use crate::error::{Error, Result};
use crate::job::Mode;

const NAME: &str = "H2M.yaml";

/// Writes the job that restores the collection in `dir` with all its partitions. An existing job is left as it is,
/// unless the mode is `overwrite`: it names the directory, and so also restores files added since.
pub fn write(dir: &Path, target: &Target, mode: Mode) -> Result<()> {
    let path = dir.join(NAME);
    if mode != Mode::Overwrite && path.exists() {
        return Ok(());
    }
    let io = |doing: &'static str| {
        let path = path.clone();
        move |e: std::io::Error| Error::io(&path, doing, &e)
    };
    let dir = std::fs::canonicalize(dir).map_err(io("find its directory"))?;
    let temporary = dir.join(format!(".{NAME}.tmp"));
    let mut file = File::create(&temporary).map_err(io("write"))?;
    file.write_all(job(&dir, target).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, &path))
        .and_then(|()| File::open(&dir)?.sync_all())
        .map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            io("write")(e)
        })
}

fn job(dir: &Path, target: &Target) -> String {
    let collection = match target.name.collection.as_str() {
        "" => "restored",
        name => name,
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (name, dir) = (quoted(collection), quoted(&dir.to_string_lossy()));
    let dimension = target.vector().dimension;
    let metric = match target.metric() {
        Some(metric) => format!("metric_type: {}", quoted(metric.name())),
        None => "# metric_type: L2        # the source declares none".to_owned(),
    };
    format!(
        "# Restores this collection with all its partitions: milvusdm run {NAME}
# Edit where it goes; the partitions' names are attributes of the files.
H2M:
  data_dir: {dir}
  dest_host: 127.0.0.1         # the server
  dest_port: 19530
  # dest_user: root            # if it requires a login
  # dest_password: \"${{MILVUS_PASSWORD}}\"
  mode: append                 # what exists: append to it, skip it, or overwrite it
  dest_collection_name: {name}
  collection_parameter:
    dimension: {dimension}
    {metric}
    # index_file_size: 1024    # MB; Milvus 1.x only
  into:
    collection: {name}
    partition: \"{{partition}}\"   # each file's own
"
    )
}
