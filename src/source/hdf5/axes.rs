//! Which axis of a dataset counts rows, and which values of a row? Axes of length 1 are left out.
//! Pure: extents in, axes out.

/// What a dataset is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A vector to a row. `turned`: rows and columns have changed places, as MATLAB, Julia and Fortran write them.
    Vectors { turned: bool },
    /// A number to a row.
    Ids,
    /// A value to a row.
    Values,
}

/// Axes by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axes {
    pub row: usize,
    /// `None`: a value to a row.
    pub column: Option<usize>,
}

impl Axes {
    /// The axes of a dataset of these extents; what is wrong with them where it is no table.
    pub fn of(shape: &[u64], role: Role) -> Result<Axes, String> {
        let mut kept: Vec<usize> = (0..shape.len()).collect();
        let most = match role {
            Role::Vectors { .. } => 2,
            Role::Ids | Role::Values => 1,
        };
        while kept.len() > most {
            // The first axis counts rows even where there is one, unless nothing else is left to leave out.
            let one = kept[1..]
                .iter()
                .position(|axis| shape[*axis] == 1)
                .map(|i| i + 1);
            let first = (shape[kept[0]] == 1).then_some(0);
            match one.or(first) {
                Some(i) => kept.remove(i),
                None => {
                    return Err(match role {
                        Role::Vectors { .. } => format!(
                            "has {} dimensions ({}), vectors have two",
                            shape.len(),
                            times(shape)
                        ),
                        Role::Ids => format!(
                            "has the extents {}, ids are one number to a row",
                            times(shape)
                        ),
                        Role::Values => format!(
                            "has the extents {}, columns are one value to a row",
                            times(shape)
                        ),
                    });
                }
            };
        }
        let (Some(row), column) = (kept.first().copied(), kept.get(1).copied()) else {
            return Err("is a single value, not a table".to_owned());
        };
        match (role, column) {
            (Role::Vectors { turned: true }, Some(column)) => Ok(Axes {
                row: column,
                column: Some(row),
            }),
            (Role::Vectors { turned: true }, None) => {
                Err("has one dimension: there is nothing to transpose".to_owned())
            }
            _ => Ok(Axes { row, column }),
        }
    }

    /// Whether the values of a row do not lie side by side.
    pub fn are_turned(self) -> bool {
        self.column.is_some_and(|column| column < self.row)
    }
}

/// Extents as people write them.
pub fn times(shape: &[u64]) -> String {
    let extents: Vec<String> = shape.iter().map(u64::to_string).collect();
    extents.join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_length_1_are_left_out() {
        let vectors = Role::Vectors { turned: false };
        let turned = Role::Vectors { turned: true };
        for (shape, role, expected) in [
            (&[9, 8][..], vectors, Some((0, Some(1)))),
            (&[9, 1, 8], vectors, Some((0, Some(2)))),
            (&[9, 8, 1, 1], vectors, Some((0, Some(1)))),
            (&[1, 9, 8], vectors, Some((1, Some(2)))),
            (&[1, 1, 8], vectors, Some((0, Some(2)))),
            (&[1, 8], vectors, Some((0, Some(1)))),
            (&[9, 1], vectors, Some((0, Some(1)))),
            (&[9, 1, 1], vectors, Some((0, Some(2)))),
            (&[0, 8], vectors, Some((0, Some(1)))),
            (&[9], vectors, Some((0, None))),
            (&[9, 2, 8], vectors, None),
            (&[], vectors, None),
            (&[8, 9], turned, Some((1, Some(0)))),
            (&[8, 1, 9], turned, Some((2, Some(0)))),
            (&[8, 1], turned, Some((1, Some(0)))),
            (&[9], turned, None),
            (&[9], Role::Ids, Some((0, None))),
            (&[9, 1], Role::Ids, Some((0, None))),
            (&[1, 9], Role::Ids, Some((1, None))),
            (&[1, 1], Role::Ids, Some((0, None))),
            (&[1, 1, 9], Role::Ids, Some((2, None))),
            (&[9, 2], Role::Ids, None),
            (&[], Role::Ids, None),
        ] {
            let axes = Axes::of(shape, role).ok();
            let axes = axes.map(|axes| (axes.row, axes.column));
            assert_eq!(axes, expected, "{shape:?}, {role:?}");
        }
    }
}
