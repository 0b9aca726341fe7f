//! No message is delivered twice.
//!
//! Source: DESIGN, section 7: a datagram arrives at most once, a reliable message exactly once in
//! effect, a broadcast and a circulated message once. Checked whenever an application gets a
//! message.

use std::collections::BTreeSet;

/// The name of the invariant.
pub const NAME: &str = "delivered once";

/// Of those messages of a stream that have the content that came, the first one that the
/// receiver does not have yet; `None` if it has them all.
pub(super) fn first_new(same: &[u64], received: &BTreeSet<u64>) -> Option<u64> {
    same.iter().copied().find(|index| !received.contains(index))
}

pub(super) fn violation(message: &str) -> String {
    format!("{message} twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_may_come_as_often_as_it_was_sent() {
        let sent = [3, 5];
        assert_eq!(first_new(&sent, &BTreeSet::from([1])), Some(3));
        assert_eq!(first_new(&sent, &BTreeSet::from([3])), Some(5));
        assert_eq!(first_new(&sent, &BTreeSet::from([3, 5])), None);
    }
}
