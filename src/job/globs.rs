//! Which collections and partitions are meant? Allow and block lists of globs.
//! Knows names only.

use super::Form;

/// Allow and block lists of `collection` or `collection/partition` globs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs {
    /// What may travel; empty: everything.
    pub allow: Vec<String>,
    /// What may not, even if allowed.
    pub block: Vec<String>,
}

impl Globs {
    /// Reads `{allow: [...], block: [...]}`.
    pub fn read(mut form: Form) -> Globs {
        let globs = Globs {
            allow: form.list("allow").unwrap_or_default(),
            block: form.list("block").unwrap_or_default(),
        };
        form.done();
        globs
    }

    /// Whether they select nothing.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.block.is_empty()
    }

    /// Whether a partition travels; `_default` or `''` names the default partition.
    pub fn admit(&self, collection: &str, partition: &str) -> bool {
        let hit = |globs: &[String]| globs.iter().any(|g| hits(g, collection, partition));
        (self.allow.is_empty() || hit(&self.allow)) && !hit(&self.block)
    }

    /// The same for a collection of a database, which globs may prefix: `shop.products/*`.
    pub fn admit_of(&self, db: &str, collection: &str, partition: &str) -> bool {
        let full = format!("{db}.{collection}");
        let fits = |g: &String| hits(g, collection, partition) || hits(g, &full, partition);
        let (allow, block) = (&self.allow, &self.block);
        (allow.is_empty() || allow.iter().any(fits)) && !block.iter().any(fits)
    }

    /// Whether any partition of a collection may travel.
    pub fn may_admit(&self, collection: &str) -> bool {
        self.may_admit_any(&[collection])
    }

    /// The same for a collection of a database.
    pub fn may_admit_of(&self, db: &str, collection: &str) -> bool {
        self.may_admit_any(&[collection, &format!("{db}.{collection}")])
    }

    /// The same for a collection with several names.
    fn may_admit_any(&self, names: &[&str]) -> bool {
        let fits = |glob: &str| {
            let of = glob.split_once('/').map_or(glob, |(c, _)| c);
            names.iter().any(|name| matches(of, name))
        };
        let all = |glob: &&String| !glob.contains('/') || glob.ends_with("/*");
        let allowed = self.allow.iter().any(|g| fits(g));
        let mut blocks = self.block.iter().filter(all);
        (self.allow.is_empty() || allowed) && !blocks.any(|g| fits(g))
    }
}

fn hits(glob: &str, collection: &str, partition: &str) -> bool {
    let partition = if partition.is_empty() {
        "_default"
    } else {
        partition
    };
    match glob.split_once('/') {
        // A tag may contain slashes; collection names cannot.
        Some((c, p)) => matches(c, collection) && matches(p, partition),
        None => matches(glob, collection),
    }
}

/// Whether a name matches a glob of `*` (any characters), `?` (one) and literal characters.
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if g < glob.len() && (glob[g] == '?' || glob[g] == name[n]) && glob[g] != '*' {
            (g, n) = (g + 1, n + 1);
        } else if g < glob.len() && glob[g] == '*' {
            star = Some((g, n));
            g += 1;
        } else if let Some((at, taken)) = star {
            // Extends the match of the last star by one character.
            star = Some((at, taken + 1));
            (g, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, fits) in [
            ("prod_*", "prod_a", true),
            ("prod_*", "my_prod_a", false),
            ("*_tmp", "a_tmp_tmp", true),
            ("p?", "p1", true),
            ("p?", "p", false),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }

    #[test]
    fn block_wins_over_allow_and_partitions_have_their_own_globs() {
        let globs = Globs {
            allow: vec!["prod_*".into()],
            block: vec![
                "*_tmp".into(),
                "prod_old/p?".into(),
                "prod_x/_default".into(),
            ],
        };
        assert!(globs.admit("prod_a", "p1"));
        assert!(!globs.admit("prod_tmp", ""));
        assert!(!globs.admit("prod_old", "p1"));
        assert!(globs.admit("prod_old", "p11"));
        assert!(!globs.admit("prod_x", ""));
        assert!(!globs.admit("other", ""));
    }

    #[test]
    fn globs_may_name_the_database_before_the_collection() {
        let globs = Globs {
            allow: vec!["shop.*".into(), "news".into()],
            block: vec!["*.tmp_*".into(), "shop.old/p?".into()],
        };
        assert!(globs.admit_of("shop", "products", "p1"));
        assert!(globs.admit_of("other", "news", ""));
        assert!(!globs.admit_of("other", "products", ""));
        assert!(!globs.admit_of("shop", "tmp_1", ""));
        assert!(!globs.admit_of("shop", "old", "p1"));
        assert!(globs.admit_of("shop", "old", "p11"));
        assert!(globs.may_admit_of("shop", "old"));
        assert!(!globs.may_admit_of("shop", "tmp_1"));
        assert!(!globs.may_admit_of("other", "products"));
    }
}
