//! What is in a page of rows? Parallel lists, read in one pass; vectors go straight into their column.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, StringArray};
use arrow_buffer::Buffer;

use super::rest::Names;
use crate::schema::VectorType;
use crate::source::documents::{Found, Read, Scan, vector};

/// Rows of a page.
#[derive(Debug)]
pub struct Page {
    pub ids: Vec<String>,
    /// Ids, embeddings, the rest.
    pub columns: Vec<ArrayRef>,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not a valid answer of such a server.
    Odd(String),
    /// A row cannot be migrated.
    Row { id: String, what: String },
}

/// The ids of a page.
pub fn ids(answer: &[u8]) -> Result<Vec<String>, Wrong> {
    let mut ids = None;
    members(answer, |key, scan| {
        match key {
            "ids" => ids = Some(texts(scan)?),
            _ => {
                scan.value()?;
            }
        }
        Ok(())
    })?;
    ids.ok_or_else(|| Wrong::Odd("the answer has no `ids`".to_owned()))
}

/// The rows of a page.
pub fn read(answer: &[u8], kind: VectorType, names: &Names) -> Result<Page, Wrong> {
    let (mut ids, mut vectors, mut rows) = (None, Vec::new(), 0);
    let (mut documents, mut uris, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    let mut wrong: Option<(usize, String)> = None;
    let read = members(answer, |key, scan| match key {
        "ids" => {
            ids = Some(texts(scan)?);
            Ok(())
        }
        "embeddings" if scan.peek() == Some(b'[') => scan.elements(|scan| {
            let read = match vector(scan, kind, &mut vectors) {
                Ok(Found::Vector) => Ok(()),
                Ok(Found::Nothing) => Err("has no embedding".to_owned()),
                Err(what) => Err(format!("has an embedding that {what}")),
            };
            rows += 1;
            read.map_err(|what| {
                wrong = Some((rows - 1, what));
                String::new()
            })
        }),
        "documents" => values(scan, &mut documents),
        "uris" => values(scan, &mut uris),
        "metadatas" => values(scan, &mut metadata),
        _ => scan.value().map(|_| ()),
    });
    let ids: Vec<String> = ids.unwrap_or_default();
    if let Some((row, what)) = wrong {
        // Ids come first.
        let id = ids.get(row).cloned().unwrap_or_else(|| "?".to_owned());
        return Err(Wrong::Row { id, what });
    }
    read?;
    let count = ids.len();
    let fits = |list: &[&str]| list.is_empty() || list.len() == count;
    if rows != count || !fits(&documents) || !fits(&uris) || !fits(&metadata) {
        let what = format!(
            "the answer has {count} ids and {rows} embeddings, or its other lists have different lengths"
        );
        return Err(Wrong::Odd(what));
    }
    let mut rest = Vec::with_capacity(count);
    for (row, id) in ids.iter().enumerate() {
        let at = |list: &[&str]| list.get(row).copied().unwrap_or("null").to_owned();
        let joined = names.join(&at(&metadata), &at(&documents), &at(&uris));
        rest.push(joined.map_err(|what| Wrong::Row {
            id: id.clone(),
            what,
        })?);
    }
    let width = i32::try_from(kind.row_bytes()).expect("Columns::new checked the width");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(&ids)),
        Arc::new(FixedSizeBinaryArray::new(
            width,
            Buffer::from_vec(vectors),
            None,
        )),
        Arc::new(StringArray::from_iter_values(rest)),
    ];
    Ok(Page { ids, columns })
}

/// The members of an answer.
fn members<'t>(
    answer: &'t [u8],
    mut each: impl FnMut(&str, &mut Scan<'t>) -> Read<()>,
) -> Result<(), Wrong> {
    let text = std::str::from_utf8(answer)
        .map_err(|_| Wrong::Odd("the answer is not UTF-8".to_owned()))?;
    let mut scan = Scan::new(text);
    let read = scan.members(|key, _, scan| each(key, scan));
    read.and_then(|()| scan.end())
        .map_err(|what| Wrong::Odd(format!("the answer {what}")))
}

fn texts(scan: &mut Scan<'_>) -> Read<Vec<String>> {
    let mut all = Vec::new();
    scan.elements(|scan| {
        all.push(scan.string()?.into_owned());
        Ok(())
    })?;
    Ok(all)
}

/// Values as they are written; none if there is `null` in place of a list.
fn values<'t>(scan: &mut Scan<'t>, all: &mut Vec<&'t str>) -> Read<()> {
    if scan.next_is_null() {
        return Ok(());
    }
    scan.elements(|scan| {
        all.push(scan.value()?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Element;
    use arrow_array::cast::AsArray;

    fn page(answer: &str) -> Result<Page, Wrong> {
        let kind = VectorType {
            element: Element::Float32,
            dimension: 2,
        };
        let names = Names::new("document".into(), "uri".into()).unwrap();
        read(answer.as_bytes(), kind, &names)
    }

    #[test]
    fn lists_side_by_side_are_rows() {
        let found = page(
            r#"{"ids":["a","b\n"],"embeddings":[[1.5,-0.0],[0.1,1e-3]],"documents":["x",null],"uris":null,
               "metadatas":[null,{"n":1,"f":1.0}],"include":["embeddings"]}"#,
        )
        .unwrap();
        assert_eq!(found.ids, ["a", "b\n"]);
        let rest = found.columns[2].as_string::<i32>();
        assert_eq!(rest.value(0), r#"{"document":"x"}"#);
        assert_eq!(rest.value(1), r#"{"f":1.0,"n":1}"#);
        let bytes = found.columns[1].as_fixed_size_binary().value_data();
        let floats = [1.5f32, -0.0, 0.1, 1e-3].map(f32::to_le_bytes).concat();
        assert_eq!(bytes, floats);
        assert_eq!(ids(br#"{"ids":["a"],"embeddings":null}"#).unwrap(), ["a"]);
    }

    #[test]
    fn answers_that_are_odd_say_what_is_wrong() {
        let row = |id: &str, what: &str| Wrong::Row {
            id: id.to_owned(),
            what: what.to_owned(),
        };
        for (answer, expected) in [
            (
                r#"{"ids":["a"],"embeddings":[[1]]}"#,
                row("a", "has an embedding that has 1 dimensions, not 2"),
            ),
            (
                r#"{"ids":["a","b"],"embeddings":[[1,2],null]}"#,
                row("b", "has no embedding"),
            ),
        ] {
            assert_eq!(page(answer).unwrap_err(), expected);
        }
        for answer in [
            r#"{"ids":["a"],"embeddings":null}"#,
            r#"{"ids":["a"],"embeddings":[[1,2],[1,2]]}"#,
            r#"{"ids":["a"],"embeddings":[[1,2]],"documents":["a","b"]}"#,
            r#"{"ids":["a"],"embeddings":[[1,2]]"#,
            r#"["ids"]"#,
        ] {
            assert!(matches!(page(answer), Err(Wrong::Odd(_))), "{answer}");
        }
    }
}
