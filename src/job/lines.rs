//! On which line is a key? The parser keeps no positions; this finds them again.

/// The line, counted from 1, of a key path: each of its keys is searched for at or below the line of the one before it.
/// 0 if there is none.
pub fn find_line(text: &str, key: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let (mut line, mut found) = (0, 0);
    for name in key.split('.').filter(|n| !n.is_empty()) {
        let hit = (line..lines.len()).find(|i| has_key(lines[*i], name));
        match hit {
            Some(i) => (line, found) = (i, i as u64 + 1),
            // A missing key is reported at the map it is missing from.
            None => break,
        }
    }
    found
}

/// Whether a line has a key of this name.
pub fn has_key(line: &str, name: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default();
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].trim_end().chars().next_back();
        let after = line[at + name.len()..]
            .trim_start_matches(['"', '\''])
            .trim_start();
        let starts = matches!(before, None | Some('{' | ',' | '"' | '\'' | '-'));
        starts && after.starts_with(':')
    })
}
