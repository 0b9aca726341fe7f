//! Numbers as people read them.

/// The unit of a figure, which says how to write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A number of things.
    Count,
    /// A share from 0 to 1, written in percent.
    Share,
    Hops,
    Milliseconds,
    Seconds,
    KilobitsPerSecond,
    /// A bare number.
    None,
}

impl Unit {
    /// The value with its unit.
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Self::Share => percent(value),
            _ => [number(value).as_str(), self.symbol()]
                .join(" ")
                .trim_end()
                .to_owned(),
        }
    }

    /// A value, or a dash where there is none.
    pub(super) fn write_if_any(self, value: Option<f64>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| self.write(value))
    }

    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Count | Self::Hops | Self::None => "",
            Self::Share => "%",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::KilobitsPerSecond => "kbit/s",
        }
    }
}

/// A number to four significant digits, whole ones and those from 1,000 on without decimals.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 1e15 || (magnitude < 1e-4 && magnitude > 0.0) {
        return format!("{value:.3e}");
    }
    let decimals = match magnitude {
        _ if value.fract() == 0.0 || magnitude >= 1_000.0 => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        _ => 4,
    };
    group(&trim_zeros(format!("{value:.decimals$}")))
}

/// A round number in little room, for an axis: 10,000 is 10k.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        1e9.. => number(value / 1e9) + "G",
        1e6.. => number(value / 1e6) + "M",
        1e4.. => number(value / 1e3) + "k",
        _ => number(value),
    }
}

/// A whole number with its digits in groups of three.
pub(super) fn count(value: u64) -> String {
    group(&value.to_string())
}

/// So many of something whose plural ends in s.
pub(super) fn counted(value: u64, what: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(value))
}

/// A share from 0 to 1 in percent, to two decimals: more if it would read as all or nothing and is
/// neither.
pub(super) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "-".to_owned();
    }
    let percent = share * 100.0;
    let rounded = |decimals: usize| format!("{percent:.decimals$}");
    let hides = |text: &str| matches!(text.parse::<f64>(), Ok(all) if all != percent && (all == 100.0 || all == 0.0));
    let text = (2..9)
        .map(rounded)
        .find(|text| !hides(text))
        .unwrap_or_else(|| rounded(9));
    format!("{} %", trim_zeros(text))
}

/// A difference in percent, with its sign.
pub(super) fn deviation(percent: f64) -> String {
    let percent = if percent.abs() < 0.005 { 0.0 } else { percent };
    let decimals = if percent.abs() >= 100.0 { 0 } else { 2 };
    let sign = if percent > 0.0 { "+" } else { "" };
    format!(
        "{sign}{} %",
        group(&trim_zeros(format!("{percent:.decimals$}")))
    )
}

/// Foreign text for a terminal: without the characters that steer it, in one line, not too long.
pub(super) fn plain(text: &str) -> String {
    const MOST: usize = 200;
    let clean = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let mut line: String = text.chars().take(MOST).map(clean).collect();
    if text.chars().nth(MOST).is_some() {
        line.push_str("..");
    }
    line.trim().to_owned()
}

fn trim_zeros(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Puts commas between groups of three digits before the point.
fn group(text: &str) -> String {
    let (sign, rest) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let mut grouped = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::{Unit, count, counted, deviation, number, percent, plain, short};

    #[test]
    fn numbers() {
        let written = [
            0.0,
            7.0,
            -7.5,
            0.123_456,
            3.842_1,
            12.345,
            123.45,
            1_234.5,
            1_234_567.0,
        ];
        let wanted = [
            "0",
            "7",
            "-7.5",
            "0.1235",
            "3.842",
            "12.35",
            "123.5",
            "1,234",
            "1,234,567",
        ];
        for (value, wanted) in written.into_iter().zip(wanted) {
            assert_eq!(number(value), wanted);
        }
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(number(1e300), "1.000e300");
        assert_eq!(
            [short(9_000.0), short(12_500.0), short(2e6)],
            ["9,000", "12.5k", "2M"]
        );
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(count(999), "999");
        assert_eq!(
            [counted(1, "link"), counted(1_000, "link")],
            ["1 link", "1,000 links"]
        );
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(percent(0.999_99), "99.999 %");
        assert_eq!(percent(0.000_001), "0.0001 %");
        assert_eq!(percent(0.123_456), "12.35 %");
    }

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(deviation(5.0), "+5 %");
        assert_eq!(deviation(-0.126), "-0.13 %");
        assert_eq!(deviation(-0.001), "0 %");
        assert_eq!(deviation(1234.5), "+1,234 %");
    }

    #[test]
    fn units() {
        assert_eq!(Unit::Seconds.write(1.5), "1.5 s");
        assert_eq!(Unit::Share.write(0.5), "50 %");
        assert_eq!(Unit::Hops.write(3.0), "3");
        assert_eq!(Unit::Count.write_if_any(None), "-");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(plain("a\x1b[31mb\r\nc\u{9b}d"), "a [31mb  c d");
        assert_eq!(plain(&"x".repeat(500)).len(), 202);
    }
}
