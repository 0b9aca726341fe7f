//! `[measure]`, `[[expect]]` and `[[reference]]`: what is looked at, demanded and compared.

use std::time::Duration;

use serde::Deserialize;

use super::Horizon;
use super::key::{Key, Wrong};
use crate::results::{Bound, Metric};

/// Samples that a run takes at most.
const MAX_SAMPLES: f64 = 10_000.0;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Time between two samples.
    pub every: Duration,
    /// What happens earlier counts in no distribution of messages.
    pub start: Duration,
    /// When the overlay is drawn and its graph measured; `None` is the end.
    pub drawing: Option<Duration>,
    /// How long the overlay may take to be right at the beginning, before time zero.
    pub settle: Duration,
}

/// What is demanded of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The figure.
    pub metric: Metric,
    /// What it has to be.
    pub bound: Bound,
    /// Where that is from.
    pub source: String,
}

/// A published figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// What stands beside it.
    pub metric: Metric,
    /// What it is, with its unit.
    pub name: String,
    /// The figure.
    pub published: f64,
    /// Where it is from.
    pub source: String,
    /// How the two differ in what they measure.
    pub note: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MeasureTable {
    every_s: Option<f64>,
    start_s: Option<f64>,
    drawing_s: Option<f64>,
    settle_s: Option<f64>,
}

impl MeasureTable {
    pub(super) fn build(&self, key: &Key, horizon: &Horizon) -> Result<Measure, Wrong> {
        let end_s = horizon.end.as_secs_f64();
        let every_s = self.every_s.unwrap_or((end_s / 60.0).max(0.001));
        let least = (end_s / MAX_SAMPLES).max(0.001);
        key.at("every_s").within(every_s, least, f64::MAX)?;
        let drawing = self
            .drawing_s
            .map(|at| horizon.time(&key.at("drawing_s"), at))
            .transpose()?;
        Ok(Measure {
            every: key.at("every_s").seconds(every_s)?,
            start: horizon.time(&key.at("start_s"), self.start_s.unwrap_or(0.0))?,
            drawing,
            settle: key.at("settle_s").seconds(self.settle_s.unwrap_or(120.0))?,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectTable {
    metric: Option<String>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    value: Option<f64>,
    within_percent: Option<f64>,
    source: String,
}

impl ExpectTable {
    pub(super) fn build(self, key: &Key) -> Result<Expect, Wrong> {
        let finite = |name, value: f64| key.at(name).within(value, f64::MIN, f64::MAX);
        let bound = match (self.at_least, self.at_most, self.value, self.within_percent) {
            (Some(least), None, None, None) => Bound::AtLeast(finite("at_least", least)?),
            (None, Some(most), None, None) => Bound::AtMost(finite("at_most", most)?),
            (None, None, Some(of), Some(percent)) => Bound::Within {
                of: finite("value", of)?,
                percent: key.at("within_percent").within(percent, 0.0, 1000.0)?,
            },
            _ => {
                return Err(key.wrong(
                    "needs one of at_least, at_most, or value together with within_percent",
                ));
            }
        };
        Ok(Expect {
            metric: metric(&key.at("metric"), self.metric)?,
            bound,
            source: self.source,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReferenceTable {
    metric: Option<String>,
    name: Option<String>,
    published: Option<f64>,
    source: Option<String>,
    note: String,
}

impl ReferenceTable {
    pub(super) fn build(self, key: &Key) -> Result<Published, Wrong> {
        let published = key.at("published").required(self.published)?;
        Ok(Published {
            metric: metric(&key.at("metric"), self.metric)?,
            name: key.at("name").required(self.name)?,
            published: key.at("published").within(published, f64::MIN, f64::MAX)?,
            source: key.at("source").required(self.source)?,
            note: self.note,
        })
    }
}

fn metric(key: &Key, name: Option<String>) -> Result<Metric, Wrong> {
    let name = key.required(name)?;
    Metric::parse(&name).map_err(|why| key.wrong(why))
}
