//! Which column does a job mean? By its name, or by a path into JSON.

use crate::job::did_you_mean;
use crate::schema::{ColumnType, Columns, Role};

/// Where values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The column.
    pub column: usize,
    /// The path into its JSON; empty: the column itself.
    pub path: Vec<String>,
}

/// A column of this name, else a path that begins with the name of a JSON column, else a key of the dynamic field; a
/// sentence if there is none.
pub fn find(columns: &Columns, name: &str) -> Result<Found, (String, Option<String>)> {
    if let Some((column, _)) = columns.named(name) {
        return Ok(Found {
            column,
            path: Vec::new(),
        });
    }
    let path = |path: &str| path.split('.').map(str::to_owned).collect();
    for (at, _) in name.match_indices('.') {
        if let Some((column, found)) = columns.named(&name[..at]) {
            // Files keep JSON as text.
            if !matches!(found.kind, ColumnType::Json | ColumnType::VarChar { .. }) {
                let what = format!("`{}` is {}, not JSON", found.name, found.kind);
                return Err((what, None));
            }
            let path = path(&name[at + 1..]);
            return Ok(Found { column, path });
        }
    }
    let mut all = columns.all().iter();
    if let Some(column) = all.position(|column| column.role == Role::Dynamic) {
        let path = path(name);
        return Ok(Found { column, path });
    }
    let names: Vec<&str> = columns.all().iter().map(|c| &*c.name).collect();
    let hint = did_you_mean(name, &names);
    let what = format!(
        "the source has no column `{name}`; it has {}",
        names.join(", ")
    );
    Err((what, hint))
}
