//! Lets the simulation stand in for the host's clock and randomness also where they are looked up by name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for symbol in ["clock_gettime", "getrandom"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
}
