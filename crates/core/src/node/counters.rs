//! What a node counts.

/// Counts since the node started. Every refusal has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages passed on for others: unicast, broadcast and circulated ones.
    pub forwarded: u64,
    /// Messages given to the application.
    pub received: u64,
    /// Messages that were not passed on: hop limit, no way, no room in a link's queue.
    pub dropped: u64,
    /// Repeats that were recognised and dropped.
    pub repeats: u64,
    /// Reliable messages sent again.
    pub retransmitted: u64,
    /// Frames that could not be read or came where they must not.
    pub bad_frames: u64,
    /// Signals refused: not genuine, wrong receiver, expired, repeats.
    pub bad_signals: u64,
    /// Presence records, broadcasts and circulated messages whose signature did not hold.
    pub bad_signatures: u64,
    /// Connection attempts that ended in a link.
    pub links_opened: u64,
    /// Connection attempts that did not, and links that a peer closed for a breach of the protocol.
    pub links_failed: u64,
    /// Links lost because the other side fell silent.
    pub links_timed_out: u64,
    /// Signals, frames and answers that were dropped because a peer or a tracker wants too many, and
    /// records that a member told too often.
    pub throttled: u64,
    /// Frames in the name of members that they cannot be from.
    pub forged: u64,
    /// Links that this node closed because the peer broke the protocol or did not stop.
    pub cut_off: u64,
}
