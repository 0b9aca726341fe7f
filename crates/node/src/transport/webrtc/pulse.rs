//! When the WebRTC stack sleeps, and how long.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use webrtc::runtime::{Runtime, TokioRuntime};

/// The longest sleep of a stack that hurries (measured; see [`Pulse::hurry`]).
const HASTY_SLEEP: Duration = Duration::from_millis(1);

/// The most such sleeps of one link: a handshake that takes longer is not held up by them.
const MAX_HASTY_SLEEPS: u16 = 1000;

/// What a link and the task that runs its stack tell each other.
///
/// The stack does all it can see to do and then sleeps until something arrives or a timer of
/// its own is due. It does not see everything; the methods say what.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How many short sleeps are left; [`NOT_YET`] before the first.
    hasty_sleeps: AtomicU16,
    again: AtomicBool,
    beat: Notify,
}

const NOT_YET: u16 = u16::MAX;

impl Default for Pulse {
    fn default() -> Self {
        Self {
            hasty_sleeps: AtomicU16::new(NOT_YET),
            again: AtomicBool::new(false),
            beat: Notify::new(),
        }
    }
}

impl Pulse {
    /// Keeps the stack from sleeping long, for a second or two, unless it has done so before.
    ///
    /// When a path is found it does not see that DTLS can go on, and then SCTP and the channels:
    /// up to 200 ms each (measured: 605 ms for a link instead of 4).
    pub(super) fn hurry(&self) {
        // Fails if it has.
        let _ = self.hasty_sleeps.compare_exchange(
            NOT_YET,
            MAX_HASTY_SLEEPS,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Lets it sleep as long as it likes, from now on for ever.
    pub(super) fn calm(&self) {
        self.hasty_sleeps.store(0, Ordering::Relaxed);
    }

    /// Makes the stack look at its timers instead of sleeping the next time.
    ///
    /// Once it has left messages in SCTP because too many waited to be read, it goes back for
    /// them only when a packet arrives or a timer is due, and from a sender whose window is
    /// closed no packet will.
    pub(super) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Waits until the stack has done all it could and sleeps: acknowledgements that arrived are
    /// counted then.
    pub(super) async fn beat(&self) {
        self.beat.notified().await;
    }

    /// A sleep of the stack, of `duration` or less.
    pub(super) fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.beat.notify_waiters();
        if self.again.swap(false, Ordering::Relaxed) {
            return Box::pin(ready(()));
        }
        let hasty_sleeps = self.hasty_sleeps.load(Ordering::Relaxed);
        if !(1..=MAX_HASTY_SLEEPS).contains(&hasty_sleeps) {
            return TokioRuntime.sleep(duration);
        }
        self.hasty_sleeps.store(hasty_sleeps - 1, Ordering::Relaxed);
        // Whatever ends this sleep is looked at twice: what follows from it comes second.
        self.again.store(true, Ordering::Relaxed);
        TokioRuntime.sleep(duration.min(HASTY_SLEEP))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// How long the stack sleeps, on a clock that is advanced when nothing else is to be done.
    async fn sleep(pulse: &Pulse) -> Duration {
        let start = tokio::time::Instant::now();
        pulse.sleep(LONG).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stack_that_hurries_sleeps_shortly_and_looks_twice() {
        let pulse = Pulse::default();
        assert_eq!(sleep(&pulse).await, LONG);
        pulse.hurry();
        for _ in 0..3 {
            assert_eq!(sleep(&pulse).await, HASTY_SLEEP);
            assert_eq!(sleep(&pulse).await, Duration::ZERO);
        }
        pulse.calm();
        pulse.hurry();
        assert_eq!(sleep(&pulse).await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn it_hurries_for_a_while_only() {
        let pulse = Pulse::default();
        pulse.hurry();
        for _ in 0..2 * MAX_HASTY_SLEEPS {
            assert!(sleep(&pulse).await <= HASTY_SLEEP);
        }
        assert_eq!(sleep(&pulse).await, LONG);
        pulse.hurry();
        assert_eq!(sleep(&pulse).await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn looking_again_skips_one_sleep() {
        let pulse = Pulse::default();
        pulse.look_again();
        assert_eq!(sleep(&pulse).await, Duration::ZERO);
        assert_eq!(sleep(&pulse).await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn every_sleep_is_a_beat() {
        let pulse = Pulse::default();
        let beat = pulse.beat();
        tokio::pin!(beat);
        let mut context = Context::from_waker(Waker::noop());
        assert!(beat.as_mut().poll(&mut context).is_pending());
        sleep(&pulse).await;
        beat.await;
    }
}
