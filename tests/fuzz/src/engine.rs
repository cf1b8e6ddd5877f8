//! The engine: clang's libFuzzer, linked by `cargo xtask fuzz`.

use std::ffi::{CString, c_char, c_int};
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

#[allow(unsafe_code, reason = "the engine is C++")]
mod foreign {
    use super::{c_char, c_int};

    pub(super) type Callback = extern "C" fn(*const u8, usize) -> c_int;

    unsafe extern "C" {
        #[allow(non_snake_case)]
        pub(super) fn LLVMFuzzerRunDriver(argc: *mut c_int, argv: *mut *mut *mut c_char, callback: Callback) -> c_int;
    }

    pub(super) extern "C" fn one_input(data: *const u8, size: usize) -> c_int {
        // SAFETY: libFuzzer hands over `size` bytes that stay as they are during the call.
        let input = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
        super::TARGET.get().expect("set before the engine runs")(input);
        0
    }
}

/// Runs the engine with this program's arguments.
#[allow(unsafe_code, reason = "the engine is C++")]
pub(crate) fn run(target: fn(&[u8])) -> i32 {
    TARGET.set(target).expect("one target");
    let told = std::panic::take_hook();
    // libFuzzer keeps the input of a process that aborts.
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    let args: Vec<CString> = std::env::args().map(|arg| CString::new(arg).expect("no NUL in arguments")).collect();
    let mut pointers: Vec<*mut c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let mut count = c_int::try_from(args.len()).expect("few arguments");
    let mut list = pointers.as_mut_ptr();
    // SAFETY: `count` strings that end in NUL, with a null pointer behind, outlive the call, as main's would.
    unsafe { foreign::LLVMFuzzerRunDriver(&raw mut count, &raw mut list, foreign::one_input) }
}
