//! Inserts, or files that the server imports? Measured rates decide, except with `when: always`.

use std::fmt;

use crate::batch::Target;
use crate::job::Existing;
use crate::limits;
use crate::milvus::Server;

use super::ask;
use super::settings::{BulkSettings, When};

/// Seconds that a standalone Milvus 2.3.5 takes for a job of any size, and the bytes per second that it then imports:
/// 104 MB of arrays in 3.2 s, four jobs of 26 MB in 10 s, two cores.
const JOB_S: f64 = 2.4;
const IMPORTED_BYTES_PER_S: f64 = 130e6;
/// Bytes per second that the same server accepts by inserts, and seconds for the flush after them: 104 MB in 3.8 and
/// 2.5 s.
const INSERTED_BYTES_PER_S: f64 = 27e6;
const FLUSH_S: f64 = 2.5;
/// The fraction of the insert time that an import may take to be worth a directory that the server can see.
const WORTH: f64 = 0.8;

/// How rows are sent, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Whether by import.
    pub bulk: bool,
    /// The reason, for people.
    pub why: String,
}

/// The size of what would be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Rows.
    pub rows: u64,
    /// Bytes of rows.
    pub bytes: u64,
    /// Files, each of which is a job.
    pub files: u64,
}

impl Load {
    /// Measures a target, for files of this many bytes.
    pub fn of(target: &Target, settings: &BulkSettings) -> Load {
        let row_bytes = target.columns.row_bytes().0.max(1);
        Load {
            rows: target.rows,
            bytes: target.rows.saturating_mul(row_bytes),
            files: target.rows.div_ceil(file_rows(target, settings)),
        }
    }

    fn and(self, other: Load) -> Load {
        Load {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    /// Seconds by import, with this many jobs at a time.
    pub fn bulk_s(&self, at_work: usize) -> f64 {
        (self.files as f64 * JOB_S + self.bytes as f64 / IMPORTED_BYTES_PER_S) / at_work as f64
    }

    /// Seconds by inserts.
    pub fn insert_s(&self) -> f64 {
        self.bytes as f64 / INSERTED_BYTES_PER_S + FLUSH_S
    }
}

/// Rows in each file of a target.
pub fn file_rows(target: &Target, settings: &BulkSettings) -> u64 {
    let row_bytes = target.columns.row_bytes().0.max(1);
    (settings.file_bytes / row_bytes).clamp(1, limits::BULK_ROWS_MAX)
}

/// Jobs that a server runs at a time: standalone servers, and those of unknown kind, run one after the other.
pub fn at_work(server: &Server, settings: &BulkSettings) -> usize {
    match server.deployed.as_deref() {
        Some("cluster" | "distributed") => settings.jobs,
        _ => 1,
    }
}

/// Chooses once for all targets.
pub fn choose(
    settings: &BulkSettings,
    server: &Server,
    targets: &[Target],
    existing: Existing,
    still: bool,
) -> Choice {
    let no = |why: String| Choice { bulk: false, why };
    if settings.when == When::Always {
        let why = "as the job says".to_owned();
        return Choice { bulk: true, why };
    }
    if let Some(why) = ask::missing(server) {
        return no(why);
    }
    if existing == Existing::Upsert {
        return no("`run.existing: upsert` replaces rows, but an import only adds them".to_owned());
    }
    if !still {
        return no(
            "the source may change while it is read, but files need a source that does not"
                .to_owned(),
        );
    }
    let loads = targets.iter().map(|target| Load::of(target, settings));
    let load = loads.fold(Load::default(), Load::and);
    let (bulk, insert) = (load.bulk_s(at_work(server, settings)), load.insert_s());
    match bulk <= insert * WORTH {
        true => Choice {
            bulk: true,
            why: "because it is faster".to_owned(),
        },
        false => no(format!(
            "{load} in about {} would take about {} by import, one job per file, and about {} by inserts, at rates \
             measured on a standalone Milvus 2.3.5; `when: always` imports them nevertheless",
            files(load.files, ""),
            shown(bulk),
            shown(insert)
        )),
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {}", self.rows, size(self.bytes))
    }
}

/// A number of files of a format, for people.
pub fn files(count: u64, kind: &str) -> String {
    let kind = match kind {
        "" => String::new(),
        kind => format!("{kind} "),
    };
    match count {
        1 => format!("1 {kind}file"),
        count => format!("{count} {kind}files"),
    }
}

fn size(bytes: u64) -> String {
    let steps = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match steps.iter().find(|(step, _)| bytes as f64 >= *step) {
        Some((step, unit)) => format!("{:.1} {unit}", bytes as f64 / step),
        None => format!("{bytes} bytes"),
    }
}

/// A duration, for people.
pub fn shown(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(bytes: u64, files: u64) -> Load {
        Load {
            rows: 1,
            bytes,
            files,
        }
    }

    #[test]
    fn much_is_imported_and_many_small_pieces_are_inserted() {
        let worth = |load: Load, at_work| load.bulk_s(at_work) <= load.insert_s() * WORTH;
        assert!(worth(load(104_000_000, 1), 1));
        assert!(worth(load(3_080_000_000_000, 2869), 1));
        assert!(!worth(load(1_000, 1), 1));
        assert!(!worth(load(104_000_000, 100), 1));
        assert!(worth(load(1_000_000_000, 100), 8));
    }
}
