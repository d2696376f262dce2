//! The server's own import, until 2.3: jobs that read files visible to the server. One call each. From 2.4 on: `rest`.

use crate::error::{Error, Kind, Result};

use super::proto::import::{
    GetImportStateRequest, GetImportStateResponse, ImportRequest, ImportResponse,
    ListImportTasksRequest, ListImportTasksResponse,
};
use super::{Client, control};

/// A job, as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportJob {
    /// The server's number for it.
    pub number: i64,
    /// Its state.
    pub state: ImportState,
    /// Percent done, if the server says so.
    pub percent: u64,
    /// Rows that it imported, once it is done.
    pub rows: u64,
    /// Its files, as spelt by the server.
    pub files: String,
}

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// It waits, reads or writes; its state in the server's words.
    Going(String),
    /// Its rows are there, but invisible until it is told to commit them.
    Held,
    /// Its rows are there.
    Completed,
    /// It imported no row; the reason.
    Failed(String),
}

impl ImportJob {
    fn of(answer: &GetImportStateResponse) -> ImportJob {
        let info = |key: &str| {
            let info = answer.infos.iter().find(|info| info.key == key);
            info.map_or("", |info| &*info.value)
        };
        ImportJob {
            number: answer.id,
            state: match answer.state {
                6 => ImportState::Completed,
                1 | 7 => ImportState::Failed(info("failed_reason").to_owned()),
                0 => ImportState::Going("Pending".to_owned()),
                2 => ImportState::Going("Started".to_owned()),
                5 => ImportState::Going("Persisted".to_owned()),
                state => ImportState::Going(format!("state {state}")),
            },
            percent: info("progress_percent").parse().unwrap_or(0),
            rows: u64::try_from(answer.row_count).unwrap_or(0),
            files: info("files").to_owned(),
        }
    }
}

impl Client {
    /// Has the server import one set of files into a partition; empty: the default one. Returns the number of the job.
    /// A second call imports twice.
    pub fn import(&self, collection: &str, partition: &str, files: &[String]) -> Result<i64> {
        let request = ImportRequest {
            collection_name: collection.to_owned(),
            partition_name: control::partition_name(partition).to_owned(),
            files: files.to_vec(),
            db_name: self.db.clone(),
        };
        let answer: ImportResponse = self.tell_once("Import", &request)?;
        answer.tasks.first().copied().ok_or_else(|| {
            Error::new(
                Kind::Refused,
                "the server took an import and gave it no number",
            )
        })
    }

    /// The progress of a job; `None`: the server does not know it (any more).
    pub fn import_job(&self, number: i64) -> Result<Option<ImportJob>> {
        let request = GetImportStateRequest { task: number };
        let answer: GetImportStateResponse = self.ask("GetImportState", &request)?;
        match super::ok(&answer) {
            Ok(()) => Ok(Some(ImportJob::of(&answer))),
            Err(error) if error.kind() == Kind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All jobs of a collection that the server remembers.
    pub fn import_jobs(&self, collection: &str) -> Result<Vec<ImportJob>> {
        let request = ListImportTasksRequest {
            collection_name: collection.to_owned(),
            db_name: self.db.clone(),
        };
        let answer: ListImportTasksResponse = self.tell("ListImportTasks", &request)?;
        Ok(answer.tasks.iter().map(ImportJob::of).collect())
    }
}
