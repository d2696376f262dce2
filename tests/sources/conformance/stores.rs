//! JSON files of stores in memory, as their makers write them.

use std::path::{Path, PathBuf};

use crate::conformance::inputs::{DIMENSION, Input, ROWS, component};

/// The vector of a row, as JSON.
fn vector_json(row: usize) -> String {
    let all: Vec<f32> = (0..DIMENSION).map(|i| component(row, i)).collect();
    format!("{all:?}")
}

/// A JSON file with vectors; the first of them is behind these characters.
fn json_file(dir: &Path, name: &str, text: &str, before: &str, root: PathBuf) -> Input {
    let file = dir.join(name);
    std::fs::write(&file, text).unwrap();
    Input {
        settings: format!("path: '{}'", root.display()),
        root,
        file,
        // A digit of its first component, behind the sign.
        row_byte: (text.find(before).unwrap() + before.len() + 2) as u64,
        row_bytes_uncounted: None,
    }
}

/// What LlamaIndex persists.
pub fn llamaindex(dir: &Path) -> Input {
    let root = dir.join("storage");
    std::fs::create_dir(&root).unwrap();
    let (mut vectors, mut nodes) = (Vec::new(), Vec::new());
    for row in 0..ROWS {
        vectors.push(format!("\"n{row}\": {}", vector_json(row)));
        nodes.push(format!(
            r#""n{row}": {{"__data__": {{"id_": "n{row}", "text": "text {row}", "metadata": {{"page": {row}}}}}, "__type__": "1"}}"#
        ));
    }
    let nodes = format!(
        r#"{{"docstore/metadata": {{}}, "docstore/data": {{{}}}, "docstore/ref_doc_info": {{}}}}"#,
        nodes.join(", ")
    );
    std::fs::write(root.join("docstore.json"), nodes).unwrap();
    let text = format!(
        r#"{{"embedding_dict": {{{}}}, "text_id_to_ref_doc_id": {{}}, "metadata_dict": {{}}}}"#,
        vectors.join(", ")
    );
    json_file(
        &root.clone(),
        "default__vector_store.json",
        &text,
        "\"n0\": ",
        root,
    )
}

/// What Haystack's store in memory saves.
pub fn haystack(dir: &Path) -> Input {
    let documents: Vec<String> = (0..ROWS)
        .map(|row| {
            let vector = vector_json(row);
            format!(r#"{{"id": "d{row}", "content": "text {row}", "meta": {{"page": {row}}}, "embedding": {vector}}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"embedding_similarity_function": "cosine", "documents": [{}]}}"#,
        documents.join(", ")
    );
    let root = dir.join("documents.json");
    json_file(dir, "documents.json", &text, "\"embedding\": ", root)
}
