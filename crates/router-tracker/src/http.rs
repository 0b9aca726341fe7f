//! HTTP: the way into a WebSocket, and the pages for people and monitors.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use circlet_core::tracker::ClientId;
use circlet_core::wire::SUBPROTOCOL;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::session::Shared;
use crate::{metrics, session, table};

/// Time that a connection has for everything but its WebSocket: one that reads its answers
/// slowly must not hold them for ever. Guess.
const LIFETIME: Duration = Duration::from_secs(30);

/// The largest head of a request, in bytes. Those of browsers take about 1 KiB.
const MAX_HEAD: usize = 8 * 1024;

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;

/// Tables of rooms that may be in memory at a time: one of 10,000 members takes 15 MB.
const MAX_TABLES: usize = 4;

/// One of the connections that a tracker takes.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;

type Answer = Response<Full<Bytes>>;

/// What answers the requests of all connections.
pub(crate) struct Site {
    shared: Shared,
    tasks: TaskTracker,
    tables: Arc<Semaphore>,
    clients: AtomicU64,
    header_timeout: Duration,
}

impl Site {
    pub(crate) fn new(shared: Shared, tasks: TaskTracker, header_timeout: Duration) -> Self {
        Self {
            shared,
            tasks,
            tables: Arc::new(Semaphore::new(MAX_TABLES)),
            clients: AtomicU64::new(0),
            header_timeout,
        }
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    pub(crate) async fn serve<S>(self: &Arc<Self>, stream: S, slot: &Slot)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            let (site, slot) = (Arc::clone(self), Arc::clone(slot));
            async move { Ok::<_, Infallible>(site.answer(request, slot).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(2 * MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let served = async {
            tokio::select! {
                result = connection.as_mut() => result,
                () = self.shared.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Ok(Err(error)) = timeout(LIFETIME, served).await {
            debug!(%error, "bad request");
        }
    }

    async fn answer(&self, request: Request<Incoming>, slot: Slot) -> Answer {
        if !request.body().is_end_stream() {
            let mut answer = text(StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here");
            set(&mut answer, header::CONNECTION, "close");
            return answer;
        }
        let path = request.uri().path();
        if path == "/ws" {
            return self.upgrade(request, slot);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
            set(&mut answer, header::ALLOW, "GET, HEAD");
            return answer;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok"),
            "/metrics" => self.metrics().await,
            _ => match path.strip_prefix("/api/rooms/") {
                Some(room) => self.room(room).await,
                None => text(
                    StatusCode::NOT_FOUND,
                    "there are /ws, /healthz, /metrics and /api/rooms/ROOM",
                ),
            },
        }
    }

    async fn metrics(&self) -> Answer {
        match self.shared.hub.totals().await {
            Some(totals) => body(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                metrics::to_text(&totals).into(),
            ),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the tracker is ending"),
        }
    }

    async fn room(&self, name: &str) -> Answer {
        // The semaphore is never closed; if it were, then the tracker would be ending.
        let Ok(permit) = Arc::clone(&self.tables).acquire_owned().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the tracker is ending");
        };
        let answer = match percent_decode_str(name).decode_utf8() {
            Ok(name) => self.shared.hub.room(name.into_owned()).await,
            Err(_) => None,
        };
        let (status, json) = match answer {
            Some(answer) => (StatusCode::OK, table::to_json(&answer)),
            None => (
                StatusCode::NOT_FOUND,
                br#"{"error":"nobody is in such a room"}"#.to_vec(),
            ),
        };
        let held = Bytes::from_owner(Held {
            bytes: json,
            _permit: permit,
        });
        body(status, "application/json", held)
    }

    fn upgrade(&self, mut request: Request<Incoming>, slot: Slot) -> Answer {
        let mut answer = match create_response_with_body(&request, Full::default) {
            Ok(answer) => answer,
            Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
                let mut answer = text(
                    StatusCode::UPGRADE_REQUIRED,
                    "version 13 of the WebSocket protocol is spoken here (RFC 6455)",
                );
                set(&mut answer, header::SEC_WEBSOCKET_VERSION, "13");
                return answer;
            }
            Err(error) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("a WebSocket is served here (RFC 6455): {error}"),
                );
            }
        };
        if !offers_subprotocol(request.headers()) {
            return text(
                StatusCode::BAD_REQUEST,
                format!("the WebSocket subprotocol {SUBPROTOCOL} is spoken here"),
            );
        }
        set(&mut answer, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);

        let client = ClientId(self.clients.fetch_add(1, Ordering::Relaxed));
        let shared = self.shared.clone();
        let upgrade = hyper::upgrade::on(&mut request);
        self.tasks.spawn(async move {
            match upgrade.await {
                Ok(stream) => session::run(TokioIo::new(stream), client, shared).await,
                Err(error) => debug!(%error, "the upgrade failed"),
            }
            drop(slot);
        });
        answer
    }
}

/// A body that counts as one of [`MAX_TABLES`] until it is written.
struct Held {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|offered| offered.trim() == SUBPROTOCOL)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    body(status, "text/plain; charset=utf-8", text.into())
}

fn body(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, content_type);
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
