//! Links between nodes that can be cut: each node is reached through a proxy, which knows by the source address of a
//! connection which node calls. A cut link swallows bytes, as a broken network does; nobody is told.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Pairs of nodes, lower index first.
type Cuts = HashSet<(usize, usize)>;

/// The links of a cluster.
pub(crate) struct Links {
    cuts: watch::Sender<Cuts>,
}

/// The loopback address of a node.
pub(crate) fn node_ip(index: usize) -> IpAddr {
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 1, last).into()
}

fn node_of(ip: IpAddr) -> Option<usize> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[..3] == [127, 0, 1] => usize::from(ip.octets()[3]).checked_sub(1),
        _ => None,
    }
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { cuts: watch::Sender::new(Cuts::new()) }
    }

    pub(crate) fn cut(&self, a: usize, b: usize) {
        self.cuts.send_modify(|cuts| {
            cuts.insert((a.min(b), a.max(b)));
        });
    }

    pub(crate) fn heal(&self) {
        self.cuts.send_modify(Cuts::clear);
    }

    /// Starts the proxy of a node that listens on `target`; returns the address to advertise.
    pub(crate) async fn start_proxy(&self, node: usize, listen: SocketAddr, target: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind(listen).await.context("listen for a node")?;
        let address = listener.local_addr()?;
        let cuts = self.cuts.subscribe();
        tokio::spawn(async move {
            while let Ok((caller, peer)) = listener.accept().await {
                let link = Link { pair: node_of(peer.ip()).map(|from| (from.min(node), from.max(node))) };
                tokio::spawn(link.carry(caller, target, cuts.clone()));
            }
        });
        Ok(address)
    }
}

#[derive(Clone, Copy)]
struct Link {
    /// Absent for callers that are no node.
    pair: Option<(usize, usize)>,
}

impl Link {
    async fn carry(self, caller: TcpStream, target: SocketAddr, cuts: watch::Receiver<Cuts>) {
        if !self.whole(&mut cuts.clone()).await {
            return;
        }
        let Ok(called) = TcpStream::connect(target).await else { return };
        let (caller_reads, caller_writes) = caller.into_split();
        let (called_reads, called_writes) = called.into_split();
        tokio::select! {
            () = self.copy(caller_reads, called_writes, cuts.clone()) => {}
            () = self.copy(called_reads, caller_writes, cuts) => {}
        }
    }

    /// Waits until the link is whole; false when the test is over.
    async fn whole(self, cuts: &mut watch::Receiver<Cuts>) -> bool {
        let Some(pair) = self.pair else { return true };
        cuts.wait_for(|cuts| !cuts.contains(&pair)).await.is_ok()
    }

    async fn copy(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cuts: watch::Receiver<Cuts>) {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if !self.whole(&mut cuts).await || to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}
