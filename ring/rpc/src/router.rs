//! Which handler has which methods.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::message::{Caller, Handler, Method, Request, Response, RpcError};

type Route = (RangeInclusive<u16>, Arc<dyn Handler>);

/// Dispatches calls by method; handlers may be registered while it serves.
#[derive(Default)]
pub struct Router {
    routes: ArcSwap<Vec<Route>>,
}

impl Router {
    /// A router without handlers.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Gives `methods` to `handler`. A later registration of the same methods takes precedence.
    pub fn register(&self, methods: RangeInclusive<u16>, handler: Arc<dyn Handler>) {
        self.routes.rcu(|routes| {
            let mut routes = Vec::clone(routes);
            routes.insert(0, (methods.clone(), handler.clone()));
            routes
        });
    }

    /// Carries out a call.
    pub async fn dispatch(&self, from: Caller, method: Method, request: Request) -> Result<Response, RpcError> {
        let handler = {
            let routes = self.routes.load();
            let found = routes.iter().find(|(methods, _)| methods.contains(&method.0));
            found.map(|(_, handler)| handler.clone())
        };
        match handler {
            Some(handler) => handler.handle(from, method, request).await.map_err(RpcError::Remote),
            None => Err(RpcError::UnknownMethod(method.0)),
        }
    }
}
