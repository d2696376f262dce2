//! What can be done about an index that this program does not decode? Produces text only.

use super::index::{Body, Node, Remedy};

/// Describes how to reconstruct the vectors with Faiss itself, and how to keep the ids.
pub(super) fn remedy(node: &Node, remedy: Remedy) -> String {
    let (mut index, mut mapped, mut turned) = ("index".to_owned(), false, false);
    let mut inside = node;
    loop {
        inside = match &inside.body {
            Body::IdMap { inner, .. } => {
                mapped = true;
                inner
            }
            // Faiss undoes the transforms itself if it is asked by row number.
            Body::Transformed { inner, .. } if remedy == Remedy::Lists => {
                turned = true;
                inner
            }
            _ => break,
        };
        index.push_str(".index");
    }
    let (mut rows, ids) = match remedy {
        Remedy::Gone => {
            return "its vectors cannot be recovered; go back to the data that the index was built from"
                .to_owned();
        }
        Remedy::Rows => (
            format!("rows by {index}.reconstruct_n()"),
            "row numbers".to_owned(),
        ),
        Remedy::Lists => (
            format!("list by list, rows by {index}.reconstruct_from_offset(list, offset)"),
            format!("{index}.invlists.get_ids(list)"),
        ),
    };
    if turned {
        rows.push_str(", passed through reverse_transform() of the transforms");
    }
    let ids = if mapped {
        format!("index.id_map at {ids}")
    } else {
        ids
    };
    format!(
        "approximations can be obtained with faiss in Python: {rows}, ids from {ids}, both added to an IndexIDMap of an \
         IndexFlat with add_with_ids(); the exact vectors are only where the index was made"
    )
}
