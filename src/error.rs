//! What went wrong, where, and what the operator can do about it.
//! This room decides nothing: it carries a kind, a place and words.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what the operator can do. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    place: Option<Place>,
    what: String,
    hint: Option<String>,
    batch: Option<String>,
    reported: bool,
}

/// Sorted by what happens next, not by which library complained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The job or the command line is wrong: fix it. Exit 2.
    Job,
    /// The input breaks its own format. Exit 3.
    Corrupt,
    /// The input is valid, but cannot be carried as asked. Exit 3.
    Unsupported,
    /// The source moved under us. Exit 4.
    Changed,
    /// The destination said no, for good. Exit 5.
    Refused,
    /// The destination said "later" to this rate: the same again after a wait. Exit 5 when patience ends.
    Busy,
    /// The destination has no room now (quota): a long wait may help. Exit 5 when patience ends.
    Full,
    /// The destination could not be reached and nothing was sent: the same again after a wait. Exit 5.
    Unreachable,
    /// No answer: it may have arrived. Exit 5 when it cannot be sent again safely.
    Lost,
    /// The request was too big for the destination: send it in halves. Exit 5 when one row is too big.
    TooBig,
    /// Source and destination differ after all was said to be done. Exit 5.
    Differs,
    /// Local input or output failed. Exit 6.
    Io,
    /// Asked to stop. Exit 130.
    Stopped,
}

impl Kind {
    /// The exit code of the program when an error of this kind ends it.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Job => 2,
            Kind::Corrupt | Kind::Unsupported => 3,
            Kind::Changed => 4,
            Kind::Refused
            | Kind::Busy
            | Kind::Full
            | Kind::Unreachable
            | Kind::Lost
            | Kind::TooBig
            | Kind::Differs => 5,
            Kind::Io => 6,
            Kind::Stopped => 130,
        }
    }
}

/// Where it went wrong.
#[derive(Clone, Debug)]
pub enum Place {
    /// A key of the job file; line 0 where the parser does not know it.
    Job {
        /// The job file.
        path: Arc<Path>,
        /// Line, counted from 1; 0: unknown.
        line: u64,
        /// The key path, such as `sink.milvus.metric`; may be empty.
        key: String,
    },
    /// A byte of a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Byte offset.
        at: u64,
    },
    /// A file or directory as a whole.
    Path(Arc<Path>),
    /// A call to a server.
    Remote {
        /// The server, without credentials.
        address: String,
        /// The method that was called.
        call: &'static str,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Job { path, line, key } => {
                write!(f, "{}", path.display())?;
                if *line > 0 {
                    write!(f, " line {line}")?;
                }
                if !key.is_empty() {
                    write!(f, ": {key}")?;
                }
                Ok(())
            }
            Place::File { path, at } => write!(f, "{} at byte {at}", path.display()),
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Remote { address, call } => write!(f, "{address} {call}"),
        }
    }
}

impl Error {
    /// An error of this kind; `what` is a sentence without capital and full stop.
    pub fn new(kind: Kind, what: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            place: None,
            what: what.into(),
            hint: None,
            batch: None,
            reported: false,
        }))
    }

    /// The same with a place, unless it has one that is nearer.
    pub fn at(mut self, place: Place) -> Error {
        self.0.place.get_or_insert(place);
        self
    }

    /// An error about a file or directory as a whole.
    pub fn path(kind: Kind, path: &Path, what: impl Into<String>) -> Error {
        Error::new(kind, what).at(Place::Path(path.into()))
    }

    /// A failed operation of the system on a file: not found and denied are the job's, the rest is `Io`.
    pub fn io(path: &Path, doing: &str, error: &std::io::Error) -> Error {
        Error::path(Kind::Io, path, format!("cannot {doing}: {error}"))
    }

    /// The same with a sentence that says what the operator can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with the name of the batch it happened to.
    pub fn batch(mut self, batch: impl fmt::Display) -> Error {
        self.0.batch.get_or_insert_with(|| batch.to_string());
        self
    }

    /// The same words and place as another kind.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same, marked as told to machines already.
    pub fn reported(mut self) -> Error {
        self.0.reported = true;
        self
    }

    /// Whether machines have been told.
    pub fn is_reported(&self) -> bool {
        self.0.reported
    }

    /// What happens next.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What went wrong, without place and hint.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What the operator can do, if anything is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where, if known.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.0.what)?;
        if let Some(batch) = &self.0.batch {
            write!(f, " (batch {batch})")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_place_what_hint() {
        let error = Error::new(Kind::Corrupt, "codes = 9 words, 3 remain")
            .at(Place::File {
                path: Path::new("a.index").into(),
                at: 37,
            })
            .hint("copy the file again");
        assert_eq!(
            error.to_string(),
            "a.index at byte 37: codes = 9 words, 3 remain\n  hint: copy the file again"
        );
        assert_eq!(error.kind().exit_code(), 3);
    }

    #[test]
    fn the_nearest_place_stays() {
        let near = Place::Path(Path::new("near").into());
        let far = Place::Path(Path::new("far").into());
        assert_eq!(
            Error::new(Kind::Io, "x").at(near).at(far).to_string(),
            "near: x"
        );
    }
}
