//! Joining: the token's text, the node's credentials on disk, and the calls by which a node is admitted.
//!
//! A token names the cluster's addresses, pins its authority by fingerprint, and carries a secret of which the cluster
//! keeps a digest. Whoever has it before it expires is given a node id, a certificate, the cluster's key, and the authority
//! itself, so that every node can admit further ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_rpc::{
    AddressBook, Caller, ClusterCa, Handler, Identity, IdentityError, Lane, Method, Request, Response, Router,
    RpcError, TlsTransport, Transport as _, join_call,
};
use karri_ring_types::{ClusterId, ClusterKey, Digest, NodeId, Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::membership::{Command, Membership, MembershipError, Refusal, Reply, Unreadable, decode, encode};

/// Methods of this module.
pub(crate) const METHODS: std::ops::RangeInclusive<u16> = 301..=309;
/// Those that a caller without a certificate may use.
pub(crate) const OPEN_METHODS: std::ops::RangeInclusive<u16> = 300..=300;
const JOIN: Method = Method(300);
const CREATE_TOKEN: Method = Method(301);
pub(crate) const PING: Method = Method(302);

/// Addresses that a token carries at most.
const TOKEN_ADDRESSES_MAX: usize = 5;
/// How long a command-line call to a running node may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
const SECRET_BYTES: usize = 32;

/// Why a node cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The text is not a join token.
    #[error("not a join token")]
    Token,
    /// No node of the token answered.
    #[error("no node of the cluster could be reached")]
    Rpc(#[from] RpcError),
    /// The cluster refused.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// An answer that this version cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Certificates could not be made or read.
    #[error("certificates")]
    Identity(#[from] IdentityError),
    /// The credentials could not be read or written.
    #[error("credentials file")]
    Io(#[from] io::Error),
}

/// A join token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: u128,
    secret: [u8; SECRET_BYTES],
    fingerprint: String,
    addresses: Vec<String>,
}

impl Token {
    pub(crate) fn generate(rng: &dyn Rng, mut addresses: Vec<String>, fingerprint: String) -> Self {
        let mut secret = [0; SECRET_BYTES];
        rng.fill(&mut secret);
        addresses.truncate(TOKEN_ADDRESSES_MAX);
        Self { id: rng.next_u128(), secret, fingerprint, addresses }
    }

    pub(crate) fn secret_digest(&self) -> Digest {
        Digest::of(&self.secret)
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(encode(self))
    }

    fn parse(text: &str) -> Result<Self, JoinError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| JoinError::Token)?;
        decode(&bytes).map_err(|_| JoinError::Token)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    token: u128,
    secret: [u8; SECRET_BYTES],
    /// Chosen by the joining node, so that a repeated request gets the same id.
    attempt: u128,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CreateTokenRequest {
    ttl_ms: u64,
    uses: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum JoinReply {
    Admitted(Credentials),
    Refused(Refusal),
}

/// All that makes a process a node of a cluster. Secret: it holds the keys of the node, the authority and the cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    cluster: ClusterId,
    node: NodeId,
    cert_pem: String,
    key_pem: String,
    ca_cert_pem: String,
    ca_key_pem: String,
    cluster_key: ClusterKey,
    /// The other nodes' addresses when the credentials were made.
    addresses: BTreeMap<NodeId, String>,
}

impl Credentials {
    /// Credentials of the first node of a new cluster. `rng` makes the cluster's key: it must not be predictable.
    pub fn first(cluster: ClusterId, rng: &dyn Rng) -> Result<Self, JoinError> {
        Self::issue(&ClusterCa::generate(cluster)?, ClusterKey::generate(rng), NodeId(1), BTreeMap::new())
    }

    fn issue(
        authority: &ClusterCa,
        cluster_key: ClusterKey,
        node: NodeId,
        addresses: BTreeMap<NodeId, String>,
    ) -> Result<Self, JoinError> {
        let Identity { cluster, node, cert_pem, key_pem, ca_cert_pem } = authority.issue(node)?;
        let ca_key_pem = authority.key_pem().to_owned();
        Ok(Self { cluster, node, cert_pem, key_pem, ca_cert_pem, ca_key_pem, cluster_key, addresses })
    }

    /// The node's identity.
    pub fn identity(&self) -> Identity {
        Identity {
            cluster: self.cluster,
            node: self.node,
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
            ca_cert_pem: self.ca_cert_pem.clone(),
        }
    }

    /// The cluster's authority.
    pub fn authority(&self) -> Result<ClusterCa, IdentityError> {
        ClusterCa::from_pem(self.cluster, &self.ca_cert_pem, &self.ca_key_pem)
    }

    /// The cluster's key.
    pub fn cluster_key(&self) -> &ClusterKey {
        &self.cluster_key
    }

    /// The nodes that the cluster had when the credentials were made: the first to ask after a join.
    pub fn addresses(&self) -> &BTreeMap<NodeId, String> {
        &self.addresses
    }

    /// The same node with a new key and certificate, good until `end` or as long as the authority's.
    pub fn renewed(&self, end: Option<Timestamp>) -> Result<Self, JoinError> {
        let authority = self.authority()?;
        let Identity { cert_pem, key_pem, .. } = match end {
            Some(end) => authority.issue_until(self.node, end)?,
            None => authority.issue(self.node)?,
        };
        Ok(Self { cert_pem, key_pem, ..self.clone() })
    }

    /// Replaces the file that [`Credentials::create`] wrote.
    pub fn replace(&self, path: &DiskPath) -> Result<(), JoinError> {
        Ok(path.replace(&encode(self))?)
    }

    /// Writes the credentials to a file that is not there yet, readable by its owner only.
    pub fn create(&self, path: &DiskPath) -> Result<(), JoinError> {
        Ok(path.create(&encode(self))?)
    }

    /// Reads what [`Credentials::create`] wrote; `None` when the file is not there.
    pub fn read(path: &DiskPath) -> Result<Option<Self>, JoinError> {
        Ok(path.read_if_there()?.map(|bytes| decode(&bytes)).transpose()?)
    }
}

/// Joins the cluster that made `token`. The node is in the registry once its [`Membership`] runs.
///
/// # Errors
/// [`JoinError::Refused`] for a token that is wrong, expired or used up.
pub async fn join(token: &str, rng: &dyn Rng) -> Result<Credentials, JoinError> {
    let call = |address: String, fingerprint: String, method, request| async move {
        join_call(&address, &fingerprint, method, request).await
    };
    join_by(token, rng, call).await
}

/// As [`join`], over another network: `call` is given an address, the fingerprint that the authority there must have,
/// and what to ask.
///
/// # Errors
/// As [`join`].
pub async fn join_by<F>(
    token: &str,
    rng: &dyn Rng,
    call: impl Fn(String, String, Method, Request) -> F,
) -> Result<Credentials, JoinError>
where
    F: Future<Output = Result<Response, RpcError>>,
{
    let Token { id, secret, fingerprint, addresses } = Token::parse(token)?;
    let head = encode(&JoinRequest { token: id, secret, attempt: rng.next_u128() });
    let mut result = Err(JoinError::Token);
    for address in addresses {
        let request = Request { group: 0, head: head.clone(), body: Bytes::new() };
        match call(address.clone(), fingerprint.clone(), JOIN, request).await {
            Ok(response) => {
                return match decode(&response.head)? {
                    JoinReply::Admitted(credentials) => Ok(credentials),
                    JoinReply::Refused(refusal) => Err(refusal.into()),
                };
            }
            Err(error) => {
                tracing::warn!(address, %error, "cannot join through this node");
                result = Err(error.into());
            }
        }
    }
    result
}

/// Calls a running node from another process that has its credentials, as the command line does.
pub async fn call_running(
    credentials: &Credentials,
    address: &str,
    method: Method,
    head: Bytes,
) -> Result<Response, JoinError> {
    call_running_within(credentials, address, method, head, COMMAND_DEADLINE).await
}

/// As [`call_running`], for what may take longer.
pub async fn call_running_within(
    credentials: &Credentials,
    address: &str,
    method: Method,
    head: Bytes,
    deadline: Duration,
) -> Result<Response, JoinError> {
    let addresses = AddressBook::new();
    addresses.set(credentials.node, address.to_owned());
    // Not as the node itself, or the call would stay in this process.
    let transport = TlsTransport::new(NodeId(0), credentials.identity(), addresses, Router::new())?;
    let request = Request { group: 0, head, body: Bytes::new() };
    Ok(transport.call(credentials.node, Lane::Control, method, request, deadline).await?)
}

/// Asks the running node at `address`, whose credentials these are, for a join token.
pub async fn request_token(
    credentials: &Credentials,
    address: &str,
    ttl: Duration,
    uses: Option<u32>,
) -> Result<String, JoinError> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let response =
        call_running(credentials, address, CREATE_TOKEN, encode(&CreateTokenRequest { ttl_ms, uses })).await?;
    Ok(decode(&response.head)?)
}

/// The called side of the methods 300..=309.
pub(crate) struct MembershipService {
    /// Weak: the router would keep it alive for ever.
    membership: Weak<Membership>,
}

impl MembershipService {
    pub(crate) fn new(membership: &Arc<Membership>) -> Self {
        Self { membership: Arc::downgrade(membership) }
    }
}

#[async_trait]
impl Handler for MembershipService {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        let membership = self.membership.upgrade().ok_or("this node is stopping")?;
        let head = match (method, from) {
            (JOIN, _) => admit(&membership, &request.head).await,
            (_, Caller::Unauthenticated) => return Err("a certificate of the cluster is needed".to_owned()),
            (CREATE_TOKEN, _) => create_token(&membership, &request.head).await,
            (PING, _) => decode(&request.head).map_err(|error| error.to_string()).map(|version: u64| {
                membership.heard_of(version);
                encode(&membership.version())
            }),
            (Method(other), _) => return Err(format!("unknown method {other}")),
        }?;
        Ok(Response { head, body: Bytes::new() })
    }
}

async fn admit(membership: &Membership, head: &[u8]) -> Result<Bytes, String> {
    let JoinRequest { token, secret, attempt } = decode(head).map_err(|error| error.to_string())?;
    let command = Command::Redeem { token, secret_digest: Digest::of(&secret), attempt };
    let reply = match membership.execute(command).await {
        Ok(Reply::Node(node)) => {
            tracing::info!(%node, "a node joins");
            let credentials = Credentials::issue(
                membership.authority(),
                membership.cluster_key().clone(),
                node,
                membership.addresses(),
            );
            JoinReply::Admitted(credentials.map_err(|error| error.to_string())?)
        }
        Ok(_) => return Err("an answer of another command".to_owned()),
        Err(MembershipError::Refused(refusal)) => {
            tracing::warn!(%refusal, "a join is refused");
            JoinReply::Refused(refusal)
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(encode(&reply))
}

async fn create_token(membership: &Membership, head: &[u8]) -> Result<Bytes, String> {
    let CreateTokenRequest { ttl_ms, uses } = decode(head).map_err(|error| error.to_string())?;
    let text = membership.create_join_token(Duration::from_millis(ttl_ms), uses).await;
    text.map(|text| encode(&text)).map_err(|error| error.to_string())
}
