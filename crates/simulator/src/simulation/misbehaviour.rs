//! Members that misbehave: what a process says that its node would not.

use circlet_core::identity::Identity;
use circlet_core::node::{Channel, Input, TrackerId};
use circlet_core::wire::{Frame, FrameBuf, SignedSignal, TrackerMessage};

use super::Simulation;
use crate::world::NodeIndex;

/// What becomes of a frame that a node sends: another one, or none.
pub type Tamper = fn(Frame) -> Option<Frame>;

/// Misbehaviour. From the first of these calls on it is no fault of anybody's that a peer breaks the
/// protocol; see [`Simulation::check`].
impl Simulation {
    /// A node's key, for what it signs besides what it should.
    #[must_use]
    pub fn identity(&self, node: NodeIndex) -> &Identity {
        self.host(node).identity()
    }

    /// Sends a frame over the link of `from` with `to`, without its node; `false` if there is none.
    pub fn inject(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        channel: Channel,
        frame: impl Into<FrameBuf>,
    ) -> bool {
        self.world.misbehaviour = true;
        let to = self.node_id(to);
        self.hosts[from.0 as usize].inject(to, channel, frame.into(), &mut self.world)
    }

    /// Sends a message to a tracker over the connection of `from`, without its node.
    pub fn inject_to_tracker(
        &mut self,
        from: NodeIndex,
        tracker: TrackerId,
        message: TrackerMessage,
    ) {
        self.world.misbehaviour = true;
        self.hosts[from.0 as usize].inject_to_tracker(tracker, message, &mut self.world);
    }

    /// Lets a tracker pass a signal on to `to` that it may have made up, changed or kept.
    pub fn inject_signal(&mut self, to: NodeIndex, tracker: TrackerId, signal: SignedSignal) {
        self.world.misbehaviour = true;
        let message = TrackerMessage::Signal { signal };
        let input = Input::Tracker { tracker, message };
        // What it says to that is in its counters.
        let _ = self.hosts[to.0 as usize].handle(input, &mut self.world);
    }

    /// Changes every frame that a node sends from now on.
    pub fn tamper(&mut self, node: NodeIndex, how: Tamper) {
        self.world.misbehaviour = true;
        self.hosts[node.0 as usize].tamper(how);
    }
}
