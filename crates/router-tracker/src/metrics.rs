//! Counts and gauges in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use std::sync::atomic::{AtomicU64, Ordering};

use circlet_core::tracker::Counters;

use crate::addresses::TooMuch;
use crate::hub::Totals;
use crate::session::Shared;

/// The media type of that format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What happens before the protocol begins.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: Count,
    pub(crate) no_room: Count,
    pub(crate) address_connections: Count,
    pub(crate) address_handshakes: Count,
    pub(crate) address_connects: Count,
    pub(crate) handshakes_busy: Count,
    pub(crate) handshakes_failed: Count,
    pub(crate) handshakes_timed_out: Count,
    pub(crate) heads_timed_out: Count,
    pub(crate) accept_failed: Count,
}

/// Counts up.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    pub(crate) fn turned_away(&self, why: TooMuch) {
        match why {
            TooMuch::Connections => &self.address_connections,
            TooMuch::Handshakes => &self.address_handshakes,
            TooMuch::Connects => &self.address_connects,
        }
        .add();
    }
}

/// Every number that the tracker has.
pub(crate) fn to_text(totals: &Totals, counts: &Counts, shared: &Shared) -> String {
    let Totals {
        clients,
        rooms,
        members,
        counters,
        slow_readers,
    } = *totals;
    let Counters {
        logins,
        refused,
        limited,
        full,
        superseded,
        signals_relayed,
        signals_unreachable,
        timed_out,
        login_timed_out,
    } = counters;
    let gauges = [
        (
            "clients",
            "Connections, those not logged in included.",
            clients,
        ),
        ("rooms", "Rooms with members.", rooms),
        ("members", "Members of all rooms.", members),
        (
            "queued_bytes",
            "Bytes that wait to be written to clients.",
            shared.waiting.bytes(),
        ),
        (
            "unread_bytes",
            "Bytes of messages that have begun to come.",
            shared.unread.load(Ordering::Relaxed),
        ),
    ];
    let counters = [
        ("logins_total", "Logins that succeeded.", logins),
        (
            "refused_total",
            "Logins and messages that were refused.",
            refused,
        ),
        (
            "limited_total",
            "Those of them that came too fast from an identity or address.",
            limited,
        ),
        (
            "full_total",
            "Those of them for which the tracker or the room was full.",
            full,
        ),
        (
            "superseded_total",
            "Sessions ended by a later one of the same identity.",
            superseded,
        ),
        (
            "signals_relayed_total",
            "Signals passed on.",
            signals_relayed,
        ),
        (
            "signals_unreachable_total",
            "Signals whose receiver was not here.",
            signals_unreachable,
        ),
        (
            "timed_out_total",
            "Clients closed because they had fallen silent.",
            timed_out,
        ),
        (
            "login_timed_out_total",
            "Clients closed because they had not logged in in time.",
            login_timed_out,
        ),
        (
            "connections_total",
            "Connections accepted, those turned away included.",
            counts.connections.get(),
        ),
        (
            "no_room_total",
            "Connections turned away because there were too many.",
            counts.no_room.get(),
        ),
        (
            "address_connections_total",
            "Connections turned away because their address had too many.",
            counts.address_connections.get(),
        ),
        (
            "address_handshakes_total",
            "Connections turned away because their address had too many that said nothing.",
            counts.address_handshakes.get(),
        ),
        (
            "address_connects_total",
            "Connections turned away because their address connected too often.",
            counts.address_connects.get(),
        ),
        (
            "handshakes_busy_total",
            "Connections turned away because too many were in their TLS handshake.",
            counts.handshakes_busy.get(),
        ),
        (
            "handshakes_failed_total",
            "TLS handshakes that failed.",
            counts.handshakes_failed.get(),
        ),
        (
            "handshakes_timed_out_total",
            "TLS handshakes that took too long.",
            counts.handshakes_timed_out.get(),
        ),
        (
            "heads_timed_out_total",
            "Connections closed because no request came in time.",
            counts.heads_timed_out.get(),
        ),
        (
            "accept_failed_total",
            "Times that a connection could not be accepted, for lack of descriptors most likely.",
            counts.accept_failed.get(),
        ),
        (
            "slow_readers_total",
            "Clients cut off because they did not read what they were sent.",
            slow_readers,
        ),
    ];
    let gauges = gauges.map(|(name, help, value)| (name, help, "gauge", value as u64));
    let counters = counters.map(|(name, help, value)| (name, help, "counter", value));
    let mut text = String::with_capacity(4096);
    for (name, help, kind, value) in gauges.into_iter().chain(counters) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# HELP circlet_tracker_{name} {help}\n\
             # TYPE circlet_tracker_{name} {kind}\n\
             circlet_tracker_{name} {value}\n"
        );
    }
    text
}
