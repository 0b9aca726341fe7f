//! Rates: how much of something is let through.

use core::time::Duration;

use crate::time::Timestamp;

/// So much per second, and so much at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per second, 0 for no limit.
    pub per_second: u32,
    /// Units at once. What costs more than that never passes.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        per_second: 0,
        burst: 0,
    };

    /// A limit.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// The time in which so many units come back; none if there is no limit.
    fn time_of(self, units: u32) -> Duration {
        let micros = (u64::from(units) * 1_000_000).checked_div(u64::from(self.per_second));
        Duration::from_micros(micros.unwrap_or(0))
    }
}

/// A token bucket, kept as the time at which it is full again: the virtual scheduling form of the
/// generic cell rate algorithm (ITU-T I.371, annex A). A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// Takes `units` out; if there are fewer it takes none, and the error is how long to wait
    /// until there are enough.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take(&mut self, now: Timestamp, rate: Rate, units: u32) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.time_of(units);
        let missing = full_at.since(now).saturating_sub(rate.time_of(rate.burst));
        if missing > Duration::ZERO {
            return Err(missing);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether nothing is missing: then a new bucket does as well.
    #[must_use]
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(10, 5);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(1000 * ms)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::default();
        for _ in 0..5 {
            assert_eq!(bucket.take(at(1000), RATE, 1), Ok(()));
        }
        let wait = Err(Duration::from_millis(100));
        assert_eq!(bucket.take(at(1000), RATE, 1), wait);
        assert_eq!(
            bucket.take(at(1099), RATE, 1),
            Err(Duration::from_millis(1))
        );
        assert_eq!(bucket.take(at(1100), RATE, 1), Ok(()));
        assert_eq!(bucket.take(at(1100), RATE, 1), wait);
        // What is refused costs nothing.
        let mut taken = 0;
        for ms in 1100..11_100 {
            taken += u32::from(bucket.take(at(ms), RATE, 1).is_ok());
        }
        assert_eq!(taken, 99);
    }

    #[test]
    fn a_full_bucket_holds_no_more_than_the_burst() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(0), RATE, 5), Ok(()));
        assert!(!bucket.is_full(at(499)));
        assert!(bucket.is_full(at(500)));
        assert_eq!(bucket.take(at(60_000), RATE, 5), Ok(()));
        assert!(bucket.take(at(60_000), RATE, 1).is_err());
        assert!(bucket.take(at(120_000), RATE, 6).is_err());
    }

    #[test]
    fn no_limit_lets_everything_through() {
        let mut bucket = Bucket::default();
        for _ in 0..1000 {
            assert_eq!(bucket.take(at(0), Rate::UNLIMITED, u32::MAX), Ok(()));
        }
        assert!(bucket.is_full(at(0)));
    }
}
