//! The transport between nodes: one connection per peer and lane, made when needed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use karri_ring_types::{ClusterId, NodeId};
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ca::{Identity, IdentityError, NODE_NAME, node_of};
use crate::connection::Connection;
use crate::frame::greet;
use crate::message::{BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Lane, Method, Request, Response, RpcError, Transport};
use crate::router::Router;
use crate::socket::{Socket, TLS_BUFFER_BYTES, prepare};
use crate::tls::{client_config, pinned_config};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a failed connection is not tried again, so that callers learn at once that a peer is down.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Where each node listens ("host:port"). Shared, and changed as nodes join or move.
#[derive(Default)]
pub struct AddressBook {
    addresses: RwLock<BTreeMap<NodeId, String>>,
}

impl AddressBook {
    /// A book without entries.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Notes a node's address; true if that is news.
    pub fn set(&self, node: NodeId, address: String) -> bool {
        let mut addresses = self.addresses.write();
        addresses.insert(node, address.clone()).is_none_or(|old| old != address)
    }

    /// A node's address.
    pub fn get(&self, node: NodeId) -> Option<String> {
        self.addresses.read().get(&node).cloned()
    }

    /// All entries.
    pub fn snapshot(&self) -> BTreeMap<NodeId, String> {
        self.addresses.read().clone()
    }
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    failed: Option<Failure>,
}

struct Failure {
    at: Instant,
    address: Option<String>,
    reason: String,
}

type Links = Mutex<HashMap<(NodeId, Lane), Arc<tokio::sync::Mutex<Link>>>>;

/// Calls over mTLS.
pub struct TlsTransport {
    local: NodeId,
    connector: Arc<Connector>,
    router: Arc<Router>,
    links: Links,
}

impl TlsTransport {
    /// A transport for `local`, which presents `identity`. Calls to `local` go straight to `router`.
    pub fn new(
        local: NodeId,
        identity: Identity,
        addresses: Arc<AddressBook>,
        router: Arc<Router>,
    ) -> Result<Arc<Self>, IdentityError> {
        Self::from_source(local, identity, addresses, router, None)
    }

    /// As [`TlsTransport::new`], with connections that leave from the address `source`, on a machine with several.
    pub fn from_source(
        local: NodeId,
        identity: Identity,
        addresses: Arc<AddressBook>,
        router: Arc<Router>,
        source: Option<IpAddr>,
    ) -> Result<Arc<Self>, IdentityError> {
        let config = client_config(&identity)?;
        let connector = Arc::new(Connector { cluster: identity.cluster, config, addresses, source });
        Ok(Arc::new(Self { local, connector, router, links: Mutex::default() }))
    }

    async fn connection(&self, to: NodeId, lane: Lane) -> Result<Arc<Connection>, RpcError> {
        let link = self.links.lock().entry((to, lane)).or_default().clone();
        let mut link = link.lock_owned().await;
        if let Some(connection) = link.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let address = self.connector.addresses.get(to);
        if let Some(failure) = &link.failed
            && failure.at.elapsed() < RETRY_AFTER
            && failure.address == address
        {
            return Err(RpcError::Unreachable { node: to, reason: failure.reason.clone() });
        }
        // On its own, so that a caller with a short deadline does not undo what the next one needs.
        let connector = self.connector.clone();
        let connecting = tokio::spawn(async move {
            let made = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(to, address.as_deref())).await;
            match made.unwrap_or_else(|_| Err("connecting took too long".to_owned())) {
                Ok(stream) => {
                    let connection = Connection::start(to, stream);
                    *link = Link { connection: Some(connection.clone()), failed: None };
                    Ok(connection)
                }
                Err(reason) => {
                    let failure = Failure { at: Instant::now(), address, reason: reason.clone() };
                    *link = Link { connection: None, failed: Some(failure) };
                    Err(RpcError::Unreachable { node: to, reason })
                }
            }
        });
        connecting.await.unwrap_or_else(|error| Err(RpcError::Unreachable { node: to, reason: error.to_string() }))
    }
}

/// Makes connections to nodes of the cluster.
struct Connector {
    cluster: ClusterId,
    config: Arc<ClientConfig>,
    addresses: Arc<AddressBook>,
    source: Option<IpAddr>,
}

impl Connector {
    async fn connect(&self, to: NodeId, address: Option<&str>) -> Result<TlsStream<Socket>, String> {
        let address = address.ok_or_else(|| "its address is not known".to_owned())?;
        let mut stream = open(address, self.config.clone(), self.source).await?;
        let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match peer.and_then(|certificate| node_of(self.cluster, certificate)) {
            Some(node) if node == to => {}
            Some(node) => return Err(format!("{address} is node {node}")),
            None => return Err(format!("{address} is not of this cluster")),
        }
        greet(&mut stream).await.map_err(|error| error.to_string())?;
        Ok(stream)
    }
}

async fn connect_tcp(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for target in tokio::net::lookup_host(address).await?.filter(|target| target.is_ipv4() == source.is_ipv4()) {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind((source, 0).into())?;
        result = socket.connect(target).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn open(address: &str, config: Arc<ClientConfig>, source: Option<IpAddr>) -> Result<TlsStream<Socket>, String> {
    let tcp = connect_tcp(address, source).await.map_err(|error| format!("{address}: {error}"))?;
    let socket = prepare(tcp).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(NODE_NAME).map_err(|error| error.to_string())?;
    let connecting = TlsConnector::from(config).connect(name, socket);
    let mut stream = connecting.await.map_err(|error| format!("{address}: {error}"))?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    Ok(stream)
}

#[async_trait]
impl Transport for TlsTransport {
    async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        method: Method,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, RpcError> {
        if request.head.len() > HEAD_BYTES_MAX || request.body.len() > BODY_BYTES_MAX {
            return Err(RpcError::TooLarge);
        }
        let end = Instant::now() + deadline;
        if to == self.local {
            // As on another node, it goes on when the caller stops waiting.
            let (router, caller) = (self.router.clone(), Caller::Node(to));
            let call = tokio::spawn(async move { router.dispatch(caller, method, request).await });
            return match tokio::time::timeout_at(end, call).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(RpcError::Broken { node: to }),
                Err(_) => Err(RpcError::Deadline { node: to }),
            };
        }
        let connection = match tokio::time::timeout_at(end, self.connection(to, lane)).await {
            Ok(connection) => connection?,
            // Nothing has been sent yet.
            Err(_) => return Err(RpcError::Unreachable { node: to, reason: "no connection in time".to_owned() }),
        };
        let answer = tokio::time::timeout_at(end, connection.call(method, request)).await;
        answer.unwrap_or(Err(RpcError::Deadline { node: to }))
    }

    fn local(&self) -> NodeId {
        self.local
    }
}

/// Makes one call without a certificate of one's own, to a node whose authority has this fingerprint.
///
/// # Errors
/// [`RpcError::Unreachable`] when the address does not answer or is of another cluster.
pub async fn join_call(
    address: &str,
    authority_fingerprint: &str,
    method: Method,
    request: Request,
) -> Result<Response, RpcError> {
    let node = NodeId(0);
    let connect = async {
        let config = pinned_config(authority_fingerprint).map_err(|error| error.to_string())?;
        let mut stream = open(address, config, None).await?;
        greet(&mut stream).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(stream)
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err("no answer".to_owned()));
    let stream = stream.map_err(|reason| RpcError::Unreachable { node, reason })?;
    let connection = Connection::start(node, stream);
    let answer = tokio::time::timeout(Duration::from_secs(60), connection.call(method, request)).await;
    answer.unwrap_or(Err(RpcError::Deadline { node }))
}
