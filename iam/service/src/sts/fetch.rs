//! Small documents of identity providers, fetched with the guards that an address from outside needs: only public
//! addresses (unless the settings name the host), no redirects, bounds on time and bytes, and the certificate checked
//! against the system's roots or the provider's thumbprints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::trust;

const TIME_MAX: Duration = Duration::from_secs(5);
const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Fetches at a time.
const CONCURRENT_MAX: usize = 8;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("not an address that may be asked")]
    Refused,
    #[error("no answer in time")]
    TimedOut,
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the connection")]
    Connection(#[from] std::io::Error),
    #[error("the answer")]
    Http(#[from] hyper::Error),
    #[error("the answer is too long or was cut off")]
    Body,
}

/// Fetches documents.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// Hosts, with their port where it is not the usual one, that may have any address and may go without TLS.
    private_hosts: Vec<String>,
    slots: Semaphore,
    roots: OnceLock<Arc<RootCertStore>>,
}

impl Fetcher {
    pub(super) fn new(private_hosts: Vec<String>) -> Self {
        Self { private_hosts, slots: Semaphore::new(CONCURRENT_MAX), roots: OnceLock::new() }
    }

    /// Whether a provider at this address may be asked at all.
    pub(super) fn is_allowed(&self, url: &str) -> bool {
        Place::parse(url).is_some_and(|place| place.tls || self.is_private(&place))
    }

    /// The document at `url`.
    pub(super) async fn get(&self, url: &str, thumbprints: &[String]) -> Result<Bytes, FetchError> {
        let place = Place::parse(url).ok_or(FetchError::Refused)?;
        let is_private = self.is_private(&place);
        if !place.tls && !is_private {
            return Err(FetchError::Refused);
        }
        let fetched = async {
            let _slot = self.slots.acquire().await.map_err(|_| FetchError::Refused)?;
            let stream = connect(&place, is_private).await?;
            if !place.tls {
                return ask(stream, &place).await;
            }
            let config = trust::client_config(self.roots(), thumbprints);
            let name = ServerName::try_from(place.host.clone()).map_err(|_| FetchError::Refused)?;
            ask(TlsConnector::from(config).connect(name, stream).await?, &place).await
        };
        tokio::time::timeout(TIME_MAX, fetched).await.map_err(|_| FetchError::TimedOut)?
    }

    fn is_private(&self, place: &Place) -> bool {
        self.private_hosts.iter().any(|host| host.eq_ignore_ascii_case(&place.authority))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        self.roots.get_or_init(load).clone()
    }
}

/// A parsed address.
struct Place {
    tls: bool,
    host: String,
    port: u16,
    /// Host and port as in the address.
    authority: String,
    path: String,
}

impl Place {
    fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }
}

/// Connects to an address that was looked at: the name is not resolved a second time.
async fn connect(place: &Place, is_private: bool) -> Result<TcpStream, FetchError> {
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await?;
    let allowed: Vec<SocketAddr> = found.filter(|address| is_private || is_public(address.ip())).collect();
    let mut failed = FetchError::Refused;
    for address in allowed.into_iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

async fn ask<S>(stream: S, place: &Place) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(&place.path)
        .header(http::header::HOST, &place.authority)
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Refused)?;
    let answered = async {
        let response = sender.send_request(request).await?;
        // A redirect is no document: where it leads to was not looked at.
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
    };
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => {
            ended?;
            answered.await
        }
    }
}

/// Whether an address is one of the public Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Of the global unicast range, without what embeds addresses of version 4 and what is for documents.
    let [first, second, ..] = address.segments();
    let is_special = matches!((first, second), (0x2001, 0..0x200 | 0xdb8) | (0x2002, _));
    first & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let others = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "ff02::1",
        ];
        for other in others {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn what_is_not_public_is_asked_only_if_it_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let fetcher = Fetcher::new(Vec::new());
        for scheme in ["http", "https", "ftp"] {
            let refused = fetcher.get(&format!("{scheme}://{authority}/x"), &[]).await;
            assert!(matches!(refused, Err(FetchError::Refused)), "{scheme}");
        }
        for url in [format!("https://user@{authority}/"), "https://[::1]/".to_owned(), "nothing".to_owned()] {
            assert!(matches!(fetcher.get(&url, &[]).await, Err(FetchError::Refused)), "{url}");
        }
        let fetcher = Fetcher::new(vec![authority.clone()]);
        let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".to_owned();
        let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1 << 20, "x".repeat(1 << 20));
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned();
        let answers = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            for answer in [redirect, long, good] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let url = format!("http://{authority}/keys");
        assert!(matches!(fetcher.get(&url, &[]).await, Err(FetchError::Status(302))));
        assert!(matches!(fetcher.get(&url, &[]).await, Err(FetchError::Body)));
        assert_eq!(fetcher.get(&url, &[]).await.unwrap(), "{}");
        answers.await.unwrap();
    }
}
