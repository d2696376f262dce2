//! The import of Milvus 2.4 and later over HTTP, as its documentation and public source describe it, for no such server is
//! to be had here. It reads the files that it is given, and misbehaves when told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake_milvus::Fake;

/// What to do with the next request of a kind.
#[derive(Clone, Debug)]
pub enum Misbehave {
    /// Do it, and cut the connection before the answer.
    LoseAnswer,
    /// Cut the connection, and do it so much later.
    Late(Duration),
    /// Do it, and once more, as what stands between may.
    Twice,
    /// Do nothing, and answer with HTTP 200, this code and these words.
    Code(i64, &'static str),
    /// Do it, and answer with this HTTP status and body.
    Http(u16, &'static str),
    /// Do nothing, and answer with this HTTP status.
    Gateway(u16),
}

/// What the server of a version has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Version {
    /// A request that comes twice with the same key is done once.
    pub keyed: bool,
    /// Jobs wait to be committed where they are asked to.
    pub holds: bool,
}

#[derive(Debug)]
struct Job {
    collection: String,
    files: Vec<String>,
    held: bool,
    state: &'static str,
    rows: i64,
    reason: String,
    /// How often it has got on.
    seen: usize,
}

#[derive(Default)]
struct State {
    version: Version,
    jobs: BTreeMap<i64, Job>,
    keys: HashMap<String, i64>,
    next: HashMap<String, VecDeque<Misbehave>>,
    asked: Vec<(String, String)>,
    /// Jobs fail once each with these words.
    fail: VecDeque<&'static str>,
    /// Jobs are forgotten when they are asked after for the so-manieth time.
    forget_at: Option<usize>,
    /// Jobs say fewer rows than they have.
    lies: bool,
    looks: usize,
    made: i64,
}

/// The server.
pub struct RestImport {
    /// `127.0.0.1:port`.
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl RestImport {
    /// One whose rows arrive at the other.
    pub fn start(fake: Arc<Fake>, version: Version) -> RestImport {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            version,
            ..State::default()
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, fake) = (shared.clone(), fake.clone());
                thread::spawn(move || serve(client, &state, &fake));
            }
        });
        RestImport { address, state }
    }

    /// How to treat the next request of a kind: `create`, `describe`, `list`, `commit`.
    pub fn next(&self, verb: &str, misbehave: Misbehave) {
        let mut state = self.state.lock().unwrap();
        let next = state.next.entry(verb.to_owned()).or_default();
        next.push_back(misbehave);
    }

    /// The next job fails with these words.
    pub fn fail(&self, why: &'static str) {
        self.state.lock().unwrap().fail.push_back(why);
    }

    /// All jobs are forgotten at the so-manieth look at one.
    pub fn forget_at(&self, look: usize) {
        self.state.lock().unwrap().forget_at = Some(look);
    }

    /// Jobs say fewer rows than they have.
    pub fn lie(&self) {
        self.state.lock().unwrap().lies = true;
    }

    /// The states of all jobs there were, in order.
    pub fn states(&self) -> Vec<&'static str> {
        let state = self.state.lock().unwrap();
        state.jobs.values().map(|job| job.state).collect()
    }

    /// The requests of a kind: their heads and bodies.
    pub fn asked(&self, verb: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let asked = state.asked.iter().filter(|(of, _)| of == verb);
        asked.map(|(_, text)| text.clone()).collect()
    }
}

fn serve(client: TcpStream, state: &Arc<Mutex<State>>, fake: &Arc<Fake>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut client = client;
    while let Some((verb, head, body)) = request(&mut reader) {
        let next = {
            let mut state = state.lock().unwrap();
            state.asked.push((verb.clone(), format!("{head}{body}")));
            state.next.get_mut(&verb).and_then(VecDeque::pop_front)
        };
        let request: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let done = || answer(&mut state.lock().unwrap(), fake, &verb, &head, &request);
        let (status, said) = match next {
            None => (200, done().to_string()),
            Some(Misbehave::Twice) => {
                let first = done();
                done();
                (200, first.to_string())
            }
            Some(Misbehave::LoseAnswer) => {
                done();
                return;
            }
            Some(Misbehave::Late(after)) => {
                let (state, fake) = (state.clone(), fake.clone());
                thread::spawn(move || {
                    thread::sleep(after);
                    answer(&mut state.lock().unwrap(), &fake, &verb, &head, &request);
                });
                return;
            }
            Some(Misbehave::Code(code, words)) => {
                (200, json!({"code": code, "message": words}).to_string())
            }
            Some(Misbehave::Http(status, words)) => {
                done();
                (status, words.to_owned())
            }
            Some(Misbehave::Gateway(status)) => (status, "<html>bad gateway</html>".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            said.len()
        );
        if client.write_all((head + &said).as_bytes()).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
        let line = head[before..].to_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?;
    let verb = path.strip_prefix("/v2/vectordb/jobs/import/")?.to_owned();
    Some((verb, head, String::from_utf8(body).ok()?))
}

fn answer(state: &mut State, fake: &Fake, verb: &str, head: &str, request: &Value) -> Value {
    let wrong = |code: i64, words: &str| json!({"code": code, "message": words});
    let number = request["jobId"]
        .as_str()
        .and_then(|n| n.parse::<i64>().ok());
    let well = |data: Value| json!({"code": 0, "data": data});
    match verb {
        "create" => {
            let key = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("idempotency-key")
                    .then(|| value.to_owned())
            });
            let known = key.as_ref().and_then(|key| state.keys.get(key)).copied();
            let number = match known {
                Some(number) if state.version.keyed => number,
                _ => {
                    state.made += 1;
                    let number = 453_000_000_000_000_000 + state.made;
                    let files = request["files"][0].as_array().unwrap().iter();
                    let held = request["options"]["auto_commit"] == "false";
                    let job = Job {
                        collection: request["collectionName"].as_str().unwrap().to_owned(),
                        files: files.map(|f| f.as_str().unwrap().to_owned()).collect(),
                        held: held && state.version.holds,
                        state: "Pending",
                        rows: 0,
                        reason: String::new(),
                        seen: 0,
                    };
                    state.jobs.insert(number, job);
                    state.keys.extend(key.map(|key| (key, number)));
                    number
                }
            };
            well(json!({"jobId": number.to_string()}))
        }
        "list" => {
            let of = request["collectionName"].as_str();
            let jobs = state.jobs.iter();
            let jobs = jobs.filter(|(_, job)| Some(&*job.collection) == of);
            let records = jobs.map(|(number, job)| {
                json!({"jobId": number.to_string(), "collectionName": job.collection, "state": job.state, "progress": 0})
            });
            well(json!({"records": records.collect::<Vec<_>>()}))
        }
        _ => {
            state.looks += 1;
            if state.forget_at == Some(state.looks) {
                state.jobs.clear();
            }
            let number = number.unwrap_or(0);
            let State {
                jobs, fail, lies, ..
            } = state;
            if verb == "describe" {
                jobs.values_mut().for_each(|job| advance(job, fail, fake));
            }
            let Some(job) = jobs.get_mut(&number) else {
                return wrong(2100, &format!("import job does not exist, jobID={number}"));
            };
            match verb {
                "commit" if job.state == "Uncommitted" => {
                    job.state = "Committing";
                    well(json!({}))
                }
                "commit" => well(json!({})),
                "abort" => {
                    job.state = "Failed";
                    well(json!({}))
                }
                _ => well(describe(number, job, *lies)),
            }
        }
    }
}

/// A job gets on whenever one is looked at.
fn advance(job: &mut Job, fail: &mut VecDeque<&'static str>, fake: &Fake) {
    job.seen += 1;
    match job.state {
        "Pending" if job.seen < 2 => {}
        "Pending" => match (fail.pop_front(), rows_of(&job.files)) {
            (None, Ok(rows)) => (job.state, job.rows) = ("Importing", rows),
            (Some(why), _) => (job.state, job.reason) = ("Failed", why.to_owned()),
            (_, Err(why)) => (job.state, job.reason) = ("Failed", why),
        },
        "Importing" if job.held => job.state = "Uncommitted",
        "Importing" | "Committing" => {
            job.state = "Completed";
            fake.add_rows(&job.collection, job.rows);
        }
        _ => {}
    }
}

fn describe(number: i64, job: &Job, lies: bool) -> Value {
    let rows = job.rows - i64::from(lies);
    let mut data = json!({
        "jobId": number.to_string(), "collectionName": job.collection, "state": job.state, "progress": job.seen * 10,
    });
    if job.state == "Pending" {
        return data;
    }
    let paths: Vec<String> = job.files.iter().map(|f| format!("paths:{f:?}")).collect();
    data["importedRows"] = rows.into();
    data["totalRows"] = rows.into();
    data["reason"] = job.reason.as_str().into();
    let name = format!("id:1 {}", paths.join(" "));
    data["details"] =
        json!([{"fileName": name, "state": job.state, "importedRows": rows, "totalRows": rows}]);
    data
}

/// Rows of arrays, all of which have to be there with as many.
fn rows_of(files: &[String]) -> Result<i64, String> {
    let rows = files.iter().map(|file| {
        let bytes = std::fs::read(Path::new(file)).map_err(|e| format!("{file}: {e}"))?;
        let header = String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
        let shape = header.split("'shape': (").nth(1).unwrap();
        Ok(shape
            .split(&[',', ')'][..])
            .next()
            .unwrap()
            .parse()
            .unwrap())
    });
    let rows = rows.collect::<Result<Vec<i64>, String>>()?;
    assert!(rows.windows(2).all(|two| two[0] == two[1]));
    Ok(rows[0])
}
