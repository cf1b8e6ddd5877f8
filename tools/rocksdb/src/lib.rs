//! No code: this package exists for its build script. See `Cargo.toml`.
