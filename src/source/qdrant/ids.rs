//! How is a point identified and ordered? 64-bit numbers come first, then UUIDs.
//!
//! A log records positions by the keys of rows. If all ids fit an int64, these are numbers. Otherwise keys are text,
//! which sorts by bytes: UUIDs in their canonical form sort correctly, numbers only among those with the same number of
//! digits. Numbers of each length are therefore a range of their own, and a bound that is not an id is written with
//! leading zeros.

use crate::batch::{Key, Position};

use super::proto::{PointId, PointIdKinds};

/// The id of a point; ordered as in Qdrant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Id {
    /// A number.
    Num(u64),
    /// A UUID.
    Uuid(u128),
}

impl Id {
    /// The next id after it; `None` for the last possible one.
    pub fn next(self) -> Option<Id> {
        match self {
            Id::Num(u64::MAX) => Some(Id::Uuid(0)),
            Id::Num(num) => Some(Id::Num(num + 1)),
            Id::Uuid(uuid) => uuid.checked_add(1).map(Id::Uuid),
        }
    }

    /// As text, which identifies rows.
    pub fn text(self) -> String {
        match self {
            Id::Num(num) => num.to_string(),
            Id::Uuid(uuid) => {
                let hex = format!("{uuid:032x}");
                let parts = [
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..16],
                    &hex[16..20],
                    &hex[20..],
                ];
                parts.join("-")
            }
        }
    }

    /// Parses an id: digits, or a UUID in any of its spellings.
    pub fn of(text: &str) -> Option<Id> {
        if !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(Id::Num);
        }
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let is_uuid = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        is_uuid.then(|| u128::from_str_radix(&hex, 16).ok().map(Id::Uuid))?
    }

    /// As it is in a request.
    pub fn to_proto(self) -> PointId {
        let kind = match self {
            Id::Num(num) => PointIdKinds::Num(num),
            Id::Uuid(_) => PointIdKinds::Uuid(self.text()),
        };
        PointId { kind: Some(kind) }
    }
}

/// How rows of a collection are identified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keyed {
    /// By numbers that all fit an int64.
    ByInt,
    /// By text.
    ByText,
}

impl Keyed {
    /// The key of a row; `None` for a number that does not fit, or a UUID among numbers.
    pub fn key(self, id: Id) -> Option<Key> {
        match (self, id) {
            (Keyed::ByInt, Id::Num(num)) => i64::try_from(num).ok().map(Key::Int),
            (Keyed::ByInt, Id::Uuid(_)) => None,
            (Keyed::ByText, id) => Some(Key::Text(id.text().into())),
        }
    }

    /// The position after the row with an id.
    pub fn behind(self, id: Id) -> Option<Position> {
        self.key(id).map(Position::After)
    }
}

/// After all numbers, before any UUID.
pub fn before_uuids() -> Position {
    Position::After(Key::Text("".into()))
}

/// Just before a number, among those with as many digits.
pub fn before_num(num: u64) -> Position {
    let digits = num.to_string().len();
    match num.checked_sub(1) {
        None => Position::Start,
        Some(last) => Position::After(Key::Text(format!("{last:0digits$}").into())),
    }
}

/// The first id that may follow a position; `None` if none can.
pub fn first_behind(position: &Position) -> Option<Id> {
    match position {
        Position::Start => Some(Id::Num(0)),
        Position::After(Key::Int(num)) => match u64::try_from(*num) {
            Ok(num) => Id::Num(num).next(),
            Err(_) => Some(Id::Num(0)),
        },
        Position::After(Key::Text(text)) => match (text.is_empty(), Id::of(text)) {
            (true, _) => Some(Id::Uuid(0)),
            (false, id) => id?.next(),
        },
        Position::Row(_) | Position::End => None,
    }
}

/// The last id of a range that ends there.
pub fn last_of(end: &Position, keyed: Keyed) -> Id {
    match (end, keyed) {
        (Position::After(Key::Int(num)), _) => Id::Num((*num).max(0) as u64),
        (Position::After(Key::Text(text)), _) => Id::of(text).unwrap_or(Id::Num(u64::MAX)),
        (_, Keyed::ByInt) => Id::Num(i64::MAX as u64),
        (_, Keyed::ByText) => Id::Uuid(u128::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_qdrant_and_texts_come_back() {
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let ids = [
            "0",
            "9",
            "10",
            "9223372036854775808",
            "18446744073709551615",
        ];
        let ids: Vec<Id> = ids.iter().map(|text| Id::of(text).unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids[4] < Id::of(uuid).unwrap());
        for id in ids {
            assert_eq!(Id::of(&id.text()), Some(id));
        }
        for spelt in [uuid, &uuid.to_uppercase(), &uuid.replace('-', "")] {
            assert_eq!(Id::of(spelt).unwrap().text(), uuid);
        }
        for odd in ["", "x", "18446744073709551616", "550e8400"] {
            assert_eq!(Id::of(odd), None, "{odd}");
        }
    }

    #[test]
    fn positions_of_a_range_are_in_the_order_of_its_ids() {
        let behind = |num| Keyed::ByText.behind(Id::Num(num)).unwrap();
        for (first, last) in [(10, 99), (100, 400), (10_000_000_000_000_000_000, u64::MAX)] {
            let start = before_num(first);
            assert_eq!(first_behind(&start), Some(Id::Num(first)));
            assert!(start < behind(first) && behind(first) < behind(first + 1));
            assert!(behind(last - 1) < behind(last));
            assert_eq!(last_of(&behind(last), Keyed::ByText), Id::Num(last));
        }
        assert_eq!(before_num(0), Position::Start);
        assert_eq!(first_behind(&before_uuids()), Some(Id::Uuid(0)));
        let first = Keyed::ByText.behind(Id::Uuid(0)).unwrap();
        assert!(before_uuids() < first && first < Position::End);
        assert_eq!(
            first_behind(&Position::After(Key::Int(4))),
            Some(Id::Num(5))
        );
        assert_eq!(Keyed::ByInt.behind(Id::Num(1 << 63)), None);
    }
}
