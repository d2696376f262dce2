//! Where does reading resume in a collection whose rows have no stable numbers? After the row with a given id.
//!
//! Rows come in the order in which they were first written. A deletion moves all later rows forward, and nothing else
//! moves them. So a place consists of the number of rows that were once before it, which is where to look first, and of
//! the ids of the last of those rows, which show whether they are still there.

use crate::batch::{Key, Position};
use crate::limits;

/// A place between two rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// At most how many rows are before it.
    pub rows: u64,
    /// Ids of the last of those rows.
    pub ids: Vec<String>,
}

impl Place {
    /// The place after these rows, too.
    pub fn behind(&self, ids: &[String]) -> Place {
        let most = limits::CHROMA_PLACE_IDS as usize;
        let last = &ids[ids.len().saturating_sub(most)..];
        let before = &self.ids[self.ids.len().saturating_sub(most - last.len())..];
        Place {
            rows: self.rows + ids.len() as u64,
            ids: [before, last].concat(),
        }
    }

    /// As recorded in the log, in row order.
    pub fn position(&self) -> Position {
        let ids = serde_json::Value::from(self.ids.clone());
        Position::After(Key::Text(format!("{:020} {ids}", self.rows).into()))
    }

    /// The place of a position; `None` if it is not one of ours.
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
