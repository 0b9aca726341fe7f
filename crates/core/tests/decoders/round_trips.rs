//! decode(encode(x)) = x.

use circlet_core::identity::NodeId;
use circlet_core::wire::{Frame, FrameBuf, SignedSignal, TrackerMessage};
use circlet_fuzz::config;
use proptest::prelude::*;

use super::strategies::{frame, room, signal, tracker_message};

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn frames(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(Frame::decode(&bytes, &room()), Ok(frame.clone()));
        prop_assert_eq!(FrameBuf::from(frame).into_bytes(), bytes);
    }

    #[test]
    fn hop_counts(frame in frame(), hops: u16) {
        let changed = FrameBuf::from(frame.encode()).with_hops(hops);
        let value = FrameBuf::from(frame).with_hops(hops);
        prop_assert_eq!(changed.decode(&room()), value.decode(&room()));
    }

    #[test]
    fn signals(signal in signal()) {
        let text = serde_json::to_string(&signal).unwrap();
        prop_assert_eq!(SignedSignal::from_json(&text), Ok(signal));
    }

    #[test]
    fn messages_of_the_tracker(message in tracker_message()) {
        prop_assert_eq!(TrackerMessage::from_json(&message.to_json()), Ok(message));
    }

    #[test]
    fn node_ids(bytes: [u8; 32]) {
        let id = NodeId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}
