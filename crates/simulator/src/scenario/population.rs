//! `[[arrivals]]`, `[[departures]]` and `[sessions]`: who comes and goes.

use std::time::Duration;

use serde::Deserialize;

use super::Horizon;
use super::key::{Key, Wrong};

/// Members that join after the beginning.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// One after another, independently (a Poisson process).
    Poisson {
        /// How many a second, on average.
        per_s: f64,
        /// When they come.
        window: Window,
    },
    /// Many within a short time, evenly.
    FlashCrowd {
        /// How many.
        count: u32,
        /// When the first comes.
        at: Duration,
        /// Until the last.
        over: Duration,
    },
}

/// Members, each drawn among all, that go one after another, independently (a Poisson process).
#[derive(Clone, Debug, PartialEq)]
pub struct Departures {
    /// How many a second, on average.
    pub per_s: f64,
    /// Of these, how many vanish without a word.
    pub crash_share: f64,
    /// When they go.
    pub window: Window,
}

/// How long each member stays, from when it begins to join, or from time zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sessions {
    /// Shape of the Weibull distribution; 1 is the exponential one.
    pub shape: f64,
    /// Its scale, in seconds.
    pub scale_s: f64,
    /// Of the sessions that end, how many end without a word.
    pub crash_share: f64,
}

/// A part of the scenario's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub start: Duration,
    /// Its end, not included.
    pub end: Duration,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn build(
        key: &Key,
        start_s: Option<f64>,
        end_s: Option<f64>,
        horizon: &Horizon,
    ) -> Result<Self, Wrong> {
        let start = horizon.time(&key.at("start_s"), start_s.unwrap_or(0.0))?;
        let end = match end_s {
            Some(end_s) => horizon.time(&key.at("end_s"), end_s)?,
            None => horizon.end,
        };
        if start > end {
            let key = key.at(if end_s.is_some() { "end_s" } else { "start_s" });
            return Err(key.wrong("ends before it begins"));
        }
        Ok(Self { start, end })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ArrivalsTable {
    kind: Option<ArrivalsKind>,
    per_s: Option<f64>,
    start_s: Option<f64>,
    end_s: Option<f64>,
    count: Option<u64>,
    at_s: Option<f64>,
    over_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ArrivalsKind {
    Poisson,
    FlashCrowd,
}

impl ArrivalsTable {
    pub(super) fn build(self, key: &Key, horizon: &Horizon) -> Result<Arrivals, Wrong> {
        let kind = key.at("kind").required(self.kind)?;
        let (name, allowed): (_, &[&str]) = match kind {
            ArrivalsKind::Poisson => ("poisson", &["per_s", "start_s", "end_s"]),
            ArrivalsKind::FlashCrowd => ("flash-crowd", &["count", "at_s", "over_s"]),
        };
        let given = [
            ("per_s", self.per_s.is_some()),
            ("start_s", self.start_s.is_some()),
            ("end_s", self.end_s.is_some()),
            ("count", self.count.is_some()),
            ("at_s", self.at_s.is_some()),
            ("over_s", self.over_s.is_some()),
        ];
        key.only(&format!("kind = \"{name}\""), allowed, given)?;
        match kind {
            ArrivalsKind::Poisson => Ok(Arrivals::Poisson {
                per_s: rate(key, self.per_s)?,
                window: Window::build(key, self.start_s, self.end_s, horizon)?,
            }),
            ArrivalsKind::FlashCrowd => {
                let count = key.at("count").required(self.count)?;
                let count = key.at("count").whole(count, 1, horizon.max_nodes)?;
                let at_s = key.at("at_s").required(self.at_s)?;
                let at = horizon.time(&key.at("at_s"), at_s)?;
                let over = key.at("over_s").seconds(self.over_s.unwrap_or(0.0))?;
                horizon.within(&key.at("over_s"), at + over)?;
                Ok(Arrivals::FlashCrowd {
                    count: u32::try_from(count).unwrap_or(u32::MAX),
                    at,
                    over,
                })
            }
        }
    }
}

impl Arrivals {
    /// How many come, on average.
    pub(super) fn expected(&self) -> f64 {
        match self {
            Self::Poisson { per_s, window } => per_s * window.length().as_secs_f64(),
            Self::FlashCrowd { count, .. } => f64::from(*count),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeparturesTable {
    per_s: Option<f64>,
    crash_share: Option<f64>,
    start_s: Option<f64>,
    end_s: Option<f64>,
}

impl DeparturesTable {
    pub(super) fn build(self, key: &Key, horizon: &Horizon) -> Result<Departures, Wrong> {
        Ok(Departures {
            per_s: rate(key, self.per_s)?,
            crash_share: crash_share(key, self.crash_share)?,
            window: Window::build(key, self.start_s, self.end_s, horizon)?,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsTable {
    distribution: Option<Distribution>,
    mean_s: Option<f64>,
    shape: Option<f64>,
    scale_s: Option<f64>,
    crash_share: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Distribution {
    Exponential,
    Weibull,
}

impl SessionsTable {
    pub(super) fn build(self, key: &Key) -> Result<Sessions, Wrong> {
        let distribution = key.at("distribution").required(self.distribution)?;
        let (name, allowed): (_, &[&str]) = match distribution {
            Distribution::Exponential => ("exponential", &["mean_s"]),
            Distribution::Weibull => ("weibull", &["shape", "scale_s"]),
        };
        let given = [
            ("mean_s", self.mean_s.is_some()),
            ("shape", self.shape.is_some()),
            ("scale_s", self.scale_s.is_some()),
        ];
        key.only(&format!("distribution = \"{name}\""), allowed, given)?;
        let length = |name, value| {
            let key = key.at(name);
            let seconds = key.required(value)?;
            key.within(seconds, 0.001, 1e9)
        };
        let (shape, scale_s) = match distribution {
            Distribution::Exponential => (1.0, length("mean_s", self.mean_s)?),
            Distribution::Weibull => {
                let shape = key.at("shape").required(self.shape)?;
                let shape = key.at("shape").within(shape, 0.1, 10.0)?;
                (shape, length("scale_s", self.scale_s)?)
            }
        };
        Ok(Sessions {
            shape,
            scale_s,
            crash_share: crash_share(key, self.crash_share)?,
        })
    }
}

fn rate(key: &Key, per_s: Option<f64>) -> Result<f64, Wrong> {
    let key = key.at("per_s");
    let per_s = key.required(per_s)?;
    key.within(per_s, 1e-6, 1e6)
}

fn crash_share(key: &Key, share: Option<f64>) -> Result<f64, Wrong> {
    key.at("crash_share").share(share.unwrap_or(0.0))
}
