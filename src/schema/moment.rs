//! How are dates and timestamps spelt? As ISO 8601, in the Gregorian calendar and in UTC. Pure.

const DAY: i64 = 86_400_000_000;

/// The timestamps whose year has four digits, 1 to 9999, in microseconds since 1970.
pub const FOUR_DIGITS: std::ops::RangeInclusive<i64> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The day this many days after 1970-01-01.
pub fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day this many days after 1970-01-01, in the proleptic Gregorian calendar; year 0 is 1 BC.
pub fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March, so that a leap day is the last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The timestamp this many microseconds after 1970 began.
pub fn shown(micros: i64) -> String {
    let (day, of_day) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (seconds, part) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let part = match part {
        0 => String::new(),
        part => format!(".{part:06}"),
    };
    format!(
        "{}T{hours:02}:{minutes:02}:{:02}{part}Z",
        date(day),
        seconds % 60
    )
}

/// Parses a timestamp in any time zone; `None` if the text is not one.
pub fn read(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let mut days = date.splitn(3, '-').map(|part| number(part, 9999));
    let (year, month, day) = (days.next()??, days.next()??, days.next()??);
    let at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(at);
    let (time, part) = time.split_once('.').unwrap_or((time, "0"));
    let mut times = time.splitn(3, ':').map(|part| number(part, 59));
    let (hour, minute, second) = (times.next()??, times.next()??, times.next()??);
    let digits = part.get(..part.len().min(6))?;
    let part = number(digits, 999_999)? * 10i64.pow(6 - digits.len() as u32);
    let ahead = match zone.split_at(1) {
        ("Z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "0"));
            let ahead = number(hours, 23)? * 60 + number(minutes, 59)?;
            if sign == "-" { -ahead } else { ahead }
        }
    };
    let is_day = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24;
    let minutes = (days_of(year, month, day) * 24 + hour) * 60 + minute - ahead;
    is_day.then_some((minutes * 60 + second) * 1_000_000 + part)
}

fn number(text: &str, most: i64) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| is_number && *number <= most)
}

/// The number of days from 1970-01-01 to a day.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100;
    let of_year = (153 * month + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (-719_468, "0000-03-01"),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn moments_are_spelt_and_read_back() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z"),
            (*FOUR_DIGITS.start(), "0001-01-01T00:00:00Z"),
            (*FOUR_DIGITS.end(), "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(shown(micros), expected);
            assert_eq!(read(expected), Some(micros), "{expected}");
        }
        for step in 0..3_000 {
            let micros = FOUR_DIGITS.start() + step * 105_179_299_199_999;
            assert_eq!(read(&shown(micros)), Some(micros));
        }
        assert_eq!(read("1970-01-01T02:00:00.5+02:00"), Some(500_000));
        assert_eq!(read("1969-12-31 22:30:00-01:30"), Some(0));
        for odd in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1970-01-01T25:00:00Z",
            "1970-01-01T00:00:00.Z",
            "+970-01-01T00:00:00Z",
            "1970-01-01T00:00:00Zx",
            "1970-01-01T00:00:00é",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
