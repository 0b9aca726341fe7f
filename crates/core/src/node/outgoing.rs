//! The sending half of a reliable stream.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::{CommandId, LinkId};
use crate::config::Config;
use crate::ring::Place;
use crate::time::Timestamp;

/// The retransmission timeout before a round trip was measured: less than the second of RFC
/// 6298, section 2.1, because members are few hops away.
const FIRST_RTO: Duration = Duration::from_millis(500);
const MIN_RTO: Duration = Duration::from_millis(200);
/// A dead neighbour is noticed within 4 s; waiting longer than this would only delay recovery.
const MAX_RTO: Duration = Duration::from_secs(2);

/// Messages under way at first, and again after a timeout.
const FIRST_WINDOW: usize = 64;
const WINDOW_AFTER_LOSS: usize = 16;

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Not sent, or to be sent again.
    Waiting,
    Sent,
    /// The receiver has it behind a gap.
    Held,
}

#[derive(Debug)]
struct Pending {
    id: CommandId,
    sequence: u64,
    payload: Bytes,
    until: Timestamp,
    state: State,
    sent: Option<Timestamp>,
    /// Sent more than once: no measure of the round trip (Karn; RFC 6298, section 3).
    again: bool,
}

/// One message to be sent now.
pub(super) struct Part {
    pub(super) sequence: u64,
    pub(super) floor: u64,
    pub(super) payload: Bytes,
    /// Whether it has been sent before.
    pub(super) again: bool,
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered(CommandId),
    Expired(CommandId),
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Place,
    next_sequence: u64,
    /// In order of their sequences.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// How many of the first ones are known not to be waiting.
    begun: usize,
    under_way: usize,
    under_way_bytes: usize,
    window: usize,
    max_window: usize,
    max_window_bytes: usize,
    smoothed: Option<(Duration, Duration)>,
    rto: Duration,
    /// When what is under way counts as lost.
    timeout: Option<Timestamp>,
    /// No message expires before.
    expiry: Option<Timestamp>,
    /// The link that the last message took.
    pub(super) by: Option<LinkId>,
}

impl Outgoing {
    /// A stream whose first message has the number `first`.
    pub(super) fn new(to: Place, first: u64, config: &Config) -> Self {
        Self {
            to,
            next_sequence: first,
            pending: VecDeque::new(),
            pending_bytes: 0,
            begun: 0,
            under_way: 0,
            under_way_bytes: 0,
            window: FIRST_WINDOW.min(config.window_messages),
            max_window: config.window_messages,
            max_window_bytes: config.window_bytes,
            smoothed: None,
            rto: FIRST_RTO,
            timeout: None,
            expiry: None,
            by: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many messages are to be sent or acknowledged, and their bytes.
    pub(super) fn pending(&self) -> (usize, usize) {
        (self.pending.len(), self.pending_bytes)
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(super) fn has_room(&self, bytes: usize, messages: usize, total: usize) -> bool {
        self.pending.len() < messages && self.pending_bytes + bytes <= total
    }

    pub(super) fn push(&mut self, id: CommandId, payload: Bytes, until: Timestamp) {
        self.pending_bytes += payload.len();
        self.expiry = Some(self.expiry.map_or(until, |at| at.min(until)));
        self.pending.push_back(Pending {
            id,
            sequence: self.next_sequence,
            payload,
            until,
            state: State::Waiting,
            sent: None,
            again: false,
        });
        self.next_sequence += 1;
    }

    /// When [`Outgoing::on_timeout`] has something to do: a retransmission or an expiry.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.timeout.into_iter().chain(self.expiry).min()
    }

    /// The next message that the window allows.
    pub(super) fn next_to_send(&mut self, now: Timestamp) -> Option<Part> {
        if self.under_way >= self.window {
            return None;
        }
        let floor = self.floor();
        let is_waiting = |pending: &Pending| pending.state == State::Waiting;
        while !is_waiting(self.pending.get(self.begun)?) {
            self.begun += 1;
        }
        let next = self.pending.get_mut(self.begun)?;
        let bytes = next.payload.len();
        if self.under_way > 0 && self.under_way_bytes + bytes > self.max_window_bytes {
            return None;
        }
        self.under_way += 1;
        self.under_way_bytes += bytes;
        next.state = State::Sent;
        next.again = next.sent.is_some();
        next.sent = Some(now);
        self.timeout.get_or_insert(now + self.rto);
        Some(Part {
            sequence: next.sequence,
            floor,
            payload: next.payload.clone(),
            again: next.again,
        })
    }

    /// Everything below `next` was taken, and `next + n` is held for each bit n.
    pub(super) fn on_ack(&mut self, now: Timestamp, next: u64, bitmap: u64) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut sample = None;
        while let Some(first) = self.pending.front()
            && first.sequence < next
        {
            let Some(taken) = self.pending.pop_front() else {
                break;
            };
            self.begun = self.begun.saturating_sub(1);
            if !taken.again {
                sample = taken.sent.or(sample);
            }
            self.settle(&taken);
            outcomes.push(Outcome::Delivered(taken.id));
        }
        let mut freed = (0, 0);
        for pending in &mut self.pending {
            let held = pending
                .sequence
                .checked_sub(next)
                .is_some_and(|bit| bit < 64 && bitmap & (1 << bit) != 0);
            if held && pending.state != State::Held {
                if pending.state == State::Sent {
                    freed = (freed.0 + 1, freed.1 + pending.payload.len());
                }
                pending.state = State::Held;
            }
            if pending.sequence > next.saturating_add(64) {
                break;
            }
        }
        self.under_way -= freed.0;
        self.under_way_bytes -= freed.1;
        if let Some(sent) = sample {
            self.measure(now.since(sent));
        }
        if !outcomes.is_empty() {
            self.window = (self.window + outcomes.len()).min(self.max_window);
            self.timeout = (self.under_way > 0).then(|| now + self.rto);
        } else if self.under_way == 0 {
            self.timeout = None;
        }
        if self.pending.is_empty() {
            self.expiry = None;
        }
        // Held messages wait for one that must come again.
        if self.under_way == 0 && self.pending.iter().any(|p| p.state == State::Held) {
            self.timeout.get_or_insert(now + self.rto);
        }
        outcomes
    }

    /// Expires what is too old; takes what is under way to be lost if its time is over.
    pub(super) fn on_timeout(&mut self, now: Timestamp) -> Vec<Outcome> {
        let mut expired = Vec::new();
        let mut kept = VecDeque::with_capacity(self.pending.len());
        while let Some(pending) = self.pending.pop_front() {
            if pending.until <= now {
                self.settle(&pending);
                expired.push(Outcome::Expired(pending.id));
            } else {
                kept.push_back(pending);
            }
        }
        self.pending = kept;
        self.begun = 0;
        self.expiry = self.pending.iter().map(|pending| pending.until).min();
        let timed_out = self.timeout.is_some_and(|at| at <= now);
        if timed_out {
            self.window = WINDOW_AFTER_LOSS.min(self.max_window);
            self.rto = (self.rto * 2).min(MAX_RTO);
            self.timeout = None;
        }
        // Lost is everything under way; a floor that has moved is told with what remains.
        let again = match (timed_out, expired.is_empty()) {
            (true, _) => self.pending.len(),
            (false, true) => 0,
            (false, false) => 1,
        };
        for at in 0..again.min(self.pending.len()) {
            let pending = &mut self.pending[at];
            if pending.state == State::Sent {
                self.under_way -= 1;
                self.under_way_bytes -= pending.payload.len();
            }
            if pending.state == State::Sent || at == 0 {
                pending.state = State::Waiting;
            }
        }
        expired
    }

    /// Gives everything up.
    pub(super) fn abandon(&mut self) -> Vec<CommandId> {
        self.pending_bytes = 0;
        self.begun = 0;
        self.under_way = 0;
        self.under_way_bytes = 0;
        self.timeout = None;
        self.expiry = None;
        self.pending.drain(..).map(|pending| pending.id).collect()
    }

    /// Everything below is settled.
    fn floor(&self) -> u64 {
        self.pending
            .front()
            .map_or(self.next_sequence, |pending| pending.sequence)
    }

    fn settle(&mut self, pending: &Pending) {
        self.pending_bytes -= pending.payload.len();
        if pending.state == State::Sent {
            self.under_way -= 1;
            self.under_way_bytes -= pending.payload.len();
        }
    }

    /// RFC 6298, section 2.
    fn measure(&mut self, rtt: Duration) {
        let (smoothed, variation) = match self.smoothed {
            None => (rtt, rtt / 2),
            Some((smoothed, variation)) => (
                (smoothed * 7 + rtt) / 8,
                (variation * 3 + smoothed.abs_diff(rtt)) / 4,
            ),
        };
        self.smoothed = Some((smoothed, variation));
        self.rto = (smoothed + variation * 4).clamp(MIN_RTO, MAX_RTO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NodeId;
    use crate::room::RoomId;
    use alloc::vec;

    const MS: u64 = 1_000;

    fn stream(messages: u64) -> Outgoing {
        let to = Place::of(&RoomId::open("r"), NodeId::from_bytes([1; 32]));
        let mut stream = Outgoing::new(to, 1, &Config::default());
        for id in 1..=messages {
            let until = Timestamp::from_micros(10_000 * MS + id);
            stream.push(CommandId(id), Bytes::from_static(b"x"), until);
        }
        stream
    }

    fn send_all(stream: &mut Outgoing, now: u64) -> Vec<u64> {
        let now = Timestamp::from_micros(now);
        core::iter::from_fn(|| stream.next_to_send(now))
            .map(|part| part.sequence)
            .collect()
    }

    #[test]
    fn what_is_acknowledged_is_delivered_once() {
        let mut stream = stream(3);
        assert_eq!(send_all(&mut stream, 0), [1, 2, 3]);
        let now = Timestamp::from_micros(MS);
        let delivered = |id| Outcome::Delivered(CommandId(id));
        assert_eq!(stream.on_ack(now, 3, 0), vec![delivered(1), delivered(2)]);
        assert_eq!(stream.on_ack(now, 3, 0), vec![]);
        assert_eq!(stream.on_ack(now, 4, 0), vec![delivered(3)]);
        assert_eq!(stream.due(), None);
    }

    #[test]
    fn only_what_is_missing_is_sent_again() {
        let mut stream = stream(4);
        send_all(&mut stream, 0);
        // 1 was taken, 3 is held: 2 and 4 are missing.
        stream.on_ack(Timestamp::from_micros(MS), 2, 0b10);
        let due = stream.due().expect("a timeout");
        assert!(stream.on_timeout(due).is_empty());
        assert_eq!(send_all(&mut stream, due.as_micros()), [2, 4]);
    }

    #[test]
    fn an_expired_message_moves_the_floor() {
        let mut stream = stream(2);
        send_all(&mut stream, 0);
        let late = Timestamp::from_micros(10_000 * MS + 1);
        assert_eq!(
            stream.on_timeout(late),
            vec![Outcome::Expired(CommandId(1))]
        );
        let part = stream.next_to_send(late).expect("the second");
        assert_eq!((part.sequence, part.floor, part.again), (2, 2, true));
    }

    #[test]
    fn the_queue_is_bounded_and_the_window_kept() {
        let mut stream = stream(100);
        assert!(!stream.has_room(1, 100, 1_000));
        assert!(!stream.has_room(1, 200, 100));
        assert!(stream.has_room(1, 101, 101));
        assert_eq!(send_all(&mut stream, 0).len(), FIRST_WINDOW);
    }
}
