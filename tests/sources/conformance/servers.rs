//! Servers that all checks share, each with one small collection.

use std::process::Command;
use std::sync::OnceLock;

use crate::conformance::inputs::{DIMENSION, ROWS};
use crate::support::{Engine, Server, python};

/// A collection of a Milvus Lite that all checks share.
pub fn milvus() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    let settings = MADE.get_or_init(|| {
        let address = Server::shared(Engine::LitePython).address();
        let rows = ROWS.to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/living.py");
        let output = Command::new(python())
            .args([script, "rows", &address, "still", &rows])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        format!("address: '{address}', collections: [still]")
    });
    settings.clone()
}

/// A collection of a running Chroma that all checks share.
#[cfg(feature = "chroma")]
pub fn chroma_server() -> String {
    static SERVER: OnceLock<crate::conformance::chroma::Running> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let root = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        crate::conformance::inputs::chroma(root);
        crate::conformance::chroma::Running::serve(&root.join("chroma"))
    });
    format!("address: '{}'", server.address)
}

/// A table of a Postgres that all checks share.
pub fn pgvector() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    let settings = MADE.get_or_init(|| {
        let server = Server::shared(Engine::Postgres);
        server.sql(&format!(
            "CREATE EXTENSION vector; CREATE TABLE still (id bigint PRIMARY KEY, v vector({DIMENSION}) NOT NULL); \
             INSERT INTO still SELECT n, array_fill(n::real, ARRAY[{DIMENSION}])::vector \
             FROM generate_series(1, {ROWS}) n"
        ));
        format!("url: '{}', table: still", server.url())
    });
    settings.clone()
}

/// An index of a running OpenSearch that all checks share.
#[cfg(feature = "elasticsearch")]
pub fn opensearch() -> String {
    static SERVER: OnceLock<crate::conformance::opensearch::OpenSearch> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = crate::conformance::opensearch::start();
        let counts = [ROWS, DIMENSION].map(|n| n.to_string());
        crate::conformance::opensearch::script(&["still", &server.address, &counts[0], &counts[1]]);
        server
    });
    format!("urls: ['{}'], index: still", server.address)
}

/// An index of a stand-in for Pinecone that all checks share.
#[cfg(feature = "pinecone")]
pub fn pinecone() -> String {
    static FAKE: OnceLock<crate::conformance::stand_in_pinecone::Fake> = OnceLock::new();
    let fake =
        FAKE.get_or_init(|| crate::conformance::stand_in_pinecone::Fake::start("still", None));
    format!("host: '{}'", fake.address)
}

/// A collection of a stand-in for Qdrant that all checks share.
#[cfg(feature = "qdrant")]
pub fn qdrant() -> String {
    let address = &crate::conformance::stand_in_qdrant::Fake::shared().address;
    format!("address: '{address}', collections: [still]")
}
