//! A node's way to the others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use karri_ring_rpc::{
    BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Lane, Method, Request, Response, Router, RpcError, Transport,
};
use karri_ring_types::NodeId;
use karri_tests_disk::MemoryDisk;

use crate::world::SharedWorld;

/// The transport of one run of one node.
pub(crate) struct SimulatedTransport {
    pub(crate) node: NodeId,
    pub(crate) run: u64,
    pub(crate) router: Arc<Router>,
    pub(crate) world: SharedWorld,
    /// A node whose disk has crashed is without power and says nothing.
    pub(crate) disk: MemoryDisk,
}

#[async_trait]
impl Transport for SimulatedTransport {
    async fn call(
        &self,
        to: NodeId,
        _lane: Lane,
        method: Method,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, RpcError> {
        if request.head.len() > HEAD_BYTES_MAX || request.body.len() > BODY_BYTES_MAX {
            return Err(RpcError::TooLarge);
        }
        if to == self.node {
            let router = self.router.clone();
            let caller = Caller::Node(self.node);
            let call = tokio::spawn(async move { router.dispatch(caller, method, request).await });
            return match tokio::time::timeout(deadline, call).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(RpcError::Broken { node: to }),
                Err(_) => Err(RpcError::Deadline { node: to }),
            };
        }
        if self.disk.is_crashed() {
            return std::future::pending().await;
        }
        let (call, answer) = self.world.lock().call((self.node, self.run), to, method, request);
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RpcError::Broken { node: to }),
            Err(_) => {
                self.world.lock().forget(call);
                Err(RpcError::Deadline { node: to })
            }
        }
    }

    fn local(&self) -> NodeId {
        self.node
    }
}
