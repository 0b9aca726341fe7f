//! Records: how frames travel on an ordered channel.
//!
//! What such a channel carries is a stream of frames, each with its length before it in two bytes,
//! big endian. The stream is cut into records, and each record is one message of the data channel;
//! where a record ends says nothing about where a frame does. So small frames share packets and
//! the work that each message takes, and large ones fill whole packets. Records are as large
//! as what waits to be sent, and no larger than [`MAX_RECORD`]; whoever receives takes any size.
//!
//! Neither half waits for anything: a [`Packer`] makes a record of what there is, and an
//! [`Unpacker`] gives every frame that is complete.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{MAX_FRAME, WireError};

/// The bytes of a data-channel message that fit one packet. A whole number of them lets a stack
/// send runs of packets of one size at once, which saves half of the time that they take (measured;
/// see `docs/PERFORMANCE.md`).
pub const PACKET: usize = 1160;

/// The largest record, in bytes: 56 packets. Every WebRTC implementation takes messages of 64 KiB.
pub const MAX_RECORD: usize = 56 * PACKET;

/// Bytes of the length before a frame.
const LENGTH: usize = size_of::<u16>();

// Otherwise the length of a frame would not fit.
const _: () = assert!(MAX_FRAME <= u16::MAX as usize);

/// The sending half of a channel.
#[derive(Debug, Default)]
pub struct Packer {
    frames: VecDeque<Bytes>,
    /// How much of the first frame, with its length, went into earlier records.
    begun: usize,
    /// What is still to go, in bytes of the stream.
    waiting: usize,
}

/// A message for the data channel.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Its bytes.
    pub bytes: BytesMut,
    /// The bytes of the frames that end in it, without their lengths.
    pub completed: usize,
}

impl Packer {
    /// Adds a frame behind the others. It is kept, not copied, until records take it.
    ///
    /// # Errors
    /// [`WireError`] if it is empty, or larger than [`MAX_FRAME`].
    pub fn push(&mut self, frame: Bytes) -> Result<(), WireError> {
        check(frame.len())?;
        self.waiting += LENGTH + frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// What waits to be sent, in bytes of the stream.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next record: all that waits, or as many whole packets of it as fit `limit` and
    /// [`MAX_RECORD`], at least one. `None` if nothing waits.
    pub fn pop(&mut self, limit: usize) -> Option<Record> {
        if self.waiting == 0 {
            return None;
        }
        let packets = limit.min(MAX_RECORD) / PACKET;
        let size = self.waiting.min(packets.max(1) * PACKET);
        self.waiting -= size;
        let mut bytes = BytesMut::with_capacity(size);
        let mut completed = 0;
        while bytes.len() < size
            && let Some(frame) = self.frames.front()
        {
            let length = u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes();
            let mut rest = length.chain(&frame[..]);
            rest.advance(self.begun);
            let part = rest.remaining().min(size - bytes.len());
            bytes.put(rest.take(part));
            self.begun += part;
            if self.begun == LENGTH + frame.len() {
                completed += frame.len();
                self.begun = 0;
                self.frames.pop_front();
            }
        }
        Some(Record { bytes, completed })
    }
}

/// The receiving half of a channel. Besides a record it holds one frame that is not complete.
///
/// Give it a record, then take frames until there are none, then give it the next. After an error
/// nothing that comes can be read: the link is to be closed.
#[derive(Debug, Default)]
pub struct Unpacker {
    /// What has not been read of the last record.
    record: Bytes,
    /// The size that it had.
    size: usize,
    length: [u8; LENGTH],
    /// How many bytes of the next frame's length are known.
    known: usize,
    /// The beginning of the next frame, from earlier records.
    begun: Vec<u8>,
}

impl Unpacker {
    /// Adds a record. What has not been taken of the last one is lost.
    pub fn push(&mut self, record: Bytes) {
        self.size = record.len();
        self.record = record;
    }

    /// The next frame; `None` if more records are needed.
    ///
    /// A frame that is most of its record shares the record's bytes, which nobody else holds once
    /// the record is read: it can be changed in place. Others are copied, since whoever keeps one
    /// would keep up to 64 KiB for it.
    ///
    /// # Errors
    /// [`WireError`] if its length is zero or above [`MAX_FRAME`], and ever after.
    pub fn pop(&mut self) -> Result<Option<Bytes>, WireError> {
        while self.known < LENGTH && self.record.has_remaining() {
            self.length[self.known] = self.record.get_u8();
            self.known += 1;
        }
        let frame = if self.known < LENGTH {
            None
        } else {
            let length = usize::from(u16::from_be_bytes(self.length));
            check(length)?;
            self.content(length)
        };
        if frame.is_some() {
            self.known = 0;
        }
        if self.record.is_empty() {
            // An empty part of a record would still hold the whole.
            self.record = Bytes::new();
        }
        Ok(frame)
    }

    /// The content of the next frame, which has this length.
    fn content(&mut self, length: usize) -> Option<Bytes> {
        if self.begun.is_empty() && length <= self.record.len() && length > self.size / 2 {
            return Some(self.record.split_to(length));
        }
        if self.begun.is_empty() {
            self.begun.reserve_exact(length);
        }
        let part = self.record.len().min(length - self.begun.len());
        self.begun.extend_from_slice(&self.record[..part]);
        self.record.advance(part);
        (self.begun.len() == length).then(|| core::mem::take(&mut self.begun).into())
    }
}

fn check(length: usize) -> Result<(), WireError> {
    match length {
        0 => Err(WireError::Malformed),
        1..=MAX_FRAME => Ok(()),
        bytes => Err(WireError::TooLarge {
            bytes,
            limit: MAX_FRAME,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn packer(lengths: &[usize]) -> Packer {
        let mut packer = Packer::default();
        for &length in lengths {
            packer.push(vec![7; length].into()).unwrap();
        }
        packer
    }

    fn sizes(packer: &mut Packer, limit: usize) -> Vec<(usize, usize)> {
        core::iter::from_fn(|| packer.pop(limit))
            .map(|record| (record.bytes.len(), record.completed))
            .collect()
    }

    fn unpacked(unpacker: &mut Unpacker, record: &[u8]) -> Vec<Bytes> {
        unpacker.push(Bytes::copy_from_slice(record));
        core::iter::from_fn(|| unpacker.pop().unwrap()).collect()
    }

    #[test]
    fn all_that_waits_is_one_record_up_to_the_limit() {
        assert_eq!(
            sizes(&mut packer(&[1, 500, 3]), MAX_RECORD),
            [(510, 504)],
            "what is there goes at once, whatever its size"
        );
        assert_eq!(
            sizes(&mut packer(&[40_000, 20_000, 10_000]), MAX_RECORD),
            [(MAX_RECORD, 60_000), (70_006 - MAX_RECORD, 10_000)]
        );
        let mut slow = packer(&[1160, 1160]);
        assert_eq!(slow.waiting(), 2324);
        assert_eq!(sizes(&mut slow, 2000), [(1160, 0), (1160, 1160), (4, 1160)]);
        assert_eq!(slow.waiting(), 0);
        assert_eq!(sizes(&mut packer(&[2]), 0), [(4, 2)], "at least one packet");
        assert_eq!(sizes(&mut packer(&[MAX_FRAME]), usize::MAX).len(), 2);
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let mut packer = Packer::default();
        packer.push(Bytes::from_static(b"ab")).unwrap();
        packer.push(vec![1; 258].into()).unwrap();
        let record = packer.pop(MAX_RECORD).unwrap().bytes;
        assert_eq!(record[..7], [0, 2, b'a', b'b', 1, 2, 1]);
        assert_eq!(record.len(), 264);
    }

    #[test]
    fn frames_that_are_none_are_not_packed() {
        let mut packer = Packer::default();
        assert_eq!(packer.push(Bytes::new()), Err(WireError::Malformed));
        let large = WireError::TooLarge {
            bytes: MAX_FRAME + 1,
            limit: MAX_FRAME,
        };
        assert_eq!(packer.push(vec![0; MAX_FRAME + 1].into()), Err(large));
        assert_eq!(packer.pop(MAX_RECORD), None);
    }

    #[test]
    fn a_length_may_be_cut_in_two() {
        let mut unpacker = Unpacker::default();
        assert!(unpacked(&mut unpacker, &[0]).is_empty());
        assert!(unpacked(&mut unpacker, &[]).is_empty());
        assert!(unpacked(&mut unpacker, &[3]).is_empty());
        assert!(unpacked(&mut unpacker, &[1, 2]).is_empty());
        assert_eq!(
            unpacked(&mut unpacker, &[3, 0, 1, 9, 0]),
            [&[1, 2, 3][..], &[9]]
        );
        assert_eq!(unpacked(&mut unpacker, &[1, 8]), [&[8][..]]);
    }

    #[test]
    fn a_bad_length_is_an_error_for_ever() {
        let [high, low] = u16::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
        for (length, error) in [
            ([0, 0], WireError::Malformed),
            (
                [high, low],
                WireError::TooLarge {
                    bytes: MAX_FRAME + 1,
                    limit: MAX_FRAME,
                },
            ),
        ] {
            let mut unpacker = Unpacker::default();
            unpacker.push([&[0, 1, 5], &length[..], &[0, 1, 6]].concat().into());
            assert_eq!(unpacker.pop(), Ok(Some(Bytes::from_static(&[5]))));
            assert_eq!(unpacker.pop(), Err(error.clone()));
            unpacker.push(Bytes::from_static(&[0, 1, 6]));
            assert_eq!(unpacker.pop(), Err(error));
        }
    }

    #[test]
    fn only_what_is_most_of_a_record_is_not_copied_and_then_it_can_be_changed() {
        let mut packer = packer(&[100, 3000, 100]);
        let record = packer.pop(MAX_RECORD).unwrap().bytes.freeze();
        let bytes = record.as_ptr_range();
        let mut unpacker = Unpacker::default();
        unpacker.push(record);
        let frames: Vec<_> = core::iter::from_fn(|| unpacker.pop().unwrap()).collect();
        let is_shared = frames.iter().map(|frame| bytes.contains(&frame.as_ptr()));
        assert!(is_shared.eq([false, true, false]));
        assert!(frames.into_iter().all(|frame| frame.try_into_mut().is_ok()));
    }
}
