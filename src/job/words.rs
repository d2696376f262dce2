//! What is wrong with a text that is not YAML? Rewrites the parser's errors for people who write jobs.
//! Shows nothing of the text except a key: its value may be a password.

use serde_yaml::Value;

/// What is wrong, and what to do about it.
type Words = (&'static str, Option<&'static str>);

const QUOTES: &str = "text that begins with one of * & ! % @ ` or holds `: ` or ` #` needs quotes";
const INDENT: &str =
    "keys of one map begin in the same column; what belongs to a key is indented below it";

/// Parts of the parser's errors; the first that matches counts.
const WORDS: &[(&str, Words)] = &[
    (
        "more than one document",
        (
            "it holds several documents, separated by lines of `---`",
            Some("a job is a single document"),
        ),
    ),
    (
        "recursion limit",
        ("lists and maps are nested too deep", None),
    ),
    (
        "repetition limit",
        ("its aliases expand to more than a job may have", None),
    ),
    (
        "unknown anchor",
        (
            "`*` and a name refer to the value that `&` and that name mark, and there is none",
            Some(QUOTES),
        ),
    ),
    (
        "undefined alias",
        (
            "`*` and a name refer to the value that `&` and that name mark, and there is none",
            Some(QUOTES),
        ),
    ),
    (
        "duplicate anchor",
        ("two anchors `&` have the same name", None),
    ),
    (
        "invalid type: enum",
        ("`!` begins a tag, and a job has no tags", Some(QUOTES)),
    ),
    (
        "scanning an alias",
        ("`*` begins an alias, which needs a name", Some(QUOTES)),
    ),
    (
        "scanning an anchor",
        ("`&` begins an anchor, which needs a name", Some(QUOTES)),
    ),
    (
        "scanning a tag",
        ("`!` begins a tag, and this is not one", Some(QUOTES)),
    ),
    (
        "parsing a tag",
        ("`!` begins a tag, and this is not one", Some(QUOTES)),
    ),
    (
        "tag handle",
        ("`!` begins a tag, and this is not one", Some(QUOTES)),
    ),
    (
        "empty YAML tag",
        ("`!` begins a tag, and this is not one", Some(QUOTES)),
    ),
    (
        "directive",
        (
            "a line that begins with `%` is for YAML itself",
            Some(QUOTES),
        ),
    ),
    (
        "expected ',' or ']'",
        ("a comma or the end of the list, `]`, is missing", None),
    ),
    (
        "expected ',' or '}'",
        (
            "a comma or the end of the map, `}`, is missing",
            Some("braces of a template, `{{ name }}`, need quotes, or must be filled in first"),
        ),
    ),
    (
        "tab character",
        (
            "there is a tab where only spaces are allowed",
            Some("YAML is indented with spaces only"),
        ),
    ),
    (
        "expected '-' indicator",
        (
            "another entry of the list is expected, which begins with `- ` below the one before",
            Some(INDENT),
        ),
    ),
    (
        "expected key",
        (
            "another key is expected, which begins below the one before, such as `mode: append`",
            Some(INDENT),
        ),
    ),
    (
        "mapping values are not allowed",
        (
            "`: ` appears where no key can end",
            Some(
                "one key to a line, or `{a: 1, b: 2}`; text that holds `: ` needs quotes; or the key above lacks its colon, or is in another column",
            ),
        ),
    ),
    (
        "mapping keys are not allowed",
        ("a key appears where none can be", Some(INDENT)),
    ),
    (
        "block sequence entries are not allowed",
        (
            "an entry of a list, `- `, appears where none can be",
            Some("a list begins on the line below its key, or is written as `[a, b]`"),
        ),
    ),
    (
        "could not find expected ':'",
        (
            "a key is expected, but no colon follows",
            Some("`key: value`, with a space after the colon"),
        ),
    ),
    (
        "cannot start any token",
        ("no value begins with this character", Some(QUOTES)),
    ),
    (
        "end of stream",
        ("quotes that were opened are never closed", None),
    ),
    (
        "document indicator",
        ("quotes that were opened are not closed before `---`", None),
    ),
    (
        "unexpected ':'",
        ("a colon appears where none can be", Some(QUOTES)),
    ),
    (
        "unknown escape",
        (
            "`\\` and this character mean nothing between double quotes",
            Some("between single quotes a backslash is a backslash"),
        ),
    ),
    (
        "hexadecimal",
        (
            "`\\x`, `\\u` or `\\U` between double quotes needs more digits",
            Some("between single quotes a backslash is a backslash"),
        ),
    ),
    (
        "escape code",
        (
            "`\\x`, `\\u` or `\\U` between double quotes names no character",
            Some("between single quotes a backslash is a backslash"),
        ),
    ),
    (
        "block scalar",
        ("nothing may follow `|` or `>` on the line", None),
    ),
    (
        "expected node content",
        (
            "a value is missing",
            Some("an empty value is written as `''`"),
        ),
    ),
    (
        "expected <document start>",
        ("more text follows after the end of the value", Some(INDENT)),
    ),
    ("control characters", ("it holds a control character", None)),
    (
        "nicode character",
        ("it holds a character that text cannot contain", None),
    ),
    ("UTF-", ("it holds bytes that are not UTF-8", None)),
    ("input is too long", ("it is too long", None)),
    ("parse YAML number", ("a number cannot be read", None)),
];

/// An error of the parser in plain words: where in the line and under which key, as far as that is known, and what to
/// do about it.
pub fn plain(complaint: &str, text: &str, line: usize) -> (String, Option<&'static str>) {
    let (own, rest) = complaint
        .rsplit_once(" at line ")
        .map_or((complaint, ""), |(own, rest)| (own, rest));
    // Errors of this program itself stay as they are.
    if let Some(at) = OWN.iter().find_map(|part| own.find(part)) {
        let path = own[..at].trim_end_matches(": ");
        let what = own[at..].to_owned();
        return match path {
            "" => (what, None),
            path => (format!("under `{path}` {what}"), None),
        };
    }
    let known = WORDS.iter().find(|(part, _)| complaint.contains(part));
    let (what, hint) = known.map_or(("it cannot be read", Some(QUOTES)), |(_, words)| *words);
    let mut what = what.to_owned();
    let first = complaint.split(" at line ").nth(1).unwrap_or(rest);
    let column = first.split(" column ").nth(1);
    let column: String = column
        .into_iter()
        .flat_map(|after| after.chars().take_while(char::is_ascii_digit))
        .collect();
    if !column.is_empty() {
        what.push_str(&format!(", at column {column}"));
    }
    if let Some(key) = text.lines().nth(line.saturating_sub(1)).and_then(key_of) {
        what.push_str(&format!(", on the line of `{key}`"));
    }
    (what, hint)
}

/// Errors of this program itself that pass through the parser.
const OWN: [&str; 2] = ["the key `", "its aliases expand"];

/// The key that a line begins with.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '\t', '-', '{', '"', '\'']);
    let (key, _) = line.split_once(':')?;
    let key = key.trim_end_matches(['"', '\'', ' ']);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (!key.is_empty() && key.len() <= 64 && key.chars().all(plain)).then_some(key)
}

/// What is wrong with a merge key `<<`.
pub fn merge(complaint: &str) -> String {
    let found = match complaint {
        c if c.ends_with("sequence") => "a list in a list",
        c if c.contains("tagged") => "a value with a tag",
        _ => "a single value",
    };
    format!("`<<` takes a map or a list of maps, such as `<<: *base`, and this is {found}")
}

/// A description of a value found where another was expected.
pub fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::String(text) => format!("`{text}`"),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a map".to_owned(),
        Value::Tagged(_) => "a value with a tag".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;

    /// Words of the libraries, which users need not know.
    const JARGON: [&str; 14] = [
        "mapping",
        "scalar",
        "sequence",
        "token",
        "node",
        "expected ',' or",
        "did not find",
        "block",
        "flow",
        "invalid type",
        "EOF",
        "enum",
        "while parsing",
        "deserializ",
    ];

    #[test]
    fn what_is_no_yaml_is_told_in_plain_words() {
        for (text, parts) in [
            ("a: 1\n---\nb: 2\n", &["several documents"][..]),
            ("source: {hdf5: {path: a}\nsink: 1\n", &["`}`, is missing"]),
            ("a: [1, 2\nb: 3\n", &["`]`, is missing"]),
            (
                "a: 1\n  b: 2\n",
                &["`: ` appears where no key can end", "on the line of `b`"],
            ),
            (
                "path: a: b\n",
                &["`: ` appears", "at column 8", "on the line of `path`"],
            ),
            ("a:\n  - 1\n b: 2\n", &["key", "below the one before"]),
            ("path: *.h5\n", &["alias", "needs quotes"]),
            ("path: *x\n", &["there is none", "needs quotes"]),
            ("path: &\n", &["anchor", "needs quotes"]),
            ("path: !x a\n", &["tag", "needs quotes"]),
            (
                "path: @a\n",
                &[
                    "no value begins with",
                    "on the line of `path`",
                    "needs quotes",
                ],
            ),
            ("path: %a\n", &["no value begins with"]),
            ("path: \"a\\q\"\n", &["mean nothing between double quotes"]),
            ("path: \"a\n", &["never closed"]),
            ("path: 'a\n", &["never closed"]),
            ("source:\n\tfaiss: 1\n", &["tab"]),
            ("a\nb: 1\n", &["colon"]),
            ("a: - b\n", &["entry of a list"]),
            ("a: {<<: 3}\n", &["`<<` takes a map", "a single value"]),
            ("a: {<<: [[1]]}\n", &["`<<` takes a map"]),
            ("host: {{ host }}\nport: {{ port }}\nx: [\n", &[""]),
            (
                "a: {b: 1, b: 2}\n",
                &["under `a` the key `b` appears twice"],
            ),
        ] {
            let (_, what, hint) = yaml::read(text).unwrap_err();
            let said = format!("{what} ({})", hint.unwrap_or_default());
            for part in parts {
                assert!(said.contains(part), "no `{part}` in {said}, of {text:?}");
            }
            for word in JARGON {
                assert!(!said.contains(word), "`{word}` in {said}, of {text:?}");
            }
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for text in [
            "password: hun:ter2: x\n",
            "{password: 'hunter2}\n",
            "token: @hunter2\n",
        ] {
            let (_, what, _) = yaml::read(text).unwrap_err();
            assert!(!what.contains("ter2"), "{what}");
        }
    }
}
