//! One client's WebSocket, from the end of the HTTP upgrade to the end of the connection.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use circlet_core::tracker::ClientId;
use circlet_core::wire::{ErrorCode, TrackerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::addresses::Guest;
use crate::hub::{Event, HubHandle};
use crate::limits::Limits;
use crate::outbox::{Ending, OutboxReader, Waiting, outbox};
use crate::socket::{Incoming, ReadError, Socket};

/// Bytes that are written at a time, so that a burst becomes few packets.
const BATCH: usize = 16 * 1024;

/// What every session of a tracker shares.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) hub: HubHandle,
    pub(crate) limits: Arc<Limits>,
    /// Bytes that wait to be written to clients.
    pub(crate) waiting: Arc<Waiting>,
    /// Bytes of clients' messages that are not whole yet.
    pub(crate) unread: Arc<AtomicUsize>,
    /// The tracker ends.
    pub(crate) stop: CancellationToken,
    /// It has waited long enough.
    pub(crate) abort: CancellationToken,
}

/// Serves a client until either side has enough. `early` is what came behind its request.
pub(crate) async fn run<S>(
    stream: S,
    early: Vec<u8>,
    client: ClientId,
    guest: Guest,
    shared: Shared,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (outbox, reader) = outbox(Arc::clone(&shared.waiting));
    let limit = shared.limits.total_unread;
    let socket = Socket::new(stream, early, Arc::clone(&shared.unread), limit);
    let hub = shared.hub.clone();
    hub.send(Event::Up { client, outbox }).await;
    let mut session = Session {
        client,
        guest,
        socket,
        outbox: reader,
        shared,
        last_words: None,
    };
    session.serve().await;
    drop(session);
    hub.send(Event::Down { client }).await;
}

struct Session<S> {
    client: ClientId,
    guest: Guest,
    socket: Socket<S>,
    outbox: OutboxReader,
    shared: Shared,
    /// Until when it has to have ended, once that is to be.
    last_words: Option<Instant>,
}

/// The connection is over.
struct Over;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn serve(&mut self) {
        loop {
            let on = tokio::select! {
                incoming = self.socket.next() => self.on_incoming(incoming).await,
                next = self.outbox.next() => self.on_outgoing(next).await,
            };
            if on.is_err() {
                return;
            }
        }
    }

    async fn on_incoming(
        &mut self,
        incoming: Result<Option<Incoming>, ReadError>,
    ) -> Result<(), Over> {
        let client = self.client;
        let text = match incoming {
            Ok(Some(Incoming::Text(text))) => Some(text),
            Ok(Some(Incoming::Control)) => None,
            Ok(Some(Incoming::Closed)) => {
                self.end().await;
                return Err(Over);
            }
            Ok(None) => return Err(Over),
            Err(ReadError::Refused(violation)) => {
                let (close, why) = (violation.code, violation.text.to_owned());
                return self.turn_away(close, ErrorCode::Malformed, why).await;
            }
            Err(ReadError::Io(error)) => {
                debug!(client = client.0, %error, "connection lost");
                return Err(Over);
            }
        };
        if !self.guest.may_say(text.as_ref().map_or(0, String::len)) {
            let why = "the clients of this address say too much together; try later";
            let close = CloseCode::Policy;
            return self
                .turn_away(close, ErrorCode::Limited, why.to_owned())
                .await;
        }
        let Some(text) = text else {
            return self.flush().await;
        };
        match TrackerMessage::from_json(&text) {
            Ok(message) => {
                let message = Box::new(message);
                self.shared
                    .hub
                    .send(Event::Message { client, message })
                    .await;
                Ok(())
            }
            Err(error) => {
                let close = CloseCode::Invalid;
                self.turn_away(close, ErrorCode::Malformed, error.to_string())
                    .await
            }
        }
    }

    /// Writes a message and those that wait behind it, or ends.
    async fn on_outgoing(&mut self, next: Result<String, Ending>) -> Result<(), Over> {
        let mut next = Some(next);
        while let Some(Ok(text)) = &next {
            self.socket.put_text(text);
            let more = self.socket.waiting() < BATCH;
            next = if more { self.outbox.try_next() } else { None };
        }
        match next {
            None => self.flush().await,
            Some(Err(Ending::Close(code, reason))) => {
                self.close(code, reason).await;
                Err(Over)
            }
            _ => Err(Over),
        }
    }

    /// Writes what waits, if the client takes it in time.
    async fn flush(&mut self) -> Result<(), Over> {
        let limits = &self.shared.limits;
        let flushed = tokio::select! {
            flushed = timeout(limits.write_timeout, self.socket.flush()) => flushed,
            ending = self.outbox.ending() => {
                if ending == Ending::Cut {
                    return Err(Over);
                }
                let until = *self.last_words.get_or_insert_with(|| Instant::now() + limits.linger);
                timeout_at(until, self.socket.flush()).await
            }
        };
        match flushed {
            Ok(Ok(())) => {
                self.outbox.written();
                Ok(())
            }
            Ok(Err(error)) => {
                debug!(client = self.client.0, %error, "connection lost");
                Err(Over)
            }
            Err(_) => {
                debug!(client = self.client.0, "cut off: it takes nothing");
                Err(Over)
            }
        }
    }

    /// Has the hub refuse what the client said, and closes.
    async fn turn_away(
        &mut self,
        close: CloseCode,
        code: ErrorCode,
        error: String,
    ) -> Result<(), Over> {
        let client = self.client;
        let refused = Event::Refused {
            client,
            code,
            error,
        };
        self.shared.hub.send(refused).await;
        loop {
            match self.outbox.next().await {
                Ok(text) => {
                    self.socket.put_text(&text);
                    self.flush().await?;
                }
                Err(Ending::Close(..)) => {
                    self.close(close, "").await;
                    return Err(Over);
                }
                Err(Ending::Cut) => return Err(Over),
            }
        }
    }

    async fn close(&mut self, code: CloseCode, reason: &str) {
        self.socket.put_close(code, reason);
        self.end().await;
    }

    /// Ends the connection in order, if the client plays its part soon.
    async fn end(&mut self) {
        let linger = self.shared.limits.linger;
        let until = *self
            .last_words
            .get_or_insert_with(|| Instant::now() + linger);
        if timeout_at(until, self.socket.end()).await.is_err() {
            debug!(client = self.client.0, "closed without waiting longer");
        }
    }
}
