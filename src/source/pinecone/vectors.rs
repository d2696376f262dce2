//! What is in the answer to a fetch? Rows by id, in no particular order: they are put into the order of the list.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{LargeBinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, FixedSizeBinaryArray};
use arrow_buffer::Buffer;

use crate::schema::VectorType;
use crate::source::documents::{Found, Read, Scan, vector};

/// The columns that rows become: id, values, sparse values, metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// `None` if the index has sparse values only.
    pub dense: Option<VectorType>,
    /// Whether there is a column of sparse values.
    pub sparse: bool,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not a valid answer of the service.
    Odd(String),
    /// A row cannot be migrated.
    Row { id: String, what: String },
}

/// The rows of an answer by id, as they are written.
pub type Fetched<'t> = HashMap<String, &'t str>;

/// Parses an answer.
pub fn fetched<'t>(answer: &'t [u8], all: &mut Fetched<'t>) -> Result<(), Wrong> {
    let text = std::str::from_utf8(answer)
        .map_err(|_| Wrong::Odd("the answer is not UTF-8".to_owned()))?;
    let mut scan = Scan::new(text);
    let mut is_there = false;
    let read = scan.members(|key, _, scan| match key {
        "vectors" => {
            is_there = true;
            scan.members(|id, _, scan| {
                all.insert(id.to_owned(), scan.value()?);
                Ok(())
            })
        }
        _ => scan.value().map(|_| ()),
    });
    match read.and_then(|()| scan.end()) {
        Ok(()) if is_there => Ok(()),
        Ok(()) => Err(Wrong::Odd("the answer has no `vectors`".to_owned())),
        Err(what) => Err(Wrong::Odd(format!("the answer {what}"))),
    }
}

/// Rows that are built one after another.
pub struct Rows {
    shape: Shape,
    ids: StringBuilder,
    dense: Vec<u8>,
    len: usize,
    sparse: LargeBinaryBuilder,
    metadata: StringBuilder,
}

impl Rows {
    pub fn new(shape: Shape) -> Rows {
        Rows {
            shape,
            ids: StringBuilder::new(),
            dense: Vec::new(),
            len: 0,
            sparse: LargeBinaryBuilder::new(),
            metadata: StringBuilder::new(),
        }
    }

    /// Adds a row as the service writes it.
    pub fn add(&mut self, id: &str, row: &str) -> Result<(), Wrong> {
        self.read(id, row).map_err(|what| Wrong::Row {
            id: id.to_owned(),
            what,
        })
    }

    fn read(&mut self, id: &str, row: &str) -> Read<()> {
        let (mut values, mut sparse, mut metadata) = (false, Vec::new(), "{}");
        let (shape, dense) = (self.shape, &mut self.dense);
        Scan::new(row).members(|key, _, scan| {
            match (key, shape.dense) {
                ("values", Some(kind)) => {
                    let found = vector(scan, kind, dense);
                    values =
                        found.map_err(|what| format!("has `values` that {what}"))? == Found::Vector;
                }
                ("sparseValues" | "sparse_values", _) if !scan.next_is_null() => {
                    sparse =
                        pairs(scan).map_err(|what| format!("has sparse values, which {what}"))?;
                }
                ("metadata", _) if !scan.next_is_null() => {
                    metadata = scan.value()?;
                    if !metadata.starts_with('{') {
                        return Err("has metadata that is not an object".to_owned());
                    }
                }
                ("sparseValues" | "sparse_values" | "metadata", _) => {}
                _ => {
                    scan.value()?;
                }
            }
            Ok(())
        })?;
        if shape.dense.is_some() && !values {
            return Err("has no `values`".to_owned());
        }
        self.len += 1;
        match (sparse.is_empty(), shape.sparse) {
            (true, _) => self.sparse.append_null(),
            (false, true) => {
                let bytes = sparse.iter().flat_map(|(index, value)| {
                    let bytes = [index.to_le_bytes(), value.to_le_bytes()];
                    bytes.into_iter().flatten()
                });
                self.sparse.append_value(bytes.collect::<Vec<u8>>());
            }
            (false, false) => {
                return Err("has sparse values, which none of the first rows has".to_owned());
            }
        }
        self.ids.append_value(id);
        self.metadata.append_value(metadata);
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns.
    pub fn finish(mut self) -> Vec<ArrayRef> {
        let mut all: Vec<ArrayRef> = vec![Arc::new(self.ids.finish())];
        if let Some(kind) = self.shape.dense {
            let width = i32::try_from(kind.row_bytes()).expect("Columns::new checked the width");
            let bytes = Buffer::from_vec(self.dense);
            all.push(Arc::new(FixedSizeBinaryArray::new(width, bytes, None)));
        }
        if self.shape.sparse {
            all.push(Arc::new(self.sparse.finish()));
        }
        all.push(Arc::new(self.metadata.finish()));
        all
    }
}

/// `{"indices": […], "values": […]}`, sorted by index.
fn pairs(scan: &mut Scan<'_>) -> Read<Vec<(u32, f32)>> {
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    scan.members(|key, _, scan| match key {
        "indices" => scan.elements(|scan| {
            let index = scan.whole()?;
            let index = u32::try_from(index).map_err(|_| format!("have an index {index}"))?;
            indices.push(index);
            Ok(())
        }),
        "values" => scan.elements(|scan| {
            let value = scan.number()?;
            match (value as f32).is_finite() {
                true => values.push(value as f32),
                false => return Err(format!("hold {value}, which does not fit a float")),
            }
            Ok(())
        }),
        _ => scan.value().map(|_| ()),
    })?;
    if indices.len() != values.len() {
        return Err(format!(
            "have {} indices and {} values",
            indices.len(),
            values.len()
        ));
    }
    let mut all: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
    all.sort_by_key(|(index, _)| *index);
    match all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(all),
        Some(pair) => Err(format!("have index {} twice", pair[0].0)),
    }
}

/// What an answer cost, in Pinecone's read units.
pub fn cost(answer: &[u8]) -> Option<f64> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let usage = &answer["usage"];
    usage["readUnits"].as_f64().or(usage["read_units"].as_f64())
}

/// Whether one of these rows has sparse values.
pub fn any_sparse(all: &Fetched<'_>) -> bool {
    all.values().any(|row| {
        let mut found = false;
        let read = Scan::new(row).members(|key, _, scan| {
            match key {
                "sparseValues" | "sparse_values" if scan.peek() == Some(b'{') => {
                    found |= !pairs(scan)?.is_empty();
                }
                _ => {
                    scan.value()?;
                }
            }
            Ok(())
        });
        read.is_ok() && found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Element;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    fn shape(sparse: bool) -> Shape {
        let dense = VectorType {
            element: Element::Float32,
            dimension: 2,
        };
        Shape {
            dense: Some(dense),
            sparse,
        }
    }

    const ANSWER: &str = r#"{"vectors":{
        "b":{"id":"b","values":[1,2],"sparseValues":{"indices":[4294967295,3],"values":[0.5,1]},"metadata":{"n":5.0}},
        "a \"":{"id":"a \"","values":[0.1,-2e-3],"metadata":null}},"namespace":"","usage":{"readUnits":1}}"#;

    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let mut all = Fetched::new();
        fetched(ANSWER.as_bytes(), &mut all).unwrap();
        assert!(any_sparse(&all) && all.len() == 2);
        let mut rows = Rows::new(shape(true));
        for id in ["a \"", "b"] {
            rows.add(id, all[id]).unwrap();
        }
        let columns = rows.finish();
        assert_eq!(columns[0].as_string::<i32>().value(0), "a \"");
        let floats = [0.1f32, -2e-3, 1.0, 2.0].map(f32::to_le_bytes).concat();
        assert_eq!(columns[1].as_fixed_size_binary().value_data(), floats);
        let sparse = columns[2].as_binary::<i64>();
        assert!(sparse.is_null(0));
        let pairs = [
            3u32.to_le_bytes(),
            1f32.to_le_bytes(),
            u32::MAX.to_le_bytes(),
            0.5f32.to_le_bytes(),
        ];
        assert_eq!(sparse.value(1), pairs.concat());
        let metadata = columns[3].as_string::<i32>();
        assert_eq!(
            (metadata.value(0), metadata.value(1)),
            ("{}", r#"{"n":5.0}"#)
        );
    }

    #[test]
    fn rows_that_cannot_be_carried_say_why() {
        for (row, expected) in [
            (
                r#"{"values":[1]}"#,
                "has `values` that has 1 dimensions, not 2",
            ),
            (
                r#"{"values":[1,2],"sparseValues":{"indices":[1],"values":[1]}}"#,
                "none of the first rows",
            ),
            (
                r#"{"values":[1,2],"sparseValues":{"indices":[1,1],"values":[1,2]}}"#,
                "index 1 twice",
            ),
            (
                r#"{"values":[1,2],"sparseValues":{"indices":[-1],"values":[1]}}"#,
                "index -1",
            ),
            (r#"{"values":[1,2],"metadata":7}"#, "not an object"),
            (r#"{"values":"#, "is not JSON"),
        ] {
            let Wrong::Row { what, .. } = Rows::new(shape(false)).add("a", row).unwrap_err() else {
                panic!("{row}");
            };
            assert!(what.contains(expected), "{row}: {what}");
        }
        for answer in ["{}", "[]", r#"{"vectors":{}"#] {
            let read = fetched(answer.as_bytes(), &mut Fetched::new());
            assert!(matches!(read, Err(Wrong::Odd(_))), "{answer}");
        }
    }
}
