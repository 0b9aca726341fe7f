//! Known bugs, to prove that what looks for bugs finds them. None of this is in a build without
//! the feature `planted-bugs`, and with it a bug has to be asked for.

/// A bug that a node can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Small rings have no mode of their own: lists go on past their owner, round and round.
    UncutLists,
    /// Nobody notifies a new successor.
    UnsaidRepair,
    /// A dead predecessor stays until a nearer one comes: Rectify as Chord first had it.
    KeptDeadPredecessor,
    /// Rectify believes what others say of a predecessor, without contact of its own.
    HearsayPredecessor,
    /// Of the reliable messages that were delivered only the last four are recognised.
    ShortMemory,
    /// A link's id is given again once the link has gone.
    ReusedLinkId,
    /// When both sides offer, both go on with their own offer, and answer the other's.
    GlareBothWin,
}
