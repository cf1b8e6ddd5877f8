//! The way of one request: limits, target, signature, backend, answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, ORIGIN, SERVER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use karri_ring_types::{Clock, RequestId, Rng};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::activity::Activity;
use crate::admin;
use crate::admission::{Admission, Room};
use crate::api::{
    AdminPages, ApiRequest, ApiResponse, AuthKind, Backend, Caller, Credentials, Crossing, OperationName, TlsSession,
};
use crate::auth::{Authenticator, Head, Scheme, payload, strip_parameters};
use crate::body::{BodyError, Linger, Pace, RequestBody, Source};
use crate::config::GatewayConfig;
use crate::error::{ApiError, ErrorCode, ErrorContext};
use crate::flight::{Flight, FlightBody};
use crate::form;
use crate::form_api::FormBackend;
use crate::form_error;
use crate::form_handler::{UNSIGNED_SERVICE, looks_like_form};
use crate::json_api::JsonBackend;
use crate::json_handler::service_by_target;
use crate::metrics::Metrics;
use crate::response::ResponseBody;
use crate::target::{Domains, Target};

/// The bucket name that no bucket can have: the pages of the gateway are below it.
const ADMIN_BUCKET: &str = "-";
const REQUEST_ID: &str = "x-amz-request-id";
const HOST_ID: &str = "x-amz-id-2";
/// The request id of services other than S3.
const FORM_REQUEST_ID: &str = "x-amzn-requestid";

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) credentials: Arc<dyn Credentials>,
    backend: Arc<dyn Backend>,
    services: BTreeMap<&'static str, Arc<dyn Backend>>,
    forms: BTreeMap<&'static str, Arc<dyn FormBackend>>,
    documents: BTreeMap<&'static str, Arc<dyn JsonBackend>>,
    admin: Arc<dyn AdminPages>,
    pub(crate) clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    pub(crate) authenticator: Authenticator,
    admission: Arc<Admission>,
    host_id: Arc<str>,
    host_id_header: HeaderValue,
}

/// A connection, as its requests see it.
pub(crate) struct Peer {
    pub(crate) remote: IpAddr,
    pub(crate) secure: bool,
    pub(crate) tls: Option<Arc<TlsSession>>,
    pub(crate) activity: Arc<Activity>,
}

impl Peer {
    /// The version of TLS as policies have it: `1.3`.
    fn tls_version(&self) -> Option<&'static str> {
        self.tls.as_ref()?.version.strip_prefix("TLSv")
    }
}

impl Shared {
    pub(crate) fn new(
        config: GatewayConfig,
        credentials: Arc<dyn Credentials>,
        backend: Arc<dyn Backend>,
        admin: Arc<dyn AdminPages>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let mut name = [0; 48];
        rng.fill(&mut name);
        let host_id = STANDARD.encode(name);
        let metrics = Arc::new(Metrics::new());
        Self {
            authenticator: Authenticator::new(config.region.clone(), config.sigv2),
            admission: Admission::new(
                config.limits.concurrent_requests_max,
                config.limits.memory_bytes_max,
                metrics.overloaded.clone(),
                metrics.memory.clone(),
            ),
            metrics,
            host_id_header: HeaderValue::from_str(&host_id).expect("base64 is ASCII"),
            host_id: host_id.into(),
            services: BTreeMap::new(),
            forms: BTreeMap::new(),
            documents: BTreeMap::new(),
            config,
            credentials,
            backend,
            admin,
            clock,
            rng,
        }
    }

    pub(crate) fn add_service(&mut self, name: &'static str, backend: Arc<dyn Backend>) {
        self.services.insert(name, backend);
    }

    pub(crate) fn add_form_service(&mut self, name: &'static str, backend: Arc<dyn FormBackend>) {
        self.forms.insert(name, backend);
    }

    pub(crate) fn add_json_service(&mut self, name: &'static str, backend: Arc<dyn JsonBackend>) {
        self.documents.insert(name, backend);
    }

    pub(crate) fn json_backend(&self, name: &str) -> Option<Arc<dyn JsonBackend>> {
        self.documents.get(name).cloned()
    }

    pub(crate) fn form_backend(&self, name: &str) -> Option<Arc<dyn FormBackend>> {
        self.forms.get(name).cloned()
    }

    /// Answers one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> Result<Response<FlightBody>, Infallible> {
        let (head, incoming) = request.into_parts();
        let id = RequestId::generate(self.clock.as_ref(), self.rng.as_ref());
        let mut flight = Flight::new(id, &head, &peer, self.clock.clone(), self.metrics.clone());
        let mut deadline = Instant::now() + self.config.limits.request_time_max();
        let body = self.open_body(&head, incoming, &flight);
        let head_only = head.method == Method::HEAD;
        let crossing = head.headers.contains_key(ORIGIN).then(|| (head.method.clone(), head.headers.clone()));
        // RFC 9112 6.1: a length beside a transfer coding may be an attempt to smuggle a request behind this one.
        let last = head.version == Version::HTTP_11 && head.headers.contains_key(TRANSFER_ENCODING);
        let mut context = self.context(&head, id);
        let answered = timeout_at(deadline, self.answer(head, body, &peer, &mut flight, &mut context)).await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let mut refusal = self.refusal(error, &context, &flight);
                self.tell_origin(crossing.as_ref(), &flight, &mut refusal).await;
                refusal
            }
            Err(_) => {
                // The answer itself needs some time too.
                deadline += self.config.limits.write_idle_timeout();
                self.refusal(ApiError::from(BodyError::TimedOut), &context, &flight)
            }
        };
        self.finish(&mut response, &flight, head_only, last);
        flight.answered();
        flight.status = response.status().as_u16();
        flight.when_done = response.extensions_mut().remove();
        flight.error = response.extensions_mut().remove::<ErrorCode>().map(|code| code.0);
        if let Some(OperationName(name)) = response.extensions_mut().remove() {
            flight.operation = name;
        }
        Ok(response.map(|body| FlightBody::new(body, deadline, flight)))
    }

    fn refusal(&self, error: ApiError, context: &ErrorContext, flight: &Flight) -> ApiResponse {
        match flight.form_service {
            Some(service) => form_error::response(error, service, &flight.request_id.to_string()),
            None => error.response(context),
        }
    }

    /// The page behind a refused request may see why, if the bucket's rules let it. Not under overload.
    async fn tell_origin(&self, crossing: Option<&(Method, HeaderMap)>, flight: &Flight, refusal: &mut ApiResponse) {
        let (Some((method, headers)), Some(bucket), None) = (crossing, &flight.bucket, flight.form_service) else {
            return;
        };
        if refusal.status() != StatusCode::SERVICE_UNAVAILABLE {
            self.backend.tell_origin(Crossing { bucket, method, headers }, refusal).await;
        }
    }

    fn open_body(&self, head: &Parts, incoming: Incoming, flight: &Flight) -> RequestBody {
        let limits = &self.config.limits;
        let length = incoming.size_hint().exact();
        let awaits_continue = head.version == Version::HTTP_11
            && head.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let linger =
            (head.version < Version::HTTP_2).then_some(Linger { bytes_max: limits.linger_bytes_max, awaits_continue });
        let pace = Pace::new(limits.body_idle_timeout(), limits.body_progress_bytes_min);
        RequestBody::new(Source::network(incoming, pace, flight.received.clone(), linger), length)
    }

    fn context(&self, head: &Parts, request_id: RequestId) -> ErrorContext {
        ErrorContext {
            request_id,
            host_id: self.host_id.clone(),
            method: head.method.clone(),
            resource: String::new(),
            bucket: None,
            key: None,
            region: self.config.region.clone(),
        }
    }

    async fn answer(
        &self,
        mut head: Parts,
        body: RequestBody,
        peer: &Peer,
        flight: &mut Flight,
        context: &mut ErrorContext,
    ) -> Result<ApiResponse, ApiError> {
        context.resource = head.uri.path().to_owned();
        self.check_size(&head)?;
        let domains = Domains { base: &self.config.base_domains, website: &self.config.website_domains };
        let mut target = Target::parse(&head.uri, head.version, &head.headers, domains)?;
        if !target.virtual_host && target.bucket.as_deref() == Some(ADMIN_BUCKET) {
            flight.operation = "Admin";
            return admin::answer(target.key.as_deref(), &head.method, self.admin.as_ref(), &self.metrics);
        }
        flight.slot = Some(self.admission.admit(peer.remote, body.decoded_length())?);
        context.resource = target.resource();
        flight.bucket.clone_from(&target.bucket);
        if target.website {
            return self.answer_website(head, target, body, peer, (context, flight.room()?)).await;
        }
        if looks_like_form(&head, &target) && self.forms.contains_key(UNSIGNED_SERVICE) {
            flight.form_service = Some(UNSIGNED_SERVICE);
        }
        if let Some(name) = service_by_target(&head).filter(|name| self.documents.contains_key(name)) {
            flight.form_service = Some(name);
        }
        let signed = Head { method: &head.method, target: &target, headers: &head.headers };
        let scheme = self.authenticator.scheme(&signed)?;
        self.find_form_service(&scheme, flight)?;
        if let Some(name) = flight.form_service.filter(|name| self.documents.contains_key(name)) {
            return self.answer_json(name, (&head, target), body, peer, flight, context.request_id).await;
        }
        if let Some(name) = flight.form_service {
            return self.answer_form(name, (&head, target), body, peer, flight, context.request_id).await;
        }
        if let Some(boundary) = form::boundary_of(&head, &target, &scheme) {
            return self.answer_upload_form(&boundary, (&head, target), body, peer, flight, context).await;
        }
        let backend = self.backend_of(&scheme);
        let now = self.clock.now().as_secs();
        let (body, hash) = self.hash_unnamed(&scheme, body).await?;
        let authenticator = &self.authenticator;
        let verified = authenticator.verify(&scheme, &signed, self.credentials.as_ref(), now, hash.as_deref()).await?;
        flight.signed_with(access_key(&scheme))?;
        let payload = verified.payload.or_framed(&head.headers)?;
        context.bucket.clone_from(&target.bucket);
        context.key.clone_from(&target.key);
        target.check()?;
        let body = payload::prepare(body, payload, verified.seed, &head.headers, head.version)?;
        payload::strip_chunked_encoding(&mut head.headers);
        strip_parameters(&mut target.query, verified.kind);
        let request = ApiRequest {
            request_id: context.request_id,
            host_id: self.host_id.clone(),
            method: head.method,
            bucket: target.bucket,
            key: target.key,
            query: target.query,
            headers: head.headers,
            caller: verified.caller,
            auth: verified.kind,
            signed_at_seconds: verified.signed_at,
            form: None,
            body,
            resource: context.resource.clone(),
            remote: peer.remote,
            secure: peer.secure,
            tls_version: peer.tls_version(),
            uri: target.uri,
            host: target.host,
            website: false,
            room: flight.room()?,
        };
        Ok(backend.call(request).await)
    }

    /// Answers an upload by form: its fields are read and verified before the backend sees it.
    async fn answer_upload_form(
        &self,
        boundary: &str,
        (head, mut target): (&Parts, Target),
        body: RequestBody,
        peer: &Peer,
        flight: &mut Flight,
        context: &mut ErrorContext,
    ) -> Result<ApiResponse, ApiError> {
        target.check()?;
        context.bucket.clone_from(&target.bucket);
        let bucket = target.bucket.clone().unwrap_or_default();
        let sent = form::Sent { boundary, bucket: &bucket, headers: &head.headers };
        let now = self.clock.now().as_secs();
        let verified = form::verify(&self.authenticator, self.credentials.as_ref(), now, sent, body).await?;
        flight.signed_with(verified.access_key.as_deref())?;
        target.key = Some(verified.key);
        target.check()?;
        context.key.clone_from(&target.key);
        context.resource = target.resource();
        let request = ApiRequest {
            request_id: context.request_id,
            host_id: self.host_id.clone(),
            method: head.method.clone(),
            bucket: target.bucket,
            key: target.key,
            query: target.query,
            headers: verified.headers,
            caller: verified.caller,
            auth: verified.kind,
            signed_at_seconds: None,
            form: Some(Box::new(verified.form)),
            body: verified.body,
            resource: context.resource.clone(),
            remote: peer.remote,
            secure: peer.secure,
            tls_version: peer.tls_version(),
            uri: target.uri,
            host: target.host,
            website: false,
            room: flight.room()?,
        };
        Ok(self.backend.call(request).await)
    }

    /// Answers a visitor of a website: whatever the request says of who sends it counts for nothing.
    async fn answer_website(
        &self,
        head: Parts,
        target: Target,
        body: RequestBody,
        peer: &Peer,
        (context, room): (&mut ErrorContext, Room),
    ) -> Result<ApiResponse, ApiError> {
        target.check()?;
        context.bucket.clone_from(&target.bucket);
        context.key.clone_from(&target.key);
        let request = ApiRequest {
            request_id: context.request_id,
            host_id: self.host_id.clone(),
            method: head.method,
            bucket: target.bucket,
            key: target.key,
            query: Vec::new(),
            headers: head.headers,
            caller: Caller::Anonymous,
            auth: AuthKind::Anonymous,
            signed_at_seconds: None,
            form: None,
            body,
            resource: context.resource.clone(),
            remote: peer.remote,
            secure: peer.secure,
            tls_version: peer.tls_version(),
            uri: target.uri,
            host: target.host,
            website: true,
            room,
        };
        Ok(self.backend.call(request).await)
    }

    fn check_size(&self, head: &Parts) -> Result<(), ApiError> {
        let limits = &self.config.limits;
        if head.uri.path().len() + head.uri.query().map_or(0, str::len) > limits.uri_bytes_max {
            return Err(ApiError::invalid_uri());
        }
        let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > limits.header_bytes_max || head.headers.len() > limits.header_count_max {
            let message = "Your request header section exceeds the maximum allowed request header section size.";
            return Err(ApiError::new("RequestHeaderSectionTooLarge", 400, message)
                .with("MaxSizeAllowed", limits.header_bytes_max.to_string()));
        }
        Ok(())
    }

    /// The form service that the credential scope names, or none; a scope that nothing here serves is refused.
    fn find_form_service(&self, scheme: &Scheme<'_>, flight: &mut Flight) -> Result<(), ApiError> {
        let Scheme::V4(claim) = scheme else { return Ok(()) };
        let asked = claim.scope.service;
        if let Some((name, _)) = self.forms.get_key_value(asked) {
            flight.form_service = Some(name);
        } else if let Some((name, _)) = self.documents.get_key_value(asked) {
            flight.form_service = Some(name);
        } else if asked == "s3" || self.services.contains_key(asked) {
            flight.form_service = None;
        }
        let served: Vec<&'static str> =
            self.services.keys().chain(self.forms.keys()).chain(self.documents.keys()).copied().collect();
        self.authenticator.check_scope(claim, &served)
    }

    /// The service that the credential scope names; S3 for requests without one.
    fn backend_of(&self, scheme: &Scheme<'_>) -> Arc<dyn Backend> {
        let Scheme::V4(claim) = scheme else { return self.backend.clone() };
        self.services.get(claim.scope.service).unwrap_or(&self.backend).clone()
    }

    /// Clients of the query services sign the hash of their body without saying it: there the body is read first.
    async fn hash_unnamed(
        &self,
        scheme: &Scheme<'_>,
        body: RequestBody,
    ) -> Result<(RequestBody, Option<String>), ApiError> {
        match scheme {
            Scheme::V4(claim) if claim.payload.is_none() && claim.scope.service != "s3" => {
                let bytes = body.collect(self.config.limits.query_body_bytes_max).await?;
                let hash = hex::encode(Sha256::digest(&bytes));
                Ok((RequestBody::from_bytes(bytes), Some(hash)))
            }
            _ => Ok((body, None)),
        }
    }

    fn finish(&self, response: &mut ApiResponse, flight: &Flight, head_only: bool, last: bool) {
        if head_only {
            let body = std::mem::take(response.body_mut());
            if let Some(length) = body.length().filter(|length| *length > 0)
                && !response.headers().contains_key(CONTENT_LENGTH)
            {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            *response.body_mut() = ResponseBody::empty();
        }
        let headers = response.headers_mut();
        let id = HeaderValue::from_str(&flight.request_id.to_string()).expect("an id is ASCII");
        if flight.form_service.is_some() {
            headers.insert(FORM_REQUEST_ID, id);
        } else {
            headers.insert(REQUEST_ID, id);
            headers.insert(HOST_ID, self.host_id_header.clone());
        }
        headers.entry(SERVER).or_insert(HeaderValue::from_static("Karri"));
        if last {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

pub(crate) fn access_key<'a>(scheme: &Scheme<'a>) -> Option<&'a str> {
    match scheme {
        Scheme::Anonymous => None,
        Scheme::V4(claim) => Some(claim.scope.access_key),
        Scheme::V2(claim) => Some(claim.access_key),
    }
}
