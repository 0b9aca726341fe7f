//! Nothing is lost between members that stayed.
//!
//! Source: DESIGN, section 7: what two living members say to each other reliably is delivered,
//! and a broadcast is received by everybody who stays connected. Checked at the end of a quiet
//! time, for what was sent in it.

use std::collections::BTreeSet;

use circlet_core::Timestamp;
use circlet_core::node::Class;

use super::ledger::{Entry, Ledger, Outcome};
use crate::world::Session;

/// The name of the invariant.
pub const NAME: &str = "nothing lost";

/// Checks that every reliable message sent from `since` on from one of `living` to another was
/// delivered, and every broadcast received by all of them who were members when it was sent.
///
/// # Errors
/// The first message that was lost, for people.
pub fn check(ledger: &Ledger, since: Timestamp, living: &BTreeSet<Session>) -> Result<(), String> {
    let was_member = |receiver: &Session, entry: &Entry| {
        let joined = ledger.joined(receiver);
        joined.is_some_and(|joined| joined <= entry.at)
    };
    for (sender, id, entry) in ledger.commands() {
        if entry.at < since || !living.contains(&sender) {
            continue;
        }
        let stream = ledger.stream(&entry.key);
        let missed = living.iter().find(|receiver| {
            let meant = match entry.class {
                Class::Reliable => entry.key.to == Some(receiver.node),
                Class::Broadcast => receiver.node != sender.node,
                Class::Datagram | Class::Circulate => false,
            };
            let got = stream.is_some_and(|stream| stream.is_received_by(receiver, entry.index));
            let told = entry.class != Class::Reliable || entry.outcome == Some(Outcome::Delivered);
            meant && was_member(receiver, entry) && !(got && told)
        });
        if let Some(receiver) = missed {
            return Err(format!(
                "{receiver} missed {} {} of {sender} ({id:?}), sent at {}, outcome {:?}",
                entry.class.name(),
                entry.index,
                entry.at,
                entry.outcome
            ));
        }
    }
    Ok(())
}
