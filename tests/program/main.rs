//! The program as a user meets it: its command line, job files, plans, reports, signals, documents.

mod cli;
mod docs;
mod docs_jobs;
mod house;
mod job_keys;
mod new_jobs;
mod plan_files;
mod plan_tells;
mod reports;
mod shares;
mod shipped_jobs;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
