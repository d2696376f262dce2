//! Does a relation have the same rows each time it is read in one snapshot? A table does. A query or a view need not: with
//! LIMIT, window functions or volatile functions, each execution may return other rows, or give them other keys, and
//! ranges of keys that are read by several statements then miss some rows and repeat others.
//!
//! The server's own plan of the statement that reads a range tells: views are expanded in it, and columns that neither the
//! key nor the choice of rows depends on are left out.

use super::describe::KeyField;
use super::relation::{Relation, cell, literal};
use super::wire::Connection;
use crate::error::Result;

/// How far the rows of a relation are the same in every execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steadiness {
    /// Why they may not be.
    pub doubt: Option<String>,
    /// Whether a range must have as many rows as were counted.
    pub is_counted: bool,
}

/// Asks the server how it would read a range.
pub fn look(
    connection: &mut Connection,
    relation: &Relation,
    key: &KeyField,
) -> Result<Steadiness> {
    if relation.sampled_rows.is_some() {
        return Ok(Steadiness::default());
    }
    // Any condition on the key serves that the planner does not simplify.
    let plan = connection.query(&format!(
        "EXPLAIN (VERBOSE, COSTS OFF) SELECT {0} FROM {1} WHERE {0} > {0} ORDER BY {0}",
        key.order, relation.from
    ))?;
    let plan: Vec<&str> = plan.iter().map(|row| cell(row, 0)).collect();
    let names: Vec<String> = functions(&plan).into_iter().map(literal).collect();
    let volatile = match names.is_empty() {
        true => Vec::new(),
        false => connection.query(&format!(
            "SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND proname IN ({}) ORDER BY 1",
            names.join(", ")
        ))?,
    };
    let volatile = volatile.first().map(|row| cell(row, 0));
    let is_foreign = plan.iter().any(|line| node(line).starts_with("Foreign"));
    let doubt = choice(&plan).map(str::to_owned);
    let doubt = doubt.or_else(|| volatile.map(|name| format!("the volatile function {name}()")));
    Ok(Steadiness {
        is_counted: doubt.is_none() && !is_foreign,
        doubt,
    })
}

/// A line of a plan without what precedes the name of its node.
fn node(line: &str) -> &str {
    let line = line.trim_start();
    line.strip_prefix("->").unwrap_or(line).trim_start()
}

/// What in a plan may choose other rows each time.
fn choice(plan: &[&str]) -> Option<&'static str> {
    let has = |name: &str| plan.iter().any(|line| node(line).starts_with(name));
    // Elsewhere, the condition on the key would have gone down to the rows themselves.
    let is_filtered_last = plan.windows(3).any(|lines| {
        node(lines[0]).starts_with("Subquery Scan on q")
            && lines[1..]
                .iter()
                .any(|line| node(line).starts_with("Filter:"))
    });
    match () {
        () if has("Limit") => Some("LIMIT"),
        () if has("WindowAgg") => Some("a window function"),
        () if has("Sample Scan") => Some("TABLESAMPLE"),
        () if has("Unique") && is_filtered_last => Some("DISTINCT ON"),
        () => None,
    }
}

/// The names of functions that a plan calls.
fn functions<'p>(plan: &[&'p str]) -> Vec<&'p str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut names = Vec::new();
    for line in plan {
        for (at, _) in line.match_indices('(') {
            let before = line[..at].trim_end_matches('"');
            let start = before.rfind(|c| !is_name(c)).map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
            if start < before.len() {
                names.push(&before[start..]);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_functions_of_a_plan_are_found() {
        let plan = [
            "Sort",
            "  Output: q.k",
            "  ->  Subquery Scan on q",
            "        Output: q.k",
            "        Filter: (q.k > '0'::bigint)",
            "        ->  Unique",
            "              Output: (\"Odd name\"(n)), public.gen_uuid(), lower(name)",
        ];
        assert_eq!(choice(&plan), Some("DISTINCT ON"));
        assert_eq!(choice(&plan[..5]), None);
        assert_eq!(choice(&["  ->  Limit"]), Some("LIMIT"));
        assert_eq!(choice(&["  Output: \"Limit\""]), None);
        assert_eq!(functions(&plan), ["gen_uuid", "lower", "name"]);
    }
}
