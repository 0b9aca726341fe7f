//! What one member has received.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::Stamp;

/// Counts the messages of each sender.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tally {
    /// By the number of the sender.
    pub senders: Vec<Stream>,
    /// From each sender's call to this member's hand, in microseconds.
    pub latency_us: Vec<u32>,
    /// When the first of these was sent, by [`machine_time`](crate::usage::machine_time).
    pub first_sent: Duration,
    /// Messages of nobody, or with numbers that are not sent.
    pub foreign: usize,
    /// Messages that a sender may have sent.
    most: usize,
}

/// What has come from one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Different messages.
    pub received: usize,
    /// Came again.
    pub duplicated: usize,
    /// Came after a later one.
    pub out_of_order: usize,
    /// The longest time between two that came one after the other, in milliseconds.
    pub longest_gap_ms: f64,
    /// By [`machine_time`](crate::usage::machine_time).
    pub last_came: Duration,
    #[serde(skip)]
    seen: Vec<bool>,
}

impl Tally {
    /// Nothing yet of so many senders, each of which sends `most` messages at most.
    pub fn new(senders: u16, most: usize) -> Self {
        Self {
            senders: vec![Stream::default(); usize::from(senders)],
            latency_us: Vec::new(),
            first_sent: Duration::MAX,
            foreign: 0,
            most,
        }
    }

    /// Counts a message that has come at `now`.
    pub fn receive(&mut self, stamp: Stamp, now: Duration) {
        let stream = self.senders.get_mut(usize::from(stamp.sender));
        let Some(stream) = stream.filter(|_| stamp.number < self.most) else {
            self.foreign += 1;
            return;
        };
        if stream.seen.get(stamp.number) == Some(&true) {
            stream.duplicated += 1;
            return;
        }
        if stamp.number < stream.seen.len() {
            stream.out_of_order += 1;
        } else {
            stream.seen.resize(stamp.number + 1, false);
        }
        stream.seen[stamp.number] = true;
        if stream.received > 0 {
            let gap = now.saturating_sub(stream.last_came);
            stream.longest_gap_ms = stream.longest_gap_ms.max(gap.as_secs_f64() * 1e3);
        }
        self.first_sent = self.first_sent.min(stamp.sent);
        stream.received += 1;
        stream.last_came = now;
        let latency = now.saturating_sub(stamp.sent).as_micros();
        self.latency_us
            .push(u32::try_from(latency).unwrap_or(u32::MAX));
    }

    /// How many different messages have come of each sender.
    pub fn received(&self) -> Vec<usize> {
        self.senders.iter().map(|stream| stream.received).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_counted_for_what_it_is() {
        let mut tally = Tally::new(2, 10);
        let ms = Duration::from_millis;
        let mut receive = |sender, number, now| {
            let sent = ms(100);
            let stamp = Stamp {
                sender,
                number,
                sent,
            };
            tally.receive(stamp, ms(now));
        };
        for (sender, number, now) in [
            (1, 0, 101),
            (1, 2, 103),
            (1, 1, 140),
            (1, 2, 180),
            (0, 0, 200),
            (0, 10, 200),
            (2, 0, 200),
        ] {
            receive(sender, number, now);
        }
        assert_eq!(tally.received(), [1, 3]);
        let stream = &tally.senders[1];
        assert_eq!((stream.duplicated, stream.out_of_order), (1, 1));
        assert!((stream.longest_gap_ms - 37.0).abs() < 1e-6);
        assert_eq!(tally.foreign, 2);
        assert_eq!(tally.latency_us, [1000, 3000, 40_000, 100_000]);
    }
}
