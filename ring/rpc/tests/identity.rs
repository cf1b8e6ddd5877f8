//! Who may talk to whom.

mod common;

use bytes::Bytes;
use common::{CLUSTER, ECHO, LONG, OPEN, TestNode, WHO, any_port, call, call_with, caller, pair};
use karri_ring_rpc::{ClusterCa, Lane, Request, RpcError, join_call};
use karri_ring_types::{ClusterId, NodeId};

fn request(head: &'static str) -> Request {
    Request { group: 0, head: Bytes::from_static(head.as_bytes()), body: Bytes::new() }
}

fn reason(result: Result<karri_ring_rpc::Response, RpcError>) -> String {
    match result {
        Err(RpcError::Unreachable { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_handler_learns_which_node_calls() {
    let (_server, transport, _) = pair().await;
    assert_eq!(&call(&transport, WHO, "").await.unwrap().head[..], b"Node(NodeId(1))");
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (server, _, _) = pair().await;
    // The same cluster id: only the signature tells them apart.
    let other = ClusterCa::generate(CLUSTER).unwrap();
    let (transport, _) = caller(&other.issue(NodeId(1)).unwrap(), NodeId(2), server.address);
    let reason = reason(call(&transport, ECHO, "x").await);
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn a_caller_of_another_authority_reaches_nothing() {
    let (server, _, authority) = pair().await;
    // It trusts the server, but its own certificate is signed by somebody else.
    let mut forged = ClusterCa::generate(CLUSTER).unwrap().issue(NodeId(1)).unwrap();
    forged.ca_cert_pem = authority.cert_pem().to_owned();
    let (transport, _) = caller(&forged, NodeId(2), server.address);
    assert!(call(&transport, ECHO, "x").await.is_err());
    assert!(call(&transport, OPEN, "x").await.is_err());
}

#[tokio::test]
async fn another_node_at_the_address_is_refused() {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let server = TestNode::start(&authority.issue(NodeId(3)).unwrap(), any_port()).await;
    let (transport, addresses) = caller(&authority.issue(NodeId(1)).unwrap(), NodeId(2), server.address);
    let reason = reason(call(&transport, ECHO, "x").await);
    assert!(reason.contains("is node 3"), "{reason}");
    // The right address is tried at once, although the peer has just failed.
    let right = TestNode::start(&authority.issue(NodeId(2)).unwrap(), any_port()).await;
    addresses.set(NodeId(2), right.address.to_string());
    call(&transport, ECHO, "x").await.unwrap();
}

#[tokio::test]
async fn a_node_of_another_cluster_with_our_authority_is_refused() {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let elsewhere = ClusterCa::from_pem(ClusterId(0xc2), authority.cert_pem(), authority.key_pem()).unwrap();
    let server = TestNode::start(&authority.issue(NodeId(2)).unwrap(), any_port()).await;
    let (transport, _) = caller(&elsewhere.issue(NodeId(1)).unwrap(), NodeId(2), server.address);
    assert!(call(&transport, ECHO, "x").await.is_err());
}

#[tokio::test]
async fn a_caller_without_a_certificate_reaches_only_open_methods() {
    let (server, _, authority) = pair().await;
    let (address, fingerprint) = (server.address.to_string(), authority.fingerprint().unwrap());
    let answer = join_call(&address, &fingerprint, OPEN, request("hello")).await.unwrap();
    assert_eq!(&answer.head[..], b"hello");
    let closed = join_call(&address, &fingerprint, ECHO, request("hello")).await;
    assert!(matches!(closed, Err(RpcError::UnknownMethod(200))), "{closed:?}");
    // Nor may it send much.
    let large = Request { body: Bytes::from_static(b"payload"), ..request("") };
    let refused = join_call(&address, &fingerprint, OPEN, large).await;
    assert!(matches!(refused, Err(RpcError::Broken { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_joining_node_refuses_an_authority_that_is_not_pinned() {
    let (server, _, _) = pair().await;
    let other = ClusterCa::generate(CLUSTER).unwrap().fingerprint().unwrap();
    let reason = reason(join_call(&server.address.to_string(), &other, OPEN, request("x")).await);
    assert!(reason.contains("authority"), "{reason}");
}

#[tokio::test]
async fn an_authority_survives_its_files() {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let again = ClusterCa::from_pem(CLUSTER, authority.cert_pem(), authority.key_pem()).unwrap();
    assert_eq!(again.fingerprint().unwrap(), authority.fingerprint().unwrap());
    let server = TestNode::start(&authority.issue(NodeId(2)).unwrap(), any_port()).await;
    let (transport, _) = caller(&again.issue(NodeId(1)).unwrap(), NodeId(2), server.address);
    call_with(&transport, Lane::Data, ECHO, Bytes::new(), Bytes::new(), LONG).await.unwrap();
    assert!(ClusterCa::from_pem(CLUSTER, "no", authority.key_pem()).is_err());
    assert!(ClusterCa::from_pem(CLUSTER, authority.cert_pem(), "no").is_err());
}
