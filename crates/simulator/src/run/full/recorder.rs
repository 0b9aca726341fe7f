//! Which messages were sent, and who got them when.

use std::collections::BTreeMap;
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::node::CommandId;

use crate::results::{Results, Traffic};
use crate::scenario::TrafficKind;
use crate::world::NodeIndex;

/// All messages of a run, and their receptions.
#[derive(Debug)]
pub(super) struct Recorder {
    messages: Vec<Message>,
    commands: BTreeMap<CommandId, usize>,
    tallies: BTreeMap<&'static str, Traffic>,
    /// By what sort of message, sender and receiver: the number of the last one sent of those
    /// received.
    latest: BTreeMap<(TrafficKind, NodeIndex, NodeIndex), u64>,
    /// When each window of the series ended.
    windows: Vec<Timestamp>,
    measured_since: Timestamp,
    /// How long a message may be on its way.
    patience: Duration,
}

#[derive(Debug)]
struct Message {
    kind: TrafficKind,
    at: Timestamp,
    from: NodeIndex,
    to: Option<NodeIndex>,
    /// Whether the sender was told that it was delivered, or not.
    outcome: Option<bool>,
    /// The node would not send it.
    refused: bool,
    got: Receivers,
}

/// Who has got a message: one bit for each member, in the order of starting.
#[derive(Clone, Debug, Default)]
struct Receivers(Vec<u64>);

/// Whether a member should have got a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence {
    /// When its session became a member.
    pub(super) joined: Option<Timestamp>,
    /// Whether it runs at the end.
    pub(super) stays: bool,
}

impl Recorder {
    /// Messages without an outcome count as lost `patience` after they were sent.
    pub(super) const fn new(patience: Duration) -> Self {
        Self {
            messages: Vec::new(),
            commands: BTreeMap::new(),
            tallies: BTreeMap::new(),
            latest: BTreeMap::new(),
            windows: Vec::new(),
            measured_since: Timestamp::ZERO,
            patience,
        }
    }

    /// A message is about to be sent; gives its number.
    pub(super) fn begin(
        &mut self,
        kind: TrafficKind,
        at: Timestamp,
        from: NodeIndex,
        to: Option<NodeIndex>,
    ) -> u64 {
        self.messages.push(Message {
            kind,
            at,
            from,
            to,
            outcome: None,
            refused: false,
            got: Receivers::default(),
        });
        self.messages.len() as u64 - 1
    }

    /// The sender's node calls the message so.
    pub(super) fn name(&mut self, number: u64, command: CommandId) {
        self.commands.insert(command, number as usize);
    }

    /// The sender's node would not send it.
    pub(super) fn refused(&mut self, number: u64) {
        if let Some(message) = self.messages.get_mut(number as usize) {
            message.refused = true;
        }
    }

    /// A member got a message with this content.
    pub(super) fn received(&mut self, member: NodeIndex, at: Timestamp, hops: u16, payload: &[u8]) {
        let Some(number) = payload.first_chunk().copied().map(u64::from_le_bytes) else {
            return;
        };
        let Some(message) = self.messages.get_mut(number as usize) else {
            return;
        };
        let first = message.got.insert(member);
        let pair = (message.kind, message.from, member);
        let latest = self.latest.entry(pair).or_insert(number);
        let overtaken = *latest > number;
        *latest = number.max(*latest);
        if message.at < self.measured_since {
            return;
        }
        let tally = self.tallies.entry(message.kind.name()).or_default();
        tally.out_of_order += u64::from(first && overtaken);
        if first {
            tally.hops.record(u64::from(hops));
            let micros = at.since(message.at).as_micros();
            tally
                .latency_us
                .record(u64::try_from(micros).unwrap_or(u64::MAX));
        } else {
            tally.duplicated += 1;
        }
    }

    /// The sender was told that its message was delivered, or was not.
    pub(super) fn settled(&mut self, command: CommandId, delivered: bool) {
        let number = self.commands.remove(&command);
        if let Some(message) = number.and_then(|number| self.messages.get_mut(number)) {
            message.outcome = Some(delivered);
        }
    }

    /// A window of the series ends.
    pub(super) fn end_window(&mut self, at: Timestamp) {
        self.windows.push(at);
    }

    /// Messages sent earlier count in the series only.
    pub(super) fn start_measuring(&mut self, now: Timestamp) {
        self.measured_since = now;
        self.tallies.clear();
    }

    /// Counts what was expected and what came of it, in all and for each window.
    pub(super) fn finish(
        &mut self,
        classes: &[&'static str],
        now: Timestamp,
        members: &[Presence],
        results: &mut Results,
    ) {
        for class in classes {
            self.tallies.entry(class).or_default();
        }
        for message in &self.messages {
            let (delivered, lost) = message.count(now, self.patience, members);
            let window = self.windows.partition_point(|end| *end < message.at);
            if let Some(sample) = results.series.get_mut(window) {
                sample.expected += delivered + lost;
                sample.delivered += delivered;
            }
            if message.refused || message.at < self.measured_since {
                continue;
            }
            let tally = self.tallies.entry(message.kind.name()).or_default();
            tally.sent += 1;
            tally.expected += delivered + lost;
            tally.delivered += delivered;
            tally.lost += lost;
        }
        let tallies = std::mem::take(&mut self.tallies);
        results.traffic = tallies
            .into_iter()
            .map(|(class, tally)| Traffic {
                class: class.to_owned(),
                ..tally
            })
            .collect();
    }
}

impl Message {
    /// How many of those it was meant for have got it, and how many have not and will not. Only
    /// those count who were members when it was sent and stay to the end, and only if the sender
    /// stays.
    fn count(&self, now: Timestamp, patience: Duration, members: &[Presence]) -> (u64, u64) {
        let stays = |member: NodeIndex| {
            members.get(member.0 as usize).is_some_and(|presence| {
                presence.stays && presence.joined.is_some_and(|joined| joined <= self.at)
            })
        };
        if self.refused || !stays(self.from) {
            return (self.got.count(), 0);
        }
        let is_over = self.outcome.is_some() || self.at + patience <= now;
        let missed = |member: NodeIndex| is_over && stays(member) && !self.got.contains(member);
        let lost = match self.to {
            Some(to) => u64::from(missed(to)),
            None => {
                let others = (0..members.len() as u32).map(NodeIndex);
                others
                    .filter(|member| *member != self.from && missed(*member))
                    .count() as u64
            }
        };
        (self.got.count(), lost)
    }
}

impl Receivers {
    /// False if it was in already.
    fn insert(&mut self, member: NodeIndex) -> bool {
        let (word, bit) = (member.0 as usize / 64, 1u64 << (member.0 % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word];
        self.0[word] |= bit;
        before & bit == 0
    }

    fn contains(&self, member: NodeIndex) -> bool {
        let (word, bit) = (member.0 as usize / 64, 1u64 << (member.0 % 64));
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
