//! How much may wait within SCTP.

use std::time::Duration;

use tokio::time::Instant;

use super::peer::SEND_BUFFER;

/// The longest time that a message may wait behind others within SCTP (DESIGN, section 4).
const MAX_QUEUEING: Duration = Duration::from_millis(200);

/// The least window, in bytes: one record of the largest size.
const MIN_WINDOW: usize = 64 << 10;

/// The window before anything is known about the path: 1 s at 2 Mbit/s. Guess.
const FIRST_WINDOW: usize = 256 << 10;

/// The longest time between looks for what is seen to have happened at the later one.
const MAX_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Limits the bytes that SCTP has and the peer has not acknowledged.
///
/// SCTP sends all ordered channels from one queue, so that whatever it holds delays every later
/// message. Like LEDBAT (RFC 6817) this measures how much longer the way to the
/// acknowledgement takes than it took at best, which is the time spent in queues, and keeps that
/// near a target; unlike it, the window is halved or doubled, since SCTP has a congestion window
/// of its own and only the order of magnitude matters.
#[derive(Debug)]
pub(super) struct Pacer {
    window: usize,
    /// Bytes handed to SCTP in all.
    handed: u64,
    /// Bytes of them that were unacknowledged at the last look.
    unacknowledged: usize,
    /// Bytes handed over since.
    unseen: usize,
    /// The end of what had been handed over at some time, and that time.
    mark: Option<(u64, Instant)>,
    last_look: Option<Instant>,
    /// The shortest time that a mark took to be acknowledged.
    shortest: Option<Duration>,
}

impl Pacer {
    /// A pacer for a path that nothing is known about.
    pub(super) const fn new() -> Self {
        Self {
            window: FIRST_WINDOW,
            handed: 0,
            unacknowledged: 0,
            unseen: 0,
            mark: None,
            last_look: None,
            shortest: None,
        }
    }

    /// Whether another record may be handed over, as far as known without a look.
    pub(super) const fn has_room(&self) -> bool {
        self.unacknowledged + self.unseen < self.window
    }

    /// The bytes that are to be handed over at once at most: a part of what may wait, since a
    /// record is read only when the last of it has arrived.
    pub(super) const fn largest_record(&self) -> usize {
        self.window / 4
    }

    /// A record of `bytes` was handed over.
    pub(super) fn handed(&mut self, now: Instant, bytes: usize) {
        self.handed += bytes as u64;
        self.unseen += bytes;
        self.mark.get_or_insert((self.handed, now));
    }

    /// A look: `unacknowledged` bytes of what was handed over are not acknowledged.
    pub(super) fn look(&mut self, now: Instant, unacknowledged: usize) {
        self.unacknowledged = unacknowledged;
        self.unseen = 0;
        let since_last = self
            .last_look
            .replace(now)
            .map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let Some((end, at)) = self.mark else { return };
        if since_last > MAX_LOOK_INTERVAL {
            // Nobody was looking when it was acknowledged.
            self.mark = None;
        } else if self.handed.saturating_sub(unacknowledged as u64) >= end {
            self.mark = None;
            self.took(now.saturating_duration_since(at));
        }
    }

    fn took(&mut self, time: Duration) {
        let shortest = self.shortest.map_or(time, |shortest| shortest.min(time));
        self.shortest = Some(shortest);
        self.window = if time - shortest > MAX_QUEUEING {
            (self.window / 2).max(MIN_WINDOW)
        } else {
            (self.window * 2).min(SEND_BUFFER)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that passes on `rate` bytes a second and adds `delay` to the acknowledgement.
    struct Path {
        rate: u64,
        delay: Duration,
    }

    impl Path {
        /// Sends as much as the pacer allows for `time`, looking each 2 ms: the most bytes that
        /// were unacknowledged in the last quarter, and the bytes acknowledged in all.
        fn saturate(&self, pacer: &mut Pacer, time: Duration) -> (usize, u64) {
            const FRAME: usize = 16240;
            let start = Instant::now();
            // When each frame under way will have been acknowledged.
            let mut under_way = std::collections::VecDeque::new();
            let mut line_free = start;
            let (mut most, mut acknowledged) = (0, 0);
            let mut now = start;
            while now < start + time {
                while under_way.front().is_some_and(|at| *at <= now) {
                    under_way.pop_front();
                    acknowledged += FRAME as u64;
                }
                pacer.look(now, under_way.len() * FRAME);
                while pacer.has_room() {
                    let micros = FRAME as u64 * 1_000_000 / self.rate;
                    line_free = line_free.max(now) + Duration::from_micros(micros);
                    under_way.push_back(line_free + self.delay);
                    pacer.handed(now, FRAME);
                }
                if now > start + time * 3 / 4 {
                    most = most.max(under_way.len() * FRAME);
                }
                now += Duration::from_millis(2);
            }
            (most, acknowledged)
        }
    }

    #[test]
    fn a_slow_uplink_is_not_filled_for_seconds() {
        let path = Path {
            rate: 1_000_000,
            delay: Duration::from_millis(20),
        };
        let (most, acknowledged) = path.saturate(&mut Pacer::new(), Duration::from_secs(20));
        assert!(most < 600_000, "{most} bytes wait: more than half a second");
        assert!(acknowledged > 18_000_000, "{acknowledged} bytes of 20 MB");
    }

    #[test]
    fn a_long_fast_path_gets_the_whole_window() {
        let path = Path {
            rate: 100_000_000,
            delay: Duration::from_millis(400),
        };
        let mut pacer = Pacer::new();
        let (most, _) = path.saturate(&mut pacer, Duration::from_secs(10));
        assert!(most >= SEND_BUFFER);
        assert!(most < SEND_BUFFER + MIN_WINDOW, "never more than the limit");
    }

    #[test]
    fn a_pause_is_not_taken_for_a_queue() {
        let mut pacer = Pacer::new();
        let start = Instant::now();
        pacer.look(start, 0);
        pacer.handed(start, 1000);
        pacer.look(start + Duration::from_millis(5), 0);
        let window = pacer.window;
        pacer.handed(start + Duration::from_millis(6), 1000);
        pacer.look(start + Duration::from_secs(60), 0);
        assert_eq!(pacer.window, window);
    }
}
