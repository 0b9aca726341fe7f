//! What the native driver reads besides frames, signals and tracker messages: identity files, trackers'
//! URLs, and the descriptions and candidates of peers, which the WebRTC stack reads for it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Instant;

use circlet_fuzz::{corpus, fuzz, fuzz_text};
use circlet_node::{IdentityFile, TrackerUrl};
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;

/// Some seconds for each target.
const INPUTS: u32 = 20_000;

/// Each takes a connection of its own, some 100 us.
const DESCRIPTIONS: u32 = 10_000;

#[test]
fn fuzz_identity_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.pem");
    let file = IdentityFile::new(&path);
    // Makes it, with the mode that is wanted.
    let first = file.load_or_create().unwrap().node_id();
    let words = [
        "-----BEGIN PRIVATE KEY-----\n",
        "-----END PRIVATE KEY-----\n",
        "====",
        "\r",
    ];
    fuzz(corpus!("identity"), INPUTS, &words, |bytes| {
        // Not emptied first: some file systems would wait for the disk each time.
        let mut written = OpenOptions::new().write(true).open(&path).unwrap();
        written.write_all(bytes).unwrap();
        written.set_len(bytes.len() as u64).unwrap();
        if let Err(error) = file.load() {
            let error = error.to_string();
            assert!(
                error.contains("identity.pem") && !error.contains('\n'),
                "{error}"
            );
        }
    });
    fs::remove_file(&path).unwrap();
    assert_ne!(first, file.load_or_create().unwrap().node_id());
}

#[test]
fn fuzz_tracker_urls() {
    let words = [
        "ws://", "wss://", "http://", "[", "]", ":", "@", "%00", "?", "#", "//", "ä",
    ];
    fuzz_text(corpus!("tracker-url"), INPUTS, &words, |text| {
        if let Ok(url) = text.parse::<TrackerUrl>() {
            assert_eq!(url.as_str(), text);
            assert!(text.len() <= 256);
        }
    });
}

/// The stack reads what peers say of themselves, and must not fall over it.
#[test]
fn fuzz_descriptions() {
    let words = [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        "a=mid:0\r\n",
        "a=group:BUNDLE 0 0\r\n",
        "a=fingerprint:sha-256 AA\r\n",
        "a=setup:active\r\n",
        "a=ice-ufrag:\r\n",
        "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n",
        "a=sctp-port:99999\r\n",
        "a=max-message-size:0\r\n",
        "a=extmap:0 x\r\n",
        "a=rid:1 send\r\n",
        "\r\n",
    ];
    fuzz_text(corpus!("sdp"), DESCRIPTIONS, &words, |text| {
        let Ok(offer) = RTCSessionDescription::offer(text.to_owned()) else {
            return;
        };
        let mut connection = RTCPeerConnectionBuilder::new()
            .build(Instant::now())
            .unwrap();
        if connection
            .set_remote_description(Instant::now(), offer)
            .is_ok()
            && let Ok(answer) = connection.create_answer(None)
        {
            // May be refused, but not by a panic.
            let _ = connection.set_local_description(Instant::now(), answer);
        }
    });
}

#[test]
fn fuzz_candidates() {
    let offer = fs::read_to_string(concat!(corpus!("sdp"), "/offer")).unwrap();
    let words = [
        "udp", "tcp", "typ", "host", "srflx", "relay", "raddr", "rport", " ", "::", ".local",
    ];
    fuzz_text(corpus!("candidate"), DESCRIPTIONS, &words, |text| {
        let mut connection = RTCPeerConnectionBuilder::new()
            .build(Instant::now())
            .unwrap();
        let offer = RTCSessionDescription::offer(offer.clone()).unwrap();
        connection
            .set_remote_description(Instant::now(), offer)
            .unwrap();
        let candidate = RTCIceCandidateInit {
            candidate: text.to_owned(),
            ..RTCIceCandidateInit::default()
        };
        // May be refused, but not by a panic.
        let _ = connection.add_remote_candidate(candidate);
    });
}

/// Makes the corpus of descriptions. Run it with `--ignored` once the stack says other things.
#[test]
#[ignore = "writes into the source tree"]
fn make_corpus() {
    let mut offerer = RTCPeerConnectionBuilder::new()
        .build(Instant::now())
        .unwrap();
    offerer.create_data_channel("control", None).unwrap();
    let offer = offerer.create_offer(None).unwrap();
    fs::write(concat!(corpus!("sdp"), "/offer"), &offer.sdp).unwrap();
    let mut answerer = RTCPeerConnectionBuilder::new()
        .build(Instant::now())
        .unwrap();
    answerer
        .set_remote_description(Instant::now(), offer)
        .unwrap();
    let answer = answerer.create_answer(None).unwrap();
    fs::write(concat!(corpus!("sdp"), "/answer"), &answer.sdp).unwrap();
}
