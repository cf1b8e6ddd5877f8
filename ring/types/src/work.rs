//! Where work is done that would hold up the runtime: on threads, or in a simulation at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;

type Delay = Rc<dyn Fn() -> Duration>;

thread_local! {
    static SIMULATED: RefCell<Option<Delay>> = const { RefCell::new(None) };
}

/// From now on [`blocking`] does the work of this thread's runtimes on this thread, each piece after the time that
/// `delay` gives for it: threads would finish in an order that no seed fixes. For simulations alone.
pub fn simulate_blocking(delay: impl Fn() -> Duration + 'static) {
    SIMULATED.set(Some(Rc::new(delay)));
}

/// How long the next piece of work is to take, when this thread simulates it.
pub fn simulated_delay() -> Option<Duration> {
    SIMULATED.with_borrow(Clone::clone).map(|delay| delay())
}

/// Does work that waits for a disk or keeps a core busy, away from the runtime's own threads. It goes on when the handle
/// is dropped.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match simulated_delay() {
        None => tokio::task::spawn_blocking(work),
        Some(delay) => tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            work()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_work_is_done_on_this_thread_after_its_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let this = std::thread::current().id();
        let done = runtime.block_on(async { blocking(|| std::thread::current().id()).await });
        assert_ne!(done.unwrap(), this);
        simulate_blocking(|| Duration::from_millis(5));
        let (took, done) = runtime.block_on(async {
            let start = tokio::time::Instant::now();
            let done = blocking(|| std::thread::current().id()).await;
            (start.elapsed(), done)
        });
        assert!(took >= Duration::from_millis(5));
        assert_eq!(done.unwrap(), this);
    }
}
