//! The server's own import from 2.4 on, over HTTP. One request, one answer each; never retries.
//! The `code` in an answer tells the outcome of a request: errors come with HTTP status 200, too.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::http::{self, Ask, Header, Method, Tls, Trust};
use crate::limits;

use super::import::{ImportJob, ImportState};
use super::proto::Status;
use super::{Login, Settings, control, status};

/// The codes of success: the first 2.4 had 200.
const WELL: [i64; 2] = [0, 200];

/// A server that is reached over HTTP.
pub struct Rest {
    server: http::Server,
    db: String,
}

/// What every answer has.
#[derive(Deserialize)]
struct Answer {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl Rest {
    /// The REST interface of a server; at its own address, unless another is given. Nothing is sent yet.
    pub fn open(settings: &Settings, address: Option<&str>) -> Result<Rest> {
        let login = match &settings.login {
            Login::None => None,
            Login::User(user, password) => Some(format!("{user}:{}", password.0)),
            Login::Token(token) => Some(token.0.clone()),
        };
        let login = login.map(|login| Header::new("authorization", &format!("Bearer {login}")));
        let headers = login.transpose();
        let headers = headers.map_err(|what| Error::new(Kind::Job, what))?;
        let tls = settings.tls.as_ref().map(|tls| Tls {
            trust: tls.ca.clone().map_or(Trust::System, Trust::Authorities),
            identity: tls.identity.clone(),
        });
        let server = http::Server::open(&http::Settings {
            address: address.unwrap_or(&settings.address).to_owned(),
            headers: headers.into_iter().collect(),
            tls: tls.unwrap_or_default(),
            deadline: settings.deadlines.control,
            connections: 1,
        })?;
        let db = settings.db.clone();
        Ok(Rest { server, db })
    }

    /// Has the server import one set of files into a partition (empty: none is named), and returns the number of the
    /// job. A second call imports twice, except that servers that know `key` return the number of the first job again.
    /// `held`: the rows stay invisible until [`Rest::commit`].
    pub fn import(
        &self,
        collection: &str,
        partition: &str,
        files: &[String],
        key: &str,
        held: bool,
    ) -> Result<i64> {
        let mut request = json!({"collectionName": collection, "files": [files]});
        // If there is a partition key, no partition may be named.
        if !partition.is_empty() {
            request["partitionName"] = control::partition_name(partition).into();
        }
        if held {
            request["options"] = json!({"auto_commit": "false"});
        }
        let key = Header::new("idempotency-key", key).expect("keys are printable");
        let data = self.tell("create", request, Some(&key))?;
        number(&data).ok_or_else(|| self.unread("create", "it names no job"))
    }

    /// The progress of a job; `None`: the server does not know it (any more).
    pub fn import_job(&self, job: i64) -> Result<Option<ImportJob>> {
        match self.tell("describe", json!({"jobId": job.to_string()}), None) {
            Ok(data) => Ok(Some(described(job, &data))),
            Err(error) if error.kind() == Kind::Refused && is_unknown(error.what()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The numbers of all jobs of a collection that the server remembers. Each job's own answer lists its files.
    pub fn import_jobs(&self, collection: &str) -> Result<Vec<i64>> {
        let data = self.tell("list", json!({"collectionName": collection}), None)?;
        let records = data["records"].as_array();
        let records = records.ok_or_else(|| self.unread("list", "it has no records"))?;
        Ok(records.iter().filter_map(number).collect())
    }

    /// Makes the held rows of a job visible. A second call does nothing.
    pub fn commit(&self, job: i64) -> Result<()> {
        let request = json!({"jobId": job.to_string()});
        self.tell("commit", request, None).map(drop)
    }

    /// Aborts a job whose rows are held.
    pub fn abort(&self, job: i64) -> Result<()> {
        let request = json!({"jobId": job.to_string()});
        self.tell("abort", request, None).map(drop)
    }

    /// Sends a request, and returns the data of a successful answer.
    fn tell(&self, verb: &'static str, mut request: Value, key: Option<&Header>) -> Result<Value> {
        if !self.db.is_empty() {
            request["dbName"] = self.db.as_str().into();
        }
        let (path, body) = (
            format!("/v2/vectordb/jobs/import/{verb}"),
            request.to_string(),
        );
        let call = call(verb);
        let ask = Ask {
            body: Some(body.as_bytes()),
            header: key,
            most: limits::IMPORT_ANSWER_BYTES_MAX,
            ..Ask::new(Method::Post, &path, call)
        };
        let mut answer = Vec::new();
        let status = self.server.ask(&ask, &mut answer)?;
        match (status, serde_json::from_slice::<Answer>(&answer)) {
            (200..=299, Ok(answer)) if WELL.contains(&answer.code) => Ok(answer.data),
            (200..=299, Err(error)) => Err(self.unread(verb, &error.to_string())),
            (200..=299, Ok(answer)) => Err(refusal(&answer).at(self.server.place(call))),
            (404, _) => {
                let error = self.server.refusal(call, status, &http::words(&answer));
                Err(error.hint(
                    "`sink.milvus.bulk.rest` names the address of the server's REST interface, where it is not its own",
                ))
            }
            _ => Err(self.server.refusal(call, status, &http::words(&answer))),
        }
    }

    /// The error for an answer that cannot be read: the request may have been carried out.
    fn unread(&self, verb: &'static str, why: &str) -> Error {
        let what = format!("the answer cannot be read: {why}");
        Error::new(Kind::Lost, what).at(self.server.place(call(verb)))
    }
}

/// What a request is called in errors.
fn call(verb: &str) -> &'static str {
    match verb {
        "create" => "import/create",
        "list" => "import/list",
        "commit" => "import/commit",
        "abort" => "import/abort",
        _ => "import/describe",
    }
}

/// The number of a job: digits in quotes, and in some versions without.
fn number(data: &Value) -> Option<i64> {
    let id = &data["jobId"];
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

/// Whether a server says that it has forgotten a job, or never had it.
fn is_unknown(words: &str) -> bool {
    ["not exist", "not found", "cannot find", "can't find"]
        .iter()
        .any(|word| words.contains(word))
}

fn refusal(answer: &Answer) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| answer.message.contains(word));
    let said = |kind| Error::new(kind, format!("the server said: {}", answer.message.trim()));
    if says(&["reached the limit"]) {
        // The limit of jobs at a time.
        return said(Kind::Busy);
    }
    if says(&["deadline exceeded", "context canceled", "timeout"]) {
        return said(Kind::Lost);
    }
    let code = i32::try_from(answer.code).unwrap_or(i32::MAX);
    status::refusal(&Status {
        error_code: 0,
        code,
        reason: answer.message.clone(),
        retriable: false,
    })
}

fn described(job: i64, data: &Value) -> ImportJob {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = text(&data["state"]);
    let details = data["details"].as_array();
    let details = details.map_or(&[][..], Vec::as_slice);
    let files = details
        .iter()
        .chain([data])
        .map(|one| text(&one["fileName"]));
    let rows = ["importedRows", "totalRows"].map(|key| data[key].as_u64());
    ImportJob {
        number: job,
        state: match state.as_str() {
            "Completed" => ImportState::Completed,
            "Uncommitted" => ImportState::Held,
            "Failed" => {
                let reasons = [data].into_iter().chain(details);
                let reasons = reasons.map(|one| text(&one["reason"]));
                let mut reasons = reasons.filter(|reason| !reason.is_empty());
                ImportState::Failed(reasons.next().unwrap_or_default())
            }
            _ => ImportState::Going(state),
        },
        percent: data["progress"].as_u64().unwrap_or(0),
        rows: rows[0].or(rows[1]).unwrap_or(0),
        files: files.collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_what_its_description_says() {
        let job = |text: &str| described(7, &serde_json::from_str(text).unwrap());
        let done = job(
            r#"{"jobId":"7","collectionName":"c","state":"Completed","progress":100,"importedRows":5,"totalRows":5,
                "details":[{"fileName":"id:1 paths:\"/s/t0-0-0-1/rows.parquet\"","state":"Completed","importedRows":5}]}"#,
        );
        assert_eq!(
            (done.state, done.rows, done.percent),
            (ImportState::Completed, 5, 100)
        );
        assert!(done.files.contains("/t0-0-0-1/"));
        let failed =
            job(r#"{"state":"Failed","details":[{"reason":""},{"reason":"no such file"}]}"#);
        assert_eq!(failed.state, ImportState::Failed("no such file".to_owned()));
        let waits = job(r#"{"state":"Pending"}"#);
        assert_eq!(
            (waits.state, waits.files.as_str()),
            (ImportState::Going("Pending".to_owned()), "")
        );
        assert_eq!(job(r#"{"state":"Uncommitted","totalRows":3}"#).rows, 3);
    }

    #[test]
    fn answers_are_sorted_by_what_happens_next() {
        let kind = |code, message: &str| {
            let message = message.to_owned();
            refusal(&Answer {
                code,
                message,
                data: Value::Null,
            })
            .kind()
        };
        assert_eq!(kind(100, "collection not found"), Kind::Refused);
        assert_eq!(
            kind(
                2100,
                "The number of jobs has reached the limit, please try again later: 1024"
            ),
            Kind::Busy
        );
        assert_eq!(kind(8, "rate limit exceeded"), Kind::Busy);
        assert_eq!(kind(65535, "context deadline exceeded"), Kind::Lost);
        assert!(is_unknown("import job does not exist, jobID=3"));
    }
}
