//! What identifies rows? Keys from another column or from JSON, as text or as numbers, or row numbers.
//! Done while rows are read, so that all code that looks at keys sees these.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array};

use super::cell::{Cell, Maker, can_become};
use super::find::{Found, find};
use super::{Wrong, part_of};
use crate::batch::{Keys, Part, Target};
use crate::error::{Error, Kind, Result};
use crate::job::FieldSettings;
use crate::schema::{Column, ColumnType, Columns, Role, Scalar};

/// How the keys of a target are made.
#[derive(Clone, Debug)]
pub struct Keying {
    columns: Arc<Columns>,
    /// The columns of the source that stay, after the key.
    kept: Vec<usize>,
    from: From,
    keys: Keys,
}

#[derive(Clone, Debug)]
enum From {
    RowNumber,
    Column(Found),
}

impl Keying {
    /// How the job makes keys for a target of a source; `None`: they are the source's.
    pub fn of(
        target: &Target,
        fields: &FieldSettings,
    ) -> std::result::Result<Option<Keying>, Wrong> {
        let columns = &target.columns;
        let wrong =
            |key: &str, what: String| (format!("fields.id.{key}"), Error::new(Kind::Job, what));
        let from = fields.id_from.as_deref();
        let source = match from {
            None => columns.key().name.as_str(),
            Some(from) => from,
        };
        let number = from == Some(FieldSettings::ROW_NUMBER)
            && columns.named(FieldSettings::ROW_NUMBER).is_none();
        if number && target.rows_deleted > 0 {
            return Err(wrong(
                "from",
                format!("{}: rows that are deleted have no numbers", target.source),
            ));
        }
        let found = match number {
            true => None,
            false => Some(find(columns, source).map_err(|(what, hint)| {
                let (key, error) = wrong("from", format!("{}: {what}", target.source));
                (key, hint.into_iter().fold(error, Error::hint))
            })?),
        };
        let whole = found.as_ref().filter(|found| found.path.is_empty());
        let source_kind = match (&found, whole) {
            (None, _) => Some(ColumnType::Scalar(Scalar::Int64)),
            (_, Some(found)) => Some(columns.all()[found.column].kind),
            _ => None,
        };
        let kind = match (&fields.id_type, source_kind) {
            (Some(kind), source) => kind.of(source).map_err(|what| wrong("type", what))?,
            (None, Some(ColumnType::Scalar(scalar))) if scalar != Scalar::Bool => {
                ColumnType::Scalar(match scalar {
                    Scalar::Float | Scalar::Double => scalar,
                    _ => Scalar::Int64,
                })
            }
            (None, Some(kind)) => kind,
            (None, None) => {
                let what = "a value from JSON needs a type: int64 or varchar".to_owned();
                return Err(wrong("type", what));
            }
        };
        let is_key = matches!(
            kind,
            ColumnType::Scalar(Scalar::Int64) | ColumnType::VarChar { .. }
        );
        let fits = source_kind.is_none_or(|source| can_become(source, kind));
        if !is_key || !fits {
            let source_kind = source_kind.map_or("JSON".to_owned(), |kind| kind.to_string());
            let what = format!("`{source}` is {source_kind}: keys are int64 or varchar");
            return Err(wrong("from", what));
        }
        let unchanged = whole.is_some_and(|found| found.column == columns.key_number())
            && source_kind.map(ColumnType::word) == Some(kind.word());
        if unchanged {
            return Ok(None);
        }
        let name = match (&fields.id, whole) {
            (Some(name), _) => name.clone(),
            (None, Some(found)) => columns.all()[found.column].name.clone(),
            (None, None) => columns.key().name.clone(),
        };
        let used = whole.map(|found| found.column);
        // Row numbers of the source add nothing to the new keys.
        let old = (target.keys == Keys::RowNumbers).then_some(columns.key_number());
        let kept = (0..columns.all().len()).filter(|number| {
            let same_name = columns.all()[*number].name == name;
            Some(*number) != used && Some(*number) != old && !same_name
        });
        let kept: Vec<usize> = kept.collect();
        let mut all = vec![Column::key(name, kind)];
        all.extend(kept.iter().map(|number| {
            let column = columns.all()[*number].clone();
            match column.role {
                Role::Key => Column {
                    role: Role::Plain,
                    ..column
                },
                _ => column,
            }
        }));
        let columns = Columns::new(all).map_err(|error| ("fields.id".to_owned(), error))?;
        let number_of_row = target.keys == Keys::RowNumbers && fields.id_from.is_none();
        Ok(Some(Keying {
            columns,
            kept,
            keys: match number || number_of_row {
                true => Keys::RowNumbers,
                false => Keys::Stored,
            },
            from: found.map_or(From::RowNumber, From::Column),
        }))
    }

    /// A target with these keys.
    pub fn target(&self, target: Target) -> Target {
        Target {
            columns: self.columns.clone(),
            keys: self.keys,
            auto_id: false,
            ..target
        }
    }

    /// Rows with these keys; `number` is the first row's.
    pub fn apply(&self, part: &Part, number: u64) -> Result<Part> {
        let key = match &self.from {
            From::RowNumber => {
                let numbers = number as i64..number as i64 + part.len() as i64;
                Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef
            }
            From::Column(found) => self.keys_of(part, found)?,
        };
        let kept = self.kept.iter().map(|number| part.column(*number));
        Ok(part_of(
            &self.columns,
            [key].into_iter().chain(kept).collect(),
            part,
        ))
    }

    fn keys_of(&self, part: &Part, found: &Found) -> Result<ArrayRef> {
        let source = &part.columns().all()[found.column];
        let array = part.column(found.column);
        let kind = self.columns.key().kind;
        if found.path.is_empty() && source.kind.word() == kind.word() && array.null_count() == 0 {
            return Ok(array);
        }
        let mut maker = Maker::new(kind);
        for row in 0..part.len() {
            let cell = Cell::at(source.kind, &array, row, &found.path);
            if cell == Cell::Null || !maker.put(&cell) {
                let name = &source.name;
                let path = found.path.iter().map(|key| format!(".{key}"));
                let place = format!("{name}{}", path.collect::<String>());
                let what = match cell {
                    Cell::Null => "has no value, but each row needs a key".to_owned(),
                    cell => format!("is {cell}, which is not a valid {} key", kind.word()),
                };
                let row = part.row + row as u64;
                let what = format!("row {row}: `{place}` {what}");
                return Err(Error::path(Kind::Unsupported, &part.file, what));
            }
        }
        Ok(maker.finish())
    }
}
