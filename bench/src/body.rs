//! Bodies of any size out of one buffer of noise, streamed, so that a 5 GiB object costs no memory.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use karri_tests_cluster::test_bytes;
use md5::{Digest as _, Md5};

use crate::client::RequestBody;

/// Bytes of noise. An odd number, so that an object that repeats it has no two equal chunks of 1 MiB.
const NOISE_BYTES: usize = (1 << 20) + 4099;
/// Bytes of one piece of a streamed body.
const PIECE_BYTES: usize = 256 << 10;

/// Where bodies come from.
#[derive(Clone, Debug)]
pub(crate) struct Noise(Bytes);

impl Noise {
    /// The noise that follows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Bytes::from(test_bytes(seed, NOISE_BYTES)))
    }

    /// The piece of an object's bytes at `at`, as long as it can be had in one.
    fn piece(&self, object: u64, at: u64, left: u64) -> Bytes {
        let start = (object.wrapping_mul(4096).wrapping_add(at) % NOISE_BYTES as u64) as usize;
        let length = left.min((NOISE_BYTES - start).min(PIECE_BYTES) as u64) as usize;
        self.0.slice(start..start + length)
    }

    fn pieces(&self, object: u64, from: u64, length: u64) -> impl Iterator<Item = Bytes> + Send + Sync + use<> {
        let (noise, end, mut at) = (self.clone(), from + length, from);
        std::iter::from_fn(move || {
            let piece = (at < end).then(|| noise.piece(object, at, end - at))?;
            at += piece.len() as u64;
            Some(piece)
        })
    }

    /// The first bytes of object number `object`, which is small.
    pub(crate) fn bytes(&self, object: u64, length: u64) -> Bytes {
        let parts: Vec<Bytes> = self.pieces(object, 0, length).collect();
        if parts.len() == 1 { parts[0].clone() } else { Bytes::from(parts.concat()) }
    }

    /// The bytes `from..from + length` of object number `object`.
    pub(crate) fn body(&self, object: u64, from: u64, length: u64) -> RequestBody {
        let mut pieces = self.pieces(object, from, length);
        if length <= PIECE_BYTES as u64 {
            let parts: Vec<Bytes> = pieces.by_ref().collect();
            let whole = if parts.len() == 1 { parts[0].clone() } else { Bytes::from(parts.concat()) };
            return Full::new(whole).boxed();
        }
        let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        StreamBody::new(stream::iter(frames)).boxed()
    }

    /// MD5 of the same bytes.
    pub(crate) fn md5(&self, object: u64, from: u64, length: u64) -> [u8; 16] {
        let mut md5 = Md5::new();
        for piece in self.pieces(object, from, length) {
            md5.update(&piece);
        }
        md5.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_its_slices() {
        let noise = Noise::new(7);
        let whole = noise.body(3, 0, 3 << 20).collect().await.expect("infallible").to_bytes();
        assert_eq!(whole.len(), 3 << 20);
        let middle = noise.body(3, 1_000_000, 100_000).collect().await.expect("infallible").to_bytes();
        assert_eq!(middle, whole.slice(1_000_000..1_100_000));
        assert_eq!(noise.md5(3, 0, 3 << 20), <[u8; 16]>::from(Md5::digest(&whole)));
        assert_ne!(noise.md5(3, 0, 4096), noise.md5(4, 0, 4096), "objects differ");
    }
}
