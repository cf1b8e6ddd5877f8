//! Calls over real sockets.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{CLUSTER, ECHO, FAIL, LONG, TestNode, WAIT, any_port, call, call_with, caller, pair};
use karri_ring_rpc::{BODY_BYTES_MAX, ClusterCa, HEAD_BYTES_MAX, Lane, Method, RpcError};
use karri_ring_types::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

#[tokio::test]
async fn heads_bodies_and_failures_come_back() {
    let (_server, transport, _) = pair().await;
    let answer = call_with(&transport, Lane::Data, ECHO, "head".into(), "body".into(), LONG).await.unwrap();
    assert_eq!((&answer.head[..], &answer.body[..]), (&b"head"[..], &b"body"[..]));
    let failed = call(&transport, FAIL, "").await;
    assert!(matches!(&failed, Err(RpcError::Remote(text)) if text == "group 7 failed"), "{failed:?}");
    let unknown = call(&transport, Method(999), "").await;
    assert!(matches!(unknown, Err(RpcError::UnknownMethod(999))), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_bodies_cross_at_once() {
    let (_server, transport, _) = pair().await;
    let mut calls = JoinSet::new();
    for seed in 0..24u8 {
        let transport = transport.clone();
        calls.spawn(async move {
            let body: Bytes = (0..8 << 20).map(|at: u32| seed ^ (at / 251) as u8).collect::<Vec<_>>().into();
            let head = Bytes::from(vec![seed]);
            let answer = call_with(&transport, Lane::Data, ECHO, head, body.clone(), LONG).await.unwrap();
            assert!(answer.head[..] == [seed] && answer.body == body, "body {seed} came back changed");
        });
    }
    assert_eq!(calls.join_all().await.len(), 24);
}

#[tokio::test]
async fn small_calls_are_answered_out_of_order() {
    let (server, transport, _) = pair().await;
    let waiting = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, WAIT, "first").await }
    });
    server.handler.arrived.notified().await;
    for _ in 0..100 {
        call(&transport, ECHO, "later").await.unwrap();
    }
    assert!(!waiting.is_finished());
    server.handler.release.notify_one();
    assert_eq!(&waiting.await.unwrap().unwrap().head[..], b"first");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_the_connection_lives_on() {
    let (server, transport, _) = pair().await;
    let deadline = Duration::from_millis(50);
    let late = call_with(&transport, Lane::Control, WAIT, Bytes::new(), Bytes::new(), deadline).await;
    assert!(matches!(late, Err(RpcError::Deadline { node: NodeId(2) })), "{late:?}");
    // Its late answer belongs to nobody.
    server.handler.release.notify_one();
    assert_eq!(&call(&transport, ECHO, "next").await.unwrap().head[..], b"next");
}

#[tokio::test]
async fn what_is_over_its_bound_is_not_sent() {
    let (_server, transport, _) = pair().await;
    let (head, body) = (Bytes::from(vec![0; HEAD_BYTES_MAX]), Bytes::from(vec![0; BODY_BYTES_MAX]));
    call_with(&transport, Lane::Data, ECHO, head.clone(), body.clone(), LONG).await.unwrap();
    let longer = |bytes: &Bytes| Bytes::from(vec![0; bytes.len() + 1]);
    for (head, body) in [(longer(&head), Bytes::new()), (Bytes::new(), longer(&body))] {
        let refused = call_with(&transport, Lane::Data, ECHO, head, body, LONG).await;
        assert!(matches!(refused, Err(RpcError::TooLarge)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_restarts_on_its_port_is_found_again() {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let identity = authority.issue(NodeId(2)).unwrap();
    let server = TestNode::start(&identity, any_port()).await;
    let address = server.address;
    let (transport, _) = caller(&authority.issue(NodeId(1)).unwrap(), NodeId(2), address);
    let waiting = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, WAIT, "lost").await }
    });
    server.handler.arrived.notified().await;
    server.handler.release.notify_one();
    waiting.await.unwrap().unwrap();
    server.stop().await;
    // Until the port is served again every call fails, and says that it was not carried out or may have been.
    let down = call(&transport, ECHO, "x").await;
    assert!(matches!(down, Err(RpcError::Unreachable { .. } | RpcError::Broken { .. })), "{down:?}");
    let _server = TestNode::start(&identity, address).await;
    let found = async {
        while call(&transport, ECHO, "x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, found).await.expect("the restarted server was not found");
}

#[tokio::test]
async fn a_call_that_was_sent_to_a_dying_server_is_broken_not_unreachable() {
    let (server, transport, _) = pair().await;
    let waiting = tokio::spawn(async move { call(&transport, WAIT, "x").await });
    server.handler.arrived.notified().await;
    let handler = server.handler.clone();
    server.stop().await;
    handler.release.notify_one();
    // The answer may still get out while the server closes; what may not be said is that nothing was done.
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Ok(_) | Err(RpcError::Broken { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_peer_that_is_down_fails_fast_and_is_remembered() {
    let authority = ClusterCa::generate(CLUSTER).unwrap();
    let server = TestNode::start(&authority.issue(NodeId(2)).unwrap(), any_port()).await;
    let address = server.address;
    server.stop().await;
    let (transport, addresses) = caller(&authority.issue(NodeId(1)).unwrap(), NodeId(2), address);
    for _ in 0..50 {
        let down = call(&transport, ECHO, "x").await;
        assert!(matches!(&down, Err(error) if error.is_certain()), "{down:?}");
    }
    addresses.set(NodeId(2), "127.0.0.1:1".to_owned());
    assert!(call(&transport, ECHO, "x").await.unwrap_err().is_certain());
}

#[tokio::test]
async fn bytes_that_are_not_tls_close_the_connection() {
    let (server, transport, _) = pair().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection stayed open");
    call(&transport, ECHO, "x").await.unwrap();
}
