//! A network inside one process, for tests and simulation.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use karri_ring_types::NodeId;
use parking_lot::RwLock;

use crate::message::{BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Lane, Method, Request, Response, RpcError, Transport};
use crate::router::Router;

#[derive(Default)]
struct State {
    routers: HashMap<NodeId, Arc<Router>>,
    cut: HashSet<(NodeId, NodeId)>,
}

/// Nodes that call each other without sockets. Links can be cut, in one direction or both.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<RwLock<State>>,
}

impl MemoryNetwork {
    /// A network without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` on the network (again, after a restart) and returns its transport.
    pub fn transport(&self, node: NodeId, router: Arc<Router>) -> Arc<dyn Transport> {
        self.state.write().routers.insert(node, router.clone());
        Arc::new(MemoryTransport { local: node, router, network: self.clone() })
    }

    /// Takes a node off the network, as when its process has died.
    pub fn remove(&self, node: NodeId) {
        self.state.write().routers.remove(&node);
    }

    /// Cuts the link between two nodes in both directions.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Loses what `from` sends to `to`, answers included.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.state.write().cut.insert((from, to));
    }

    /// Cuts a node off from all others.
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> = self.state.read().routers.keys().copied().filter(|&other| other != node).collect();
        for other in others {
            self.cut(node, other);
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.state.write().cut.clear();
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.state.read().cut.contains(&(from, to))
    }
}

struct MemoryTransport {
    local: NodeId,
    router: Arc<Router>,
    network: MemoryNetwork,
}

#[async_trait]
impl Transport for MemoryTransport {
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
        let router = if to == self.local {
            self.router.clone()
        } else {
            let found = self.network.state.read().routers.get(&to).cloned();
            match found {
                Some(router) if !self.network.is_cut(self.local, to) => router,
                _ => return Err(RpcError::Unreachable { node: to, reason: "the link is cut".to_owned() }),
            }
        };
        // The call runs on its own, as on another machine: it goes on when the caller stops waiting.
        let caller = Caller::Node(self.local);
        let call = tokio::spawn(async move { router.dispatch(caller, method, request).await });
        let answer = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RpcError::Broken { node: to }),
            Err(_) => Err(RpcError::Deadline { node: to }),
        };
        if to != self.local && self.network.is_cut(to, self.local) {
            return Err(RpcError::Broken { node: to });
        }
        answer
    }

    fn local(&self) -> NodeId {
        self.local
    }
}
