//! What is in a file of Haystack's InMemoryDocumentStore? Its documents, and its similarity function.

use std::path::Path;

use super::{Found, Row, open as open_file, parsed, rows};
use crate::error::Result;
use crate::input::Access;
use crate::schema::Metric;
use crate::source::documents::{Read, Scan};

/// Keys of a document that are neither metadata nor read elsewhere.
const OTHERS: [&str; 3] = ["blob", "score", "sparse_embedding"];

pub fn open(path: &Path, access: Access) -> Result<rows::Store> {
    let view = open_file(path, access)?;
    let found = parsed(&view, read)?;
    rows::Store::new(view, Vec::new(), found)
}

fn read(text: &str) -> Read<Found> {
    let mut found = Found {
        rows: Vec::new(),
        metric: None,
        notes: Vec::new(),
    };
    let (mut is_there, mut without, mut more) = (false, 0u64, false);
    let mut scan = Scan::new(text);
    scan.members(|key, _, scan| match key {
        "documents" => {
            is_there = true;
            scan.elements(|scan| {
                match document(scan, &mut more)? {
                    Some(row) => found.rows.push(row),
                    None => without += 1,
                }
                Ok(())
            })
        }
        "embedding_similarity_function" => {
            found.metric = match scan.value()? {
                "\"cosine\"" => Some(Metric::Cosine),
                "\"dot_product\"" => Some(Metric::Ip),
                _ => None,
            };
            Ok(())
        }
        _ => scan.value().map(|_| ()),
    })?;
    scan.end()?;
    if !is_there {
        return Err(
            "has no `documents`, unlike files of Haystack's InMemoryDocumentStore".to_owned(),
        );
    }
    if without > 0 {
        found.notes.push(format!(
            "{without} documents have no embedding and are not migrated"
        ));
    }
    if more {
        let what = "binary contents and sparse embeddings of documents are not migrated";
        found.notes.push(what.to_owned());
    }
    Ok(found)
}

/// A document; `None` if it has no embedding.
fn document(scan: &mut Scan<'_>, more: &mut bool) -> Read<Option<Row>> {
    let (mut id, mut vector, mut text) = (None, None, None);
    let mut metadata = String::from("{");
    scan.members(|key, raw, scan| {
        match key {
            "id" => id = Some(scan.string()?.into_owned()),
            "content" if !scan.next_is_null() => text = Some(scan.string()?.into_owned()),
            "embedding" if !scan.next_is_null() => vector = Some(scan.place_of()?),
            "meta" if !scan.next_is_null() => scan.members(|_, raw, scan| {
                add(&mut metadata, raw, scan.value()?);
                Ok(())
            })?,
            "content" | "embedding" | "meta" => {}
            key if OTHERS.contains(&key) => {
                let value = scan.value()?;
                *more |= key != "score" && value != "null";
            }
            // Metadata that is not in a map of its own.
            _ => add(&mut metadata, raw, scan.value()?),
        }
        Ok(())
    })?;
    metadata.push('}');
    let id = id.ok_or("has a document without `id`")?;
    let row = |vector| Row {
        id,
        vector,
        text,
        metadata,
    };
    Ok(vector.map(row))
}

fn add(object: &mut String, name: &str, value: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    object.push_str(name);
    object.push(':');
    object.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::quoted;

    #[test]
    fn documents_are_rows_and_what_stays_behind_is_told() {
        let text = r#"{"bm25": {}, "embedding_similarity_function": "cosine", "documents": [
            {"id": "a", "content": "t\n", "blob": null, "meta": {"p": 1.50}, "score": null, "embedding": [1, 2]},
            {"id": "b", "content": null, "page": [1], "embedding": null, "sparse_embedding": {"indices": [1]}},
            {"id": "c", "embedding": [3.0, 4], "flat": "x", "meta": {"y": null}}], "index": "i"}"#;
        let found = read(text).unwrap();
        let shown = found.rows.iter().map(|row| {
            let vector = &text[row.vector.clone()];
            (&*row.id, vector, row.text.as_deref(), &*row.metadata)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                ("a", "[1, 2]", Some("t\n"), r#"{"p":1.50}"#),
                ("c", "[3.0, 4]", None, r#"{"flat":"x","y":null}"#),
            ]
        );
        assert_eq!(found.metric, Some(Metric::Cosine));
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        for wrong in [
            "{}",
            "[]",
            r#"{"documents": [{}]}"#,
            r#"{"documents": [7]}"#,
            text.split_at(200).0,
        ] {
            assert!(read(wrong).is_err(), "{}", quoted(wrong));
        }
    }
}
