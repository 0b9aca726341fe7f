//! `circlet topology`: a room as its tracker sees it.

mod draw;
mod table;

use std::time::Duration;

use circlet_node::TrackerUrl;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Agent;

use crate::args::{Format, TopologyArgs};
use crate::failure::Failure;
use crate::output::print;
use table::{Overlay, Table};

/// Time for the tracker to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest table taken, in bytes: one of 10,000 members takes 15 MB.
const MAX_TABLE: u64 = 64 << 20;

/// Prints the room of the first tracker that answers.
pub fn run(args: &TopologyArgs, json: bool) -> Result<(), Failure> {
    let mut outcome = Err(Failure::Usage("name a --tracker".to_owned()));
    for tracker in &args.tracker {
        outcome = fetch(tracker, &args.room);
        if outcome.is_ok() {
            break;
        }
    }
    let text = outcome?;
    let default = if json { Format::Json } else { Format::Text };
    let format = args.format.unwrap_or(default);
    let table: Table = serde_json::from_str(&text)
        .map_err(|error| Failure::failed(format!("the tracker's table is none: {error}")))?;
    let overlay = Overlay::new(table);
    let drawing = match format {
        Format::Text => draw::text(&overlay),
        Format::Json => text,
        Format::Dot => draw::dot(&overlay),
        Format::Graphml => draw::graphml(&overlay),
    };
    print(drawing.trim_end());
    Ok(())
}

/// The table of `room` as JSON.
fn fetch(tracker: &TrackerUrl, room: &str) -> Result<String, Failure> {
    let url = room_url(tracker, room);
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let unreachable = |error: ureq::Error| {
        Failure::failed(format!(
            "tracker {tracker} does not answer: {error}; is it running there?"
        ))
    };
    let mut answer = agent.get(&url).call().map_err(unreachable)?;
    match answer.status().as_u16() {
        200 => answer
            .body_mut()
            .with_config()
            .limit(MAX_TABLE)
            .read_to_string()
            .map_err(unreachable),
        404 => Err(Failure::failed(format!(
            "nobody is in room {room} at tracker {tracker}"
        ))),
        status => Err(Failure::failed(format!(
            "tracker {tracker} answers with HTTP status {status}; is it a circlet tracker?"
        ))),
    }
}

/// Where a tracker serves the table: beside its WebSocket.
fn room_url(tracker: &TrackerUrl, room: &str) -> String {
    // Every such URL begins with ws: the s of wss makes https.
    let base = tracker.as_str().replacen("ws", "http", 1);
    let base = base.trim_end_matches('/').trim_end_matches("/ws");
    let room = utf8_percent_encode(room, NON_ALPHANUMERIC);
    format!("{base}/api/rooms/{room}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_fuzz::{corpus, fuzz_text};

    #[test]
    fn fuzz_tables() {
        let words = [
            "{",
            "}",
            "[",
            "]",
            "null",
            "\"members\":[",
            "\"links\":[",
            "\\u001b[2J",
            "\\\"",
        ];
        fuzz_text(corpus!("table"), 20_000, &words, |text| {
            if let Ok(table) = serde_json::from_str(text) {
                let overlay = Overlay::new(table);
                let drawings = [draw::text, draw::dot, draw::graphml].map(|draw| draw(&overlay));
                // What is printed must not steer a terminal.
                let steers = |c: char| c.is_control() && !['\n', '\t'].contains(&c);
                assert!(
                    drawings.iter().all(|drawing| !drawing.contains(steers)),
                    "{drawings:?}"
                );
            }
        });
    }

    #[test]
    fn the_table_is_beside_the_websocket() {
        for (tracker, url) in [
            ("ws://127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("ws://127.0.0.1:7700/", "http://127.0.0.1:7700"),
            ("wss://example.org/ws", "https://example.org"),
            ("wss://ws.example.org/a/ws", "https://ws.example.org/a"),
            ("ws://[::1]:7700", "http://[::1]:7700"),
        ] {
            let tracker = tracker.parse().unwrap();
            assert_eq!(
                room_url(&tracker, "game night?"),
                format!("{url}/api/rooms/game%20night%3F")
            );
        }
    }
}
