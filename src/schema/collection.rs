//! What does a collection have besides its rows' columns? Everything in a Milvus 2.x schema that no row carries.
//! A source fills in what it knows; a sink uses what its server supports.

use super::{Column, Columns, Index};

/// What a collection has besides its columns. The default: unknown, as for files without a schema.
///
/// The target says whether the server makes the keys; the roles of columns tell the partition key and the dynamic
/// field, and a vector's column has its metric and index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionTraits {
    /// The database it is in; empty: its source has none.
    pub database: String,
    /// Its description.
    pub description: String,
    /// How many shards it has.
    pub shards: Option<u32>,
    /// With a partition key: the number of partitions that it distributes rows over.
    pub partitions: Option<u32>,
    /// What queries see that set no consistency level.
    pub consistency: Option<Consistency>,
    /// Names and values, such as `("collection.ttl.seconds", "3600")`.
    pub properties: Vec<(String, String)>,
    /// What the server computes while rows come in.
    pub functions: Vec<Function>,
    /// The fields that functions fill. No row has them: they are created, but never sent.
    pub outputs: Vec<Column>,
    /// Indexes other than those on the rows' vectors: on scalars, on paths into JSON, on outputs of functions.
    pub indexes: Vec<FieldIndex>,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// What a column has besides its type: everything in a Milvus 2.x field that no value carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnTraits {
    /// Its description.
    pub description: String,
    /// The value of rows that have none of their own.
    pub default: Option<DefaultValue>,
    /// Whether rows are sorted by it.
    pub is_clustering_key: bool,
    /// Names and values, such as `("enable_analyzer", "true")`; not those that are part of the type: `dim`,
    /// `max_length`, `max_capacity`.
    pub params: Vec<(String, String)>,
    /// Of a vector: the name of its index; empty: the server chooses one.
    pub index_name: String,
}

/// The default value of a field.
#[derive(Clone, Debug)]
pub enum DefaultValue {
    /// Of a bool.
    Bool(bool),
    /// Of whole numbers of any size.
    Int(i64),
    /// Of a float.
    Float(f32),
    /// Of a double.
    Double(f64),
    /// Of text.
    Text(String),
}

/// Bit by bit, so that NaN equals itself.
impl PartialEq for DefaultValue {
    fn eq(&self, other: &DefaultValue) -> bool {
        use DefaultValue::*;
        match (self, other) {
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Float(a), Float(b)) => a.to_bits() == b.to_bits(),
            (Double(a), Double(b)) => a.to_bits() == b.to_bits(),
            (Text(a), Text(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for DefaultValue {}

/// What queries see that set no consistency level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that was acknowledged before.
    Strong,
    /// Everything that the same client wrote.
    Session,
    /// Everything older than a few seconds.
    Bounded,
    /// Anything.
    Eventually,
    /// What the query sets.
    Customized,
}

impl Consistency {
    /// All, in the order of Milvus's numbers.
    pub const ALL: [Consistency; 5] = [
        Consistency::Strong,
        Consistency::Session,
        Consistency::Bounded,
        Consistency::Eventually,
        Consistency::Customized,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Consistency> {
        Consistency::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Milvus's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Consistency::Strong => "Strong",
            Consistency::Session => "Session",
            Consistency::Bounded => "Bounded",
            Consistency::Eventually => "Eventually",
            Consistency::Customized => "Customized",
        }
    }
}

/// What the server computes while rows come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// What it does.
    pub kind: FunctionKind,
    /// The columns it reads.
    pub inputs: Vec<String>,
    /// The fields it fills.
    pub outputs: Vec<String>,
    /// Names and values.
    pub params: Vec<(String, String)>,
}

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// Sparse vectors of words' weights.
    Bm25,
    /// Dense vectors from a model.
    TextEmbedding,
    /// An order of hits; fills no field.
    Rerank,
    /// Binary vectors of hashed words.
    MinHash,
}

impl FunctionKind {
    /// All, in the order of Milvus's numbers, which begin at 1.
    pub const ALL: [FunctionKind; 4] = [
        FunctionKind::Bm25,
        FunctionKind::TextEmbedding,
        FunctionKind::Rerank,
        FunctionKind::MinHash,
    ];

    /// Milvus's name for it.
    pub fn name(self) -> &'static str {
        match self {
            FunctionKind::Bm25 => "BM25",
            FunctionKind::TextEmbedding => "TextEmbedding",
            FunctionKind::Rerank => "Rerank",
            FunctionKind::MinHash => "MinHash",
        }
    }
}

/// An index on a field that is not a vector of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldIndex {
    /// The field it is on.
    pub field: String,
    /// Its name; empty: the server chooses one.
    pub name: String,
    /// Its type and parameters, including `metric_type`, `json_path` and `json_cast_type` if there are any.
    pub index: Index,
}

impl CollectionTraits {
    /// The same for a collection with renamed columns, without what concerns columns that are gone.
    pub fn renamed(&self, name: impl Fn(&str) -> Option<String>) -> CollectionTraits {
        let is_output = |field: &str| self.outputs.iter().any(|output| output.name == field);
        let rename = |field: &str| match is_output(field) {
            true => Some(field.to_owned()),
            false => name(field),
        };
        let functions = self.functions.iter().filter_map(|function| {
            let inputs = function.inputs.iter().map(|input| rename(input));
            Some(Function {
                inputs: inputs.collect::<Option<_>>()?,
                ..function.clone()
            })
        });
        let functions: Vec<Function> = functions.collect();
        let filled = |field: &str| {
            functions
                .iter()
                .any(|f| f.outputs.iter().any(|o| o == field))
        };
        let outputs = self.outputs.iter().filter(|output| filled(&output.name));
        let outputs: Vec<Column> = outputs.cloned().collect();
        let indexes = self.indexes.iter().filter_map(|index| {
            let gone = is_output(&index.field) && !filled(&index.field);
            Some(FieldIndex {
                field: rename(&index.field).filter(|_| !gone)?,
                ..index.clone()
            })
        });
        CollectionTraits {
            indexes: indexes.collect(),
            functions,
            outputs,
            ..self.clone()
        }
    }
}

impl Columns {
    /// Whether any of them has more than a type.
    pub fn have_traits(&self) -> bool {
        let nothing = ColumnTraits::default();
        self.all().iter().any(|column| column.traits != nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ColumnType;
    use super::*;

    #[test]
    fn what_is_about_a_column_goes_with_it() {
        let function = |name: &str, input: &str| Function {
            name: name.to_owned(),
            description: String::new(),
            kind: FunctionKind::Bm25,
            inputs: vec![input.to_owned()],
            outputs: vec![format!("{name}_out")],
            params: Vec::new(),
        };
        let index = |field: &str| FieldIndex {
            field: field.to_owned(),
            name: String::new(),
            index: Index {
                kind: "INVERTED".to_owned(),
                params: Vec::new(),
            },
        };
        let traits = CollectionTraits {
            functions: vec![function("f", "title"), function("g", "secret")],
            outputs: ["f_out", "g_out"]
                .map(|name| Column::new(name, ColumnType::Sparse))
                .to_vec(),
            indexes: ["title", "secret", "f_out", "g_out"].map(index).to_vec(),
            ..CollectionTraits::default()
        };
        let renamed = traits.renamed(|name| (name == "title").then(|| "titel".to_owned()));
        assert_eq!(renamed.functions.len(), 1);
        assert_eq!(renamed.functions[0].inputs, ["titel"]);
        assert_eq!(renamed.outputs[0].name, "f_out");
        let on: Vec<&str> = renamed.indexes.iter().map(|i| &*i.field).collect();
        assert_eq!(on, ["titel", "f_out"]);
    }
}
