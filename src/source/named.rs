//! Which of a server's collections are selected? Names and globs of a job.

use crate::error::{Error, Kind, Result};
use crate::job::{Setting, did_you_mean, matches};
use crate::limits;

/// The setting of a job.
pub const COLLECTIONS: Setting =
    Setting::texts("collections", "names or globs; left out: all").example("[products]");

/// The names that globs match, in order; all if there are no globs. `aliases` are other names, each with the name it
/// stands for. A glob that matches nothing is an error.
pub fn chosen(
    what: &str,
    globs: &[String],
    there: &[String],
    aliases: &[(String, String)],
) -> Result<Vec<String>> {
    let mut chosen: Vec<String> = match globs {
        [] => there.to_vec(),
        _ => Vec::new(),
    };
    for glob in globs {
        let named = there.iter().filter(|name| matches(glob, name));
        let mut hits: Vec<&String> = named.collect();
        if hits.is_empty() {
            let alias = aliases.iter().filter(|(alias, _)| alias == glob);
            hits.extend(alias.map(|(_, name)| name));
        }
        if hits.is_empty() {
            return Err(unknown(what, glob, there));
        }
        chosen.extend(hits.into_iter().cloned());
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

fn unknown(what: &str, glob: &str, there: &[String]) -> Error {
    let names: Vec<&str> = there.iter().map(String::as_str).collect();
    let shown = names[..names.len().min(limits::FILES_LISTED)].join(", ");
    let listed = match names.len() {
        0 => "there are none".to_owned(),
        _ => format!("there are {shown}"),
    };
    let error = Error::new(Kind::Job, format!("no {what} is called `{glob}`"));
    error.hint(did_you_mean(glob, &names).unwrap_or(listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_names_and_aliases_are_found_and_others_are_mistakes() {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let there = own(&["news", "prod_a", "prod_b"]);
        let aliases = [("now".to_owned(), "news".to_owned())];
        for (globs, expected) in [
            (vec![], &["news", "prod_a", "prod_b"][..]),
            (vec!["prod_*"], &["prod_a", "prod_b"]),
            (vec!["prod_b", "now", "*_b"], &["news", "prod_b"]),
        ] {
            let found = chosen("collection", &own(&globs), &there, &aliases).unwrap();
            assert_eq!(found, expected, "{globs:?}");
        }
        let error = chosen("collection", &own(&["prod_c"]), &there, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Job);
        assert!(error.to_string().contains("`prod_c`"), "{error}");
    }
}
