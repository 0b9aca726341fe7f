//! What applications send.

use std::time::Duration;

use bytes::Bytes;
use circlet_core::identity::NodeId;
use circlet_core::node::{Class, Command, CommandId, Input, InputError};

use super::Simulation;
use crate::invariants::ledger::{OUTCOME_SLACK, Sending};
use crate::world::NodeIndex;

/// Messages.
impl Simulation {
    /// Sends a reliable message.
    ///
    /// # Errors
    /// What the node says, if it refuses.
    pub fn send(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        payload: impl Into<Bytes>,
    ) -> Result<CommandId, InputError> {
        let to = self.node_id(to);
        self.command(from, Class::Reliable, Some(to), payload.into())
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// What the node says, if it refuses.
    pub fn datagram(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        payload: impl Into<Bytes>,
    ) -> Result<CommandId, InputError> {
        let to = self.node_id(to);
        self.command(from, Class::Datagram, Some(to), payload.into())
    }

    /// Sends a message to everybody.
    ///
    /// # Errors
    /// What the node says, if it refuses.
    pub fn broadcast(
        &mut self,
        from: NodeIndex,
        payload: impl Into<Bytes>,
    ) -> Result<CommandId, InputError> {
        self.command(from, Class::Broadcast, None, payload.into())
    }

    /// Sends a message once round the ring.
    ///
    /// # Errors
    /// What the node says, if it refuses.
    pub fn circulate(
        &mut self,
        from: NodeIndex,
        payload: impl Into<Bytes>,
    ) -> Result<CommandId, InputError> {
        self.command(from, Class::Circulate, None, payload.into())
    }

    fn command(
        &mut self,
        from: NodeIndex,
        class: Class,
        to: Option<NodeId>,
        payload: Bytes,
    ) -> Result<CommandId, InputError> {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        let host = &mut self.hosts[from.0 as usize];
        let patience = match class {
            Class::Reliable => host.config().message_deadline,
            Class::Circulate => host.config().circulate_timeout,
            Class::Datagram | Class::Broadcast => Duration::ZERO,
        };
        let sender = host.session();
        self.world.ledger.send(Sending {
            sender,
            id,
            class,
            to,
            payload: payload.clone(),
            at: self.world.now,
            due: self.world.now + patience + OUTCOME_SLACK,
        });
        let command = match (class, to) {
            (Class::Reliable, Some(to)) => Command::Reliable {
                id,
                to,
                payload,
                deadline: None,
            },
            (Class::Datagram, Some(to)) => Command::Datagram { id, to, payload },
            (Class::Circulate, _) => Command::Circulate { id, payload },
            _ => Command::Broadcast { id, payload },
        };
        match host.handle(Input::Command(command), &mut self.world) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.world.ledger.withdraw(sender, id);
                Err(error)
            }
        }
    }
}
