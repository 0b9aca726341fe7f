//! What members say of themselves, and hints to those whose ring differs from the table.

use core::time::Duration;

use super::clients::Session;
use super::registry::{Among, Direction, Registry, Report};
use super::{ClientId, Tracker};
use crate::time::Timestamp;

/// How long a member's report may differ from the table before it gets a hint, and the least
/// time between two. A joining or repairing ring settles in less (DESIGN, section 9). Guess.
const HINT_INTERVAL: Duration = Duration::from_secs(2);

impl<T: Registry> Tracker<T> {
    pub(super) fn on_announce(
        &mut self,
        now: Timestamp,
        client: ClientId,
        session: Session,
        report: Report,
    ) {
        let differs = self.differs(&session, &report);
        self.registry.report(&session.room, session.place, report);

        let Some(session) = self.clients.session_mut(client) else {
            return;
        };
        if !differs {
            session.differs_since = None;
            return;
        }
        let since = *session.differs_since.get_or_insert(now);
        let is_due = |at: Timestamp| now.since(at) >= HINT_INTERVAL;
        if is_due(since) && session.hinted.is_none_or(is_due) {
            session.hinted = Some(now);
            let session = *session;
            self.send_assigned(client, &session);
        }
    }

    /// Whether the member is outside the ring, or has other neighbours in it than the table:
    /// two rings that know nothing of each other look so.
    fn differs(&self, session: &Session, report: &Report) -> bool {
        let next = |direction| {
            self.registry
                .walk(&session.room, session.place, direction, Among::Joined)
                .next()
                .map(|place| place.id)
        };
        !report.member
            || report.successor != next(Direction::Clockwise)
            || report.predecessor != next(Direction::CounterClockwise)
    }
}
