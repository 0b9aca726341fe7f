//! `[[traffic]]`: what the members send.

use std::time::Duration;

use circlet_core::wire::{MAX_CIRCULATED, MAX_PAYLOAD};
use serde::Deserialize;

use super::Horizon;
use super::key::{Key, Wrong};
use super::population::Window;

/// The least content of a message, in bytes: its number.
pub const MIN_BYTES: usize = 8;

/// Messages that some members send, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// What sort of messages.
    pub kind: TrafficKind,
    /// Who sends them.
    pub from: Who,
    /// Who is meant to get them. A broadcast and a circulated message go to all.
    pub to: Who,
    /// Mean time between two messages of one sender, or of all of them for [`Who::Random`].
    pub gap: Duration,
    /// How these times are spread.
    pub spacing: Spacing,
    /// The content of each message, in bytes.
    pub bytes: usize,
    /// How many messages there are at most.
    pub count: Option<u64>,
    /// When.
    pub window: Window,
}

/// What sort of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficKind {
    /// To one member, at most once.
    Datagram,
    /// To one member, reliably.
    Unicast,
    /// To everybody.
    Broadcast,
    /// Once round the ring.
    Circulate,
    /// So many bits a second: reliably to one member, or as broadcasts to all.
    Stream,
    /// A search for the member responsible for a position.
    Lookup,
}

/// Which members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Every one.
    All,
    /// Always the same: the one that has lived longest.
    One,
    /// Another one each time.
    Random,
}

/// How the times between messages are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Exponentially: independent messages.
    Poisson,
    /// All the same.
    Regular,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrafficTable {
    kind: Option<TrafficKind>,
    from: Option<Who>,
    to: Option<Who>,
    per_s: Option<f64>,
    mbit_per_s: Option<f64>,
    spacing: Option<Spacing>,
    bytes: Option<u64>,
    count: Option<u64>,
    start_s: Option<f64>,
    end_s: Option<f64>,
}

impl TrafficKind {
    /// The word for it, as in a scenario.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Unicast => "unicast",
            Self::Broadcast => "broadcast",
            Self::Circulate => "circulate",
            Self::Stream => "stream",
            Self::Lookup => "lookup",
        }
    }
}

impl TrafficTable {
    pub(super) fn build(self, key: &Key, horizon: &Horizon) -> Result<Traffic, Wrong> {
        let kind = key.at("kind").required(self.kind)?;
        let stream = kind == TrafficKind::Stream;
        let pace = if stream { "mbit_per_s" } else { "per_s" };
        let given = [
            ("per_s", self.per_s.is_some()),
            ("mbit_per_s", self.mbit_per_s.is_some()),
        ];
        key.only(&format!("kind = \"{}\"", kind.name()), &[pace], given)?;
        let most = if kind == TrafficKind::Circulate {
            MAX_CIRCULATED
        } else {
            MAX_PAYLOAD
        };
        let bytes = self.bytes.unwrap_or(if stream { 1_000 } else { 200 });
        let bytes = key
            .at("bytes")
            .whole(bytes, MIN_BYTES as u64, most as u64)? as usize;
        let per_s = if stream {
            let rate = key.at("mbit_per_s").required(self.mbit_per_s)?;
            key.at("mbit_per_s").bandwidth(rate)? as f64 / bytes as f64
        } else {
            let rate = key.at("per_s").required(self.per_s)?;
            key.at("per_s").within(rate, 1e-6, 1e6)?
        };
        let count = self
            .count
            .map(|count| key.at("count").whole(count, 1, horizon.max_messages))
            .transpose()?;
        let spacing = if stream {
            Spacing::Regular
        } else {
            Spacing::Poisson
        };
        let from = self
            .from
            .unwrap_or(if stream { Who::One } else { Who::Random });
        Ok(Traffic {
            kind,
            from,
            to: receivers(key, kind, self.to)?,
            gap: Duration::from_micros(((1e6 / per_s).round() as u64).max(1)),
            spacing: self.spacing.unwrap_or(spacing),
            bytes,
            count,
            window: Window::build(key, self.start_s, self.end_s, horizon)?,
        })
    }
}

impl Traffic {
    /// How many messages that makes, about, among so many members.
    pub(super) fn expected(&self, members: u64) -> f64 {
        let senders = if self.from == Who::All { members } else { 1 };
        let each = self.window.length().as_secs_f64() / self.gap.as_secs_f64();
        let all = each * senders as f64;
        self.count.map_or(all, |count| all.min(count as f64))
    }

    /// Whether each message is meant for all members.
    #[must_use]
    pub fn goes_to_all(&self) -> bool {
        self.to == Who::All
    }
}

fn receivers(key: &Key, kind: TrafficKind, to: Option<Who>) -> Result<Who, Wrong> {
    let key = key.at("to");
    match (kind, to) {
        (TrafficKind::Broadcast | TrafficKind::Circulate, None | Some(Who::All)) => Ok(Who::All),
        (TrafficKind::Broadcast | TrafficKind::Circulate, Some(_)) => {
            Err(key.wrong(format!("a {} goes to \"all\"", kind.name())))
        }
        (TrafficKind::Stream, to) => Ok(to.unwrap_or(Who::All)),
        (_, Some(Who::All)) => Err(key.wrong(format!(
            "a {} goes to \"one\" or \"random\"; a broadcast goes to all",
            kind.name()
        ))),
        (_, to) => Ok(to.unwrap_or(Who::Random)),
    }
}
