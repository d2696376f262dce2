//! What is in a directory that LlamaIndex persists? Vectors of the simple vector store, and their nodes in
//! docstore.json.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{Found, Row, open as open_file, parsed, rows};
use crate::error::{Error, Kind, Result};
use crate::input::Access;
use crate::json::quoted;
use crate::source::documents::{Read, Scan};

pub fn open(path: &Path, store: &str, access: Access) -> Result<rows::Store> {
    let [vectors, nodes] = [
        format!("{store}__vector_store.json"),
        "docstore.json".to_owned(),
    ]
    .map(|name| path.join(name));
    if !path.is_dir() || !vectors.exists() {
        let what = format!(
            "is not a directory that LlamaIndex persists: it has no {store}__vector_store.json"
        );
        return Err(Error::path(Kind::Job, path, what));
    }
    let (vectors, nodes) = (open_file(&vectors, access)?, open_file(&nodes, access)?);
    let mut first = [0];
    if vectors.read(0, &mut first).is_ok() && !first[0].is_ascii_whitespace() && first[0] != b'{' {
        let what = "is not JSON: a vector store other than the simple one wrote it";
        return Err(Error::path(Kind::Unsupported, vectors.path(), what)
            .hint("`source: faiss` reads a Faiss index, without its texts"));
    }
    let places = parsed(&vectors, places)?;
    let mut texts = parsed(&nodes, texts)?;
    let mut all = Vec::with_capacity(places.len());
    for (id, vector) in places {
        let Some((text, metadata)) = texts.remove(&id) else {
            let what = format!(
                "has no node {}, although there is a vector for it",
                quoted(&id)
            );
            return Err(Error::path(Kind::Corrupt, nodes.path(), what)
                .hint("both files must come from the same call of persist"));
        };
        all.push(Row {
            id,
            vector,
            text,
            metadata,
        });
    }
    let left = texts.len();
    let notes = (left > 0).then(|| format!("{left} nodes have no vector and are not migrated"));
    let found = Found {
        rows: all,
        metric: None,
        notes: notes.into_iter().collect(),
    };
    rows::Store::new(vectors, vec![nodes], found)
}

/// Where each vector is.
fn places(text: &str) -> Read<Vec<(String, Range<usize>)>> {
    let (mut all, mut is_there) = (Vec::new(), false);
    let mut scan = Scan::new(text);
    scan.members(|key, _, scan| match key {
        "embedding_dict" => {
            is_there = true;
            scan.members(|id, _, scan| {
                all.push((id.to_owned(), scan.place_of()?));
                Ok(())
            })
        }
        _ => scan.value().map(|_| ()),
    })?;
    scan.end()?;
    match is_there {
        true => Ok(all),
        false => {
            Err("has no `embedding_dict`, unlike the simple vector store of LlamaIndex".to_owned())
        }
    }
}

/// The text and metadata of each node.
type Texts = HashMap<String, (Option<String>, String)>;

fn texts(text: &str) -> Read<Texts> {
    let mut all = Texts::new();
    let mut scan = Scan::new(text);
    scan.members(|key, _, scan| match key {
        "docstore/data" => scan.members(|id, _, scan| {
            let mut node = None;
            scan.members(|key, _, scan| {
                match (key, scan.peek()) {
                    // Some releases write a node as a JSON string.
                    ("__data__", Some(b'"')) => {
                        let inner = scan.string()?;
                        node = Some(read_node(&mut Scan::new(&inner))?);
                    }
                    ("__data__", _) => node = Some(read_node(scan)?),
                    _ => {
                        scan.value()?;
                    }
                }
                Ok(())
            })?;
            let node =
                node.ok_or_else(|| format!("has a node {} without `__data__`", quoted(id)))?;
            all.insert(id.to_owned(), node);
            Ok(())
        }),
        _ => scan.value().map(|_| ()),
    })?;
    scan.end()?;
    Ok(all)
}

fn read_node(scan: &mut Scan<'_>) -> Read<(Option<String>, String)> {
    let (mut text, mut metadata) = (None, "{}".to_owned());
    scan.members(|key, _, scan| {
        match (key, scan.peek()) {
            ("text", Some(b'"')) => text = Some(scan.string()?.into_owned()),
            ("text_resource", Some(b'{')) => scan.members(|key, _, scan| {
                match (key, scan.peek()) {
                    ("text", Some(b'"')) => text = Some(scan.string()?.into_owned()),
                    _ => {
                        scan.value()?;
                    }
                }
                Ok(())
            })?,
            ("metadata", Some(b'{')) => metadata = scan.value()?.to_owned(),
            _ => {
                scan.value()?;
            }
        }
        Ok(())
    })?;
    Ok((text, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_nodes_of_all_spellings_are_found() {
        let vectors = r#"{"embedding_dict": {"a": [1, 2], "b\n": [3.5, 4]}, "text_id_to_ref_doc_id": {}, "metadata_dict": {}}"#;
        let found = places(vectors).unwrap();
        assert_eq!(found[1].0, "b\n");
        assert_eq!(&vectors[found[1].1.clone()], "[3.5, 4]");
        let nodes = r#"{"docstore/data": {
            "a": {"__data__": {"id_": "a", "metadata": {"p": 1}, "text": "t", "relationships": {}}, "__type__": "1"},
            "b": {"__data__": "{\"text_resource\": {\"text\": \"u\"}, \"metadata\": {}}", "__type__": "1"},
            "c": {"__data__": {"text": null}}}, "docstore/metadata": {}}"#;
        let found = texts(nodes).unwrap();
        let node = |id: &str| (found[id].0.as_deref(), &*found[id].1);
        assert_eq!(node("a"), (Some("t"), r#"{"p": 1}"#));
        assert_eq!(node("b"), (Some("u"), "{}"));
        assert_eq!(node("c"), (None, "{}"));
        for wrong in [
            "{}",
            r#"{"embedding_dict": [1]}"#,
            r#"{"embedding_dict": {"a": [1}"#,
        ] {
            assert!(places(wrong).is_err(), "{wrong}");
        }
        assert!(texts(r#"{"docstore/data": {"a": {}}}"#).is_err());
    }
}
