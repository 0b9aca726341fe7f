//! What an engine offers to the executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use circlet_core::Timestamp;

use crate::network::TrackerReach;
use crate::results::{Results, Sample};
use crate::scenario::TrafficKind;
use crate::world::NodeIndex;

/// An overlay in virtual time, at some level of detail.
///
/// Members are named by [`NodeIndex`], in the order of starting from 0. The executor tells the
/// world what befalls it and what its members send; the world lets time pass, and measures. It
/// gives the same answers for the same scenario and seed, on however many threads it runs.
pub trait World {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Events handled so far.
    fn events(&self) -> u64;

    /// Starts the members that the scenario begins with, and lets the overlay become right, for
    /// as long as the scenario allows. When it returns is the scenario's time zero. Not called
    /// if members join one after another.
    ///
    /// # Errors
    /// Why the overlay is not right, for people. It may be used nevertheless.
    fn begin(&mut self, stop: &Stop) -> Result<(), String>;

    /// Starts a member, which joins.
    fn spawn(&mut self) -> NodeIndex;

    /// Ends members at the same instant, without a word. If `noticed`, their links are closed at
    /// once, as by their kernels.
    fn crash(&mut self, members: &[NodeIndex], noticed: bool);

    /// Lets members leave.
    fn leave(&mut self, members: &[NodeIndex]);

    /// Starts members again that have ended.
    fn restart(&mut self, members: &[NodeIndex]);

    /// Cuts the network into these groups of members. Replaces any partition before.
    fn partition(&mut self, groups: &[Vec<NodeIndex>], trackers: TrackerReach);

    /// Ends a partition.
    fn heal(&mut self);

    /// Crashes a tracker, or starts it again.
    fn set_tracker_up(&mut self, tracker: u16, up: bool);

    /// Loses this share of all messages from now on.
    fn set_loss(&mut self, share: f64);

    /// Has a message sent, now or later; in the order of the times, and before time passes them.
    fn send(&mut self, send: Send);

    /// Lets time pass up to `end`, or until `stop` says so.
    fn run_to(&mut self, end: Timestamp, stop: &Stop);

    /// Whether a member runs.
    fn is_living(&self, member: NodeIndex) -> bool;

    /// The members that run, in ring order.
    fn ring_order(&self) -> Vec<NodeIndex>;

    /// The member that a number in the scenario stands for; see
    /// [`Victims::Members`](crate::scenario::Victims).
    fn member(&self, number: u32) -> NodeIndex {
        NodeIndex(number)
    }

    /// Looks at the overlay now, and checks the invariants that must always hold. The executor
    /// fills in the time; the messages are counted at the end.
    fn sample(&mut self) -> Sample;

    /// Bytes and messages count from now on.
    fn start_measuring(&mut self);

    /// Draws the overlay, and measures its graph, as they are now. `origin` is the scenario's time
    /// zero.
    fn draw(&mut self, origin: Timestamp);

    /// Fills in what the world has measured: traffic, population, the messages of the series,
    /// load, members, graph and drawing, violations, events. `centre` is the member whose load is
    /// wanted besides that of the busiest one.
    fn finish(&mut self, origin: Timestamp, centre: Option<NodeIndex>, results: &mut Results);
}

/// A message that a member is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// When.
    pub at: Timestamp,
    /// What sort.
    pub kind: TrafficKind,
    /// Who sends it.
    pub from: NodeIndex,
    /// Who is meant; `None` is all.
    pub to: Option<NodeIndex>,
    /// Random bits, for what it looks for if it is a lookup.
    pub word: u64,
    /// The content, in bytes.
    pub bytes: usize,
}

/// Says whether a run is to end early. Its clones say the same.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Lets the run end as soon as it can, with what is known so far.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What says so, for engines that know no more.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
