//! Rows that Milvus 2.4 and later import by themselves, asked over HTTP. No such server is to be had here: a stand-in for
//! its gRPC and one for its REST interface, which reads the files, counts rows, and misbehaves.

use crate::support::{self, migration, rest_import};

use std::sync::Arc;
use std::time::Duration;

use migration::{Ended, Jobs, flat_index};
use rest_import::{Misbehave, RestImport, Version};
use support::fake_milvus::Fake;

const ROWS: usize = 3_000;

/// What each version has.
const PLAIN: (&str, Version) = (
    "v2.5.4",
    Version {
        keyed: false,
        holds: false,
    },
);
const KEYED: (&str, Version) = (
    "v2.6.24",
    Version {
        keyed: true,
        holds: false,
    },
);
const HOLDS: (&str, Version) = (
    "v3.0.0",
    Version {
        keyed: false,
        holds: true,
    },
);
const ALL: [(&str, Version); 4] = [
    PLAIN,
    KEYED,
    HOLDS,
    (
        "v3.0.2",
        Version {
            keyed: true,
            holds: true,
        },
    ),
];

struct Here {
    jobs: Jobs,
    fake: Arc<Fake>,
    rest: RestImport,
}

impl Here {
    fn start((name, version): (&str, Version)) -> Here {
        let jobs = Jobs::new();
        flat_index(&jobs, "a.index", ROWS, 16);
        let fake = Arc::new(Fake::start(name));
        let rest = RestImport::start(fake.clone(), version);
        Here { jobs, fake, rest }
    }

    fn text(&self, sink: &str, run: &str) -> String {
        format!(
            "source: {{faiss: {{path: a.index, ids: row_number}}}}\nsink: {{milvus: {{address: '{}', collection: c, {sink}\
             bulk: {{staging: {{path: '{}'}}, when: always, file_bytes: 80kB, rest: 'http://{}'}}}}}}\n\
             run: {{patience: 30s, {run}}}\n",
            self.fake.address,
            self.jobs.path("staging").display(),
            self.rest.address
        )
    }

    fn run(&self) -> Ended {
        self.jobs.run("job", &self.text("", ""))
    }

    /// All rows are there, once; how many jobs brought them, and what became of the others.
    #[track_caller]
    fn whole(&self, jobs: usize) {
        self.run().code(0).says(&["3000 rows"]);
        let states = self.rest.states();
        let done = states.iter().filter(|state| **state == "Completed").count();
        assert_eq!(done, jobs, "{states:?}");
        let others = states.iter().filter(|state| **state != "Completed");
        for state in others {
            assert!(
                ["Pending", "Failed", "Uncommitted"].contains(state),
                "{states:?}"
            );
        }
    }
}

/// Files that the rows go in: 1136 rows a file.
const FILES: usize = 3;

#[test]
fn files_are_imported_by_every_version_with_what_it_has() {
    for version in ALL {
        let here = Here::start(version);
        here.jobs
            .run(
                "job",
                &here.text("user: root, password: hunter2, db: shop, ", ""),
            )
            .code(0)
            .says(&["done: 3000 rows"]);
        assert_eq!(here.rest.states(), ["Completed"; FILES], "{version:?}");
        let created = here.rest.asked("create");
        assert_eq!(created.len(), FILES);
        for asked in &created {
            assert!(asked.contains("Bearer root:hunter2"), "{asked}");
            assert!(
                asked.to_lowercase().contains("idempotency-key: t0-"),
                "{asked}"
            );
            assert!(
                asked.contains(r#""dbName":"shop""#) && !asked.contains("partitionName"),
                "{asked}"
            );
            assert_eq!(
                asked.contains(r#""auto_commit":"false""#),
                version.1.holds,
                "{asked}"
            );
        }
        let commits = if version.1.holds { FILES } else { 0 };
        assert!(here.rest.asked("commit").len() >= commits);
        let left = std::fs::read_dir(here.jobs.path("staging"))
            .unwrap()
            .count();
        assert_eq!(left, 0);
    }
}

#[test]
fn a_partition_is_named() {
    let here = Here::start(PLAIN);
    here.jobs
        .run("job", &here.text("partition: p1, ", ""))
        .code(0);
    let created = here.rest.asked("create");
    assert!(
        created
            .iter()
            .all(|asked| asked.contains(r#""partitionName":"p1""#))
    );
}

#[test]
fn answers_that_are_lost_double_nothing() {
    for version in ALL {
        let here = Here::start(version);
        here.rest.next("create", Misbehave::LoseAnswer);
        here.rest.next("describe", Misbehave::LoseAnswer);
        here.rest.next("list", Misbehave::LoseAnswer);
        here.rest.next("commit", Misbehave::LoseAnswer);
        here.rest.next("create", Misbehave::LoseAnswer);
        here.whole(FILES);
    }
}

#[test]
fn a_request_that_comes_late_finds_nothing_to_import() {
    for version in ALL {
        let here = Here::start(version);
        for _ in 0..2 {
            here.rest
                .next("create", Misbehave::Late(Duration::from_millis(700)));
        }
        here.whole(FILES);
        // It may be on its way still.
        std::thread::sleep(Duration::from_millis(800));
        here.run().code(0);
    }
}

#[test]
fn a_request_that_is_repeated_on_the_way_is_done_once_where_the_server_can_tell() {
    for version in [KEYED, ALL[2], ALL[3]] {
        let here = Here::start(version);
        here.rest.next("create", Misbehave::Twice);
        here.whole(FILES);
    }
    // The others do it twice: the count at the end says so.
    let here = Here::start(PLAIN);
    here.rest.next("create", Misbehave::Twice);
    here.run().code(5).says(&["rows"]);
    assert_eq!(here.rest.states(), ["Completed"; FILES + 1]);
}

#[test]
fn errors_with_status_200_are_errors() {
    for (code, words) in [
        (8, "rate limit exceeded"),
        (
            2100,
            "The number of jobs has reached the limit, please try again later: 1024",
        ),
        (65535, "context deadline exceeded"),
        (1100, "the file format is not supported"),
    ] {
        let here = Here::start(PLAIN);
        here.rest.next("create", Misbehave::Code(code, words));
        here.rest
            .next("describe", Misbehave::Code(1, "service not ready"));
        here.whole(FILES);
        assert!(here.rest.asked("create").len() > FILES, "{words}");
    }
    // One that stays ends the run, and says why.
    let here = Here::start(PLAIN);
    for _ in 0..20 {
        here.rest
            .next("create", Misbehave::Code(1100, "no such partition: p9"));
    }
    here.run()
        .code(5)
        .says(&["no such partition: p9", "could not import rows"]);
    assert!(here.rest.states().is_empty());
}

#[test]
fn what_a_gateway_says_is_not_believed_of_the_job() {
    for version in ALL {
        let here = Here::start(version);
        // The server has done it.
        here.rest
            .next("create", Misbehave::Http(502, "<html>bad gateway</html>"));
        here.rest.next("create", Misbehave::Http(500, "oops"));
        here.rest.next("create", Misbehave::Http(200, "not json"));
        // It has not.
        here.rest.next("describe", Misbehave::Gateway(503));
        here.rest.next("commit", Misbehave::Gateway(504));
        here.whole(FILES);
    }
}

#[test]
fn files_whose_job_failed_and_only_those_are_offered_again() {
    let here = Here::start(PLAIN);
    here.rest.fail("node went away");
    here.whole(FILES);
    assert_eq!(here.rest.states().len(), FILES + 1);
    let here = Here::start(PLAIN);
    for _ in 0..20 {
        here.rest.fail("no disk");
    }
    here.run().code(5).says(&["no disk"]);
}

#[test]
fn a_job_that_is_forgotten_stops_the_run_unless_its_rows_were_never_committed() {
    let here = Here::start(PLAIN);
    here.rest.forget_at(3);
    here.run()
        .code(5)
        .says(&["no longer knows import job", "whether its rows arrived"]);
    // None of them had been told to commit by then.
    let here = Here::start(HOLDS);
    here.rest.forget_at(2);
    here.whole(FILES);
}

#[test]
fn rows_are_not_committed_when_there_are_too_few() {
    let here = Here::start(HOLDS);
    here.rest.lie();
    here.run()
        .code(5)
        .says(&["rows were staged, but", "were imported"]);
    assert!(here.rest.asked("commit").is_empty());
    assert!(!here.rest.asked("abort").is_empty());
    assert!(!here.rest.states().contains(&"Completed"));
}

#[test]
fn a_server_without_rest_is_told_with_where_to_name_it() {
    let here = Here::start(PLAIN);
    for _ in 0..20 {
        here.rest.next("create", Misbehave::Gateway(404));
        here.rest.next("list", Misbehave::Gateway(404));
    }
    here.run().code(5).says(&["sink.milvus.bulk.rest"]);
}
