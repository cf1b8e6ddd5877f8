//! Compiles the C++ class by which RocksDB reaches a disk in memory.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src/shim.cc");
    let Some(sources) = env::var_os("DEP_ROCKSDB_CARGO_MANIFEST_DIR") else {
        panic!("librocksdb-sys does not say where the headers of RocksDB are");
    };
    let headers = PathBuf::from(sources).join("rocksdb/include");
    // The defines of librocksdb-sys that change what the headers declare.
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(headers)
        .define("NDEBUG", "1")
        .define("OS_LINUX", None)
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .define("ROCKSDB_LIB_IO_POSIX", None)
        .warnings(false)
        .file("src/shim.cc")
        .compile("karri_tests_disk_shim");
}
