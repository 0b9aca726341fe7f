//! The yardstick: the least that relays JSON messages by receiver, with `tokio-tungstenite` and
//! `serde_json`. It knows no rooms, checks no signature, limits nothing, and keeps no table but
//! that of its connections.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use circlet_core::wire::{Assignment, SUBPROTOCOL, TrackerMessage, VERSION};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::failure::Failure;
use crate::output::print;
use crate::{descriptors, signals};

/// Messages that wait for one client.
const QUEUE: usize = 64;

type Connections = Arc<Mutex<HashMap<String, mpsc::Sender<Utf8Bytes>>>>;

/// Serves on a free port, which it prints, until a signal ends it.
pub async fn serve() -> Result<(), Failure> {
    descriptors::raise_limit();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(Failure::failed)?;
    let addr = listener.local_addr().map_err(Failure::failed)?;
    print(&json!({"event": "listening", "addr": addr}).to_string());
    let connections = Connections::default();
    let accepting = async {
        while let Ok((stream, _)) = listener.accept().await {
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                // Whoever goes, goes.
                let _ = connection(stream, &connections).await;
            });
        }
    };
    tokio::select! {
        () = accepting => Err(Failure::failed("cannot accept connections any longer")),
        () = signals::end() => Ok(()),
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the signature is tungstenite's callback's"
)]
async fn connection(stream: TcpStream, connections: &Connections) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(4096);
    let agree = |_: &Request, mut response: Response| {
        let chosen = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let mut socket = accept_hdr_async_with_config(stream, agree, Some(config))
        .await
        .ok()?;
    let challenge = TrackerMessage::Challenge {
        version: VERSION,
        nonce: String::new(),
    };
    send(&mut socket, challenge.to_json().into()).await?;
    let login = read(&mut socket).await?.1;
    let (sender, mut outgoing) = mpsc::channel(QUEUE);
    let node = login["node"].as_str()?.to_owned();
    lock(connections, |connections| connections.insert(node, sender));
    let welcome = TrackerMessage::Welcome {
        time_unix_ms: 0,
        members: 1,
        assignment: Assignment::default(),
        hub: None,
    };
    send(&mut socket, welcome.to_json().into()).await?;
    loop {
        tokio::select! {
            incoming = read(&mut socket) => {
                let (text, value) = incoming?;
                let to = value["signal"]["to"].as_str();
                let receiver = lock(connections, |connections| {
                    to.and_then(|to| connections.get(to)).cloned()
                });
                if let Some(receiver) = receiver {
                    receiver.send(text).await.ok()?;
                }
            }
            text = outgoing.recv() => send(&mut socket, text?).await?,
        }
    }
}

async fn read(socket: &mut WebSocketStream<TcpStream>) -> Option<(Utf8Bytes, Value)> {
    loop {
        if let Message::Text(text) = socket.next().await?.ok()? {
            let value = serde_json::from_str(&text).ok()?;
            return Some((text, value));
        }
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, text: Utf8Bytes) -> Option<()> {
    socket.send(Message::Text(text)).await.ok()
}

/// It is whole at any time, so that a panic elsewhere spoils nothing.
fn lock<T>(
    connections: &Connections,
    work: impl FnOnce(&mut HashMap<String, mpsc::Sender<Utf8Bytes>>) -> T,
) -> T {
    work(&mut connections.lock().unwrap_or_else(PoisonError::into_inner))
}
