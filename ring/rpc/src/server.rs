//! The called side: accepts connections and runs their calls.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::ClusterId;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::ca::{Identity, IdentityError, node_of};
use crate::connection::write_all;
use crate::frame::{Frame, Kind, Limits, answer_greeting, read_frame};
use crate::message::{BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Method, Request, RpcError};
use crate::router::Router;
use crate::socket::{TLS_BUFFER_BYTES, prepare};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Calls of one connection that run at once; further ones are not read.
const CALLS_PER_CONNECTION_MAX: usize = 256;
/// Bodies of one connection that are held at once, in KiB; further ones are not read.
const BODY_KIB_PER_CONNECTION_MAX: usize = 64 << 10;
/// Plaintext read ahead of one connection; larger bodies pass it by.
const READ_BYTES: usize = 32 << 10;
/// How long a caller without a certificate may stay.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long TLS and the greeting may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens for other nodes.
pub struct RpcServer {
    listener: TcpListener,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    cluster: ClusterId,
    router: Arc<Router>,
}

impl RpcServer {
    /// Binds `listen`; calls go to `router`.
    pub async fn bind(listen: SocketAddr, identity: &Identity, router: Arc<Router>) -> io::Result<Self> {
        let config = crate::tls::server_config(identity).map_err(|error: IdentityError| io::Error::other(error))?;
        let socket = socket2::Socket::new(socket2::Domain::for_address(listen), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&listen.into())?;
        socket.listen(1024)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, config, cluster: identity.cluster, router })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; open connections are closed then.
    pub async fn serve(self, shutdown: CancellationToken) {
        let acceptor = TlsAcceptor::from(self.config.clone());
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place_and_connection = async {
                let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((place, self.listener.accept().await?))
            };
            let Some(accepted) = shutdown.run_until_cancelled(place_and_connection).await else { return };
            let (place, (tcp, peer)) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (acceptor, router, cluster) = (acceptor.clone(), self.router.clone(), self.cluster);
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    result = serve_connection(tcp, acceptor, cluster, router) => {
                        if let Err(error) = result {
                            tracing::debug!(%peer, %error, "connection ended");
                        }
                    }
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }
}

async fn serve_connection(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    cluster: ClusterId,
    router: Arc<Router>,
) -> io::Result<()> {
    let socket = prepare(tcp)?;
    let greeting = async {
        let mut stream = acceptor.accept(socket).await?;
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        answer_greeting(&mut stream).await?;
        io::Result::Ok(stream)
    };
    let stream = tokio::time::timeout(GREETING_TIMEOUT, greeting).await??;
    let caller = match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        None => Caller::Unauthenticated,
        Some(certificate) => match node_of(cluster, certificate) {
            Some(node) => Caller::Node(node),
            None => return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a certificate of another cluster")),
        },
    };
    match caller {
        Caller::Node(_) => serve_calls(stream, caller, router, Limits::NODE).await,
        Caller::Unauthenticated => {
            let serving = serve_calls(stream, caller, router, Limits::STRANGER);
            tokio::time::timeout(STRANGER_TIMEOUT, serving).await?
        }
    }
}

async fn serve_calls<S>(stream: S, caller: Caller, router: Arc<Router>, limits: Limits) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let (answers, frames) = mpsc::channel(CALLS_PER_CONNECTION_MAX);
    // It ends when the last running call has put its answer into the queue.
    let writing = tokio::spawn(write_all(writer, frames)).abort_handle();
    let places = Arc::new(Semaphore::new(CALLS_PER_CONNECTION_MAX));
    let budget = Arc::new(Semaphore::new(BODY_KIB_PER_CONNECTION_MAX));
    loop {
        let frame = match read_frame(&mut reader, limits).await {
            Ok(Some(frame)) if frame.kind == Kind::Request => frame,
            Ok(Some(_)) => {
                writing.abort();
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer among requests"));
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                writing.abort();
                return Err(error);
            }
        };
        let body_kib = u32::try_from(frame.body.len().div_ceil(1024)).expect("a body is bounded");
        let (places, budget) =
            (places.clone().acquire_owned().await, budget.clone().acquire_many_owned(body_kib).await);
        let (router, answers) = (router.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = run(&router, caller, frame).await;
            // The connection may be gone; then nobody waits.
            let _ = answers.send(answer).await;
            drop((places, budget));
        });
    }
}

async fn run(router: &Router, caller: Caller, frame: Frame) -> Frame {
    let Frame { method, id, group, head, body, .. } = frame;
    let answer = router.dispatch(caller, Method(method), Request { group, head, body }).await;
    let reply = |kind, head: Bytes, body: Bytes| Frame { kind, method, id, group, head, body };
    match answer {
        Ok(response) if response.head.len() > HEAD_BYTES_MAX || response.body.len() > BODY_BYTES_MAX => {
            reply(Kind::Failure, Bytes::from_static(b"the answer is too large"), Bytes::new())
        }
        Ok(response) => reply(Kind::Response, response.head, response.body),
        Err(RpcError::UnknownMethod(_)) => reply(Kind::UnknownMethod, Bytes::new(), Bytes::new()),
        Err(error) => {
            let mut text = match error {
                RpcError::Remote(text) => text,
                other => other.to_string(),
            };
            text.truncate(text.floor_char_boundary(1000));
            reply(Kind::Failure, Bytes::from(text), Bytes::new())
        }
    }
}
