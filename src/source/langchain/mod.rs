//! langchain: how are directories of LangChain's FAISS store read? The index as in Faiss; ids, texts and metadata from
//! the pickle next to it, none of which is executed.

mod companion;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};

use super::files::{self, identity};
use super::{Files, Reader, Source, SourceKind, Spec as AnySpec, Survey, content, faiss};
use crate::batch::{Cut, Keys, Limits, Part, Position, Shard, Target};
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View};
use crate::job::{Form, Setting, absolute};
use crate::schema::{Column, ColumnType, Columns, Role};

use companion::Companion;

/// The source `langchain`.
pub const KIND: SourceKind = SourceKind {
    name: "langchain",
    summary: "directories that LangChain's FAISS store saves: index.faiss and index.pkl",
    settings: &[
        Setting::path("path", "the directory")
            .required()
            .example("faiss_index"),
        Setting::text(
            "index_name",
            "the name of the files, without their extensions",
        )
        .or("index"),
        files::ACCESS,
    ],
    read,
};

struct Spec {
    path: PathBuf,
    name: String,
    access: Access,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let path = form.required("path", "the directory, such as faiss_index");
    let name = form.text("index_name");
    let access = files::access(form);
    Some(Box::new(Spec {
        path: PathBuf::from(path?),
        name: name.unwrap_or_else(|| "index".to_owned()),
        access,
    }))
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        if !self.path.is_dir() {
            let what = "is not a directory that LangChain's FAISS store saved";
            return Err(Error::path(Kind::Job, &self.path, what));
        }
        let index = self.path.join(format!("{}.faiss", self.name));
        let pickle = self.path.join(format!("{}.pkl", self.name));
        let source = faiss::open_index(&index, self.access)?;
        let file = View::open(&pickle, self.access)?;
        let companion = Companion::read(&file)?;
        let survey = source.survey(Limits {
            batch_bytes: 1,
            batch_rows: 1,
        })?;
        let target = &survey.manifest.targets[0];
        if target.rows != companion.rows() {
            let what = format!(
                "names documents of {} rows, but {} has {}",
                companion.rows(),
                index.display(),
                target.rows
            );
            return Err(Error::path(Kind::Corrupt, file.path(), what)
                .hint("both files must come from the same call of save_local"));
        }
        let mut vector = target.columns.all()[1].clone();
        vector.name = "embedding".to_owned();
        let mut metadata = Column::new("metadata", ColumnType::Json);
        metadata.role = Role::Dynamic;
        let text = ColumnType::VarChar { max_bytes: None };
        let columns = Columns::new(vec![
            Column::key("id", text),
            vector,
            Column::new("text", text),
            metadata,
        ])?;
        Ok(Box::new(Langchain {
            source,
            file,
            companion,
            columns,
        }))
    }
}

struct Langchain {
    source: Box<dyn Source>,
    file: View,
    companion: Companion,
    columns: Arc<Columns>,
}

impl Source for Langchain {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut survey = self.source.survey(limits)?;
        for target in &mut survey.manifest.targets {
            *target = Target {
                columns: self.columns.clone(),
                keys: Keys::Unique,
                ..target.clone()
            };
        }
        survey
            .identity
            .insert("documents".to_owned(), identity(&self.file)?);
        survey.warnings.extend(self.companion.note());
        Ok(survey)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let Some(mut pieces) = self.source.content()? else {
            return Ok(None);
        };
        let path = absolute(self.file.path()).display().to_string();
        pieces.insert(path, content::of(&self.file)?);
        Ok(Some(pieces))
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(Joined {
            source: self,
            reader: self.source.open(shard, from, limits)?,
        }))
    }

    fn unchanged(&self) -> Result<()> {
        self.source.unchanged()?;
        self.file.unchanged()
    }
}

/// Rows of the index, each with its document.
struct Joined<'s> {
    source: &'s Langchain,
    reader: Box<dyn Reader + 's>,
}

impl Reader for Joined<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Some(mut cut) = self.reader.next()? else {
            return Ok(None);
        };
        for part in &mut cut.parts {
            *part = self.source.joined(part)?;
        }
        Ok(Some(cut))
    }

    fn files(&self) -> Files {
        self.reader.files()
    }
}

impl Langchain {
    fn joined(&self, part: &Part) -> Result<Part> {
        let mut documents = Vec::with_capacity(part.len());
        for label in part.ids() {
            let found = self.companion.document(*label);
            documents.push(found.ok_or_else(|| {
                let what = format!("names no document for row {label} of the index");
                Error::path(Kind::Corrupt, self.file.path(), what)
            })?);
        }
        let texts = |of: fn(&companion::Document) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                documents.iter().map(|document| of(document)),
            ))
        };
        let values = vec![
            texts(|document| &document.id),
            part.column(1),
            texts(|document| &document.text),
            texts(|document| &document.metadata),
        ];
        Part::new(&self.columns, values, &part.file, part.row)
    }
}
