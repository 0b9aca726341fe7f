//! Counts messages for a while.

use std::time::{Duration, Instant};

use crate::usage::cpu_time;

/// Time before counting begins: windows open, buffers fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// How much came through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// In 1,000,000 bytes per second.
    pub mb_per_s: f64,
    pub messages_per_s: f64,
    /// Of the whole process, per 1,000,000,000 bytes.
    pub cpu_s_per_gb: f64,
}

/// Counts what arrives from [`WARM_UP`] after its start on, for a given time.
pub struct Meter {
    from: Instant,
    time: Duration,
    counted: Option<Counted>,
}

struct Counted {
    start: Instant,
    cpu: Duration,
    bytes: u64,
    messages: u64,
}

impl Meter {
    pub fn start(time: Duration) -> Self {
        Self {
            from: Instant::now() + WARM_UP,
            time,
            counted: None,
        }
    }

    /// Counts one message; the result once the time is over.
    pub fn count(&mut self, bytes: usize) -> Option<Throughput> {
        let now = Instant::now();
        let Some(counted) = &mut self.counted else {
            if now >= self.from {
                self.counted = Some(Counted {
                    start: now,
                    cpu: cpu_time(),
                    bytes: 0,
                    messages: 0,
                });
            }
            return None;
        };
        counted.bytes += bytes as u64;
        counted.messages += 1;
        let elapsed = now - counted.start;
        if elapsed < self.time {
            return None;
        }
        let seconds = elapsed.as_secs_f64();
        let cpu = cpu_time().saturating_sub(counted.cpu).as_secs_f64();
        Some(Throughput {
            mb_per_s: counted.bytes as f64 / 1e6 / seconds,
            messages_per_s: counted.messages as f64 / seconds,
            cpu_s_per_gb: cpu / (counted.bytes as f64 / 1e9),
        })
    }
}
