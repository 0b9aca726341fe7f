//! Every command has exactly one outcome, of its kind, in time, and a true one.
//!
//! Source: DESIGN, section 7: a reliable message ends in exactly one of delivered (taken by the
//! receiver's application), expired, failed; a circulated one comes back or times out. Checked
//! when an outcome is told, and at any time for those that are overdue.

use circlet_core::Timestamp;
use circlet_core::node::Class;

use super::ledger::{Ledger, Outcome};
use crate::world::Session;

/// The name of the invariant.
pub const NAME: &str = "one outcome";

/// `before` is the outcome that the command had already, `received` whether anybody has got its
/// message.
pub(super) fn check(
    class: Class,
    before: Option<Outcome>,
    outcome: Outcome,
    received: bool,
) -> Result<(), String> {
    let fits = match class {
        Class::Datagram | Class::Broadcast => outcome == Outcome::Sent,
        Class::Circulate => matches!(outcome, Outcome::Circulated { .. }),
        Class::Reliable => matches!(
            outcome,
            Outcome::Delivered | Outcome::Expired | Outcome::Failed
        ),
    };
    if !fits || before.is_some() {
        let class = class.name();
        return Err(format!("{outcome:?} of a {class} after {before:?}"));
    }
    if outcome == Outcome::Delivered && !received {
        return Err("is delivered, and was not received".into());
    }
    Ok(())
}

/// While its sender runs, no command is without an outcome longer than it may be.
pub(super) fn check_in_time(
    ledger: &Ledger,
    now: Timestamp,
    running: impl Fn(Session) -> bool,
) -> Result<(), String> {
    let overdue = ledger
        .open()
        .take_while(|(.., entry)| now > entry.due)
        .find(|(sender, ..)| running(*sender));
    match overdue {
        Some((sender, id, entry)) => Err(format!(
            "{sender}: {id:?}, {} of {}, was due at {} and has no outcome",
            entry.class.name(),
            entry.at,
            entry.due
        )),
        None => Ok(()),
    }
}
