//! libFuzzer around one target: `KARRI_FUZZ_TARGET` names it. Built by `cargo xtask fuzz` only; compiled otherwise,
//! the program says so.

#[cfg(fuzzing)]
mod engine;

#[cfg(fuzzing)]
fn main() {
    use karri_objstore_gateway::fuzz;
    use karri_objstore_s3::fuzz as s3;
    let others: [karri_tests_fuzz::Target; 7] = [
        ("chunked", fuzz::chunked),
        ("sigv4_header", fuzz::sigv4_header),
        ("sigv4_query", fuzz::sigv4_query),
        ("form", fuzz::form),
        ("form_policy", fuzz::form_policy),
        ("s3_settings", s3::s3_settings),
        ("s3_headers", s3::s3_headers),
    ];
    let wanted = std::env::var("KARRI_FUZZ_TARGET").unwrap_or_default();
    let mut targets = others.iter().chain(karri_tests_fuzz::TARGETS);
    let Some((_, target)) = targets.find(|(name, _)| *name == wanted) else {
        eprintln!("KARRI_FUZZ_TARGET={wanted} is no target");
        std::process::exit(2);
    };
    std::process::exit(engine::run(*target));
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("run this by `cargo xtask fuzz <target>`");
    std::process::exit(2);
}
