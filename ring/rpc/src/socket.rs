//! How the sockets under TLS are set up.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::BufReader;
use tokio::net::TcpStream;

/// Bytes read from a socket at once: TLS by itself reads 4 KiB at a time.
const READ_BYTES: usize = 256 << 10;
/// Encrypted bytes gathered for one write to a socket.
pub(crate) const TLS_BUFFER_BYTES: usize = 256 << 10;
/// A peer that acknowledges nothing for this long is gone, whatever its machine's state.
const SILENCE_MAX: Duration = Duration::from_secs(6);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);

/// The stream that TLS runs over.
pub(crate) type Socket = BufReader<TcpStream>;

pub(crate) fn prepare(tcp: TcpStream) -> io::Result<Socket> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_EVERY).with_interval(KEEPALIVE_EVERY))?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
    Ok(BufReader::with_capacity(READ_BYTES, tcp))
}
