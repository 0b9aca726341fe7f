//! One client's WebSocket, from the end of the HTTP upgrade to the end of the connection.

use std::time::Duration;

use circlet_core::tracker::ClientId;
use circlet_core::wire::{MAX_TRACKER_MESSAGE, TrackerMessage};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::hub::{Event, HubHandle};
use crate::outbox::{OutboxReader, outbox};

/// Time that a client may take to accept a batch of messages. Guess: as long as it may be
/// silent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the last words to arrive.
const LINGER: Duration = Duration::from_secs(1);

/// Messages that are written at a time, so that a burst becomes few packets.
const BATCH: usize = 32;

/// Small buffers: a client is idle most of the time, and there are many.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(4096)
        .max_write_buffer_size(8 * MAX_TRACKER_MESSAGE)
        .max_message_size(Some(MAX_TRACKER_MESSAGE))
        .max_frame_size(Some(MAX_TRACKER_MESSAGE))
}

/// What every session of a tracker shares.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) hub: HubHandle,
    /// The tracker ends.
    pub(crate) stop: CancellationToken,
    /// It has waited long enough.
    pub(crate) abort: CancellationToken,
}

/// Serves a client until either side has enough.
pub(crate) async fn run<S>(stream: S, client: ClientId, shared: Shared)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let cut = shared.abort.child_token();
    let (outbox, reader) = outbox(cut.clone());
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
    let hub = shared.hub.clone();
    hub.send(Event::Up { client, outbox }).await;
    let mut session = Session {
        client,
        socket,
        outbox: reader,
        shared,
    };
    tokio::select! {
        () = cut.cancelled() => {}
        () = session.serve() => {}
    }
    hub.send(Event::Down { client }).await;
}

struct Session<S> {
    client: ClientId,
    socket: WebSocketStream<S>,
    outbox: OutboxReader,
    shared: Shared,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn serve(&mut self) {
        loop {
            tokio::select! {
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => self.on_message(message).await,
                    Some(Err(tungstenite::Error::Capacity(error))) => {
                        return self.turn_away(error.to_string()).await;
                    }
                    Some(Err(error)) => {
                        debug!(client = self.client.0, %error, "connection lost");
                        return;
                    }
                    None => return,
                },
                text = self.outbox.next() => match text {
                    Some(text) => {
                        if self.write(text).await.is_err() {
                            return;
                        }
                    }
                    None => {
                        let going_away = self.shared.stop.is_cancelled();
                        let code = if going_away { CloseCode::Away } else { CloseCode::Normal };
                        return self.close(code).await;
                    }
                },
            }
        }
    }

    async fn on_message(&mut self, message: Message) {
        let client = self.client;
        let event = match message {
            Message::Text(text) => match TrackerMessage::from_json(&text) {
                Ok(message) => Event::Message {
                    client,
                    message: Box::new(message),
                },
                Err(error) => Event::Unreadable {
                    client,
                    error: error.to_string(),
                },
            },
            Message::Binary(_) => Event::Unreadable {
                client,
                error: "messages are JSON text, and this one is binary".into(),
            },
            // Answered below, by the next read.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return,
        };
        self.shared.hub.send(event).await;
    }

    /// Writes a message and those that wait behind it.
    async fn write(&mut self, text: Utf8Bytes) -> Result<(), ()> {
        let (socket, outbox) = (&mut self.socket, &mut self.outbox);
        let batch = async {
            let mut bytes = 0;
            let mut next = Some(text);
            let mut left = BATCH;
            while let Some(text) = next {
                bytes += text.len();
                socket.feed(Message::Text(text)).await?;
                left -= 1;
                next = if left > 0 { outbox.try_next() } else { None };
            }
            socket.flush().await?;
            Ok::<_, tungstenite::Error>(bytes)
        };
        match timeout(WRITE_TIMEOUT, batch).await {
            Ok(Ok(bytes)) => {
                self.outbox.written(bytes);
                Ok(())
            }
            Ok(Err(error)) => {
                debug!(client = self.client.0, %error, "connection lost");
                Err(())
            }
            Err(_) => {
                debug!(client = self.client.0, "cut off: it takes nothing");
                Err(())
            }
        }
    }

    /// The rest of a message that is too large cannot be read: says so, and ends.
    async fn turn_away(&mut self, error: String) {
        let client = self.client;
        self.shared
            .hub
            .send(Event::Unreadable { client, error })
            .await;
        while let Some(text) = self.outbox.next().await {
            if self.write(text).await.is_err() {
                return;
            }
        }
        self.close(CloseCode::Size).await;
    }

    /// Ends the connection in order, if the client plays its part soon.
    ///
    /// What it still sends is read and thrown away: closing a socket with unread data in it
    /// resets the connection, and the last words may be lost with it (RFC 9112, section 9.6).
    async fn close(&mut self, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::default(),
        };
        let last = async {
            self.socket.close(Some(frame)).await.ok()?;
            let stream = self.socket.get_mut();
            stream.shutdown().await.ok()?;
            tokio::io::copy(stream, &mut tokio::io::sink()).await.ok()
        };
        if timeout(LINGER, last).await.is_err() {
            debug!(client = self.client.0, "closed without waiting longer");
        }
    }
}
