//! The cache of the directory of ranges: who found a copy outdated goes on by a newer one, each copy is replaced by one
//! reading, one reads at a time, and no copy is replaced by an older one.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use shuttle::future;
use shuttle::sync::atomic::{AtomicU64, Ordering};

use crate::Mutex;
use crate::directory_cache::{DirectoryCache, Followed};

/// How requests go by copies of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// As the client does it.
    AsTheClientDoes,
    /// A planted fault, which the client had: the newest copy is taken for the one that was used.
    TheNewestForTheUsed,
    /// A planted fault, which the client had: where no newer copy can be read the outdated one is used again.
    TheOutdatedAgain,
    /// A planted fault: who waited for a reading reads too.
    JudgedBeforeTheWait,
    /// A planted fault: a copy is read before its reader's turn.
    ReadBeforeItsTurn,
}

const REQUESTS: usize = 3;
const CHANGES: u64 = 2;
/// The first reading of a directory fails.
const READING_FAILS: u64 = 1;

/// A copy of the directory.
#[derive(Default)]
struct Copy {
    /// The number of its reading.
    reading: u64,
    /// The version of the directory, which is all that is in it.
    version: u64,
}

struct Failed;

struct Client {
    directory: DirectoryCache<Copy>,
    /// The version of the directory that is right.
    right: AtomicU64,
    readings: AtomicU64,
    at_once: AtomicU64,
    /// Readings that brought a copy.
    done: AtomicU64,
    /// Readings whose copies were found outdated.
    outdated: Mutex<BTreeSet<u64>>,
    following: Following,
}

/// One schedule: the directory changes while requests go by copies of it, a reading fails, and a request is given up.
pub fn outdated_directories_are_replaced_once(following: Following) {
    let client = Arc::new(Client {
        directory: DirectoryCache::default(),
        right: AtomicU64::new(1),
        readings: AtomicU64::new(0),
        at_once: AtomicU64::new(0),
        done: AtomicU64::new(0),
        outdated: Mutex::default(),
        following,
    });
    let mut tasks: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let client = client.clone();
            future::spawn(async move { client.request().await })
        })
        .collect();
    let given_up = client.clone();
    tasks.push(future::spawn(async move { given_up.request_that_is_given_up().await }));
    future::block_on(async move {
        for _ in 0..CHANGES {
            client.right.fetch_add(1, Ordering::SeqCst);
            future::yield_now().await;
        }
        for task in tasks {
            task.await.expect("it gets there");
        }
        let (done, outdated) = (client.done.load(Ordering::SeqCst), client.outdated.lock().len() as u64);
        assert!(done <= outdated, "{done} readings for {outdated} outdated copies");
    });
}

impl Client {
    /// As `MetaClient::call`, with ranges that know whether the copy is outdated.
    async fn request(&self) {
        let mut followed = Followed::default();
        let (mut newest, mut misled_by) = (0, None);
        loop {
            let mut copy = self.directory.newest();
            assert!(copy.reading >= newest, "reading {newest} was replaced by {}", copy.reading);
            newest = copy.reading;
            if followed.is_outdated(&copy) {
                copy = match self.newer(&copy).await {
                    Ok(newer) => newer,
                    Err(Failed) if self.following == Following::TheOutdatedAgain => copy,
                    Err(Failed) => continue,
                };
            }
            assert!(Some(copy.reading) > misled_by, "goes by reading {} after {misled_by:?}", copy.reading);
            followed.go_by(copy.clone());
            future::yield_now().await;
            if copy.version == self.right.load(Ordering::SeqCst) {
                return;
            }
            self.outdated.lock().insert(copy.reading);
            misled_by = Some(copy.reading);
            if self.following == Following::TheNewestForTheUsed {
                followed.go_by(self.directory.newest());
            }
            followed.misled();
        }
    }

    /// Whoever is dropped while it waits or reads leaves its turn to the next.
    async fn request_that_is_given_up(&self) {
        let copy = self.directory.newest();
        let mut newer = Box::pin(self.newer(&copy));
        std::future::poll_fn(|context| Poll::Ready(newer.as_mut().poll(context).is_ready())).await;
        future::yield_now().await;
    }

    async fn newer(&self, outdated: &Arc<Copy>) -> Result<Arc<Copy>, Failed> {
        match self.following {
            Following::ReadBeforeItsTurn => {
                let copy = self.read().await;
                self.directory.newer(outdated, std::future::ready(copy)).await
            }
            Following::JudgedBeforeTheWait => {
                let mut waited = true;
                let read = async {
                    waited = false;
                    self.read().await
                };
                let newer = self.directory.newer(outdated, read).await?;
                if waited { self.directory.newer(&newer, self.read()).await } else { Ok(newer) }
            }
            _ => self.directory.newer(outdated, self.read()).await,
        }
    }

    /// As `MetaClient::fetch_directory`.
    async fn read(&self) -> Result<Copy, Failed> {
        let reading = self.readings.fetch_add(1, Ordering::SeqCst) + 1;
        let _one = One::begin(&self.at_once);
        future::yield_now().await;
        let version = self.right.load(Ordering::SeqCst);
        future::yield_now().await;
        if reading == READING_FAILS {
            return Err(Failed);
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(Copy { reading, version })
    }
}

/// A reading that is under way.
struct One<'a>(&'a AtomicU64);

impl<'a> One<'a> {
    fn begin(at_once: &'a AtomicU64) -> Self {
        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "another reads");
        Self(at_once)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
