//! What are the files and directories of collections and partitions called?
//! Pure: names in, names out; two tags never share a file.

/// The default partition's file, without its ending.
const DEFAULT: &str = "_default";
const ENDING: &str = ".h5";
/// The longest name Linux takes.
const NAME_BYTES_MAX: usize = 255;

/// The file of a partition; an empty tag is the default partition.
pub fn file(partition: &str) -> String {
    fitted(stem(partition), ENDING, partition)
}

/// The directory of a partition.
pub fn partition(partition: &str) -> String {
    fitted(stem(partition), "", partition)
}

fn stem(partition: &str) -> String {
    match partition {
        "" => DEFAULT.to_owned(),
        // A tag spelt like our name for the default partition must not take its file.
        DEFAULT => DEFAULT.replace('_', "%5F"),
        tag => encoded(tag),
    }
}

/// The directory of a collection.
pub fn directory(collection: &str) -> String {
    fitted(encoded(collection), "", collection)
}

/// `/`, `%`, NUL, control characters and a leading dot percent-encoded.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if matches!(c, '/' | '%') || c.is_control() || at == 0 && c == '.' {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The stem with its ending; if that is too long, it is cut and made unique by a digest of the whole name.
fn fitted(mut stem: String, ending: &str, name: &str) -> String {
    if stem.len() + ending.len() > NAME_BYTES_MAX {
        let digest = format!("~{:016x}", crate::digest::name(name.as_bytes()));
        let mut end = NAME_BYTES_MAX - ending.len() - digest.len();
        // Never cuts through a character or an escape.
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        for back in 1..=2 {
            if stem.as_bytes()[end - back] == b'%' {
                end -= back;
                break;
            }
        }
        stem.truncate(end);
        stem.push_str(&digest);
    }
    stem + ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_names() {
        for (tag, name) in [
            ("", "_default.h5"),
            ("_default", "%5Fdefault.h5"),
            ("2020-01", "2020-01.h5"),
            ("a/b", "a%2Fb.h5"),
            ("50%", "50%25.h5"),
            ("..", "%2E..h5"),
            ("a.b", "a.b.h5"),
            ("\0\n\u{85}", "%00%0A%C2%85.h5"),
            ("größe 大", "größe 大.h5"),
        ] {
            assert_eq!(file(tag), name);
        }
        assert_eq!(directory(".."), "%2E.");
    }

    #[test]
    fn long_tags_are_cut_and_told_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for tail in ["a", "b", "大", "/", "//"] {
            for head in ["x", "大", "/", "x/", "xx/"] {
                let name = file(&(head.repeat(100) + &"y".repeat(130) + tail));
                assert!(name.len() <= 255, "{name}");
                assert!(name.ends_with(".h5"));
                let stem = name.split('~').next().unwrap();
                let escapes = stem.match_indices('%');
                assert!(
                    escapes.map(|(at, _)| at).all(|at| at + 3 <= stem.len()),
                    "{name}"
                );
                assert!(seen.insert(name));
            }
        }
    }
}
