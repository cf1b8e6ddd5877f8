//! Locks as `parking_lot` has them, of shuttle.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use shuttle::sync;

std::thread_local! {
    /// A planted fault: nobody is woken. Each run of schedules has one thread of the machine.
    static WAKES_ARE_LOST: Cell<bool> = const { Cell::new(false) };
}

/// From now on, in this run of schedules, nobody who waits is woken, or again is.
pub fn lose_wakes(lose: bool) {
    WAKES_ARE_LOST.set(lose);
}

/// As `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

/// As `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect(ONE_PANIC)))
    }
}

const ONE_PANIC: &str = "a schedule ends at the first panic";
const HELD: &str = "a guard holds its lock but while it waits";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

/// As `parking_lot::RwLock`.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub fn read(&self) -> sync::RwLockReadGuard<'_, T> {
        self.0.read().expect(ONE_PANIC)
    }

    pub fn write(&self) -> sync::RwLockWriteGuard<'_, T> {
        self.0.write().expect(ONE_PANIC)
    }
}

/// As `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect(HELD);
        guard.0 = Some(self.0.wait(held).expect(ONE_PANIC));
    }

    pub fn notify_one(&self) {
        if !WAKES_ARE_LOST.get() {
            self.0.notify_one();
        }
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
