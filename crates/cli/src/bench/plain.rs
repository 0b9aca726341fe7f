//! Bare data channels of the `webrtc` crate, for comparison: what circlet could reach at most.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use socket2::SockRef;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCSessionDescription, SettingEngineBuilder,
};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use super::meter::{Meter, Throughput};
use crate::failure::Failure;

/// As circlet's own links have it: the largest effect of all settings.
const SOCKET_BUFFER: usize = 4 << 20;

/// As circlet's own links have it.
const SEND_BUFFER: usize = 1 << 20;

/// Time for everything besides the measurement itself.
const PATIENCE: Duration = Duration::from_secs(20);

type Result<T, E = Error> = std::result::Result<T, E>;

/// Messages of `size` bytes through `links` channels in a row. Each member has a thread of its
/// own, as circlet's have.
pub async fn throughput(links: u16, size: usize, time: Duration) -> Result<Throughput, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut left = None;
    let mut first_to_last = Vec::new();
    for _ in 0..links {
        let (offer_in, offer) = oneshot::channel();
        let (answer_in, answer) = oneshot::channel();
        first_to_last.push((
            left.take(),
            Some(Right {
                offer: offer_in,
                answer,
            }),
        ));
        left = Some(Left {
            offer,
            answer: answer_in,
        });
    }
    first_to_last.push((left, None));
    for (left, right) in first_to_last {
        let (result_in, result) = oneshot::channel();
        let member = member(left, right, size, time, Arc::clone(&stop));
        thread::Builder::new()
            .name("webrtc".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let result = match runtime {
                    Ok(runtime) => runtime.block_on(member),
                    Err(error) => Err(Error::Other(error.to_string())),
                };
                let _ = result_in.send(result);
            })
            .map_err(Failure::failed)?;
        threads.push(result);
    }
    let failed = |why: String| Failure::failed(format!("bare webrtc channels: {why}"));
    let mut measured = None;
    for thread in threads {
        let result = timeout(time + 2 * PATIENCE, thread).await;
        let result = result.map_err(|_| failed("no end of it".to_owned()))?;
        let result = result.map_err(|_| failed("a thread ended early".to_owned()))?;
        measured = result
            .map_err(|error| failed(error.to_string()))?
            .or(measured);
    }
    measured.ok_or_else(|| failed("nothing was measured".to_owned()))
}

/// A member's connection to the one before it, which offers.
struct Left {
    offer: oneshot::Receiver<RTCSessionDescription>,
    answer: oneshot::Sender<RTCSessionDescription>,
}

/// A member's connection to the one after it.
struct Right {
    offer: oneshot::Sender<RTCSessionDescription>,
    answer: oneshot::Receiver<RTCSessionDescription>,
}

/// Sends, passes on, or counts, whichever its place asks for.
async fn member(
    left: Option<Left>,
    right: Option<Right>,
    size: usize,
    time: Duration,
    stop: Arc<AtomicBool>,
) -> Result<Option<Throughput>> {
    let left = match left {
        Some(left) => Some(End::answerer(left).await?),
        None => None,
    };
    let right = match right {
        Some(right) => Some(End::offerer(right).await?),
        None => None,
    };
    let mut throughput = None;
    match (&left, &right) {
        (None, Some(right)) => {
            let message = BytesMut::from(&vec![7; size][..]);
            while !stop.load(Ordering::Relaxed) {
                right.channel.send(message.clone()).await?;
            }
            // What is under way arrives before the connection is closed, or the end is not seen.
            sleep(Duration::from_millis(200)).await;
        }
        (Some(left), Some(right)) => {
            while let Some(message) = left.receive().await {
                right.channel.send(message).await?;
            }
        }
        (Some(left), None) => {
            let mut meter = Meter::start(time);
            // Reads on to the end, or those before it would wait for room.
            while let Some(message) = left.receive().await {
                if throughput.is_none() {
                    throughput = meter.count(message.len());
                }
                if throughput.is_some() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        (None, None) => {}
    }
    for end in [left, right].into_iter().flatten() {
        end.connection.close().await?;
    }
    Ok(throughput)
}

/// One end of a connection with one open channel.
struct End {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
}

impl End {
    async fn offerer(right: Right) -> Result<Self> {
        let (end, gathered) = Self::new().await?;
        let offer = end.connection.create_offer(None).await?;
        end.connection.set_local_description(offer).await?;
        gathered.notified().await;
        let _ = right.offer.send(end.description().await?);
        let answer = right.answer.await.map_err(|_| gone())?;
        end.connection.set_remote_description(answer).await?;
        end.open().await
    }

    async fn answerer(left: Left) -> Result<Self> {
        let (end, gathered) = Self::new().await?;
        let offer = left.offer.await.map_err(|_| gone())?;
        end.connection.set_remote_description(offer).await?;
        let answer = end.connection.create_answer(None).await?;
        end.connection.set_local_description(answer).await?;
        gathered.notified().await;
        let _ = left.answer.send(end.description().await?);
        end.open().await
    }

    async fn new() -> Result<(Self, Arc<Notify>)> {
        let gathered = Arc::new(Notify::new());
        let settings = SettingEngineBuilder::new()
            .with_ice_connection_attempts(Some(Duration::from_millis(5)), Some(2000))
            .build();
        let builder = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_setting_engine(settings)
            .with_runtime(Arc::new(Buffered))
            .with_handler(Arc::new(Observer(Arc::clone(&gathered))))
            .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
            .with_data_channel_send_buffer_limit(SEND_BUFFER);
        let connection: Arc<dyn PeerConnection> = Arc::new(Box::pin(builder.build()).await?);
        let init = RTCDataChannelInit {
            negotiated: Some(0),
            ..RTCDataChannelInit::default()
        };
        let channel = connection.create_data_channel("bench", Some(init)).await?;
        Ok((
            Self {
                connection,
                channel,
            },
            gathered,
        ))
    }

    /// Waits until the channel is open.
    async fn open(self) -> Result<Self> {
        let channel = &self.channel;
        let opened = async {
            while let Some(event) = channel.poll().await {
                if matches!(event, DataChannelEvent::OnOpen) {
                    return Ok(());
                }
            }
            Err(gone())
        };
        // Any call wakes the stack, which else waits for a tick of 200 ms after every step.
        let hurry = async {
            loop {
                sleep(Duration::from_millis(2)).await;
                let _ = channel.set_buffered_amount_low_threshold(0).await;
            }
        };
        tokio::select! {
            opened = timeout(PATIENCE, opened) => opened.unwrap_or_else(|_| Err(gone()))?,
            () = hurry => {}
        }
        Ok(self)
    }

    async fn description(&self) -> Result<RTCSessionDescription> {
        self.connection.local_description().await.ok_or_else(gone)
    }

    /// The next message, `None` once the channel is closed.
    async fn receive(&self) -> Option<BytesMut> {
        loop {
            match self.channel.poll().await? {
                DataChannelEvent::OnMessage(message) => return Some(message.data),
                DataChannelEvent::OnClose => return None,
                _ => {}
            }
        }
    }
}

fn gone() -> Error {
    Error::Other("the other side has gone".to_owned())
}

/// Notes when all candidates are known.
struct Observer(Arc<Notify>);

#[async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.notify_one();
        }
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The tokio runtime, with large socket buffers.
#[derive(Debug)]
struct Buffered;

impl Runtime for Buffered {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(task)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = SockRef::from(&socket);
        // The system may give less, or nothing more at all.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER);
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(async move { TokioRuntime.connect_tcp(address).await })
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { TokioRuntime.resolve_host(host).await })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "circlet-bench"
    }
}
