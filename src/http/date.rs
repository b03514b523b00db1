//! Dates of HTTP, RFC 9110 §5.6.7: written as IMF-fixdate, read in the three forms that a recipient
//! has to accept.

/// Bytes of an IMF-fixdate.
pub(crate) const DATE_LEN: usize = 29;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECS_PER_DAY: u64 = 86_400;
/// The last second that four digits of a year can say.
const SECS_MAX: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, for seconds since 1970.
pub(crate) fn format(secs: u64) -> [u8; DATE_LEN] {
    let secs = secs.min(SECS_MAX);
    let (days, second) = (secs / SECS_PER_DAY, secs % SECS_PER_DAY);
    let (year, month, day) = civil(days);
    let mut out = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    out[..3].copy_from_slice(DAYS[(days + 4) as usize % 7].as_bytes());
    two(&mut out[5..7], day);
    out[8..11].copy_from_slice(MONTHS[month as usize - 1].as_bytes());
    two(&mut out[12..14], year / 100);
    two(&mut out[14..16], year % 100);
    two(&mut out[17..19], second / 3600);
    two(&mut out[20..22], second / 60 % 60);
    two(&mut out[23..25], second % 60);
    out
}

fn two(out: &mut [u8], n: u64) {
    out.copy_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// Year, month from 1 and day from 1 of a day since 1970 in the Gregorian calendar: years that
/// begin in March have their leap day at the end.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + (month <= 2) as u64, month, day)
}

/// The day since 1970 of a date; `None` before that, or for a date that does not exist.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let months = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * months + 2) / 5 + day - 1;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year)
        .checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Seconds since 1970 of a date in one of the three forms; `None` for anything else. `now_secs`
/// tells the century of a two-digit year.
pub(crate) fn parse(text: &str, now_secs: u64) -> Option<u64> {
    let Some((day_name, rest)) = text.split_once(", ") else {
        return parse_asctime(text);
    };
    let (date, clock) = match day_name.len() {
        3 => (rest.get(..11)?, rest.get(12..)?),
        _ => (rest.get(..9)?, rest.get(10..)?),
    };
    let separator = if day_name.len() == 3 { ' ' } else { '-' };
    let mut parts = date.split(separator);
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let year = match year.len() {
        4 => number(year)?,
        2 => {
            // RFC 9110 §5.6.7: more than 50 years in the future is the most recent past year.
            let (now, _, _) = civil(now_secs / SECS_PER_DAY);
            let year = now / 100 * 100 + number(year)?;
            if year > now + 50 { year - 100 } else { year }
        }
        _ => return None,
    };
    let days = days_of(year, month_of(month)?, number(day)?)?;
    Some(days * SECS_PER_DAY + clock_of(clock.strip_suffix(" GMT")?)?)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &str) -> Option<u64> {
    let mut parts = text.split_ascii_whitespace();
    let (_, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (clock, year) = (parts.next()?, parts.next()?);
    let days = days_of(number(year)?, month_of(month)?, number(day)?)?;
    Some(days * SECS_PER_DAY + clock_of(clock)?)
}

fn month_of(name: &str) -> Option<u64> {
    MONTHS.iter().position(|month| *month == name).map(|at| at as u64 + 1)
}

fn number(digits: &str) -> Option<u64> {
    let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn clock_of(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hour, minute, second) =
        (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let exists = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    exists.then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn writes_and_reads_the_same() {
        let rows: [(u64, &str); 5] = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (SECS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (secs, text) in rows {
            assert_eq!(std::str::from_utf8(&format(secs)), Ok(text));
            assert_eq!(parse(text, NOW), Some(secs));
        }
        for day in 0..200_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days_of(year, month, of_month), Some(day));
        }
    }

    #[test]
    fn reads_the_obsolete_forms_and_refuses_others() {
        let same = ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for text in same {
            assert_eq!(parse(text, NOW), Some(784_111_777), "{text}");
        }
        let wrong = [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1894 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, ",
            "tomorrow",
            "Sün, 06 Növ 1994 08:49:37 GMT",
        ];
        for text in wrong {
            assert_eq!(parse(text, NOW), None, "{text}");
        }
    }
}
