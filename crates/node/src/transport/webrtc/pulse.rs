//! When the WebRTC stack sleeps, and how long.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use webrtc::runtime::{Runtime, TokioRuntime};

/// The longest sleep of a stack that hurries (measured; see [`Pulse::hurry`]).
const HASTY_SLEEP: Duration = Duration::from_millis(1);

/// The most such sleeps of one link: a handshake that takes longer is not held up by them.
const MAX_HASTY_SLEEPS: u16 = 1000;

/// Stacks that are idle wake at multiples of this, all of a thread together: each looks at its
/// path every 200 ms, whatever it is told, and a dozen of them would be most of what an idle member
/// does. Their other timers are 200 ms (acknowledging a lone packet; RFC 9260, section 6.2, allows
/// 500) and a second or more (sending one again).
const TICK: Duration = Duration::from_millis(290);

/// Shorter sleeps are no timers of a protocol.
const MIN_TIMER: Duration = Duration::from_millis(10);

/// More sleeps within a second make a stack busy: a dozen are usual. Its timers are kept exactly, for
/// a sender may wait for them: what was lost is sent again after a second, then two.
const BUSY: u16 = 64;

/// For how long a stack that was busy is taken to be.
const BUSY_FOR: Duration = Duration::from_secs(5);

/// What a link and the task that runs its stack tell each other.
///
/// The stack does all it can see to do and then sleeps until something arrives or a timer of
/// its own is due. It does not see everything; the methods say what.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How many short sleeps are left; [`NOT_YET`] before the first, [`CALM`] after [`Pulse::calm`].
    hasty_sleeps: AtomicU16,
    again: AtomicBool,
    /// Sleeps within a second, and when that has begun, in microseconds since [`ORIGIN`].
    sleeps: AtomicU16,
    counted_from: AtomicU64,
    /// Until when the stack is busy, likewise.
    busy_until: AtomicU64,
    beat: Notify,
}

const NOT_YET: u16 = u16::MAX;
const CALM: u16 = u16::MAX - 1;

impl Default for Pulse {
    fn default() -> Self {
        Self {
            hasty_sleeps: AtomicU16::new(NOT_YET),
            again: AtomicBool::new(false),
            sleeps: AtomicU16::new(0),
            counted_from: AtomicU64::new(0),
            busy_until: AtomicU64::new(0),
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

    /// Lets it sleep as long as it likes, and up to a tick longer, from now on for ever.
    pub(super) fn calm(&self) {
        self.hasty_sleeps.store(CALM, Ordering::Relaxed);
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

    /// A sleep of the stack, of `duration` more or less.
    pub(super) fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.beat.notify_waiters();
        if self.again.swap(false, Ordering::Relaxed) {
            return Box::pin(ready(()));
        }
        let hasty_sleeps = self.hasty_sleeps.load(Ordering::Relaxed);
        match hasty_sleeps {
            1..=MAX_HASTY_SLEEPS => {}
            CALM if duration >= MIN_TIMER => return TokioRuntime.sleep(self.calm_sleep(duration)),
            _ => return TokioRuntime.sleep(duration),
        }
        self.hasty_sleeps.store(hasty_sleeps - 1, Ordering::Relaxed);
        // Whatever ends this sleep is looked at twice: what follows from it comes second.
        self.again.store(true, Ordering::Relaxed);
        TokioRuntime.sleep(duration.min(HASTY_SLEEP))
    }

    /// How long a calm stack sleeps instead of `duration`: until a tick, unless it is busy.
    fn calm_sleep(&self, duration: Duration) -> Duration {
        let elapsed = ORIGIN.with(Instant::elapsed);
        let now = micros(elapsed);
        let mut sleeps = self.sleeps.load(Ordering::Relaxed).saturating_add(1);
        if now >= self.counted_from.load(Ordering::Relaxed) + micros(Duration::from_secs(1)) {
            self.counted_from.store(now, Ordering::Relaxed);
            sleeps = 1;
        }
        self.sleeps.store(sleeps, Ordering::Relaxed);
        if sleeps > BUSY {
            let until = now + micros(BUSY_FOR);
            self.busy_until.store(until, Ordering::Relaxed);
        }
        if now < self.busy_until.load(Ordering::Relaxed) {
            return duration;
        }
        let end = micros(elapsed + duration).next_multiple_of(micros(TICK));
        Duration::from_micros(end).saturating_sub(elapsed)
    }
}

thread_local! {
    /// From where ticks count.
    static ORIGIN: Instant = Instant::now();
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
        assert!(sleep(&pulse).await >= LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn calm_stacks_wake_together() {
        let (one, other) = (Pulse::default(), Pulse::default());
        one.calm();
        other.calm();
        let sleep = async |pulse: &Pulse, duration| {
            let start = Instant::now();
            pulse.sleep(duration).await;
            let slept = start.elapsed();
            // Timers are as fine as a millisecond.
            let most = duration + TICK + Duration::from_millis(1);
            assert!((duration..=most).contains(&slept), "{slept:?}");
            Instant::now()
        };
        for (before, longer) in [(0, 0), (200, 100), (3, 1200), (0, 70)] {
            let [before, longer] = [before, longer].map(Duration::from_millis);
            tokio::time::sleep(before).await;
            let look = Duration::from_millis(200);
            let (a, b) = tokio::join!(sleep(&one, look), sleep(&other, look + longer));
            let apart = b.duration_since(a).as_millis() % TICK.as_millis();
            assert!(apart <= 1 || apart + 1 >= TICK.as_millis(), "{apart} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_stack_is_woken_on_time_for_a_while() {
        let pulse = Pulse::default();
        pulse.calm();
        let look = Duration::from_millis(200);
        for _ in 0..=BUSY {
            drop(pulse.sleep(look));
        }
        let begin = Instant::now();
        while begin.elapsed() + look < BUSY_FOR {
            let start = Instant::now();
            pulse.sleep(look).await;
            assert_eq!(start.elapsed(), look);
        }
        // Those of its first second have made it busy, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        pulse.sleep(look).await;
        pulse.sleep(look).await;
        assert!(start.elapsed() > 2 * look + Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn short_sleeps_of_a_calm_stack_are_exact() {
        let pulse = Pulse::default();
        pulse.calm();
        let (start, short) = (Instant::now(), Duration::from_millis(1));
        pulse.sleep(short).await;
        assert_eq!(start.elapsed(), short);
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
