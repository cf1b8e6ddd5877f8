//! Runs one seed and prints its report as a line of JSON.

use anyhow::{Context as _, Result, bail};
use karri_tests_sim::{Options, run};

fn main() -> Result<()> {
    let mut seed = None;
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => seed = Some(value()?.parse::<u64>().context("--seed")?),
            "--mutant" => options.mutant = Some(value()?.parse().map_err(anyhow::Error::msg)?),
            "--print" => options.print = true,
            other => bail!("unknown argument {other:?}"),
        }
    }
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    }
    // A task that panics is a failure of the run, wherever it is.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::exit(101);
    }));
    let report = run(seed.context("--seed is needed")?, &options)?;
    println!("{}", serde_json::to_string(&report)?);
    // What RocksDB may still hold is of no use to anybody.
    std::process::exit(i32::from(!report.violations.is_empty()));
}
