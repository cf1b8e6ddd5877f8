//! Which handler has which methods.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::message::{Caller, Handler, Method, Request, Response, RpcError};

#[derive(Clone)]
struct Route {
    methods: RangeInclusive<u16>,
    handler: Arc<dyn Handler>,
    /// Whether callers without a certificate may reach it.
    open: bool,
}

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

    /// Gives `methods` to `handler`. A later registration of the same methods takes precedence. Callers without a
    /// certificate do not reach it.
    pub fn register(&self, methods: RangeInclusive<u16>, handler: Arc<dyn Handler>) {
        self.add(Route { methods, handler, open: false });
    }

    /// As [`Router::register`], but callers without a certificate reach it too: for joining the cluster alone.
    pub fn register_open(&self, methods: RangeInclusive<u16>, handler: Arc<dyn Handler>) {
        self.add(Route { methods, handler, open: true });
    }

    fn add(&self, route: Route) {
        self.routes.rcu(|routes| {
            let mut routes = Vec::clone(routes);
            routes.insert(0, route.clone());
            routes
        });
    }

    /// Carries out a call.
    pub async fn dispatch(&self, from: Caller, method: Method, request: Request) -> Result<Response, RpcError> {
        let handler = {
            let routes = self.routes.load();
            let found = routes.iter().find(|route| route.methods.contains(&method.0));
            // To a stranger a closed method looks like one that does not exist.
            let found = found.filter(|route| route.open || from != Caller::Unauthenticated);
            found.map(|route| route.handler.clone())
        };
        match handler {
            Some(handler) => handler.handle(from, method, request).await.map_err(RpcError::Remote),
            None => Err(RpcError::UnknownMethod(method.0)),
        }
    }
}
