//! Where does reading go on in a collection whose rows have no numbers that stay? Behind the row of an id.
//!
//! Rows come in the order in which they were first written. Deletions move all rows behind to the front, and nothing else
//! moves them. So a place is told by how many rows were before it once, which is where to look first, and by the ids of
//! the last of them, which say whether it is there.

use crate::batch::{Key, Position};
use crate::limits;

/// A place between two rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// How many rows were before it at most.
    pub rows: u64,
    /// Ids of the last of them.
    pub ids: Vec<String>,
}

impl Place {
    /// The place behind these rows as well.
    pub fn behind(&self, ids: &[String]) -> Place {
        let most = limits::CHROMA_PLACE_IDS as usize;
        let last = &ids[ids.len().saturating_sub(most)..];
        let before = &self.ids[self.ids.len().saturating_sub(most - last.len())..];
        Place {
            rows: self.rows + ids.len() as u64,
            ids: [before, last].concat(),
        }
    }

    /// As the log has it: in the order of rows.
    pub fn position(&self) -> Position {
        let ids = serde_json::Value::from(self.ids.clone());
        Position::After(Key::Text(format!("{:020} {ids}", self.rows).into()))
    }

    /// The place of a position; `None`: it is none of ours.
    pub fn of(position: &Position) -> Option<Place> {
        let text = match position {
            Position::Start => return Some(Place::default()),
            Position::After(Key::Text(text)) => text,
            _ => return None,
        };
        let (rows, ids) = text.split_once(' ')?;
        Some(Place {
            rows: rows.parse().ok()?,
            ids: serde_json::from_str(ids).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_rows_and_come_back() {
        let ids = |all: std::ops::Range<u64>| -> Vec<String> {
            all.map(|n| format!("i \"{n}\"\n")).collect()
        };
        let mut last = Position::Start;
        let mut place = Place::default();
        for at in [0, 3, 9, 10, 25] {
            place = place.behind(&ids(at..at + 5));
            let position = place.position();
            assert!(position > last && position < Position::End);
            assert_eq!(Place::of(&position), Some(place.clone()));
            last = position;
        }
        assert_eq!(place.ids.len(), limits::CHROMA_PLACE_IDS as usize);
        assert_eq!(place.ids[3..], ids(25..30));
        for odd in [
            Position::End,
            Position::Row(4),
            Position::After(Key::Int(1)),
            Position::After(Key::Text("7".into())),
            Position::After(Key::Text("7 {}".into())),
        ] {
            assert_eq!(Place::of(&odd), None, "{odd:?}");
        }
    }
}
