//! HTTP: the way into a WebSocket, and the pages for people and monitors.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use circlet_core::wire::SUBPROTOCOL;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{
    create_response_with_body, write_response,
};
use tracing::debug;

use crate::head::MAX_HEAD;
use crate::metrics::Counts;
use crate::session::Shared;
use crate::{metrics, table};

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;

/// Tables of rooms that may be in memory at a time: one of 10,000 members takes 15 MB.
const MAX_TABLES: usize = 4;

type Answer = Response<Full<Bytes>>;

/// What answers the requests of all connections.
pub(crate) struct Site {
    shared: Shared,
    counts: Arc<Counts>,
    tables: Arc<Semaphore>,
}

impl Site {
    pub(crate) fn new(shared: Shared, counts: Arc<Counts>) -> Self {
        Self {
            shared,
            counts,
            tables: Arc::new(Semaphore::new(MAX_TABLES)),
        }
    }

    /// Answers one request, of which `early` has been read already, and closes the connection.
    pub(crate) async fn serve<S>(&self, stream: S, early: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let stream = tokio::io::join(AsyncReadExt::chain(Cursor::new(early), read), write);
        let service =
            service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request).await) });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(2 * MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = timeout(self.shared.limits.page_timeout, connection).await {
            debug!(%error, "bad request");
        }
    }

    async fn answer<B: Body>(&self, request: &Request<B>) -> Answer {
        if !request.body().is_end_stream() {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here");
        }
        let path = request.uri().path();
        if path == "/ws" {
            // One that can be had has been had already.
            return match accept(request) {
                Ok(_) => text(
                    StatusCode::BAD_REQUEST,
                    "this is no request for a WebSocket",
                ),
                Err(refused) => *refused,
            };
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
                metrics::to_text(&totals, &self.counts, &self.shared).into(),
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
}

/// The answer to a request for a WebSocket, to be written before it begins; `None` if `head` is
/// anything else.
pub(crate) fn upgrade(head: &[u8]) -> Option<Vec<u8>> {
    let (_, request) = handshake::server::Request::try_parse(head).ok()??;
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.contains_key(header::CONTENT_LENGTH);
    if request.uri().path() != "/ws" || has_body {
        return None;
    }
    let mut bytes = Vec::with_capacity(256);
    write_response(&mut bytes, &accept(&request).ok()?).ok()?;
    Some(bytes)
}

/// Agrees to a WebSocket, or says why not.
fn accept<B>(request: &Request<B>) -> Result<Response<()>, Box<Answer>> {
    let mut response = match create_response_with_body(request, || ()) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            let mut answer = text(
                StatusCode::UPGRADE_REQUIRED,
                "version 13 of the WebSocket protocol is spoken here (RFC 6455)",
            );
            set(&mut answer, header::SEC_WEBSOCKET_VERSION, "13");
            return Err(Box::new(answer));
        }
        Err(error) => {
            return Err(Box::new(text(
                StatusCode::BAD_REQUEST,
                format!("a WebSocket is served here (RFC 6455): {error}"),
            )));
        }
    };
    if !offers_subprotocol(request.headers()) {
        return Err(Box::new(text(
            StatusCode::BAD_REQUEST,
            format!("the WebSocket subprotocol {SUBPROTOCOL} is spoken here"),
        )));
    }
    response.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Ok(response)
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
