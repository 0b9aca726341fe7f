//! Nobody's queues hold more than they may.
//!
//! Source: DESIGN, section 2: every queue is bounded. What each may hold is a setting. Checked at
//! any time.

use circlet_core::Config;
use circlet_core::node::Snapshot;

/// The name of the invariant.
pub const NAME: &str = "queue bounds";

/// Checks how full a node's queues are.
///
/// # Errors
/// Which one holds too much, and how much, for people.
pub fn check(node: &Snapshot, config: &Config) -> Result<(), String> {
    let queues = &node.queues;
    for (what, count, most) in [
        ("bytes for a link", queues.link_bytes, config.link_queue),
        (
            "messages to a member",
            queues.messages,
            config.queue_messages,
        ),
        (
            "bytes to a member",
            queues.message_bytes,
            config.queue_bytes,
        ),
        ("streams", queues.streams, config.streams),
        (
            "senders of broadcasts",
            queues.broadcast_streams,
            config.streams,
        ),
        // Broadcasts have as much room as messages.
        ("bytes behind gaps", node.held_bytes, 2 * config.held_bytes),
        (
            "records of members",
            node.members.len(),
            config.max_presence,
        ),
    ] {
        if count > most {
            return Err(format!("{:?} has {count} {what} of {most}", node.node));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    #[test]
    fn a_queue_that_holds_too_much_is_found() {
        let config = Config {
            max_presence: 8,
            ..Config::default()
        };
        let node = &ideal(9, 4)[0];
        assert_eq!(check(node, &config), Ok(()));
        let faults: [fn(&mut Snapshot); 7] = [
            |node| node.queues.link_bytes = (4 << 20) + 1,
            |node| node.queues.messages = 8193,
            |node| node.queues.message_bytes = (8 << 20) + 1,
            |node| node.queues.streams = 4097,
            |node| node.queues.broadcast_streams = 4097,
            |node| node.held_bytes = (64 << 20) + 1,
            |node| node.members.push(node.members[0].clone()),
        ];
        for fault in faults {
            let mut node = node.clone();
            fault(&mut node);
            assert!(check(&node, &config).is_err());
        }
    }
}
