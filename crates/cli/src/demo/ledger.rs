//! What was sent and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Every message of the demo, by number from 0.
#[derive(Debug, Default)]
pub struct Ledger {
    messages: Vec<Message>,
    /// Those whose arrival or outcome is not known yet.
    waiting: BTreeSet<usize>,
    /// The greatest number that arrived, by sender and receiver.
    latest: BTreeMap<(usize, usize), usize>,
    duplicated: usize,
    disordered: usize,
    foreign: usize,
}

#[derive(Debug)]
struct Message {
    from: usize,
    to: usize,
    sent: Instant,
    /// Sent while nothing else was under way: its latency says something.
    alone: bool,
    arrival: Option<Arrival>,
    /// Whether it was delivered, once that is known.
    outcome: Option<bool>,
}

#[derive(Debug)]
struct Arrival {
    after: Duration,
    hops: u16,
}

/// The messages between members that live to the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub messages: usize,
    /// Acknowledged to the sender.
    pub delivered: usize,
    /// Never arrived.
    pub lost: usize,
    /// Arrived again, those of killed members included.
    pub duplicated: usize,
    /// Arrived after a later one of the same sender, those of killed members included.
    pub disordered: usize,
    /// Arrived where they were not sent to.
    pub foreign: usize,
    /// Took two hops or more.
    pub forwarded: usize,
    /// Time per hop of messages sent alone, in microseconds, ascending.
    pub hop_us: Vec<f64>,
}

impl Ledger {
    /// Notes a message about to be sent; returns its number.
    pub fn send(&mut self, from: usize, to: usize, alone: bool, now: Instant) -> usize {
        let number = self.messages.len();
        self.messages.push(Message {
            from,
            to,
            sent: now,
            alone,
            arrival: None,
            outcome: None,
        });
        self.waiting.insert(number);
        number
    }

    /// Notes that message `number` was handed out by member `at`, who says it is from `from`.
    pub fn received(&mut self, number: usize, from: usize, at: usize, hops: u16, now: Instant) {
        let Some(message) = self.messages.get_mut(number) else {
            self.foreign += 1;
            return;
        };
        if (message.from, message.to) != (from, at) {
            self.foreign += 1;
        } else if message.arrival.is_some() {
            self.duplicated += 1;
        } else {
            let after = now.saturating_duration_since(message.sent);
            message.arrival = Some(Arrival { after, hops });
            if !message.is_waiting() {
                self.waiting.remove(&number);
            }
            let latest = self.latest.entry((from, at)).or_insert(number);
            if number < *latest {
                self.disordered += 1;
            }
            *latest = number.max(*latest);
        }
    }

    /// Notes the outcome of message `number`.
    pub fn settled(&mut self, number: usize, delivered: bool) {
        if let Some(message) = self.messages.get_mut(number) {
            message.outcome = Some(delivered);
            if !message.is_waiting() {
                self.waiting.remove(&number);
            }
        }
    }

    /// How many messages wait for their arrival or outcome.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waits no longer for messages from or to `member`, which is dead; returns how many there
    /// are between members that `lives`.
    pub fn bury(&mut self, member: usize, lives: impl Fn(usize) -> bool) -> usize {
        let messages = &self.messages;
        self.waiting
            .retain(|&number| messages[number].from != member && messages[number].to != member);
        self.between(lives).count()
    }

    /// The account of the messages between members that `lives`.
    pub fn figures(&self, lives: impl Fn(usize) -> bool) -> Figures {
        let mut figures = Figures {
            messages: 0,
            delivered: 0,
            lost: 0,
            duplicated: self.duplicated,
            disordered: self.disordered,
            foreign: self.foreign,
            forwarded: 0,
            hop_us: Vec::new(),
        };
        for message in self.between(lives) {
            figures.messages += 1;
            figures.delivered += usize::from(message.outcome == Some(true));
            let Some(arrival) = &message.arrival else {
                figures.lost += 1;
                continue;
            };
            figures.forwarded += usize::from(arrival.hops >= 2);
            if message.alone {
                let hops = f64::from(arrival.hops.max(1));
                figures
                    .hop_us
                    .push(arrival.after.as_secs_f64() * 1e6 / hops);
            }
        }
        figures.hop_us.sort_by(f64::total_cmp);
        figures
    }

    fn between(&self, lives: impl Fn(usize) -> bool) -> impl Iterator<Item = &Message> {
        let messages = self.messages.iter();
        messages.filter(move |message| lives(message.from) && lives(message.to))
    }
}

impl Message {
    /// A message that failed is not waited for.
    fn is_waiting(&self) -> bool {
        match self.outcome {
            None => true,
            Some(true) => self.arrival.is_none(),
            Some(false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_is_counted() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let later = start + Duration::from_micros(300);
        let [a, b, c, d, e] = [(0, 1), (0, 1), (0, 1), (1, 0), (0, 2)]
            .map(|(from, to)| ledger.send(from, to, true, start));
        assert_eq!(ledger.waiting(), 5);
        ledger.received(b, 0, 1, 1, later);
        ledger.received(a, 0, 1, 3, later);
        ledger.received(b, 0, 1, 1, later);
        ledger.received(c, 1, 1, 1, later);
        ledger.received(99, 0, 1, 1, later);
        for number in [a, b, c, e] {
            ledger.settled(number, true);
        }
        ledger.settled(d, false);
        assert_eq!(ledger.waiting(), 2, "c and e have not arrived");
        assert_eq!(ledger.bury(2, |member| member != 2), 4);
        assert_eq!(ledger.waiting(), 1);
        let figures = ledger.figures(|member| member != 2);
        assert_eq!(
            figures,
            Figures {
                messages: 4,
                delivered: 3,
                lost: 2,
                duplicated: 1,
                disordered: 1,
                foreign: 2,
                forwarded: 1,
                hop_us: vec![100.0, 300.0],
            }
        );
    }
}
