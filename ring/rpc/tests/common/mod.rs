//! Nodes on loopback.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_rpc::{
    AddressBook, Caller, ClusterCa, Handler, Identity, Lane, Method, Request, Response, Router, RpcError, RpcServer,
    TlsTransport, Transport as _,
};
use karri_ring_types::{ClusterId, NodeId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const ECHO: Method = Method(200);
/// Answers when [`TestHandler::release`] is notified.
pub const WAIT: Method = Method(201);
pub const FAIL: Method = Method(202);
/// Answers with who called.
pub const WHO: Method = Method(203);
pub const OPEN: Method = Method(300);
pub const LONG: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct TestHandler {
    pub arrived: Notify,
    pub release: Notify,
}

#[async_trait]
impl Handler for TestHandler {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        let Request { group, head, body } = request;
        match method {
            ECHO | OPEN => Ok(Response { head, body }),
            WAIT => {
                self.arrived.notify_one();
                self.release.notified().await;
                Ok(Response { head, body })
            }
            FAIL => Err(format!("group {group} failed")),
            WHO => Ok(Response { head: Bytes::from(format!("{from:?}")), body }),
            Method(other) => Err(format!("method {other}")),
        }
    }
}

pub struct TestNode {
    pub address: SocketAddr,
    pub handler: Arc<TestHandler>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl TestNode {
    pub async fn start(identity: &Identity, listen: SocketAddr) -> Self {
        let handler = Arc::new(TestHandler::default());
        let router = Router::new();
        router.register(200..=299, handler.clone());
        router.register_open(300..=300, handler.clone());
        let server = RpcServer::bind(listen, identity, router).await.unwrap();
        let address = server.local_addr();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        Self { address, handler, shutdown, serving }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn caller(identity: &Identity, peer: NodeId, address: SocketAddr) -> (Arc<TlsTransport>, Arc<AddressBook>) {
    let addresses = AddressBook::new();
    addresses.set(peer, address.to_string());
    let transport = TlsTransport::new(identity.node, identity.clone(), addresses.clone(), Router::new()).unwrap();
    (transport, addresses)
}

/// Node 2 serves, node 1 calls it.
pub async fn pair() -> (TestNode, Arc<TlsTransport>, ClusterCa) {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let server = TestNode::start(&authority.issue(NodeId(2)).unwrap(), any_port()).await;
    let (transport, _) = caller(&authority.issue(NodeId(1)).unwrap(), NodeId(2), server.address);
    (server, transport, authority)
}

pub async fn call(transport: &TlsTransport, method: Method, head: &'static str) -> Result<Response, RpcError> {
    call_with(transport, Lane::Control, method, head.into(), Bytes::new(), LONG).await
}

pub async fn call_with(
    transport: &TlsTransport,
    lane: Lane,
    method: Method,
    head: Bytes,
    body: Bytes,
    deadline: Duration,
) -> Result<Response, RpcError> {
    transport.call(NodeId(2), lane, method, Request { group: 7, head, body }, deadline).await
}
