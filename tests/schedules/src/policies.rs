//! The cache of compiled policies: once a change was taken in, nobody is judged by what was before it.

use std::sync::Arc;

use shuttle::thread;

use crate::Mutex;
use crate::compiled::Compiled;

/// How the cache is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// As the view of identities does it.
    AsTheViewDoes,
    /// A planted fault: any version will do.
    ForAnyVersion,
    /// A planted fault: the version is read before the account.
    ForAVersionReadBefore,
}

/// More identities than the cache keeps.
const IDENTITIES: u8 = 3;
const ENTRIES_MAX: usize = 2;
const CHANGES: u64 = 2;

struct View {
    /// The version of the account, which is all that its policies are made of.
    account: Mutex<u64>,
    cache: Compiled<u8, u64>,
    asking: Asking,
}

/// One schedule: an account changes while requests of its identities are judged.
pub fn revoked_policies_do_not_come_back(asking: Asking) {
    let view = Arc::new(View { account: Mutex::new(1), cache: Compiled::new(ENTRIES_MAX), asking });
    let judges: Vec<_> = (0..IDENTITIES)
        .map(|identity| {
            let view = view.clone();
            thread::spawn(move || {
                view.judge(identity);
                view.judge(0);
            })
        })
        .collect();
    for _ in 0..CHANGES {
        *view.account.lock() += 1;
        view.judge(0);
    }
    for judge in judges {
        judge.join().expect("it ends");
    }
}

impl View {
    /// As `View::policies`: what is known of the account is read at the beginning.
    fn judge(&self, identity: u8) {
        let version = match self.asking {
            Asking::ForAnyVersion => 0,
            _ => *self.account.lock(),
        };
        let account = *self.account.lock();
        let version = if self.asking == Asking::AsTheViewDoes { account } else { version };
        let judged_by = self.cache.get(identity, version, || account);
        assert!(judged_by >= account, "judged by version {judged_by} though {account} was known");
    }
}
