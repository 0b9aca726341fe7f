//! The timer of the event loop.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A timer that may be armed again and again. It may expire too early, never too late: the core
/// takes spurious calls, and setting a timer back costs more.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self {
            sleep: Box::pin(sleep(Duration::ZERO)),
            armed: None,
        }
    }

    pub(crate) fn arm(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.sleep.as_mut().reset(deadline);
            self.armed = Some(deadline);
        }
    }

    pub(crate) async fn expire(&mut self) {
        if self.armed.is_none() {
            pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.armed = None;
    }
}
