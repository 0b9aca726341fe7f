//! How far a run is, in one line on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use circlet_simulator::run::Progress;

/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);

/// Time that the speed shown is the mean of.
const SPEED_WINDOW: Duration = Duration::from_secs(1);

/// Characters of the bar.
const WIDTH: usize = 24;

/// A bar that is drawn on stderr if that is a terminal.
pub struct Bar {
    terminal: bool,
    started: Instant,
    drawn: Option<Instant>,
    /// When the speed was last taken, and the events until then.
    taken: (Instant, u64),
    events_per_s: f64,
}

impl Bar {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            terminal: io::stderr().is_terminal(),
            started: now,
            drawn: None,
            taken: (now, 0),
            events_per_s: 0.0,
        }
    }

    /// Draws how far it is, now and then.
    pub fn show(&mut self, at: &Progress) {
        let now = Instant::now();
        let recent = |drawn: Instant| now.duration_since(drawn) < INTERVAL;
        if !self.terminal || self.drawn.is_some_and(recent) {
            return;
        }
        self.drawn = Some(now);
        let (since, before) = self.taken;
        let passed = now.duration_since(since);
        if passed >= SPEED_WINDOW || self.events_per_s == 0.0 {
            self.events_per_s = (at.events - before) as f64 / passed.as_secs_f64().max(1e-3);
            self.taken = (now, at.events);
        }
        let line = line(at, self.events_per_s, now.duration_since(self.started));
        // Nobody there to see it is no error.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(at: &Progress, events_per_s: f64, wall: Duration) -> String {
    if at.time_s == 0.0 {
        return format!("the overlay comes about, {} events", at.events);
    }
    let share = (at.time_s / at.duration_s).clamp(0.0, 1.0);
    let done = (share * WIDTH as f64) as usize;
    let left_s = wall.as_secs_f64() * (1.0 - share) / share;
    format!(
        "[{}{}] {:.1} of {} s, {} members, {:.2} M events/s, {} left",
        "#".repeat(done),
        ".".repeat(WIDTH - done),
        at.time_s,
        at.duration_s,
        at.living,
        events_per_s / 1e6,
        time(left_s)
    )
}

fn time(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    if seconds < 100 {
        format!("{seconds} s")
    } else {
        format!("{} min", seconds.div_ceil(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_time_speed_and_what_is_left() {
        let at = Progress {
            time_s: 15.0,
            duration_s: 60.0,
            events: 1_000_000,
            living: 64,
        };
        assert_eq!(
            line(&at, 2_500_000.0, Duration::from_secs(10)),
            "[######..................] 15.0 of 60 s, 64 members, 2.50 M events/s, 30 s left"
        );
        let before = Progress { time_s: 0.0, ..at };
        let text = line(&before, 0.0, Duration::ZERO);
        assert!(text.contains("comes about"), "{text}");
        assert_eq!(time(121.0), "3 min");
    }
}
