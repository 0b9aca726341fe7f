//! A core's time, as tokio's.

use std::time::Duration;

use circlet_core::Timestamp;
use tokio::time::Instant;

/// When a core has its time zero. By tokio's clock, as all timers are: a test may pause it.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    /// Time zero is now.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// The present.
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When a core's time comes.
    pub(crate) fn instant(self, timestamp: Timestamp) -> Instant {
        self.0 + Duration::from_micros(timestamp.as_micros())
    }
}
