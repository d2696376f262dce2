//! Which columns do rows get, and what is each made of? The job's `fields:`, applied to the columns of a source.
//! Pure: touches no row.

use std::sync::Arc;

use super::Wrong;
use super::cell::can_become;
use super::find::{Found, find};
use super::vectors::Conversion;
use crate::error::{Error, Kind};
use crate::job::{ColumnSettings, FieldSettings, Misfits, Rest, StoreAs, TypeSettings};
use crate::schema::{Column, ColumnTraits, ColumnType, Columns, Role, Scalar};

/// What becomes of the columns of a source.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The source's columns.
    pub(super) from: Arc<Columns>,
    /// What they become.
    pub(super) to: Arc<Columns>,
    /// For each of these, what it is made of.
    pub(super) steps: Vec<Step>,
    told: Vec<Told>,
    lost: Vec<String>,
}

/// What a column is made of.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A column as it is.
    Same(usize),
    /// Converted vectors.
    Vector(usize, Conversion),
    /// Values of another type, or from JSON.
    Values(Found),
    /// The dynamic field: its former content without these keys, plus columns under names.
    Dynamic {
        base: Option<usize>,
        without: Vec<String>,
        with: Vec<(usize, String)>,
    },
}

/// A column of a target, and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is made of, in terms of the source: such as `vec float32 × 8`, `meta.title`; empty: nothing.
    pub from: String,
    /// The column's number in the target.
    pub to: usize,
}

/// A shape that is being assembled.
struct Draft<'f> {
    from: &'f Columns,
    columns: Vec<Column>,
    steps: Vec<Step>,
    told: Vec<String>,
    lost: Vec<String>,
    /// Keys that leave the dynamic field.
    without: Vec<String>,
    wrong: Vec<Wrong>,
}

impl Shape {
    /// What the job makes of these columns; `None`: they travel as they are. Reports every mistake.
    pub fn of(
        from: &Arc<Columns>,
        fields: &FieldSettings,
        misfit: Misfits,
    ) -> Result<Option<Shape>, Vec<Wrong>> {
        let mut draft = Draft {
            from,
            columns: Vec::new(),
            steps: Vec::new(),
            told: Vec::new(),
            lost: Vec::new(),
            without: Vec::new(),
            wrong: Vec::new(),
        };
        draft.key(fields);
        let (mut used, vector) = draft.named(fields);
        used.insert(0, from.key_number());
        draft.rest(fields, &used, vector, misfit);
        draft.in_source_order();
        if !draft.wrong.is_empty() {
            return Err(draft.wrong);
        }
        let to = Columns::new(draft.columns).map_err(|e| vec![("fields".to_owned(), e)])?;
        let same =
            |(number, step): (usize, &Step)| matches!(step, Step::Same(from) if *from == number);
        let names = to.as_plain().is_some() || to.hold_the_same(from) && *to == **from;
        let all_same =
            to.all().len() == from.all().len() && draft.steps.iter().enumerate().all(same);
        if all_same && names {
            return Ok(None);
        }
        let told = draft.told.into_iter().enumerate();
        Ok(Some(Shape {
            from: from.clone(),
            to,
            steps: draft.steps,
            told: told.map(|(to, from)| Told { from, to }).collect(),
            lost: draft.lost,
        }))
    }

    /// The columns that it is for.
    pub fn from(&self) -> &Arc<Columns> {
        &self.from
    }

    /// The columns that rows get.
    pub fn to(&self) -> &Arc<Columns> {
        &self.to
    }

    /// For each column of the target, what it is made of.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// What is, or may be, lost, in sentences.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// The name of a source's column in the target; `None`: it has none there.
    pub fn name_of(&self, source: &str) -> Option<String> {
        let (number, _) = self.from.named(source)?;
        let to = self.steps.iter().position(|step| match step {
            Step::Same(from) | Step::Vector(from, _) => *from == number,
            Step::Values(found) => found.column == number && found.path.is_empty(),
            Step::Dynamic { base, .. } => *base == Some(number),
        })?;
        Some(self.to.all()[to].name.clone())
    }

    /// Whether components of vectors may differ from what they were.
    pub fn is_cast(&self) -> bool {
        let cast =
            |step: &Step| matches!(step, Step::Vector(_, conversion) if conversion.is_cast());
        self.steps.iter().any(cast)
    }
}

impl Draft<'_> {
    fn wrong(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.wrong
            .push((key.into(), Error::new(Kind::Job, what.into())));
    }

    fn add(&mut self, column: Column, step: Step, told: String) {
        self.columns.push(column);
        self.steps.push(step);
        self.told.push(told);
    }

    fn key(&mut self, fields: &FieldSettings) {
        let number = self.from.key_number();
        let key = self.from.key();
        let mut column = key.clone();
        if let Some(name) = &fields.id {
            column.name.clone_from(name);
        }
        // Keys of another kind were made while rows were read.
        if let Some(Ok(kind)) = fields.id_type.as_ref().map(|kind| kind.of(Some(key.kind))) {
            column.kind = kind;
        }
        self.add(column, Step::Same(number), key.to_string());
    }

    /// The columns that the job names, the columns of the source that they use, and the single vector.
    fn named(&mut self, fields: &FieldSettings) -> (Vec<usize>, Option<usize>) {
        let mut used = Vec::new();
        for settings in &fields.columns {
            let key = format!("fields.columns.{}", settings.name);
            let found = match find(self.from, settings.source()) {
                Ok(found) => found,
                Err((what, hint)) => {
                    let error = Error::new(Kind::Job, what);
                    self.wrong
                        .push((key, hint.into_iter().fold(error, Error::hint)));
                    continue;
                }
            };
            let source = &self.from.all()[found.column];
            if found.path.is_empty() {
                if source.role == Role::Key {
                    self.wrong(key, "is the key: `fields.id` names it");
                    continue;
                }
                used.push(found.column);
            } else if source.role == Role::Dynamic {
                // A value further down in JSON also stays where it is.
                if let [name] = found.path.as_slice() {
                    self.without.push(name.clone());
                }
            }
            if settings.travels {
                self.column(settings, &key, found);
            }
        }
        let unnamed = self
            .from
            .vectors()
            .filter(|(number, _)| !used.contains(number));
        let unnamed: Vec<usize> = unnamed.map(|(number, _)| number).collect();
        let asked =
            fields.vector.is_some() || fields.store_as.is_some() || fields.normalize.is_some();
        match unnamed.as_slice() {
            [number] if used.iter().all(|n| !self.from.all()[*n].kind.is_vector()) || asked => {
                let source = &self.from.all()[*number];
                let mut settings = one(&source.name, fields.vector.as_deref());
                settings.store_as = fields.store_as;
                settings.normalize = fields.normalize;
                let found = Found {
                    column: *number,
                    path: Vec::new(),
                };
                self.column(&settings, "fields.vector", found);
                used.push(*number);
                (used, Some(*number))
            }
            numbers => {
                if asked && !numbers.is_empty() {
                    let names = numbers.iter().map(|n| &*self.from.all()[*n].name);
                    let names = names.collect::<Vec<_>>().join(", ");
                    let what = format!("the source has {} vectors ({names})", numbers.len());
                    let error = Error::new(Kind::Job, what);
                    let error = error.hint("name each under `fields.columns`");
                    self.wrong.push(("fields.vector".to_owned(), error));
                }
                (used, None)
            }
        }
    }

    fn column(&mut self, settings: &ColumnSettings, key: &str, found: Found) {
        let source = &self.from.all()[found.column];
        let of_json = !found.path.is_empty();
        let source_kind = (!of_json).then_some(source.kind);
        let mut column = match of_json {
            true => Column::new(&settings.name, ColumnType::Json),
            false => Column {
                name: settings.name.clone(),
                ..source.clone()
            },
        };
        if source.role == Role::Dynamic {
            column.role = Role::Plain;
        }
        column.too_long = settings.too_long;
        column.nullable = settings.nullable.unwrap_or(of_json || source.nullable);
        if let Some(metric) = &settings.metric {
            column.metric = Some(metric.clone());
            column.is_metric_asked = true;
        }
        if let Some(index) = &settings.index {
            column.index = Some(index.clone());
            column.is_index_asked = true;
        }
        let said = format!(
            "{}{}",
            settings.source(),
            match of_json {
                true => String::new(),
                false => format!(" {}", source.kind),
            }
        );
        let unsaid = TypeSettings {
            word: None,
            bounds: Default::default(),
        };
        let kind = settings.kind.as_ref().unwrap_or(&unsaid);
        if let Some(ColumnType::Vector(vector)) = source_kind {
            match conversion(settings, vector) {
                Ok((None, _)) => self.add(column, Step::Same(found.column), said),
                Ok((Some(conversion), vector)) => {
                    column.kind = ColumnType::Vector(vector);
                    self.lost
                        .push(format!("`{}`: each vector is {conversion}", column.name));
                    self.add(column, Step::Vector(found.column, conversion), said);
                }
                Err(what) => self.wrong(key, what),
            }
            return;
        }
        if settings.store_as.is_some() || settings.normalize.is_some() {
            let what = format!("`as` and `normalize` are for vectors, and this is {said}");
            self.wrong(key, what);
            return;
        }
        let to = match kind.of(source_kind) {
            Ok(to) => to,
            Err(what) => {
                self.wrong(format!("{key}.type"), what);
                return;
            }
        };
        if !source_kind.is_none_or(|from| can_become(from, to))
            || of_json && !can_become(ColumnType::Json, to)
        {
            let what = format!("{said} cannot become {}", to.word());
            self.wrong(format!("{key}.type"), what);
            return;
        }
        column.kind = to;
        let same = source_kind.is_some_and(|from| from.word() == to.word());
        if !same {
            column.traits = ColumnTraits::default();
            column.index = column.index.filter(|_| column.is_index_asked);
        }
        if let Some(lost) = rounded(source_kind, to) {
            self.lost.push(format!("`{}`: {lost}", column.name));
        }
        let strict = source_kind.is_some() && source.nullable && !column.nullable;
        match same && !strict && source.role != Role::Dynamic {
            true => self.add(column, Step::Same(found.column), said),
            false => self.add(column, Step::Values(found), said),
        }
    }

    /// What becomes of columns that the job does not name.
    fn rest(
        &mut self,
        fields: &FieldSettings,
        used: &[usize],
        vector: Option<usize>,
        misfit: Misfits,
    ) {
        let mut base = None;
        let (mut with, mut dropped) = (Vec::new(), Vec::new());
        let dynamic_used = |number: usize| used.contains(&number);
        for (number, source) in self.from.all().iter().enumerate() {
            if dynamic_used(number) || Some(number) == vector {
                continue;
            }
            if fields.rest == Rest::Drop || fields.rest == Rest::Fail {
                dropped.push(&*source.name);
            } else if source.role == Role::Dynamic {
                base = Some(number);
            } else if fields.rest == Rest::Dynamic
                && !source.kind.is_vector()
                && source.role != Role::PartitionKey
            {
                with.push((number, source.name.clone()));
            } else {
                let settings = one(&source.name, None);
                let found = Found {
                    column: number,
                    path: Vec::new(),
                };
                self.column(&settings, "fields.rest", found);
            }
        }
        let gone = fields.columns.iter().filter(|column| !column.travels);
        let gone: Vec<&str> = gone.map(|column| &*column.name).collect();
        if !gone.is_empty() {
            self.lost.push(format!("left behind: {}", gone.join(", ")));
        }
        if !dropped.is_empty() {
            let names = dropped.join(", ");
            match fields.rest {
                Rest::Fail => self.wrong("fields.rest", format!("the job does not name {names}")),
                _ => self
                    .lost
                    .push(format!("left behind (`rest: drop`): {names}")),
            }
        }
        let wanted = misfit == Misfits::Dynamic || !with.is_empty();
        if base.is_none() && !wanted {
            return;
        }
        let name = base.map_or(DYNAMIC, |base| &self.from.all()[base].name);
        let mut column = match base {
            Some(base) => self.from.all()[base].clone(),
            None => Column::new(name, ColumnType::Json),
        };
        column.role = Role::Dynamic;
        let mut told: Vec<&str> = base
            .iter()
            .map(|base| &*self.from.all()[*base].name)
            .collect();
        told.extend(with.iter().map(|(_, name)| &**name));
        let told = told.join(", ");
        let without = std::mem::take(&mut self.without);
        let step = match base {
            Some(base) if without.is_empty() && !wanted && !column.nullable => Step::Same(base),
            base => Step::Dynamic {
                base,
                without,
                with,
            },
        };
        column.nullable = false;
        self.add(column, step, told);
    }

    /// The key first, then columns of the source in its order, then values from JSON, the dynamic field last.
    fn in_source_order(&mut self) {
        let place = |step: &Step| match step {
            Step::Same(from) | Step::Vector(from, _) => (0, *from),
            Step::Values(found) if found.path.is_empty() => (0, found.column),
            Step::Values(_) => (1, 0),
            Step::Dynamic { .. } => (2, 0),
        };
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        let is_first = |number: usize| number > 0;
        let dynamic = |number: usize| self.columns[number].role == Role::Dynamic;
        order.sort_by_key(|n| (is_first(*n), dynamic(*n), place(&self.steps[*n])));
        self.columns = order.iter().map(|n| self.columns[*n].clone()).collect();
        self.steps = order.iter().map(|n| self.steps[*n].clone()).collect();
        self.told = order.iter().map(|n| self.told[*n].clone()).collect();
    }
}

/// What Milvus calls the dynamic field.
const DYNAMIC: &str = "$meta";

/// A column that the job does not describe.
fn one(source: &str, name: Option<&str>) -> ColumnSettings {
    ColumnSettings {
        from: Some(source.to_owned()),
        ..ColumnSettings::new(name.unwrap_or(source).to_owned(), true)
    }
}

/// How vectors are converted, and the type they get.
fn conversion(
    settings: &ColumnSettings,
    vector: crate::schema::VectorType,
) -> Result<(Option<Conversion>, crate::schema::VectorType), String> {
    let by_type = match &settings.kind {
        None => None,
        Some(kind) => match kind.of(Some(ColumnType::Vector(vector)))? {
            ColumnType::Vector(to) if to == vector => None,
            to => match to.word().as_str() {
                "float16_vector" => Some(StoreAs::Float16),
                "bfloat16_vector" => Some(StoreAs::BFloat16),
                "int8_vector" => Some(StoreAs::Int8),
                word => return Err(format!("{vector} cannot become {word}")),
            },
        },
    };
    match Conversion::new(settings.normalize, settings.store_as.or(by_type)) {
        None => Ok((None, vector)),
        Some(conversion) => Ok((Some(conversion), conversion.becomes(vector)?)),
    }
}

/// What a type loses of another, although it takes its values.
fn rounded(from: Option<ColumnType>, to: ColumnType) -> Option<&'static str> {
    const ROUNDED: &str = "doubles are rounded to floats";
    match (from, to) {
        (Some(ColumnType::Scalar(Scalar::Double)) | None, ColumnType::Scalar(Scalar::Float))
        | (
            Some(ColumnType::Array {
                of: Scalar::Double, ..
            })
            | None,
            ColumnType::Array {
                of: Scalar::Float, ..
            },
        ) => Some(ROUNDED),
        _ => None,
    }
}
