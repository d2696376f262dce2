//! Which rows have these keys? Reads them back, and counts them.
//! One call each; what is asked must be loaded.
//!
//! Measured on 2.3.5: a query gives one row for a key however many there are, `count(*)` with the same expression
//! counts them all; the key 2⁶³−1 is counted, and never given.

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::schema::{Element, VectorType};

use super::control::partition_name;
use super::proto::{
    AllocTimestampRequest, AllocTimestampResponse, FieldData, QueryRequest, QueryResults,
    VectorField,
};
use super::{Client, Flavour};

/// Where rows are looked for.
#[derive(Clone, Debug)]
pub struct LookUp {
    /// The collection.
    pub collection: String,
    /// The partition; empty: the default one; `None`: all of the collection.
    pub partition: Option<String>,
    /// The primary key's field.
    pub id: String,
    /// The vector's field.
    pub vector: String,
    /// The vector's type.
    pub kind: VectorType,
    /// What was written before it is seen; `None`: all that was acknowledged, which each query then waits for.
    pub since: Option<u64>,
}

/// Rows that were found, in the server's order.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Their keys.
    pub ids: Vec<i64>,
    /// Their vectors, row after row.
    pub vectors: Bytes,
}

/// `common.ConsistencyLevel`: by the request's own timestamp.
const CUSTOMIZED: i32 = 4;

impl Client {
    /// The server's time, where it tells: queries since then need not wait for it each time (measured: 0.4 s).
    pub fn now(&self) -> Result<Option<u64>> {
        let answer = self
            .tell::<AllocTimestampResponse>("AllocTimestamp", &AllocTimestampRequest::default());
        match answer {
            Ok(answer) => Ok((answer.timestamp > 0).then_some(answer.timestamp)),
            Err(e) if e.kind() == Kind::Refused => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The rows that have these keys, one for each key.
    pub fn rows(&self, look_up: &LookUp, ids: &[i64]) -> Result<Found> {
        let fields = vec![look_up.id.clone(), look_up.vector.clone()];
        let answer: QueryResults = self.tell("Query", &self.query(look_up, ids, fields))?;
        read(look_up, answer)
            .map_err(|what| Error::new(Kind::Refused, what).at(self.place("Query")))
    }

    /// Which of these keys there are rows of.
    pub fn present(&self, look_up: &LookUp, ids: &[i64]) -> Result<Vec<i64>> {
        let fields = vec![look_up.id.clone()];
        let answer: QueryResults = self.tell("Query", &self.query(look_up, ids, fields))?;
        let mut fields = answer.fields_data.into_iter();
        let keys = fields.find(|f| f.field_name == look_up.id);
        let keys = keys.and_then(|f| f.scalars?.long_data);
        Ok(keys.map(|keys| keys.data).unwrap_or_default())
    }

    /// How many rows have these keys: all of them where a key is there more than once.
    pub fn copies(&self, look_up: &LookUp, ids: &[i64]) -> Result<u64> {
        self.counted(&self.query(look_up, ids, vec!["count(*)".to_owned()]))
    }

    fn query(&self, look_up: &LookUp, ids: &[i64], output_fields: Vec<String>) -> QueryRequest {
        let partition = look_up.partition.as_deref().map(partition_name);
        QueryRequest {
            db_name: self.db.clone(),
            collection_name: look_up.collection.clone(),
            expr: expression(&look_up.id, ids, self.server.flavour),
            output_fields,
            partition_names: partition.map(str::to_owned).into_iter().collect(),
            guarantee_timestamp: look_up.since.unwrap_or(0),
            consistency_level: look_up.since.map_or(0, |_| CUSTOMIZED),
            ..QueryRequest::default()
        }
    }
}

/// `id in [1,2,3]`.
fn expression(field: &str, ids: &[i64], flavour: Flavour) -> String {
    let mut text = format!("{field} in [");
    for (number, id) in ids.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match (*id, flavour) {
            // Milvus reads the digits before the sign, and these are too many for it; it can count, though.
            (i64::MIN, Flavour::Full | Flavour::LiteCpp) => {
                text.push_str(&format!("{}-1", i64::MIN + 1));
            }
            (id, _) => text.push_str(&id.to_string()),
        }
    }
    text.push(']');
    text
}

fn read(look_up: &LookUp, answer: QueryResults) -> std::result::Result<Found, String> {
    let mut fields = answer.fields_data;
    let mut take = |name: &str| -> Option<FieldData> {
        let at = fields.iter().position(|f| f.field_name == name)?;
        Some(fields.swap_remove(at))
    };
    let ids = take(&look_up.id).and_then(|f| f.scalars?.long_data);
    let vectors = take(&look_up.vector).and_then(|f| f.vectors);
    // Without rows some versions leave the fields out.
    let ids = ids.map(|ids| ids.data).unwrap_or_default();
    let vectors = vectors.and_then(|v| bytes(v, look_up.kind.element));
    let vectors = vectors.unwrap_or_default();
    if vectors.len() as u64 != ids.len() as u64 * look_up.kind.row_bytes() {
        return Err(format!(
            "the answer holds {} keys, and {} bytes of vectors {}",
            ids.len(),
            vectors.len(),
            look_up.kind
        ));
    }
    Ok(Found { ids, vectors })
}

fn bytes(field: VectorField, element: Element) -> Option<Bytes> {
    match element {
        Element::Float32 => field.float_vector.map(|floats| floats.data),
        Element::Bit => field.binary_vector,
        Element::Float16 => field.float16_vector,
        Element::BFloat16 => field.bfloat16_vector,
        Element::Int8 => field.int8_vector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_asked_for() {
        let ids = [i64::MIN, -1, 0, i64::MAX];
        assert_eq!(
            expression("id", &ids, Flavour::Full),
            "id in [-9223372036854775807-1,-1,0,9223372036854775807]"
        );
        assert_eq!(
            expression("k", &ids[..2], Flavour::LitePython),
            "k in [-9223372036854775808,-1]"
        );
    }
}
