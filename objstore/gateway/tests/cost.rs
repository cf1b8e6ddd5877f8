//! What a small request costs the server. Run alone: `cargo test -p karri-objstore-gateway --test cost -- --ignored`.

mod common;

use std::time::Duration;

use common::Running;
use common::sign::request;

const REQUESTS: u32 = 20_000;
/// CPU time of a 4 KiB request in this test's profile, system calls on both sides of the socket included.
const BUDGET: Duration = Duration::from_micros(120);

/// CPU time of the calling thread.
fn cpu_time(thread: &str) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn thread_id() -> String {
    std::fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
#[ignore = "a measurement, not a check of behaviour"]
fn a_small_request_is_cheap() {
    let (ready, started) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gateway = Running::start(|_| {}).await;
            ready.send((gateway.address, thread_id(), gateway.shutdown.clone())).unwrap();
            gateway.task.await.unwrap();
        });
    });
    let (address, thread, shutdown) = started.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = vec![5; 4096];
    let put = request("PUT", "/bucket/some/usual/key.txt").body(&body).header("x-amz-meta-a", "b").head();
    let get = request("GET", "/bucket/some/usual/key.txt?size=4096").head();
    for (name, head, body) in [("put", put, &body[..]), ("get", get, &[][..])] {
        let spent = runtime.block_on(async {
            let mut wire = common::wire::Wire::new(tokio::net::TcpStream::connect(address).await.unwrap());
            assert_eq!(wire.call(&head, body).await.status, 200);
            let before = cpu_time(&thread);
            for _ in 0..REQUESTS {
                assert_eq!(wire.call(&head, body).await.status, 200);
            }
            cpu_time(&thread) - before
        });
        let each = spent / REQUESTS;
        println!("{name} of 4 KiB: {each:?} of server CPU");
        assert!(each < BUDGET, "{name}: {each:?}");
    }
    shutdown.cancel();
    server.join().unwrap();
}
