//! TLS, HTTP/2, and what is written down.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::sign::{self, request};
use common::{Running, wire::Wire};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use karri_objstore_gateway::TlsFiles;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Writes a fresh certificate and its key, and gives the certificate back.
fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn tls_gateway(folder: &Path) -> Running {
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    Running::start(|config| {
        config.tls = Some(files);
        config.limits.tls_reload_interval_ms = 20;
    })
    .await
}

#[tokio::test]
async fn tls_speaks_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let gateway = tls_gateway(folder.path()).await;
    let mut one = Wire::new(connect(gateway.address, &certificate, b"http/1.1").await.unwrap());
    assert_eq!(one.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    let two = connect(gateway.address, &certificate, b"h2").await.unwrap();
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(two);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(http2_request("https", "GET", "/bucket/key?size=9", b"")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-test-tls"], "1.3");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 9);
    drop(sender);
    drop(one);
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let old = write_certificate(folder.path());
    let gateway = tls_gateway(folder.path()).await;
    let mut kept = Wire::new(connect(gateway.address, &old, b"http/1.1").await.unwrap());
    std::fs::write(folder.path().join("cert.pem"), "not a certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    connect(gateway.address, &old, b"http/1.1").await.expect("broken files change nothing");
    let new = write_certificate(folder.path());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while connect(gateway.address, &new, b"http/1.1").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is never served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(connect(gateway.address, &old, b"http/1.1").await.is_err());
    assert_eq!(kept.call(request("GET", "/bucket/key").head(), "").await.status, 200, "open connections go on");
    drop(kept);
    gateway.stop().await;
}

fn http2_request(scheme: &str, method: &str, path: &str, body: &'static [u8]) -> http::Request<Full<Bytes>> {
    let signed = request(method, path).payload(&sign::hash(body));
    let mut built = http::Request::builder().method(method).uri(format!("{scheme}://localhost{path}"));
    for (name, value) in signed.headers_and_seed().0 {
        if name != "host" {
            built = built.header(name, value);
        }
    }
    built.body(Full::new(Bytes::from_static(body))).unwrap()
}

#[tokio::test]
async fn http2_needs_no_upgrade() {
    let gateway = Running::start(|_| {}).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let put = sender.send_request(http2_request("http", "PUT", "/bucket/key", b"hello")).await.unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(put.into_body().collect().await.unwrap().to_bytes(), "5 {}");
    let head = sender.send_request(http2_request("http", "HEAD", "/bucket/key", b"")).await.unwrap();
    assert_eq!(head.headers()["content-length"], "12345");
    let refused = sender.send_request(http2_request("http", "PUT", "/bucket/refused", b"hello")).await.unwrap();
    assert_eq!(refused.status(), 403);
    let forged = http::Request::builder().uri("http://localhost/bucket").header("host", "other");
    let forged = sender.send_request(forged.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
    assert_eq!(forged.status(), 400, "two names for the host");
    drop(sender);
    gateway.stop().await;
}

#[tokio::test]
async fn clients_pool_connections() {
    let gateway = Running::start(|_| {}).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    for _ in 0..20 {
        let path = "/bucket/key?size=100000";
        let mut built = http::Request::builder().uri(format!("http://{}{path}", gateway.address));
        for (name, value) in request("GET", path).host(&gateway.address.to_string()).headers_and_seed().0 {
            built = built.header(name, value);
        }
        let response = client.request(built.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 100_000);
    }
    drop(client);
    gateway.stop().await;
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_access_log_has_everything_but_secrets() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let signed = request("PUT", "/bucket/key").body(b"hello").unsigned("user-agent", "tester/1");
    let (head, signature) = signed.head_and_seed();
    let id = wire.call(head, "hello").await.header("x-amz-request-id").unwrap().to_owned();
    let presigned = "GET /bucket/key?X-Amz-Signature=canary1&X-Amz-Security-Token=canary2 HTTP/1.1\r\n\
                     host: localhost\r\n\r\n";
    assert_eq!(wire.call(presigned, "").await.status, 400);
    gateway.stop().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("access:") && line.contains(&id)).expect("a line");
    for part in [
        "remote=127.0.0.1",
        "method=PUT",
        "path=\"/bucket/key\"",
        "status=200",
        "bytes_in=5",
        "bytes_out=4",
        "user_agent=\"tester/1\"",
        sign::ACCESS_KEY,
        "operation=\"TestOperation\"",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(text.contains("error=\"AuthorizationQueryParametersError\""), "{text}");
    for secret in [sign::SECRET_KEY, signature.as_str(), "canary1", "canary2"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
