//! Nothing is received that was not sent, or by somebody it was not sent to.
//!
//! Source: DESIGN, section 7: a message is from its sender, to its receiver, with its content.
//! Checked whenever an application gets a message.

/// The name of the invariant.
pub const NAME: &str = "received as sent";

pub(super) fn violation(message: &str) -> String {
    format!("{message}, and no message with that content was sent to it")
}
