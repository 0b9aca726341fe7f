//! What is said between the benchmark and its members, in JSON lines.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use circlet_core::Topology;
use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::node::protocol::Report;

/// To a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Become a member of the room.
    Join {
        number: u16,
        members: u16,
        tracker: String,
        topology: Topology,
        /// Messages that any member will send at most.
        messages: usize,
    },
    /// Begin to count, and broadcast so many messages.
    Begin {
        messages: usize,
        size: usize,
        /// Messages a second; as many as go if there is none.
        rate: Option<f64>,
    },
    /// Tell what has come.
    Tell,
}

/// From a member.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    Account(Account),
    /// The same as of any member.
    Node(Report),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "account", rename_all = "kebab-case")]
pub enum Account {
    /// Now and then while something changes.
    Progress {
        sent: usize,
        /// Different messages that have come, by the number of their sender.
        received: Vec<usize>,
    },
    /// The answer to [`Order::Tell`].
    Total(Box<Total>),
}

/// What one member has seen.
#[derive(Debug, Serialize, Deserialize)]
pub struct Total {
    pub tally: Tally,
    /// CPU time of the process since it was told to begin.
    pub cpu_s: f64,
    /// Resident memory at its highest.
    pub peak_bytes: Option<u64>,
    /// The longest time between two messages that it has sent.
    pub longest_pause_ms: f64,
    /// Frames that came again, over another link.
    pub repeats: u64,
    /// Events that it has not read in time.
    pub missed: u64,
}

/// What stands in a message: who sent it, its number from 0, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub sender: u16,
    pub number: usize,
    /// By [`machine_time`](crate::usage::machine_time).
    pub sent: Duration,
}

impl Stamp {
    /// Bytes that it takes.
    pub const SIZE: usize = 16;

    /// A message of `size` bytes, or as many as the stamp takes.
    pub fn message(self, size: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(size.max(Self::SIZE));
        bytes.put_u64((u64::from(self.sender) << 48) | self.number as u64);
        bytes.put_u64(u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX));
        bytes.resize(size.max(Self::SIZE), 0x5a);
        bytes.freeze()
    }

    /// The stamp of a message; `None` if it is none of these.
    pub fn of(message: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = message.get(at..at + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        let (name, sent) = (word(0)?, word(8)?);
        Some(Self {
            sender: u16::try_from(name >> 48).ok()?,
            number: usize::try_from(name & ((1 << 48) - 1)).ok()?,
            sent: Duration::from_nanos(sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp {
            sender: 513,
            number: 70_000,
            sent: Duration::from_nanos(1_234_567_890_123),
        };
        for size in [0, 16, 200] {
            let message = stamp.message(size);
            assert_eq!(message.len(), size.max(Stamp::SIZE));
            assert_eq!(Stamp::of(&message), Some(stamp));
        }
        assert_eq!(Stamp::of(&[0; 15]), None);
    }
}
