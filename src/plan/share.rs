//! Which rows of a plan does one of several programs carry? A share of its shards, computed the same way in every
//! program.

use std::fmt;
use std::str::FromStr;

use super::Plan;
use crate::batch::{Manifest, Shard};
use crate::limits;

/// One of the shares of a job that several programs carry, on as many hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Counted from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Share {
    /// The share of an array task or pod with this number, whether numbering starts at 0 or 1: share 0 of 4 is share 4
    /// of 4.
    pub fn numbered(number: u32, of: u32) -> Result<Share, String> {
        if of == 0 || of > limits::SHARES_MAX {
            return Err(format!(
                "a job has 1 to {} shares, not {of}",
                limits::SHARES_MAX
            ));
        }
        if number > of {
            return Err(format!("there is no share {number} of {of}"));
        }
        let number = if number == 0 { of } else { number };
        Ok(Share { number, of })
    }

    /// The shards of a manifest that belong to this share: a range of each target, sized so that all shares have about
    /// the same number of rows.
    pub fn shards<'m>(&self, manifest: &'m Manifest) -> impl Iterator<Item = &'m Shard> {
        let share = *self;
        let mut before: u128 = 0;
        // A shard that the source cannot count has the same weight as any other.
        let counted = manifest.shards.iter().any(|shard| shard.rows > 0);
        let weight = move |shard: &Shard| u128::from(if counted { shard.rows } else { 1 });
        let all: u128 = manifest.shards.iter().map(weight).sum();
        manifest.shards.iter().filter(move |shard| {
            let middle = 2 * before + weight(shard);
            before += weight(shard);
            let of = u128::from(share.of);
            let number = (middle * of / (2 * all).max(1)).min(of - 1);
            number + 1 == u128::from(share.number)
        })
    }
}

impl Plan {
    /// Keeps only what a share carries. After this, the plan is not valid for decisions about the whole job.
    pub fn keep(&mut self, share: Share) {
        let shards: Vec<Shard> = share.shards(&self.manifest).cloned().collect();
        for target in &mut self.manifest.targets {
            let own = shards.iter().filter(|shard| shard.target == target.number);
            target.rows = own.map(|shard| shard.rows).sum();
        }
        self.manifest.shards = shards;
        self.share = Some(share);
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share {} of {}", self.number, self.of)
    }
}

/// Parses `2/4`; or `auto` or `auto/4`, which use what Slurm or Kubernetes says about an array task or an indexed pod.
impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        share(text, &|name| std::env::var(name).ok())
    }
}

fn share(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Share, String> {
    let number = |what: &str, text: &str| {
        let number = text.trim().parse::<u32>();
        number.map_err(|_| format!("{what} is `{text}`, not a number"))
    };
    let (which, of) = match text.split_once('/') {
        Some((which, of)) => (which, Some(number("the number of shares", of)?)),
        None => (text, None),
    };
    if which != "auto" {
        let of = of.ok_or(
            "expected NUMBER/SHARES such as 2/4, or auto or auto/4 in a Slurm array or a Kubernetes indexed Job",
        )?;
        return Share::numbered(number("the share", which)?, of);
    }
    let told = |name: &str| {
        let value = variable(name);
        value.map(|value| number(name, &value)).transpose()
    };
    let task = told("SLURM_ARRAY_TASK_ID")?;
    let pod = told("JOB_COMPLETION_INDEX")?;
    match (task, pod, of) {
        (Some(task), _, Some(of)) => Share::numbered(task, of),
        (Some(task), _, None) => {
            let first = told("SLURM_ARRAY_TASK_MIN")?.unwrap_or(1);
            let step = told("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let of = told("SLURM_ARRAY_TASK_COUNT")?
                .ok_or("Slurm does not report how many tasks the array has; auto/4 states the number")?;
            let from_first = task.checked_sub(first).ok_or(format!(
                "task {task} is before the array's first, {first}"
            ))?;
            Share::numbered(from_first / step + 1, of)
        }
        (None, Some(pod), Some(of)) if pod < of => Share::numbered(pod + 1, of),
        (None, Some(pod), Some(of)) => Err(format!("there is no pod {pod} of {of}: they count from 0")),
        (None, Some(_), None) => Err(
            "Kubernetes does not report how many pods the Job has; auto/4 states the number, its `completions`".to_owned(),
        ),
        (None, None, _) => Err(
            "auto uses SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, and neither is set".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Position;

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<(u32, u32), String> {
        let variable = |name: &str| {
            let mut all = variables.iter();
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        share(text, &variable).map(|share| (share.number, share.of))
    }

    #[test]
    fn arrays_and_pods_count_from_one_or_from_zero() {
        assert_eq!(of("2/4", &[]), Ok((2, 4)));
        assert_eq!(of("0/4", &[]), Ok((4, 4)));
        let task = ("SLURM_ARRAY_TASK_ID", "7");
        let array = [
            task,
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(of("auto", &array), Ok((4, 4)));
        // A single array task that is resubmitted to Slurm does not know how many there were.
        assert_eq!(of("auto/8", &array), Ok((7, 8)));
        let pod = [("JOB_COMPLETION_INDEX", "0")];
        assert_eq!(of("auto/3", &pod), Ok((1, 3)));
        for (text, variables, word) in [
            ("5/4", &[][..], "no share 5 of 4"),
            ("1/0", &[], "1 to"),
            ("two/4", &[], "`two`"),
            ("3", &[], "NUMBER/SHARES"),
            ("auto", &[], "neither is set"),
            ("auto", &pod, "completions"),
            ("auto", &[task], "how many tasks"),
            ("auto/0", &pod, "no pod 0"),
        ] {
            let said = of(text, variables).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn every_shard_is_of_one_share_and_shares_are_even() {
        let manifest = |rows: &[u64]| Manifest {
            targets: Vec::new(),
            shards: (0..)
                .zip(rows)
                .map(|(number, rows)| Shard {
                    number,
                    target: number % 3,
                    part: 0,
                    name: String::new(),
                    rows: *rows,
                    first_row: 0,
                    start: Position::Start,
                    end: Position::End,
                })
                .collect(),
        };
        let check = |rows: &[u64], of: u32, most: u64| {
            let manifest = manifest(rows);
            let mut seen = Vec::new();
            for number in 1..=of {
                let share = Share { number, of };
                let own: Vec<&Shard> = share.shards(&manifest).collect();
                let rows: u64 = own.iter().map(|shard| shard.rows).sum();
                assert!(rows <= most, "{share}: {rows} rows");
                seen.extend(own.iter().map(|shard| shard.number));
            }
            assert_eq!(seen, (0..rows.len() as u32).collect::<Vec<_>>());
        };
        check(&[100; 64], 4, 1600);
        check(&[100; 64], 5, 1300);
        check(&[100; 3], 8, 100);
        check(&[0; 9], 2, 0);
        check(&[900, 1, 1, 1, 900], 2, 902);
        check(&[], 3, 0);
    }
}
