//! `[[faults]]`: what befalls the overlay, and when.

use std::time::Duration;

use serde::Deserialize;

use super::Horizon;
use super::key::{Key, Wrong};
use super::overlay::{Overlay, Start};
use crate::network::TrackerReach;

/// Something that befalls the overlay.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// What.
    pub what: FaultKind,
}

/// What befalls the overlay.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Members vanish, all at the same instant.
    Crash {
        /// Which.
        victims: Victims,
        /// Whether their links end at once, as if their kernels closed them; else they fall
        /// silent.
        noticed: bool,
    },
    /// Members leave and say so, all at the same instant.
    Leave(Victims),
    /// Members that have crashed or left come back with the same identity.
    Restart(Amount),
    /// The network falls apart, until the next heal or partition.
    Partition {
        /// The parts, as shares of the living members; they sum to 1.
        shares: Vec<f64>,
        /// How the members are dealt out.
        choice: Choice,
        /// Where the trackers are.
        trackers: TrackerReach,
    },
    /// The network is whole again.
    Heal,
    /// A tracker, or each of them, crashes.
    TrackerDown(Option<u16>),
    /// A tracker, or each of them, starts again with an empty table.
    TrackerUp(Option<u16>),
    /// From now on so many messages are lost.
    Loss(f64),
}

/// Some of the living members.
#[derive(Clone, Debug, PartialEq)]
pub enum Victims {
    /// So many of them.
    Some {
        /// How many.
        amount: Amount,
        /// Which.
        choice: Choice,
    },
    /// These, by their number in the order of starting.
    Members(Vec<u32>),
}

/// How many of the members concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A part of them, rounded to whole members.
    Share(f64),
    /// So many, or all if there are fewer.
    Count(u32),
}

impl Amount {
    /// How many of `all` that is.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Share(share) => (all as f64 * share).round() as usize,
            Self::Count(count) => (count as usize).min(all),
        }
    }
}

/// How members are picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Each as likely as any other.
    #[default]
    Random,
    /// Neighbours on the ring, from a random one on.
    Adjacent,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FaultTable {
    at_s: Option<f64>,
    kind: Option<KindName>,
    share: Option<f64>,
    count: Option<u64>,
    members: Option<Vec<String>>,
    choice: Option<Choice>,
    noticed: Option<bool>,
    shares: Option<Vec<f64>>,
    trackers: Option<String>,
    tracker: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    Crash,
    Leave,
    Restart,
    Partition,
    Heal,
    TrackerDown,
    TrackerUp,
    Loss,
}

impl KindName {
    /// Its name, and the keys that say something with it.
    const fn keys(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Crash => ("crash", &["share", "count", "members", "choice", "noticed"]),
            Self::Leave => ("leave", &["share", "count", "members", "choice"]),
            Self::Restart => ("restart", &["share", "count"]),
            Self::Partition => ("partition", &["shares", "choice", "trackers"]),
            Self::Heal => ("heal", &[]),
            Self::TrackerDown => ("tracker-down", &["tracker"]),
            Self::TrackerUp => ("tracker-up", &["tracker"]),
            Self::Loss => ("loss", &["share"]),
        }
    }
}

impl FaultTable {
    pub(super) fn build(
        self,
        key: &Key,
        overlay: &Overlay,
        trackers: u16,
        horizon: &Horizon,
    ) -> Result<Fault, Wrong> {
        let kind = key.at("kind").required(self.kind)?;
        let (name, allowed) = kind.keys();
        let given = [
            ("share", self.share.is_some()),
            ("count", self.count.is_some()),
            ("members", self.members.is_some()),
            ("choice", self.choice.is_some()),
            ("noticed", self.noticed.is_some()),
            ("shares", self.shares.is_some()),
            ("trackers", self.trackers.is_some()),
            ("tracker", self.tracker.is_some()),
        ];
        key.only(&format!("kind = \"{name}\""), allowed, given)?;
        let at_s = key.at("at_s").required(self.at_s)?;
        let at = horizon.time(&key.at("at_s"), at_s)?;
        let what = match kind {
            KindName::Crash => FaultKind::Crash {
                victims: self.victims(key, overlay)?,
                noticed: self.noticed.unwrap_or(false),
            },
            KindName::Leave => FaultKind::Leave(self.victims(key, overlay)?),
            KindName::Restart => FaultKind::Restart(self.amount(key)?),
            KindName::Partition => self.partition(key)?,
            KindName::Heal => FaultKind::Heal,
            KindName::TrackerDown => FaultKind::TrackerDown(self.tracker(key, trackers)?),
            KindName::TrackerUp => FaultKind::TrackerUp(self.tracker(key, trackers)?),
            KindName::Loss => {
                let share = key.at("share").required(self.share)?;
                FaultKind::Loss(key.at("share").within(share, 0.0, 0.9)?)
            }
        };
        Ok(Fault { at, what })
    }

    fn victims(&self, key: &Key, overlay: &Overlay) -> Result<Victims, Wrong> {
        let Some(names) = &self.members else {
            let amount = self.amount(key)?;
            let choice = self.choice.unwrap_or_default();
            return Ok(Victims::Some { amount, choice });
        };
        let others = [
            ("share", self.share.is_some()),
            ("count", self.count.is_some()),
            ("choice", self.choice.is_some()),
        ];
        key.only("members", &[], others)?;
        let key = key.at("members");
        let mut numbers = Vec::new();
        for (index, name) in names.iter().enumerate() {
            numbers.push(number_of(&key.index(index), name, overlay)?);
        }
        Ok(Victims::Members(numbers))
    }

    fn amount(&self, key: &Key) -> Result<Amount, Wrong> {
        match (self.share, self.count) {
            (Some(share), None) => Ok(Amount::Share(key.at("share").share(share)?)),
            (None, Some(count)) => {
                let most = u64::from(u32::MAX);
                let count = key.at("count").whole(count, 1, most)?;
                Ok(Amount::Count(u32::try_from(count).unwrap_or(u32::MAX)))
            }
            (None, None) => Err(key.wrong("needs a share or a count")),
            (Some(_), Some(_)) => Err(key.at("count").wrong("says nothing with share")),
        }
    }

    fn partition(&self, key: &Key) -> Result<FaultKind, Wrong> {
        let shares = key.at("shares").required(self.shares.clone())?;
        let shares_key = key.at("shares");
        shares_key.whole(shares.len() as u64, 2, 64).map_err(|_| {
            let count = shares.len();
            shares_key.wrong(format!("a partition has 2 to 64 parts, not {count}"))
        })?;
        for (index, share) in shares.iter().enumerate() {
            shares_key.index(index).share(*share)?;
        }
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(shares_key.wrong(format!("have to sum to 1, not to {sum}")));
        }
        let trackers = match self.trackers.as_deref() {
            None | Some("everybody") => TrackerReach::Everybody,
            Some("nobody") => TrackerReach::Nobody,
            Some(text) => {
                let part = text.parse::<usize>().ok();
                let part = part.filter(|part| *part < shares.len()).ok_or_else(|| {
                    key.at("trackers").wrong(
                        "has to be \"everybody\", \"nobody\" or the number of a part, from \"0\"",
                    )
                })?;
                TrackerReach::Group(part)
            }
        };
        Ok(FaultKind::Partition {
            shares,
            choice: self.choice.unwrap_or_default(),
            trackers,
        })
    }

    fn tracker(&self, key: &Key, trackers: u16) -> Result<Option<u16>, Wrong> {
        if trackers == 0 {
            return Err(key.at("kind").wrong("there is no tracker"));
        }
        let Some(number) = self.tracker else {
            return Ok(None);
        };
        let number = key
            .at("tracker")
            .whole(number, 0, u64::from(trackers) - 1)?;
        Ok(Some(u16::try_from(number).unwrap_or(u16::MAX)))
    }
}

/// The member that a name stands for: of a living room's start its name or the beginning of its
/// NodeId, else `n` and its number in the order of starting, from 0.
fn number_of(key: &Key, name: &str, overlay: &Overlay) -> Result<u32, Wrong> {
    if let Start::Room(room) = &overlay.start {
        let mut found = room.find(name);
        return match (found.next(), found.next()) {
            (Some(number), None) => Ok(number),
            (None, _) => Err(key.wrong(format!("nobody in the room is called {name}"))),
            (Some(_), Some(_)) => Err(key.wrong(format!("several in the room are called {name}"))),
        };
    }
    name.strip_prefix('n')
        .and_then(|number| number.parse().ok())
        .filter(|number| *number < overlay.nodes)
        .ok_or_else(|| {
            let last = overlay.nodes - 1;
            key.wrong(format!("{name} is none of the members n0 to n{last}"))
        })
}
