//! Listening, connections and their end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use karri_ring_types::{Clock, Rng};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, TrackedIo, Verdict};
use crate::admission::{Shares, network_of};
use crate::api::{AdminPages, Backend, Credentials, TlsSession};
use crate::config::{GatewayConfig, Limits};
use crate::form_api::FormBackend;
use crate::handler::{Peer, Shared};
use crate::json_api::JsonBackend;
use crate::tls::{self, Tls};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Bytes of answers that the kernel takes before it can send them. With the default, megabytes, a socket stays unwritable
/// for as long as a slow client needs to read a third of them, and would be cut for not reading.
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// Pause after a failed accept (no more file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const HTTP2_SEND_BUFFER_BYTES: usize = 1 << 20;
/// Least buffer that hyper takes.
const READ_BUFFER_BYTES_MIN: usize = 8 << 10;

/// The front door: a listening port with the services behind it.
pub struct Gateway {
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<Arc<Tls>>,
    shared: Shared,
}

impl Gateway {
    /// Binds the port and reads the TLS files. `backend` is S3.
    pub async fn bind(
        config: GatewayConfig,
        credentials: Arc<dyn Credentials>,
        backend: Arc<dyn Backend>,
        admin: Arc<dyn AdminPages>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> io::Result<Self> {
        let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(config.listen)?;
        // Connections inherit it.
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        let listener = socket.listen(BACKLOG)?;
        let local_addr = listener.local_addr()?;
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let shared = Shared::new(config, credentials, backend, admin, clock, rng);
        Ok(Self { listener, local_addr, tls, shared })
    }

    /// Serves another service on the same port: requests whose credential scope names it go to `backend`.
    #[must_use]
    pub fn with_service(mut self, name: &'static str, backend: Arc<dyn Backend>) -> Self {
        self.shared.add_service(name, backend);
        self
    }

    /// Serves another service on the same port whose requests are forms. `sts` also gets those that are not signed.
    #[must_use]
    pub fn with_form_service(mut self, name: &'static str, backend: Arc<dyn FormBackend>) -> Self {
        self.shared.add_form_service(name, backend);
        self
    }

    /// Serves another service on the same port whose requests are JSON documents.
    #[must_use]
    pub fn with_json_service(mut self, name: &'static str, backend: Arc<dyn JsonBackend>) -> Self {
        self.shared.add_json_service(name, backend);
        self
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then lets requests in work finish, as long as the limits allow.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { listener, tls, shared, .. } = self;
        let shared = Arc::new(shared);
        let limits = shared.config.limits.clone();
        let connections = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        let shares = Arc::new(Mutex::new(Shares::new(limits.connections_max as u64)));
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let _abort_at_the_end = abort.clone().drop_guard();
        if let Some(tls) = &tls {
            tasks.spawn(tls.clone().watch(limits.tls_reload_interval(), shutdown.clone()));
        }
        while let Some((stream, remote, slot)) = accept(&listener, &connections, &shutdown).await {
            let Some(share) = Share::take(&shares, remote.ip()) else {
                tracing::debug!(%remote, "connection closed: the address has its share");
                shared.metrics.connections_refused.inc();
                continue;
            };
            let connection = Connection {
                shared: shared.clone(),
                tls: tls.clone(),
                remote,
                shutdown: shutdown.clone(),
                abort: abort.clone(),
            };
            tasks.spawn(connection.run(stream, (share, slot)));
        }
        drop(listener);
        tasks.close();
        if timeout(limits.drain_timeout(), tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "connections cut at the end of the drain");
            abort.cancel();
            tasks.wait().await;
        }
    }
}

/// The next connection; `None` at shutdown.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        loop {
            // Beyond the limit, clients wait in the listen queue.
            let slot = connections.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, remote)) => return Some((stream, remote, slot)),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = next => accepted,
    }
}

/// A connection's part of what its address may have.
struct Share {
    shares: Arc<Mutex<Shares<IpAddr>>>,
    address: IpAddr,
}

impl Share {
    fn take(shares: &Arc<Mutex<Shares<IpAddr>>>, remote: IpAddr) -> Option<Self> {
        let address = network_of(remote);
        let taken = shares.lock().take(&address, 1);
        taken.then(|| Self { shares: shares.clone(), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().give_back(&self.address, 1);
    }
}

/// Counts a connection while it is open, however it ends.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Connection {
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    remote: SocketAddr,
    shutdown: CancellationToken,
    abort: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, place: (Share, OwnedSemaphorePermit)) {
        // The share is given back first: whoever gets the place may be of the same address.
        let _place = place;
        let _counted = Counted::new(&self.shared.metrics.connections);
        // Answers are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.drive(stream, None).await,
            Some(tls) => {
                let limit = self.shared.config.limits.header_read_timeout();
                let handshake = timeout(limit, tls.acceptor().accept(stream));
                let accepted = tokio::select! {
                    () = self.abort.cancelled() => None,
                    accepted = handshake => Some(accepted),
                };
                match accepted {
                    Some(Ok(Ok(stream))) => {
                        let session = tls::session(stream.get_ref().1);
                        self.drive(stream, session).await;
                    }
                    Some(Ok(Err(error))) => {
                        tracing::debug!(remote = %self.remote, %error, "tls handshake failed");
                    }
                    Some(Err(_)) | None => {}
                }
            }
        }
    }

    /// Speaks HTTP until the connection ends, by itself or by one of its bounds.
    async fn drive<S>(&self, stream: S, tls: Option<Arc<TlsSession>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.shared.config.limits;
        let activity = Arc::new(Activity::new());
        let (remote, secure) = (self.remote.ip(), self.tls.is_some());
        let peer = Arc::new(Peer { remote, secure, tls, activity: activity.clone() });
        let shared = self.shared.clone();
        let service = service_fn(move |request| shared.clone().serve(peer.clone(), request));
        let builder = builder(limits);
        let io = TokioIo::new(TrackedIo::new(stream, activity.clone()));
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut ticks = interval(check_interval(limits));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(remote = %self.remote, %error, "connection ended early");
                    }
                    return;
                }
                () = self.abort.cancelled() => return,
                () = self.shutdown.cancelled(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = ticks.tick() => match activity.verdict(limits) {
                    Verdict::Keep => {}
                    // A second retirement means that the first was not heeded.
                    Verdict::Retire if !closing => {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    Verdict::Retire | Verdict::Cut => {
                        tracing::debug!(remote = %self.remote, "connection cut: too slow");
                        return;
                    }
                },
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Our own watch tells a slow head from an idle connection.
        .header_read_timeout(None)
        // More than the limit, so that the answer to too many can be AWS's.
        .max_headers(limits.header_count_max.saturating_mul(2))
        .max_buf_size(limits.read_buffer_bytes_max.max(READ_BUFFER_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max.saturating_mul(2)).unwrap_or(u32::MAX));
    builder
}

/// Often enough that a bound is overrun by a quarter at most.
fn check_interval(limits: &Limits) -> Duration {
    let least = limits.header_read_timeout().min(limits.idle_timeout()).min(limits.write_idle_timeout());
    (least / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
}
