//! Where is a collection divided, so that several readers can work at a time? Between ids, found by asking for the next
//! id after a given one: no counting is needed, and the given ids need not exist. Pieces without points are merged into
//! their neighbours; uneven pieces do no harm.

use super::ids::{self, Id, Keyed};
use crate::batch::Position;
use crate::error::Result;
use crate::limits;

/// A range of ids, and whether there are points in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// After this position.
    pub start: Position,
    /// Up to and including this one.
    pub end: Position,
    /// Whether there are points.
    pub is_filled: bool,
}

/// A piece of a range of ids of one kind: where it begins, its first point, and up to where it may have more.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u128,
    first: u128,
    upto: u128,
}

/// A stretch of ids whose positions sort like the ids.
struct Stretch {
    is_uuid: bool,
    first: u128,
    last: u128,
    start: Position,
    end: Position,
}

impl Stretch {
    fn id(&self, at: u128) -> Id {
        match self.is_uuid {
            true => Id::Uuid(at),
            false => Id::Num(at as u64),
        }
    }

    /// The first id equal to or after one, within the stretch.
    fn next(&self, ask: &Next<'_>, at: u128) -> Result<Option<u128>> {
        let found = match (ask(self.id(at))?, self.is_uuid) {
            (Some(Id::Uuid(uuid)), true) => Some(uuid),
            (Some(Id::Num(num)), false) => Some(u128::from(num)),
            _ => None,
        };
        Ok(found.filter(|found| *found <= self.last))
    }

    /// The position before the first id of a piece that is not the first.
    fn before(&self, at: u128, keyed: Keyed) -> Position {
        match (keyed, self.is_uuid) {
            (Keyed::ByText, false) => ids::before_num(at as u64),
            _ => keyed
                .behind(self.id(at - 1))
                .expect("a stretch has only ids that can be keys"),
        }
    }
}

type Next<'n> = dyn Fn(Id) -> Result<Option<Id>> + 'n;

/// The ranges of a collection, about this many of them with points; `ask` finds the first id equal to or after one.
pub fn ranges(keyed: Keyed, wanted: usize, ask: &Next<'_>) -> Result<Vec<Range>> {
    let mut all = Vec::new();
    for stretch in stretches(keyed) {
        let pieces = pieces(&stretch, wanted, ask)?;
        if pieces.is_empty() {
            all.push(Range {
                start: stretch.start.clone(),
                end: stretch.end.clone(),
                is_filled: false,
            });
        }
        for (number, piece) in pieces.iter().enumerate() {
            all.push(Range {
                start: match number {
                    0 => stretch.start.clone(),
                    _ => stretch.before(piece.from, keyed),
                },
                end: match pieces.get(number + 1) {
                    None => stretch.end.clone(),
                    Some(next) => keyed
                        .behind(stretch.id(next.from - 1))
                        .expect("a stretch has only ids that can be keys"),
                },
                is_filled: true,
            });
        }
    }
    Ok(all)
}

/// All possible ids.
fn stretches(keyed: Keyed) -> Vec<Stretch> {
    if keyed == Keyed::ByInt {
        return vec![Stretch {
            is_uuid: false,
            first: 0,
            last: i64::MAX as u128,
            start: Position::Start,
            end: Position::End,
        }];
    }
    // One digit, two digits, up to the twenty of 2^64 - 1.
    let mut all: Vec<Stretch> = (0..20)
        .map(|zeros| {
            let first = if zeros == 0 { 0 } else { 10u64.pow(zeros) };
            let last = 10u64.checked_pow(zeros + 1).map_or(u64::MAX, |p| p - 1);
            Stretch {
                is_uuid: false,
                first: first.into(),
                last: last.into(),
                start: ids::before_num(first),
                end: keyed.behind(Id::Num(last)).expect("texts hold any id"),
            }
        })
        .collect();
    all.push(Stretch {
        is_uuid: true,
        first: 0,
        last: u128::MAX,
        start: ids::before_uuids(),
        end: Position::End,
    });
    all
}

/// Pieces with points, in order; none if the stretch has no points.
fn pieces(stretch: &Stretch, wanted: usize, ask: &Next<'_>) -> Result<Vec<Piece>> {
    let mut asked = 1;
    let Some(first) = stretch.next(ask, stretch.first)? else {
        return Ok(Vec::new());
    };
    let mut pieces = vec![Piece {
        from: stretch.first,
        first,
        upto: stretch.last,
    }];
    while pieces.len() < wanted && asked < limits::QDRANT_PROBES {
        // The one that may hold the most points.
        let width = |number: &usize| pieces[*number].upto - pieces[*number].first;
        let widest = (0..pieces.len()).max_by_key(width);
        let widest = widest.expect("there is at least one");
        let piece = pieces[widest];
        let step = (piece.upto - piece.first) / PARTS;
        if step == 0 {
            break;
        }
        let mut found = vec![Piece {
            upto: piece.first + step - 1,
            ..piece
        }];
        let mut at = piece.first;
        for part in 1..PARTS {
            let from = piece.first + step * part;
            // What was found after an earlier bound holds for all bounds up to it.
            if at < from {
                asked += 1;
                match stretch.next(ask, from)? {
                    Some(next) if next <= piece.upto => at = next,
                    _ => break,
                }
            }
            let upto = match part + 1 == PARTS {
                true => piece.upto,
                false => from + step - 1,
            };
            if at <= upto {
                found.push(Piece {
                    from,
                    first: at,
                    upto,
                });
            }
        }
        drop(pieces.splice(widest..=widest, found));
    }
    Ok(pieces)
}

/// Parts that a piece is divided into at a time.
const PARTS: u128 = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Checks that ranges cover all ids, none twice, that each point is in a range marked as filled, and that at least
    /// so many are filled.
    #[track_caller]
    fn check(keyed: Keyed, points: impl IntoIterator<Item = Id>, at_least: usize) {
        let points: BTreeSet<Id> = points.into_iter().collect();
        let ask = |id: Id| Ok(points.range(id..).next().copied());
        let ranges = ranges(keyed, 8, &ask).unwrap();
        let filled = ranges.iter().filter(|range| range.is_filled).count();
        assert!(filled >= at_least, "{filled}: {ranges:?}");
        let mut next = Some(Id::Num(0));
        for range in &ranges {
            let first = ids::first_behind(&range.start).unwrap();
            let last = ids::last_of(&range.end, keyed);
            assert_eq!(Some(first), next, "{range:?}");
            assert!(first <= last && range.start < range.end, "{range:?}");
            let any = points.range(first..=last).next().is_some();
            assert_eq!(any, range.is_filled, "{range:?}");
            for point in points.range(first..=last) {
                let at = keyed.behind(*point).unwrap();
                assert!(range.start < at && at <= range.end, "{range:?} {point:?}");
            }
            next = last.next();
        }
        let beyond = match keyed {
            Keyed::ByInt => Some(Id::Num(1 << 63)),
            Keyed::ByText => None,
        };
        assert_eq!(next, beyond);
    }

    #[test]
    fn ids_of_any_kind_are_divided_and_none_is_left_out() {
        check(Keyed::ByInt, [], 0);
        check(Keyed::ByInt, [Id::Num(0)], 1);
        check(Keyed::ByInt, (0..5).map(Id::Num), 1);
        check(Keyed::ByInt, (0..1000).map(Id::Num), 8);
        check(Keyed::ByInt, (1 << 40..(1 << 40) + 1000).map(Id::Num), 8);
        let spread = (0..1000u64).map(|n| Id::Num(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1));
        check(Keyed::ByInt, spread, 8);
        let far = (0..1000).chain([i64::MAX as u64]).map(Id::Num);
        check(Keyed::ByInt, far, 8);
        let uuids = (1..1000u128)
            .map(|n| Id::Uuid(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)));
        check(Keyed::ByText, uuids.clone(), 8);
        let mixed = (0..2000).chain([u64::MAX]).map(Id::Num).chain(uuids);
        check(Keyed::ByText, mixed, 16);
        check(Keyed::ByText, [Id::Uuid(0), Id::Uuid(u128::MAX)], 2);
        check(
            Keyed::ByText,
            [Id::Num(u64::MAX), Id::Num(9), Id::Num(10)],
            3,
        );
    }
}
