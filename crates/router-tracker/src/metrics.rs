//! Counts and gauges in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use circlet_core::tracker::Counters;

use crate::hub::Totals;

/// The media type of that format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every number that the tracker has.
pub(crate) fn to_text(totals: &Totals) -> String {
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
        superseded,
        signals_relayed,
        signals_unreachable,
        timed_out,
    } = counters;
    let gauges = [
        (
            "clients",
            "Connections, those not logged in included.",
            clients,
        ),
        ("rooms", "Rooms with members.", rooms),
        ("members", "Members of all rooms.", members),
    ];
    let counters = [
        ("logins_total", "Logins that succeeded.", logins),
        (
            "refused_total",
            "Logins and messages that were refused.",
            refused,
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
            "slow_readers_total",
            "Clients cut off because they did not read what they were sent.",
            slow_readers,
        ),
    ];
    let gauges = gauges.map(|(name, help, value)| (name, help, "gauge", value as u64));
    let counters = counters.map(|(name, help, value)| (name, help, "counter", value));
    let mut text = String::with_capacity(2048);
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
