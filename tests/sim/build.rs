//! Lets the simulation stand in for the host's clock, randomness and waits also where they are looked up by name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for symbol in ["clock_gettime", "getrandom", "pthread_cond_wait"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
}
