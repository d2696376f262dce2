//! What went wrong, where, and what the operator can do about it.
//! Decides nothing: carries a kind, a place and a message.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::limits;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what the operator can do. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    place: Option<Place>,
    what: String,
    hint: Option<String>,
    details: Vec<String>,
    mistakes: Vec<Error>,
    batch: Option<String>,
    reported: bool,
}

/// The kind of an error, by what happens next, not by where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The job or the command line is wrong: fix it. Exit 2.
    Job,
    /// The input breaks its own format. Exit 3.
    Corrupt,
    /// The input is valid, but cannot be carried as asked. Exit 3.
    Unsupported,
    /// The source changed while it was read. Exit 4.
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
    /// No answer in time, though the destination may be there: as `Lost`, but less at a time may get through.
    Slow,
    /// A refusal that may come from a proxy, and may be about the size of the answer: as `Lost`, in halves.
    TooMuch,
    /// The request was too big for the destination: send it in halves. Exit 5 when one row is too big.
    TooBig,
    /// Source and destination differ after everything was reported done. Exit 5.
    Differs,
    /// Local input or output failed. Exit 6.
    Io,
    /// Everything was delivered, but no available figure proves what the destination holds. Exit 7.
    Unproven,
    /// The operator asked to stop. Exit 130.
    Stopped,
}

impl Kind {
    /// The exit code of the program if an error of this kind ends it.
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
            | Kind::Slow
            | Kind::TooMuch
            | Kind::TooBig
            | Kind::Differs => 5,
            Kind::Io => 6,
            Kind::Unproven => 7,
            Kind::Stopped => 130,
        }
    }
}

impl Kind {
    /// Whether there was no answer, or only "later": nothing is known to be wrong.
    pub fn is_silence(self) -> bool {
        matches!(
            self,
            Kind::Unreachable
                | Kind::Busy
                | Kind::Full
                | Kind::Lost
                | Kind::Slow
                | Kind::TooMuch
                | Kind::Stopped
        )
    }
}

/// Where it went wrong.
#[derive(Clone, Debug)]
pub enum Place {
    /// A key of the job file; line 0 if the parser does not know it.
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

/// An absolute path: paths in jobs are relative to the working directory.
fn whole(path: &Path) -> Cow<'_, Path> {
    // Addresses are complete as they are.
    if path.to_string_lossy().contains("://") {
        return Cow::Borrowed(path);
    }
    std::path::absolute(path).map_or(Cow::Borrowed(path), Cow::Owned)
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
            Place::File { path, at } => write!(f, "{} at byte {at}", whole(path).display()),
            Place::Path(path) => write!(f, "{}", whole(path).display()),
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
            details: Vec::new(),
            mistakes: Vec::new(),
            batch: None,
            reported: false,
        }))
    }

    /// One error that stands for several, each listed once, in the order they were found, with the kind of the first.
    /// `None` for none; a single error stays as it is.
    pub fn several(errors: Vec<Error>) -> Option<Error> {
        let mut mistakes: Vec<Error> = Vec::new();
        let mut details: Vec<String> = Vec::new();
        for mut error in errors {
            if error.0.mistakes.is_empty() {
                mistakes.push(error);
                continue;
            }
            mistakes.append(&mut error.0.mistakes);
            details.append(&mut error.0.details);
        }
        // Of two with the same message, the one with a place is enough.
        let placed = |mistake: &&Error| mistake.place().is_some();
        let placed: HashSet<String> = (mistakes.iter().filter(placed))
            .map(|mistake| mistake.what().to_owned())
            .collect();
        mistakes.retain(|mistake| mistake.place().is_some() || !placed.contains(mistake.what()));
        let mut said = HashSet::new();
        mistakes.retain(|mistake| said.insert(format!("{mistake:#}")));
        if mistakes.len() < 2 {
            let only = mistakes.pop()?;
            return Some(details.into_iter().fold(only, Error::detail));
        }
        let kind = mistakes[0].kind();
        let mut error = Error::new(kind, format!("{} mistakes", mistakes.len()));
        error.0.mistakes = mistakes;
        error.0.details = details;
        Some(error)
    }

    /// The same as a result: Ok if there are none.
    pub fn check(errors: Vec<Error>) -> Result<()> {
        Error::several(errors).map_or(Ok(()), Err)
    }

    /// The same with a place, unless it already has one.
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

    /// The same with a hint on what the operator can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with a further line below the message, such as one of the settings that differ.
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.0.details.push(detail.into());
        self
    }

    /// The same with the name of the batch it is about.
    pub fn batch(mut self, batch: impl fmt::Display) -> Error {
        self.0.batch.get_or_insert_with(|| batch.to_string());
        self
    }

    /// The same message and place with another kind.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same, marked as already reported in JSON.
    pub fn reported(mut self) -> Error {
        self.0.reported = true;
        self
    }

    /// Whether it was already reported in JSON.
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

    /// The lines below the message.
    pub fn details(&self) -> &[String] {
        &self.0.details
    }

    /// The errors it stands for, if it stands for several.
    pub fn mistakes(&self) -> &[Error] {
        &self.0.mistakes
    }
}

/// Text from anywhere, made safe for a line of a terminal: control characters, line breaks and characters that change
/// the direction of text are spelt out, and long text loses its middle.
pub fn shown(text: &str) -> Cow<'_, str> {
    let most = limits::SHOWN_CHARS_MAX;
    if text.len() > most {
        let count = text.chars().count();
        if count > most {
            let kept = most / 2;
            let head: String = text.chars().take(kept).collect();
            let tail: String = text.chars().skip(count - kept).collect();
            let gap = format!(" … ({} characters left out) … ", count - 2 * kept);
            return Cow::Owned(format!("{}{gap}{}", spelt_out(&head), spelt_out(&tail)));
        }
    }
    spelt_out(text)
}

fn spelt_out(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether a character affects the display of others: controls, and Unicode's format characters and line separators.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl Error {
    /// `place: what`.
    fn sentence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{}: ", shown(&place.to_string()))?;
        }
        write!(f, "{}", shown(&self.0.what))?;
        match &self.0.batch {
            Some(batch) => write!(f, " (batch {batch})"),
            None => Ok(()),
        }
    }

    /// A mistake in a list about the same job, which is named above.
    fn among(&self, job: Option<&Path>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(Place::Job { path, line, key }) if Some(&**path) == job => {
                if *line > 0 {
                    write!(f, "line {line}: ")?;
                }
                if !key.is_empty() {
                    write!(f, "{}: ", shown(key))?;
                }
                write!(f, "{}", shown(&self.0.what))?;
            }
            _ => self.sentence(f)?,
        }
        for detail in &self.0.details {
            write!(f, "; {}", shown(detail))?;
        }
        match &self.0.hint {
            Some(hint) => write!(f, " ({})", shown(hint)),
            None => Ok(()),
        }
    }
}

/// The message, its details on separate lines, and a hint. `{:#}` puts everything in one line.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() && self.0.mistakes.is_empty() {
            return self.among(None, f);
        }
        self.sentence(f)?;
        let job = match &self.0.place {
            Some(Place::Job { path, .. }) => Some(&**path),
            _ => None,
        };
        let between = if f.alternate() { "; " } else { "\n  " };
        for mistake in self.0.mistakes.iter().take(limits::MISTAKES_SHOWN_MAX) {
            f.write_str(between)?;
            mistake.among(job, f)?;
        }
        let more = self
            .0
            .mistakes
            .len()
            .saturating_sub(limits::MISTAKES_SHOWN_MAX);
        if more > 0 {
            write!(f, "{between}… and {more} more")?;
        }
        for detail in &self.0.details {
            write!(f, "{between}{}", shown(detail))?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "{between}hint: {}", shown(hint))?;
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
                path: Path::new("/d/a.index").into(),
                at: 37,
            })
            .hint("copy the file again");
        assert_eq!(
            error.to_string(),
            "/d/a.index at byte 37: codes = 9 words, 3 remain\n  hint: copy the file again"
        );
        assert_eq!(error.kind().exit_code(), 3);
    }

    #[test]
    fn the_nearest_place_stays() {
        let near = Place::Path(Path::new("/near").into());
        let far = Place::Path(Path::new("far").into());
        assert_eq!(
            Error::new(Kind::Io, "x").at(near).at(far).to_string(),
            "/near: x"
        );
    }

    #[test]
    fn several_errors_are_one_that_tells_each_once() {
        let job = |key: &str| Place::Job {
            path: Path::new("job.yaml").into(),
            line: 3,
            key: key.to_owned(),
        };
        let errors = vec![
            Error::new(Kind::Job, "unknown key")
                .at(job("snk"))
                .hint("did you mean `sink`?"),
            Error::path(Kind::Corrupt, Path::new("/d/a.index"), "is empty"),
            Error::new(Kind::Refused, "no"),
            Error::new(Kind::Refused, "no"),
        ];
        let error = Error::several(errors)
            .unwrap()
            .at(job(""))
            .detail("note: more may follow");
        assert_eq!(error.kind(), Kind::Job);
        assert_eq!(
            error.to_string(),
            "job.yaml line 3: 3 mistakes\n  line 3: snk: unknown key (did you mean `sink`?)\n  /d/a.index: is empty\n  no\
             \n  note: more may follow"
        );
        // Lists of lists are one list.
        let all = Error::several(vec![error, Error::new(Kind::Io, "x")]).unwrap();
        assert_eq!((all.mistakes().len(), all.details().len()), (4, 1));
        assert!(Error::several(Vec::new()).is_none());
        let alone = Error::several(vec![Error::new(Kind::Io, "x")]).unwrap();
        assert_eq!(alone.to_string(), "x");
    }

    #[test]
    fn nothing_in_an_error_steers_a_terminal_or_forges_a_line() {
        let evil = "a\x1b[2Jb\r\n  products: agrees\u{202e}c\u{9b}d\tx\u{2028}";
        let error = Error::path(Kind::Refused, Path::new(evil), evil)
            .hint(evil)
            .detail(evil);
        let error = error.batch("1/2/3");
        let said = error.to_string();
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(!said.replace('\n', "").contains(steers), "{said:?}");
        assert!(
            said.contains("\\u{1b}[2Jb\\r\\n  products: agrees\\u{202e}c"),
            "{said}"
        );
        assert_eq!(format!("{error:#}").lines().count(), 1);
        assert_eq!(shown("plain – ünï 大"), "plain – ünï 大");
    }

    #[test]
    fn long_words_lose_their_middle() {
        let long = format!("begin{}end", "x".repeat(1 << 16));
        let said = shown(&long);
        assert!(said.chars().count() < limits::SHOWN_CHARS_MAX + 60);
        assert!(said.starts_with("beginx") && said.ends_with("xend"));
        assert!(said.contains("characters left out"));
    }
}
