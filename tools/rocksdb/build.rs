//! Copies the RocksDB archive that `librocksdb-sys` has just compiled to `KARRI_ROCKSDB_DIR`.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=KARRI_ROCKSDB_DIR");
    let compiled = PathBuf::from(env::var("DEP_ROCKSDB_OUT_DIR").expect("set by librocksdb-sys"));
    if let Some(dir) = env::var_os("KARRI_ROCKSDB_DIR") {
        let dir = PathBuf::from(dir);
        std::fs::create_dir_all(&dir).expect("the archive folder can be made");
        // Written beside and renamed, so that an interrupted copy is never taken for the archive.
        let partial = dir.join("librocksdb.a.partial");
        std::fs::copy(compiled.join("librocksdb.a"), &partial).expect("the archive can be copied");
        std::fs::rename(&partial, dir.join("librocksdb.a")).expect("the archive can be renamed");
    }
}
