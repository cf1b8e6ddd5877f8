//! RocksDB's environment on a disk in memory: what `src/shim.cc` calls, and what calls it.
#![expect(unsafe_code, reason = "RocksDB reaches a file system through C++ only")]

use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use librocksdb_sys::rocksdb_env_t;
use rocksdb::Env;

use crate::disk::Shared;
use crate::faults::Fault;
use crate::tree::{Handle, Lock};

// SAFETY: `src/shim.cc` defines it so.
unsafe extern "C" {
    fn karri_disk_env(disk: *const c_void) -> *mut rocksdb_env_t;
    fn karri_disk_hold_background();
    fn karri_disk_do_background() -> bool;
}

/// From now on what RocksDB does in the background on disks in memory (flushes, compactions) is left to
/// [`do_background_work`]: for simulations, whose seed fixes the order of all that reaches a disk. A thread that waits
/// within RocksDB has to do the work itself, so `pthread_cond_wait` has to be taken over too.
pub fn hold_background_work() {
    // SAFETY: it only sets a flag.
    unsafe { karri_disk_hold_background() }
}

/// Does the oldest piece of work that waits; false: there was none. The caller is not within RocksDB, or waits there.
pub fn do_background_work() -> bool {
    // SAFETY: RocksDB gave the piece of work to be done on any thread that holds no lock of its.
    unsafe { karri_disk_do_background() }
}

/// An environment whose files are those of `shared`.
pub(crate) fn make(shared: Arc<Shared>) -> Env {
    let disk = Arc::into_raw(shared);
    // SAFETY: the reference that was taken out of the `Arc` is given back by `karri_disk_release`, which the file system
    // calls when it is destroyed; until then it calls with this pointer only. `from_raw` owns the environment.
    unsafe { Env::from_raw(karri_disk_env(disk.cast())) }
}

/// An open file, and the disk that it is on.
struct File {
    shared: Arc<Shared>,
    handle: Handle,
}

struct HeldLock {
    shared: Arc<Shared>,
    lock: Lock,
}

/// A name in RocksDB's hands.
///
/// # Safety
/// `name` is readable for `length` bytes.
unsafe fn path(shared: &Shared, name: *const c_char, length: usize) -> Result<PathBuf, Fault> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(name.cast::<u8>(), length) };
    Ok(shared.path(std::str::from_utf8(bytes).map_err(|_| Fault::NotFound)?))
}

fn code(outcome: Result<(), Fault>) -> c_int {
    outcome.map_or_else(Fault::code, |()| 0)
}

/// A second reference to the disk.
///
/// # Safety
/// `disk` is what [`make`] gave to the file system.
unsafe fn clone(disk: *const Shared) -> Arc<Shared> {
    // SAFETY: the file system holds a reference as long as it calls, so the count is at least one.
    unsafe {
        Arc::increment_strong_count(disk);
        Arc::from_raw(disk)
    }
}

/// Hands an open file to C++.
///
/// # Safety
/// As [`clone`]; `file` is writable.
unsafe fn hand_out(disk: *const Shared, opened: Result<Handle, Fault>, file: *mut *mut File) -> c_int {
    code(opened.map(|handle| {
        // SAFETY: as the caller promises.
        unsafe { *file = Box::into_raw(Box::new(File { shared: clone(disk), handle })) };
    }))
}

// The functions below have one contract. `disk` is what `make` gave to the file system; a `File` or `HeldLock` came from
// here and has not been given back; names and buffers are valid for their lengths; results are writable.

macro_rules! callbacks {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        // SAFETY: the name is used once, here, and `src/shim.cc` declares it alike.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $kind),*) $(-> $result)? {
            // SAFETY: by the contract above, which `src/shim.cc` keeps.
            unsafe { $body }
        }
    )*};
}

callbacks! {
    fn karri_disk_open_write(disk: *const Shared, name: *const c_char, length: usize, keep: bool, file: *mut *mut File) -> c_int {
        let opened = path(&*disk, name, length).and_then(|path| (*disk).tree.lock().open_write(&path, keep));
        hand_out(disk, opened, file)
    }

    fn karri_disk_open_read(disk: *const Shared, name: *const c_char, length: usize, file: *mut *mut File) -> c_int {
        let opened = path(&*disk, name, length).and_then(|path| (*disk).tree.lock().open_read(&path));
        hand_out(disk, opened, file)
    }

    fn karri_disk_append(file: *mut File, data: *const u8, length: usize) -> c_int {
        let File { shared, handle } = &*file;
        let data = if length == 0 { &[] } else { std::slice::from_raw_parts(data, length) };
        code(shared.tree.lock().append(handle, data))
    }

    fn karri_disk_truncate(file: *mut File, length: u64) -> c_int {
        let File { shared, handle } = &*file;
        code(shared.tree.lock().truncate(handle, length))
    }

    fn karri_disk_sync(file: *mut File) -> c_int {
        let File { shared, handle } = &*file;
        code(shared.tree.lock().sync(handle))
    }

    fn karri_disk_read(file: *mut File, offset: u64, out: *mut u8, length: usize, got: *mut usize) -> c_int {
        let File { shared, handle } = &*file;
        code(shared.tree.lock().faults.alive().map(|()| {
            // The buffer may never have been written to, and a slice must have been.
            std::ptr::write_bytes(out, 0, length);
            *got = handle.content.read(offset, std::slice::from_raw_parts_mut(out, length));
        }))
    }

    fn karri_disk_size(file: *mut File) -> u64 {
        (*file).handle.content.length()
    }

    fn karri_disk_close(file: *mut File) {
        drop(Box::from_raw(file));
    }

    fn karri_disk_exists(disk: *const Shared, name: *const c_char, length: usize, is_dir: *mut bool) -> c_int {
        code(path(&*disk, name, length).and_then(|path| {
            *is_dir = (*disk).tree.lock().is_dir(&path)?.ok_or(Fault::NotFound)?;
            Ok(())
        }))
    }

    fn karri_disk_list(
        disk: *const Shared,
        name: *const c_char,
        length: usize,
        context: *mut c_void,
        push: unsafe extern "C" fn(*mut c_void, *const c_char, usize)
    ) -> c_int {
        code(path(&*disk, name, length).and_then(|path| {
            for child in (*disk).tree.lock().list(&path)? {
                let child = child.to_string_lossy();
                push(context, child.as_ptr().cast(), child.len());
            }
            Ok(())
        }))
    }

    fn karri_disk_remove(disk: *const Shared, name: *const c_char, length: usize) -> c_int {
        code(path(&*disk, name, length).and_then(|path| (*disk).tree.lock().remove(&path)))
    }

    fn karri_disk_make_dir(disk: *const Shared, name: *const c_char, length: usize, may_exist: bool) -> c_int {
        code(path(&*disk, name, length).and_then(|path| match (*disk).tree.lock().make_dir(&path) {
            Err(Fault::Exists) if may_exist => Ok(()),
            outcome => outcome,
        }))
    }

    fn karri_disk_remove_dir(disk: *const Shared, name: *const c_char, length: usize) -> c_int {
        code(path(&*disk, name, length).and_then(|path| (*disk).tree.lock().remove_dir(&path)))
    }

    fn karri_disk_file_size(disk: *const Shared, name: *const c_char, length: usize, size: *mut u64) -> c_int {
        code(path(&*disk, name, length).and_then(|path| {
            *size = (*disk).tree.lock().open_read(&path)?.content.length();
            Ok(())
        }))
    }

    fn karri_disk_rename(disk: *const Shared, from: *const c_char, from_length: usize, to: *const c_char, to_length: usize) -> c_int {
        let paths = path(&*disk, from, from_length).and_then(|from| Ok((from, path(&*disk, to, to_length)?)));
        code(paths.and_then(|(from, to)| (*disk).tree.lock().rename(&from, &to)))
    }

    fn karri_disk_link(disk: *const Shared, from: *const c_char, from_length: usize, to: *const c_char, to_length: usize) -> c_int {
        let paths = path(&*disk, from, from_length).and_then(|from| Ok((from, path(&*disk, to, to_length)?)));
        code(paths.and_then(|(from, to)| (*disk).tree.lock().link(&from, &to)))
    }

    fn karri_disk_sync_dir(disk: *const Shared, name: *const c_char, length: usize) -> c_int {
        code(path(&*disk, name, length).and_then(|path| (*disk).tree.lock().sync_dir(&path)))
    }

    fn karri_disk_lock(disk: *const Shared, name: *const c_char, length: usize, lock: *mut *mut HeldLock) -> c_int {
        code(path(&*disk, name, length).and_then(|path| {
            let held = (*disk).tree.lock().lock(&path)?;
            (*disk).held_locks.fetch_add(1, Ordering::SeqCst);
            *lock = Box::into_raw(Box::new(HeldLock { shared: clone(disk), lock: held }));
            Ok(())
        }))
    }

    fn karri_disk_unlock(lock: *mut HeldLock) {
        let HeldLock { shared, lock } = *Box::from_raw(lock);
        shared.tree.lock().unlock(&lock);
        shared.held_locks.fetch_sub(1, Ordering::SeqCst);
    }

    fn karri_disk_release(disk: *const Shared) {
        drop(Arc::from_raw(disk));
    }
}
