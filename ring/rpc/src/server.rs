//! The called side: accepts connections and runs their calls.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::ClusterId;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::ca::{Identity, IdentityError, node_of};
use crate::connection::write_all;
use crate::frame::{Frame, Kind, answer_greeting, read_frame};
use crate::message::{BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Method, Request, RpcError};
use crate::router::Router;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Calls of one connection that run at once; further ones are not read.
const CALLS_PER_CONNECTION_MAX: usize = 256;
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
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let (tcp, peer) = match accepted {
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
    tcp.set_nodelay(true)?;
    let greeting = async {
        let mut stream = acceptor.accept(tcp).await?;
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
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = tokio::io::BufReader::with_capacity(64 << 10, reader);
    let (answers, frames) = mpsc::channel(CALLS_PER_CONNECTION_MAX);
    let writing = tokio::spawn(write_all(writer, frames));
    let places = Arc::new(Semaphore::new(CALLS_PER_CONNECTION_MAX));
    let result = loop {
        let frame = match read_frame(&mut reader).await {
            Ok(Some(frame)) if frame.kind == Kind::Request => frame,
            Ok(Some(_)) => break Err(io::Error::new(io::ErrorKind::InvalidData, "an answer among requests")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let Ok(place) = places.clone().acquire_owned().await else { break Ok(()) };
        let (router, answers) = (router.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = run(&router, caller, frame).await;
            // The connection may be gone; then nobody waits.
            let _ = answers.send(answer).await;
            drop(place);
        });
    };
    writing.abort();
    result
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
            let mut text = error.to_string();
            text.truncate(text.floor_char_boundary(1000));
            reply(Kind::Failure, Bytes::from(text), Bytes::new())
        }
    }
}
