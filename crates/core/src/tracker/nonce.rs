//! The nonces that logins sign.

use alloc::string::String;

use data_encoding::HEXLOWER;
use rand::Rng;

/// Names one challenge; its nonce is computed again when the login comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Challenge(u64);

/// An endless row of nonces that nobody can foresee: the keyed BLAKE3 hash of a counter.
pub(super) struct Nonces {
    key: [u8; 32],
    counter: u64,
}

impl Nonces {
    pub(super) fn new<R: Rng + ?Sized>(rng: &mut R) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self { key, counter: 0 }
    }

    pub(super) fn next(&mut self) -> Challenge {
        self.counter += 1;
        Challenge(self.counter)
    }

    /// The nonce of `challenge`: 32 bytes as hexadecimal text.
    pub(super) fn text(&self, challenge: Challenge) -> String {
        let hash = blake3::keyed_hash(&self.key, &challenge.0.to_be_bytes());
        HEXLOWER.encode(hash.as_bytes())
    }
}

impl core::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The key is a secret.
        write!(f, "Nonces({})", self.counter)
    }
}
