//! Messages of one sender are received in the order they were sent in.
//!
//! Source: DESIGN, section 7: reliable messages to one receiver, and broadcasts, are in order per
//! sender; gaps where one has expired are allowed. Datagrams and circulated messages may overtake
//! each other. Checked whenever an application gets a message.

use circlet_core::node::Class;

/// The name of the invariant.
pub const NAME: &str = "order per sender";

/// `last` is the greatest number in its stream that the receiver has, `index` that of the message
/// that came.
pub(super) fn check(class: Class, last: Option<u64>, index: u64) -> Result<(), String> {
    let ordered = matches!(class, Class::Reliable | Class::Broadcast);
    match last {
        Some(last) if ordered && last > index => {
            Err(format!("its message {index} came after {last}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_promised_order_is_demanded() {
        for class in [Class::Reliable, Class::Broadcast] {
            assert!(check(class, None, 4).is_ok());
            assert!(check(class, Some(3), 5).is_ok());
            assert!(check(class, Some(5), 3).is_err());
        }
        for class in [Class::Datagram, Class::Circulate] {
            assert!(check(class, Some(5), 3).is_ok());
        }
    }
}
