//! The host's clock and randomness, taken over for the thread that simulates: what tokio, openraft and hash maps read.
//!
//! Karri itself reads both by trait only. Those below it do not, and a seed that does not fix them fixes nothing. Nor does
//! a seed fix what other threads do: what RocksDB does in the background, this thread does too, between steps or where it
//! would wait for it.

use std::cell::Cell;
use std::time::Duration;

/// Where simulated clocks begin. Far from 0, so that code may subtract.
const START: Duration = Duration::from_secs(1_000_000);

thread_local! {
    static TIME: Cell<Option<Duration>> = const { Cell::new(None) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread sees a clock that stands at 0 and randomness that follows from `seed`.
pub(crate) fn enter(seed: u64) {
    RANDOM.set(seed);
    TIME.set(Some(START));
}

/// Sets this thread's clock.
pub(crate) fn set_time(since_start: Duration) {
    TIME.set(Some(START + since_start));
}

/// What other threads, and real waits, see.
pub(crate) fn with_real_time<T>(work: impl FnOnce() -> T) -> T {
    let time = TIME.replace(None);
    let result = work();
    TIME.set(time);
    result
}

/// SplitMix64.
fn next_random() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[allow(unsafe_code, reason = "these names are those of the C library, which the linker prefers ours to")]
mod symbols {
    use super::{TIME, next_random};

    /// Longest wait for another thread, before it is looked again whether there is work to be done.
    const LOOK_NANOSECONDS: libc::c_long = 200_000;
    /// A deadline that nobody lives to see.
    static NEVER: libc::timespec = libc::timespec { tv_sec: 1 << 40, tv_nsec: 0 };

    /// # Safety
    /// As the C library's: `time` is valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
        let Some(now) = TIME.get() else {
            // SAFETY: the system call has the contract that the caller keeps.
            return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
        };
        let now = libc::timespec {
            tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(now.subsec_nanos()),
        };
        // SAFETY: the caller says that `time` may be written.
        unsafe { time.write(now) };
        0
    }

    /// # Safety
    /// As the C library's: `buffer` is valid for writes of `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(
        buffer: *mut libc::c_void,
        length: libc::size_t,
        flags: libc::c_uint,
    ) -> libc::ssize_t {
        if TIME.get().is_none() {
            // SAFETY: the system call has the contract that the caller keeps.
            return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as libc::ssize_t;
        }
        for at in 0..length {
            // SAFETY: `at` is within the bytes that the caller says may be written.
            unsafe { buffer.cast::<u8>().add(at).write(next_random() as u8) };
        }
        libc::ssize_t::try_from(length).unwrap_or(libc::ssize_t::MAX)
    }

    /// Where RocksDB waits, which may be for what it left to be done in the background: it is done here, as if by another
    /// thread, and the caller finds that it woke up.
    ///
    /// # Safety
    /// As the C library's: both are valid, and the caller holds the lock.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn pthread_cond_wait(
        condition: *mut libc::pthread_cond_t,
        lock: *mut libc::pthread_mutex_t,
    ) -> libc::c_int {
        if TIME.get().is_none() {
            // SAFETY: it has the contract that the caller keeps.
            return unsafe { libc::pthread_cond_timedwait(condition, lock, &raw const NEVER) };
        }
        // SAFETY: the caller holds the lock, and expects it to be free while it waits.
        unsafe { libc::pthread_mutex_unlock(lock) };
        let done = karri_tests_disk::do_background_work();
        // SAFETY: it was let go of above.
        unsafe { libc::pthread_mutex_lock(lock) };
        if !done {
            let mut until = NEVER;
            // SAFETY: `until` may be written, and the two others are the caller's.
            unsafe {
                libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut until);
                until.tv_nsec += LOOK_NANOSECONDS;
                if until.tv_nsec >= 1_000_000_000 {
                    until.tv_sec += 1;
                    until.tv_nsec -= 1_000_000_000;
                }
                libc::pthread_cond_timedwait(condition, lock, &raw const until);
            }
        }
        0
    }
}
