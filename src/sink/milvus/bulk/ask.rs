//! How is a server asked to import? By RPC until 2.3, over HTTP from 2.4 on; what else it supports depends on its
//! version. Milvus Lite has no import.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
#[cfg(feature = "network")]
use crate::milvus::Rest;
use crate::milvus::{Client, Flavour, ImportJob, ImportState, Server, Settings};

/// The shortest and longest waits before asking for a job's progress again.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The shortest wait by RPC: Milvus 2.3.5 crashes if a client dies while it asks (a nil dereference in its proxy when
/// the call is cancelled), so it is asked rarely.
const ASK_RPC_EVERY: Duration = Duration::from_millis(500);

/// A client of a server's import.
pub struct Imports {
    #[cfg(feature = "network")]
    rest: Option<Rest>,
    /// Whether the server executes a request that is repeated with the same key only once.
    keyed: bool,
    /// Whether rows stay invisible until they are committed.
    pub holds: bool,
    /// Seconds after which it may have forgotten a job.
    pub remembers_s: u64,
}

/// Why a server has no import that accepts files.
pub fn missing(server: &Server) -> Option<String> {
    let old = server.release.is_some_and(|release| release < (2, 1));
    match server.flavour {
        Flavour::LitePython | Flavour::LiteCpp => Some("Milvus Lite has no import".to_owned()),
        Flavour::V1 => Some("Milvus 1.x has no import".to_owned()),
        Flavour::Full if old => Some(format!(
            "{server} does not import files: Milvus does from 2.1 on"
        )),
        Flavour::Full if asks_by_rpc(server) || cfg!(feature = "network") => None,
        Flavour::Full => Some(format!(
            "{server} is asked to import files over HTTP, but this program was built without the feature `network`"
        )),
    }
}

fn asks_by_rpc(server: &Server) -> bool {
    server.release.is_some_and(|release| release < (2, 4))
}

impl Imports {
    /// The import of a server, if it has one.
    pub fn of(server: &Server, settings: &Settings, address: Option<&str>) -> Result<Imports> {
        let by_rpc = asks_by_rpc(server);
        #[cfg(not(feature = "network"))]
        let _ = (settings, address);
        Ok(Imports {
            #[cfg(feature = "network")]
            rest: match by_rpc {
                true => None,
                false => Some(Rest::open(settings, address)?),
            },
            keyed: server.is_since((3, 0, 2))
                || server.is_since((2, 6, 24)) && !server.is_since((2, 7, 0)),
            holds: server.is_since((3, 0, 0)),
            remembers_s: match by_rpc {
                true => limits::BULK_REMEMBERED_S.0,
                false => limits::BULK_REMEMBERED_S.1,
            },
        })
    }

    #[cfg(feature = "network")]
    fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    #[cfg(not(feature = "network"))]
    fn rest(&self) -> Option<&none::Rest> {
        None
    }

    /// Has a set of files imported, identified by `key`. Returns the number of the job.
    pub fn import(
        &self,
        client: &Client,
        (collection, partition): (&str, &str),
        files: &[String],
        key: &str,
    ) -> Result<i64> {
        match self.rest() {
            Some(rest) => rest.import(collection, partition, files, key, self.holds),
            None => client.import(collection, partition, files),
        }
    }

    /// The progress of a job; `None` if the server does not know it (any more).
    pub fn job(&self, client: &Client, number: i64) -> Result<Option<ImportJob>> {
        match self.rest() {
            Some(rest) => rest.import_job(number),
            None => client.import_job(number),
        }
    }

    /// Makes the rows of a job visible.
    pub fn commit(&self, number: i64) -> Result<()> {
        self.rest().map_or(Ok(()), |rest| rest.commit(number))
    }

    /// Aborts a job whose rows are held back.
    pub fn abort(&self, number: i64) -> Result<()> {
        self.rest().map_or(Ok(()), |rest| rest.abort(number))
    }

    /// How long to wait before asking again about a job that has been running for this long.
    pub fn pause(&self, asked: Duration) -> Duration {
        let least = match self.rest() {
            Some(_) => ASK_EVERY.0,
            None => ASK_RPC_EVERY,
        };
        (asked / 16).clamp(least, ASK_EVERY.1)
    }

    /// Whether a request can be repeated unchanged: the server returns the number of the first job again.
    pub fn repeats(&self) -> bool {
        self.keyed
    }

    /// The job that imports a set of files, if the server has one. Called if a request got no answer.
    pub fn find(
        &self,
        client: &Client,
        collection: &str,
        set: &str,
        patience: Duration,
    ) -> Result<Option<i64>> {
        let named = format!("/{set}/");
        let Some(rest) = self.rest() else {
            let jobs = client.import_jobs(collection)?;
            let found = jobs.into_iter().find(|job| job.files.contains(&named));
            return Ok(found.map(|job| job.number));
        };
        let (began, mut others) = (Instant::now(), HashSet::new());
        loop {
            let mut unclear = None;
            for number in rest.import_jobs(collection)? {
                if others.contains(&number) {
                    continue;
                }
                let Some(job) = rest.import_job(number)? else {
                    continue;
                };
                if job.files.contains(&named) {
                    return Ok(Some(number));
                }
                // A job that has not begun to read does not list its files yet.
                match job.state {
                    ImportState::Going(_) if job.files.trim().is_empty() => unclear = Some(number),
                    _ => drop(others.insert(number)),
                }
            }
            let Some(number) = unclear else {
                return Ok(None);
            };
            if began.elapsed() > patience {
                let what = format!(
                    "for {} s import job {number} has not listed its files, so it is unknown whether these were \
                     taken",
                    patience.as_secs()
                );
                return Err(Error::new(Kind::Busy, what));
            }
            std::thread::sleep(self.pause(began.elapsed()));
        }
    }
}

/// The placeholder for a client over HTTP where none is needed.
#[cfg(not(feature = "network"))]
mod none {
    use crate::error::Result;
    use crate::milvus::ImportJob;

    /// There is none.
    pub enum Rest {}

    impl Rest {
        pub fn import(&self, _: &str, _: &str, _: &[String], _: &str, _: bool) -> Result<i64> {
            match *self {}
        }

        pub fn import_job(&self, _: i64) -> Result<Option<ImportJob>> {
            match *self {}
        }

        pub fn import_jobs(&self, _: &str) -> Result<Vec<i64>> {
            match *self {}
        }

        pub fn commit(&self, _: i64) -> Result<()> {
            match *self {}
        }

        pub fn abort(&self, _: i64) -> Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lite_and_old_servers_have_no_import() {
        let missing = |flavour, release| {
            let server = Server {
                flavour,
                release,
                ..Server::default()
            };
            missing(&server).unwrap_or_default()
        };
        for flavour in [Flavour::LitePython, Flavour::LiteCpp] {
            assert_eq!(missing(flavour, Some((3, 2))), "Milvus Lite has no import");
        }
        assert!(missing(Flavour::Full, Some((2, 0))).contains("from 2.1 on"));
        assert_eq!(missing(Flavour::Full, Some((2, 3))), "");
        let over_http = [Some((2, 4)), Some((3, 0)), None];
        for release in over_http {
            let said = missing(Flavour::Full, release);
            assert_eq!(said.is_empty(), cfg!(feature = "network"), "{said}");
        }
    }
}
