//! A real Postgres with pgvector as a source: every type, every kind of table, what goes wrong, and what moves meanwhile.

#![allow(clippy::unwrap_used)]

mod cells;
mod moving;
mod refused;
mod steady;
mod tables;

use crate::support::{self, killed, migration, new_job};

use std::sync::OnceLock;

use support::{Engine, Server};

/// The server that all tests here read, with a table of every type.
fn postgres() -> &'static Server {
    static MADE: OnceLock<&'static Server> = OnceLock::new();
    MADE.get_or_init(|| {
        let server = Server::shared(Engine::Postgres);
        server.sql(include_str!("pgvector/every.sql"));
        server
    })
}

/// A source with these settings.
fn source(more: &str) -> String {
    format!(
        "source: {{pgvector: {{url: '{}', {more}}}}}\n",
        postgres().url()
    )
}

fn to_milvus(server: &Server, more: &str) -> String {
    format!(
        "sink: {{milvus: {{address: '{}', {more}}}}}\n",
        server.address()
    )
}
