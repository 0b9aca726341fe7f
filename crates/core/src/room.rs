//! Rooms: the groups that rings are made of.

use alloc::string::String;
use core::fmt;

use data_encoding::BASE32_NOPAD_NOCASE;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::identity::base32;

/// The longest name of a room, in bytes.
pub const MAX_ROOM_NAME: usize = 64;

/// A room's 32-byte id: of an open room the hash of its name.
///
/// A closed room's id will be the public half of its room key; see DESIGN, section 3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId([u8; 32]);

impl RoomId {
    /// The id of the open room called `name`: BLAKE3 in derive-key mode over the name.
    #[must_use]
    pub fn open(name: &str) -> Self {
        Self(blake3::derive_key(
            "circlet 2026-11 open room",
            name.as_bytes(),
        ))
    }

    /// An id from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Whether `name` can name a room: 1 to [`MAX_ROOM_NAME`] bytes, no control characters and no
/// `/`, which would not fit into a path of the tracker's HTTP interface.
#[must_use]
pub fn is_room_name(name: &str) -> bool {
    (1..=MAX_ROOM_NAME).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == '/')
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({})", &base32(&self.0[..5]))
    }
}

impl Serialize for RoomId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for RoomId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            BASE32_NOPAD_NOCASE
                .decode(text.as_bytes())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(Self)
                .ok_or_else(|| de::Error::custom("a room id is 52 characters of a-z and 2-7"))
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert!(is_room_name("game night"));
        for bad in ["", "a/b", "a\n", &"x".repeat(MAX_ROOM_NAME + 1)] {
            assert!(!is_room_name(bad), "{bad:?}");
        }
        assert_ne!(RoomId::open("a"), RoomId::open("b"));
    }
}
