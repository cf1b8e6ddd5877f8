//! Bytes per second of one core, by the number of streams: `cargo run --release -p karri-objstore-md5 --example speed`.

use std::time::Duration;

use bytes::Bytes;
use karri_objstore_md5::{Md5, Md5Pool};

const PART_BYTES: usize = 512 << 10;
const PARTS: usize = 200;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let pool = Md5Pool::new(1);
    for streams in [1, 2, 3, 4, 6, 8, 12, 16] {
        let part = Bytes::from(vec![7; PART_BYTES]);
        let time: Duration = runtime.block_on(async {
            let start = tokio::time::Instant::now();
            let hash = |_| {
                let (pool, part) = (pool.clone(), part.clone());
                async move {
                    let mut md5 = Md5::default();
                    for _ in 0..PARTS / streams {
                        md5 = pool.update(md5, vec![part.clone()]).await.expect("the runtime runs");
                    }
                }
            };
            let tasks: Vec<_> = (0..streams).map(hash).map(tokio::spawn).collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            start.elapsed()
        });
        let bytes = PARTS / streams * streams * PART_BYTES;
        println!("{streams:>2} streams: {:>6.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64());
    }
}
