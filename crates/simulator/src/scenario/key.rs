//! Where a value stands in a scenario file, and the checks that say so when it cannot be.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

/// The longest time that a scenario can name: a week.
const MAX_TIME_S: f64 = 604_800.0;

/// A place in a scenario file: `faults[2].share`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Key(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Name(&'static str),
    Index(usize),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) key: Key,
    pub(super) why: String,
}

impl Key {
    /// The value of this name below here.
    pub(super) fn at(&self, name: &'static str) -> Self {
        self.with(Step::Name(name))
    }

    /// An element of the list that stands here, from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// Why what stands here, or does not, is wrong.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong {
            key: self.clone(),
            why: why.into(),
        }
    }

    /// A value that has to be given.
    pub(super) fn required<T>(&self, value: Option<T>) -> Result<T, Wrong> {
        value.ok_or_else(|| self.wrong("is missing"))
    }

    /// A number from `least` to `most`.
    pub(super) fn within(&self, value: f64, least: f64, most: f64) -> Result<f64, Wrong> {
        // Not a number is within nothing.
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(format!("has to be from {least} to {most}, not {value}")))
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn whole(&self, value: u64, least: u64, most: u64) -> Result<u64, Wrong> {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(format!("has to be from {least} to {most}, not {value}")))
        }
    }

    /// A part of one.
    pub(super) fn share(&self, value: f64) -> Result<f64, Wrong> {
        self.within(value, 0.0, 1.0)
    }

    /// A number of seconds, up to a week, to the microsecond.
    pub(super) fn seconds(&self, value: f64) -> Result<Duration, Wrong> {
        let seconds = self.within(value, 0.0, MAX_TIME_S)?;
        Ok(Duration::from_micros((seconds * 1e6).round() as u64))
    }

    /// A number of milliseconds, up to a week, to the microsecond.
    pub(super) fn millis(&self, value: f64) -> Result<Duration, Wrong> {
        let millis = self.within(value, 0.0, MAX_TIME_S * 1e3)?;
        Ok(Duration::from_micros((millis * 1e3).round() as u64))
    }

    /// A bandwidth given in Mbit/s, in bytes a second.
    pub(super) fn bandwidth(&self, mbit_per_s: f64) -> Result<u64, Wrong> {
        let mbit_per_s = self.within(mbit_per_s, 0.001, 1_000_000.0)?;
        Ok((mbit_per_s * 1e6 / 8.0).round() as u64)
    }

    /// Of the values that may stand beside each other here, those that are given have to be among
    /// the `allowed`; `because` says what rules the others out.
    pub(super) fn only<const N: usize>(
        &self,
        because: &str,
        allowed: &[&str],
        given: [(&'static str, bool); N],
    ) -> Result<(), Wrong> {
        match given
            .iter()
            .find(|(name, given)| *given && !allowed.contains(name))
        {
            Some((name, _)) => Err(self.at(name).wrong(format!("says nothing with {because}"))),
            None => Ok(()),
        }
    }

    /// The bytes of the text where this stands; where it does not, those of what it would stand
    /// in; an empty range at the beginning if there is nothing of it.
    pub(super) fn find(&self, root: &DeTable<'_>) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(root);
        let mut list: Option<&[toml::Spanned<DeValue<'_>>]> = None;
        for step in &self.0 {
            let value = match step {
                Step::Name(name) => table.and_then(|table| {
                    let (key, value) = table.get_key_value(*name)?;
                    span = key.span();
                    Some(value)
                }),
                Step::Index(index) => list.and_then(|list| list.get(*index)).inspect(|value| {
                    span = value.span();
                }),
            };
            let Some(value) = value else { break };
            (table, list) = match value.get_ref() {
                DeValue::Table(inner) => (Some(inner), None),
                DeValue::Array(inner) => (None, Some(inner.as_ref())),
                _ => (None, None),
            };
        }
        span
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if depth == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The key whose name or value stands at a byte of the text: `faults[2].share`, empty if none does.
pub(super) fn key_at(root: &DeTable<'_>, offset: usize) -> String {
    let mut path = String::new();
    describe(root, offset, &mut path);
    path
}

fn describe(table: &DeTable<'_>, offset: usize, path: &mut String) {
    for (key, value) in table {
        let covers =
            |span: Range<usize>| span.start <= offset && offset < span.end.max(span.start + 1);
        // A table's own span is that of its header; what stands in it comes later.
        let inside =
            covers(key.span()) || covers(value.span()) || contains(value.get_ref(), offset);
        if !inside {
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key.get_ref());
        return descend(value.get_ref(), offset, path);
    }
}

fn descend(value: &DeValue<'_>, offset: usize, path: &mut String) {
    match value {
        DeValue::Table(inner) => describe(inner, offset, path),
        DeValue::Array(items) => {
            let at = items
                .iter()
                .position(|item| item.span().contains(&offset) || contains(item.get_ref(), offset));
            if let Some(index) = at {
                path.push_str(&format!("[{index}]"));
                descend(items[index].get_ref(), offset, path);
            }
        }
        _ => {}
    }
}

/// Whether anything within a value stands at a byte of the text.
fn contains(value: &DeValue<'_>, offset: usize) -> bool {
    match value {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            key.span().contains(&offset)
                || value.span().contains(&offset)
                || contains(value.get_ref(), offset)
        }),
        DeValue::Array(items) => items
            .iter()
            .any(|item| item.span().contains(&offset) || contains(item.get_ref(), offset)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "seed = 1\n[network]\nloss = 2.0\n\n[[faults]]\nat_s = 1\n\n[[faults]]\n\
                        at_s = 2\nshares = [0.5, 7]\n";

    fn line(offset: usize) -> usize {
        1 + TEXT[..offset].matches('\n').count()
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let root = DeTable::parse(TEXT).unwrap();
        let faults = Key::default().at("faults");
        for (key, text, at) in [
            (Key::default().at("seed"), "seed", 1),
            (Key::default().at("network").at("loss"), "network.loss", 3),
            // What is missing is reported where it would stand.
            (
                Key::default().at("network").at("jitter"),
                "network.jitter",
                2,
            ),
            (faults.index(0).at("at_s"), "faults[0].at_s", 6),
            (faults.index(1).at("share"), "faults[1].share", 8),
            (
                faults.index(1).at("shares").index(1),
                "faults[1].shares[1]",
                10,
            ),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(line(key.find(root.get_ref()).start), at, "{text}");
        }
    }

    #[test]
    fn the_key_at_a_byte_is_named() {
        let root = DeTable::parse(TEXT).unwrap();
        for (part, name) in [
            ("seed", "seed"),
            ("2.0", "network.loss"),
            ("shares", "faults[1].shares"),
            ("7]", "faults[1].shares[1]"),
        ] {
            let offset = TEXT.find(part).unwrap();
            assert_eq!(key_at(root.get_ref(), offset), name, "{part}");
        }
        assert_eq!(key_at(root.get_ref(), TEXT.len() + 5), "");
    }

    #[test]
    fn numbers_are_held_against_their_bounds() {
        let key = Key::default().at("x");
        assert!(key.share(1.0).is_ok() && key.share(1.01).is_err() && key.share(f64::NAN).is_err());
        assert_eq!(key.seconds(0.0015), Ok(Duration::from_micros(1500)));
        assert!(key.seconds(-1.0).is_err() && key.seconds(1e9).is_err());
        assert_eq!(key.bandwidth(8.0), Ok(1_000_000));
        assert!(key.bandwidth(0.0).is_err() && key.bandwidth(f64::INFINITY).is_err());
    }
}
