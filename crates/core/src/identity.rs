//! Who a member is: an Ed25519 key that it keeps, and the text forms of what follows from it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use data_encoding::{BASE32_NOPAD_NOCASE, BASE64URL_NOPAD};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A member's secret: its Ed25519 key (RFC 8032).
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    id: NodeId,
}

impl Identity {
    /// The identity of a 32-byte Ed25519 seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let id = NodeId(key.verifying_key().to_bytes());
        Self { key, id }
    }

    /// The seed, to be kept secret.
    #[must_use]
    pub fn to_seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.id
    }

    /// Signs `message` under `purpose`, so that a signature made for one purpose is none for
    /// another.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> Signature {
        Signature(self.key.sign(&purpose.bind(message)).to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id.short())
    }
}

/// What a signature is for. Its text precedes the signed bytes, ended by a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A login at a tracker.
    Login,
    /// An offer, an answer, a candidate.
    Signal,
    /// A presence record.
    Presence,
    /// A broadcast.
    Broadcast,
    /// A circulated message.
    Circulate,
}

impl Purpose {
    /// The text that is signed first.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Login => "circlet.v1 login",
            Self::Signal => "circlet.v1 signal",
            Self::Presence => "circlet.v1 presence",
            Self::Broadcast => "circlet.v1 broadcast",
            Self::Circulate => "circlet.v1 circulate",
        }
    }

    fn bind(self, message: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(self.text().len() + 1 + message.len());
        bound.extend_from_slice(self.text().as_bytes());
        bound.push(0);
        bound.extend_from_slice(message);
        bound
    }
}

/// A member's name to the protocol: its 32-byte Ed25519 public key.
///
/// The text form is base32 (RFC 4648, section 6) in lower case without padding, 52 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// A NodeId from the bytes of a public key. Whether they are one shows when a signature is
    /// verified.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 characters of the text form, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = base32(&self.0[..5]);
        text.truncate(8);
        text
    }

    /// Whether `signature` is this member's over `message` under `purpose` (RFC 8032, with the
    /// strict checks of `ed25519-dalek`: no small-order keys, no malleable signatures).
    #[must_use]
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(&purpose.bind(message), &signature)
                .is_ok()
        })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A text that is no NodeId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNodeIdError;

impl fmt::Display for ParseNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a NodeId is 52 characters of a-z and 2-7")
    }
}

impl core::error::Error for ParseNodeIdError {}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE32_NOPAD_NOCASE
            .decode(text.as_bytes())
            .map_err(|_| ParseNodeIdError)?;
        bytes.try_into().map(Self).map_err(|_| ParseNodeIdError)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// An Ed25519 signature, 64 bytes; in JSON base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// A signature from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes, R then S (RFC 8032, section 5.1.6).
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
        } else {
            let (r, s) = self.0.split_at(32);
            (
                <&[u8; 32]>::try_from(r).map_err(serde::ser::Error::custom)?,
                <&[u8; 32]>::try_from(s).map_err(serde::ser::Error::custom)?,
            )
                .serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let bytes = BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(de::Error::custom)?;
            bytes
                .try_into()
                .map(Self)
                .map_err(|_| de::Error::custom("a signature is 64 bytes"))
        } else {
            let halves = <[[u8; 32]; 2]>::deserialize(deserializer)?;
            let mut bytes = [0; 64];
            bytes.copy_from_slice(halves.as_flattened());
            Ok(Self(bytes))
        }
    }
}

/// Which session of an identity: grows with every start. The greater one wins everywhere.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The incarnation of a session that starts at `unix_ms`, after `last` (the one kept from
    /// the session before): `max(unix_ms, last + 1)`. A clock set back does no harm.
    #[must_use]
    pub fn next(unix_ms: u64, last: Option<Self>) -> Self {
        Self(last.map_or(unix_ms, |last| unix_ms.max(last.0.saturating_add(1))))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut text = BASE32_NOPAD_NOCASE.encode(bytes);
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_forms_come_back() {
        let id = Identity::from_seed(&[7; 32]).node_id();
        let text = id.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert!(text.starts_with(&id.short()) && id.short().len() == 8);
        for bad in ["", "a", &text[1..], &alloc::format!("{text}a"), "ö"] {
            assert_eq!(bad.parse::<NodeId>(), Err(ParseNodeIdError), "{bad}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = a.sign(Purpose::Login, b"hello");
        assert!(a.node_id().verify(Purpose::Login, b"hello", &signature));
        assert!(!a.node_id().verify(Purpose::Login, b"hellO", &signature));
        assert!(!a.node_id().verify(Purpose::Signal, b"hello", &signature));
        assert!(!b.node_id().verify(Purpose::Login, b"hello", &signature));
    }

    #[test]
    fn an_incarnation_always_grows() {
        assert_eq!(Incarnation::next(5, None), Incarnation(5));
        assert_eq!(Incarnation::next(5, Some(Incarnation(9))), Incarnation(10));
        assert_eq!(Incarnation::next(50, Some(Incarnation(9))), Incarnation(50));
    }
}
