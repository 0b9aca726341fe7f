//! decode(encode(x)) = x.

use bytes::Bytes;
use circlet_core::identity::NodeId;
use circlet_core::wire::{
    Frame, FrameBuf, MAX_RECORD, PACKET, Packer, Record, SignedSignal, TrackerMessage, Unpacker,
};
use circlet_fuzz::config;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::strategies::{bytes_of_frames, frame, limit, room, signal, tracker_message};

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
    fn records(frames in bytes_of_frames(), limits in vec(limit(), 1..40), cuts in vec(any::<Index>(), 0..20)) {
        let records = pack(&frames, &limits);
        let completed: usize = records.iter().map(|record| record.completed).sum();
        prop_assert_eq!(completed, frames.iter().map(Bytes::len).sum::<usize>());
        let records: Vec<_> = records.into_iter().map(|record| record.bytes.freeze()).collect();
        prop_assert_eq!(unpack(&records), &frames[..]);

        // However else the stream is cut.
        let stream = Bytes::from(records.concat());
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        let mut start = 0;
        let pieces = ends.into_iter().map(|end| stream.slice(std::mem::replace(&mut start, end)..end));
        prop_assert_eq!(unpack(&pieces.collect::<Vec<_>>()), frames);
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

/// Records of these frames. Between one frame and the next there may be room for some, each with
/// its limit.
fn pack(frames: &[Bytes], limits: &[Option<usize>]) -> Vec<Record> {
    let mut packer = Packer::default();
    let mut limits = limits.iter().chain([&None]).cycle();
    let mut records = Vec::new();
    for frame in frames {
        packer.push(frame.clone()).unwrap();
        while let Some(Some(limit)) = limits.next() {
            let record = packer.pop(*limit);
            if let Some(record) = &record {
                let is_whole = record.bytes.len().is_multiple_of(PACKET);
                assert!(record.bytes.len() <= MAX_RECORD && (is_whole || packer.waiting() == 0));
            }
            records.extend(record);
        }
    }
    records.extend(std::iter::from_fn(|| packer.pop(MAX_RECORD)));
    records
}

fn unpack(records: &[Bytes]) -> Vec<Bytes> {
    let mut unpacker = Unpacker::default();
    let mut frames = Vec::new();
    for record in records {
        unpacker.push(record.clone());
        frames.extend(std::iter::from_fn(|| unpacker.pop().unwrap()));
    }
    frames
}
