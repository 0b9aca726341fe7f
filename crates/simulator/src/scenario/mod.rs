//! Scenarios: TOML files that say what is simulated. Every key is described in
//! `docs/SIMULATION.md`; what is unknown or cannot be is an error that names file, line and key.
//!
//! A table of the file is read into a `..Table`, whose fields are the keys; its `build` checks
//! the values and gives what the [executor](crate::run) works with.

mod builtin;
mod error;
mod faults;
mod files;
mod key;
mod measure;
#[cfg(test)]
pub(crate) mod mutilate;
mod network;
mod overlay;
mod population;
mod room;
#[cfg(test)]
mod tests;
mod traffic;

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::nesting;
use crate::network::NetworkConfig;
use crate::results::{Detail, ScenarioName};
use key::{Key, Wrong};

pub use builtin::BUILT_IN;
pub use error::ScenarioError;
pub use faults::{Amount, Choice, Fault, FaultKind, Victims};
pub use files::Files;
pub use measure::{Expect, Measure, Published};
pub use overlay::{LongLinkKind, MAX_NODES_FULL, MAX_NODES_OVERLAY, Overlay, Start};
pub use population::{Arrivals, Departures, Sessions, Window};
pub use room::{Room, RoomMember};
pub use traffic::{MIN_BYTES, Spacing, Traffic, TrafficKind, Who};

/// The largest scenario file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The most elements that a list of a scenario has.
const MAX_LIST: usize = 10_000;

/// What is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called and what it shows.
    pub name: ScenarioName,
    /// Where all random numbers come from.
    pub seed: u64,
    /// How much of the protocol is simulated.
    pub detail: Detail,
    /// Virtual time, from when the overlay has come about.
    pub duration: Duration,
    /// The overlay that it begins with.
    pub overlay: Overlay,
    /// What is between the members.
    pub network: NetworkConfig,
    /// How many trackers there are.
    pub trackers: u16,
    /// Who comes.
    pub arrivals: Vec<Arrivals>,
    /// Who goes.
    pub departures: Vec<Departures>,
    /// How long members stay; `None`: as long as they can.
    pub sessions: Option<Sessions>,
    /// What befalls the overlay, in order of time.
    pub faults: Vec<Fault>,
    /// What the members send.
    pub traffic: Vec<Traffic>,
    /// Whether the members do the work of W1: each second a round of stabilization and a random
    /// lookup with its reply.
    pub w1: bool,
    /// What is looked at.
    pub measure: Measure,
    /// What is demanded.
    pub expectations: Vec<Expect>,
    /// What was published elsewhere.
    pub references: Vec<Published>,
}

/// What the command line puts in the place of a scenario's own values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Another seed.
    pub seed: Option<u64>,
    /// Another number of members at the beginning.
    pub nodes: Option<u64>,
}

/// How far a scenario can go.
pub(crate) struct Horizon {
    /// When it ends.
    end: Duration,
    /// Members that there can be in all.
    max_nodes: u64,
    /// Messages that can be received in all.
    max_messages: u64,
}

impl Scenario {
    /// Reads the scenario of a file, or the built-in one of this name if there is no such file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn find(name: &str, overrides: Overrides) -> Result<Self, ScenarioError> {
        let path = Path::new(name);
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name)
            && !path.exists()
        {
            return Self::parse(name, text, &Files::none(), overrides);
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        match files::read(path, MAX_BYTES) {
            Ok(text) => Self::parse(name, &text, &Files::of(directory), overrides),
            Err(why) => {
                let why = format!("{why}; it is neither a file nor a built-in scenario");
                Err(ScenarioError::of_file(name, why))
            }
        }
    }

    /// Reads a scenario from its text; `file` is what it is called.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(
        file: &str,
        text: &str,
        files: &Files,
        overrides: Overrides,
    ) -> Result<Self, ScenarioError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(ScenarioError::of_file(file, "it is larger than 1 MiB"));
        }
        nesting::check(text).map_err(|deep| ScenarioError::of_nesting(file, text, deep))?;
        let mut table: ScenarioTable =
            toml::from_str(text).map_err(|error| ScenarioError::of_toml(file, text, &error))?;
        table.seed = overrides.seed.or(table.seed);
        table.overlay.override_nodes(overrides.nodes);
        let name = Path::new(file).file_stem().unwrap_or_default();
        table
            .build(&name.to_string_lossy(), files)
            .map_err(|wrong| ScenarioError::of_value(file, text, &wrong))
    }

    /// The classes of messages that its members send, each once, in alphabetical order.
    #[must_use]
    pub fn classes(&self) -> Vec<&'static str> {
        let lookups = self.w1.then_some(TrafficKind::Lookup.name());
        let sent = self.traffic.iter().map(|traffic| traffic.kind.name());
        let mut classes: Vec<_> = sent.chain(lookups).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

impl Horizon {
    const fn new(end: Duration, detail: Detail) -> Self {
        Self {
            end,
            max_nodes: overlay::max_nodes(detail),
            max_messages: match detail {
                Detail::Full => 5_000_000,
                Detail::Overlay => 1_000_000_000,
            },
        }
    }

    /// A time of the scenario, in seconds.
    fn time(&self, key: &Key, at_s: f64) -> Result<Duration, Wrong> {
        self.within(key, key.seconds(at_s)?)
    }

    /// A time that has to be before the end.
    fn within(&self, key: &Key, at: Duration) -> Result<Duration, Wrong> {
        if at <= self.end {
            return Ok(at);
        }
        let (at, end) = (at.as_secs_f64(), self.end.as_secs_f64());
        Err(key.wrong(format!("{at} s is after the end at {end} s")))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScenarioTable {
    title: String,
    description: String,
    seed: Option<u64>,
    detail: Detail,
    duration_s: Option<f64>,
    overlay: overlay::OverlayTable,
    timing: overlay::TimingTable,
    network: network::NetworkTable,
    trackers: network::TrackersTable,
    arrivals: Vec<population::ArrivalsTable>,
    departures: Vec<population::DeparturesTable>,
    sessions: Option<population::SessionsTable>,
    faults: Vec<faults::FaultTable>,
    traffic: Vec<traffic::TrafficTable>,
    workload: WorkloadTable,
    measure: measure::MeasureTable,
    expect: Vec<measure::ExpectTable>,
    reference: Vec<measure::ReferenceTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkloadTable {
    w1: bool,
}

impl ScenarioTable {
    fn build(self, name: &str, files: &Files) -> Result<Scenario, Wrong> {
        let root = Key::default();
        let key = |name| root.at(name);
        let duration_s = key("duration_s").required(self.duration_s)?;
        key("duration_s").within(duration_s, 0.001, f64::MAX)?;
        let duration = key("duration_s").seconds(duration_s)?;
        let horizon = Horizon::new(duration, self.detail);
        let detail = self.detail;
        if self.workload.w1 && detail == Detail::Full {
            let key = key("workload").at("w1");
            return Err(key.wrong("needs detail = \"overlay\""));
        }
        let overlay = self
            .overlay
            .build(&key("overlay"), &self.timing, detail, files)?;
        let trackers = self.trackers.build(&key("trackers"), detail)?;
        let mut faults = list(&key("faults"), self.faults, |key, fault| {
            fault.build(key, &overlay, trackers, &horizon)
        })?;
        // Those of the same time stay in the order of the file.
        faults.sort_by_key(|fault| fault.at);
        let scenario = Scenario {
            name: ScenarioName {
                name: name.to_owned(),
                title: self.title,
                description: self.description,
            },
            seed: self.seed.unwrap_or(1),
            detail,
            duration,
            network: self.network.build(&key("network"), files)?,
            trackers,
            arrivals: list(&key("arrivals"), self.arrivals, |key, arrivals| {
                arrivals.build(key, &horizon)
            })?,
            departures: list(&key("departures"), self.departures, |key, departures| {
                departures.build(key, &horizon)
            })?,
            sessions: self
                .sessions
                .map(|sessions| sessions.build(&key("sessions")))
                .transpose()?,
            faults,
            traffic: list(&key("traffic"), self.traffic, |key, traffic| {
                traffic.build(key, &horizon)
            })?,
            w1: self.workload.w1,
            measure: self.measure.build(&key("measure"), &horizon)?,
            expectations: list(&key("expect"), self.expect, |key, expect| expect.build(key))?,
            references: list(&key("reference"), self.reference, |key, row| row.build(key))?,
            overlay,
        };
        check_sizes(&scenario, &horizon)?;
        check_metrics(&scenario)?;
        Ok(scenario)
    }
}

fn list<T, U>(
    key: &Key,
    tables: Vec<T>,
    build: impl Fn(&Key, T) -> Result<U, Wrong>,
) -> Result<Vec<U>, Wrong> {
    if tables.len() > MAX_LIST {
        return Err(key.wrong(format!("there are more than {MAX_LIST}")));
    }
    let numbered = tables.into_iter().enumerate();
    numbered
        .map(|(index, table)| build(&key.index(index), table))
        .collect()
}

/// Holds what a scenario may take in all against what fits into memory.
fn check_sizes(scenario: &Scenario, horizon: &Horizon) -> Result<(), Wrong> {
    let begin = f64::from(scenario.overlay.nodes);
    let mut members = begin;
    for (index, arrivals) in scenario.arrivals.iter().enumerate() {
        members += arrivals.expected();
        if members > horizon.max_nodes as f64 {
            let (count, most) = (members.round(), horizon.max_nodes);
            let key = Key::default().at("arrivals").index(index);
            return Err(key.wrong(format!("makes {count} members in all, and {most} fit")));
        }
    }
    let members = members as u64;
    let mut receptions = 0.0;
    for (index, traffic) in scenario.traffic.iter().enumerate() {
        let each = if traffic.goes_to_all() {
            members as f64
        } else {
            1.0
        };
        receptions += traffic.expected(members) * each;
        if receptions > horizon.max_messages as f64 {
            let (count, most) = (receptions.round(), horizon.max_messages);
            let key = Key::default().at("traffic").index(index);
            return Err(key.wrong(format!(
                "makes {count} messages received in all, and {most} fit"
            )));
        }
    }
    Ok(())
}

/// Figures of messages need such messages.
fn check_metrics(scenario: &Scenario) -> Result<(), Wrong> {
    let classes = scenario.classes();
    let expected = scenario.expectations.iter().map(|expect| &expect.metric);
    let published = scenario.references.iter().map(|row| &row.metric);
    let named = expected
        .enumerate()
        .map(|(index, metric)| ("expect", index, metric))
        .chain(
            published
                .enumerate()
                .map(|(index, metric)| ("reference", index, metric)),
        );
    for (list, index, metric) in named {
        if let Some(class) = metric.class().filter(|class| !classes.contains(class)) {
            let key = Key::default().at(list).index(index).at("metric");
            return Err(key.wrong(format!("there is no [[traffic]] of kind \"{class}\"")));
        }
    }
    Ok(())
}
