//! The cache of signing keys: a request is verified with the key of the secret that it was given, whatever the secret of its
//! access key was before and becomes meanwhile.

use std::sync::Arc;

use shuttle::thread;

use crate::Mutex;
use crate::derived::Derived;

/// How keys are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deriving {
    /// As the gateway does it.
    AsTheGatewayDoes,
    /// A planted fault: the secret that is kept is not compared.
    ForAnySecret,
    /// A planted fault: a key is derived from the secret of now, and kept with the secret that was given.
    FromTheSecretOfNow,
}

/// More than the cache keeps.
const ACCESS_KEYS: [&str; 3] = ["a", "b", "c"];
const KEYS_MAX: usize = 2;
const ROTATIONS: u64 = 2;

#[derive(Clone)]
struct Secret {
    version: u64,
    deriving: Deriving,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version || self.deriving == Deriving::ForAnySecret
    }
}

struct Gateway {
    /// The version of the secret of each access key.
    secrets: [Mutex<u64>; ACCESS_KEYS.len()],
    /// A key is the access key and the version that it was derived from.
    keys: Derived<Secret, (usize, u64)>,
    deriving: Deriving,
}

/// One schedule: a secret is rotated while requests are verified.
pub fn keys_are_of_the_secret_at_hand(deriving: Deriving) {
    let gateway = Arc::new(Gateway { secrets: Default::default(), keys: Derived::new(KEYS_MAX), deriving });
    let verifiers: Vec<_> = (0..ACCESS_KEYS.len())
        .map(|access_key| {
            let gateway = gateway.clone();
            thread::spawn(move || {
                gateway.verify(access_key);
                gateway.verify(0);
            })
        })
        .collect();
    for _ in 0..ROTATIONS {
        *gateway.secrets[0].lock() += 1;
        gateway.verify(0);
    }
    for verifier in verifiers {
        verifier.join().expect("it ends");
    }
    let secret = gateway.verify(0);
    gateway.keys.get(ACCESS_KEYS[0], &secret, || panic!("a key that is kept is derived again"));
}

impl Gateway {
    /// As `v4::verify`: the secret is that of the request's beginning.
    fn verify(&self, access_key: usize) -> Secret {
        let secret = Secret { version: *self.secrets[access_key].lock(), deriving: self.deriving };
        let (of, version) = self.keys.get(ACCESS_KEYS[access_key], &secret, || self.derive(access_key, &secret));
        assert_eq!((of, version), (access_key, secret.version), "verified with the key of another secret");
        secret
    }

    fn derive(&self, access_key: usize, secret: &Secret) -> (usize, u64) {
        match self.deriving {
            Deriving::FromTheSecretOfNow => (access_key, *self.secrets[access_key].lock()),
            _ => (access_key, secret.version),
        }
    }
}
