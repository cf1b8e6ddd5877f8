//! `karri`: the one binary. It serves (`dev`, `server`) and administers (`cluster`); the work itself is in the
//! crates below, this one only wires them together.

mod admin;
mod clock_watch;
mod cluster;
mod config;
mod credentials;
mod dev;
mod doctor;
mod fsck;
mod iam;
mod identities;
mod logging;
mod marks;
mod node;
mod open_files;
mod s3_keys;
mod status;
mod templates;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Small objects and listings are made of many short-lived allocations; docs/performance/log.md has what it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An S3-compatible object storage cluster.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster on this machine for development: one process, or several with `--nodes`
    Dev {
        /// Folder that keeps the data; made when missing
        #[arg(long, default_value = "karri-data")]
        data: PathBuf,
        /// Address of the S3 service; further nodes take the ports after it
        #[arg(long, default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
        /// Nodes, each a process of its own when there are several
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
        nodes: u16,
        /// How long a day of lifecycle rules is, for tests of rules
        #[arg(long, hide = true)]
        lifecycle_day_seconds: Option<u64>,
        /// Host (name:port) of an OpenID Connect provider that may be on this machine and without TLS; may be repeated
        #[arg(long)]
        oidc_private_host: Vec<String>,
    },
    /// Run one node of a deployment
    Server {
        /// The node's configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Form and look at a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Administer identities where AWS has no call for it
    #[command(subcommand)]
    Iam(IamCommand),
    /// Look at a node, running or not, and say what is wrong: ends with 0, with 1 for warnings, with 2 for errors
    Doctor {
        /// The node's configuration file
        #[arg(long)]
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare all metadata with all that nodes hold; ends with 0, with 1 when something does not agree, with 2 when it
    /// could not be finished. Changes nothing without `--repair`
    Fsck {
        /// Configuration file of a running node
        #[arg(long)]
        config: PathBuf,
        #[command(flatten)]
        options: fsck::Options,
    },
    /// Print the reference of the configuration file
    ConfigReference,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Make a new cluster whose first node this is; then start `karri server`
    Init {
        /// The node's configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Make a token with which other nodes join; asks the running node of this configuration
    Token {
        /// Configuration file of a running node
        #[arg(long)]
        config: PathBuf,
        /// Seconds for which the token is good
        #[arg(long, default_value_t = 3600)]
        ttl_seconds: u64,
    },
    /// Join the cluster that made the token; then start `karri server`
    Join {
        /// The new node's configuration file
        #[arg(long)]
        config: PathBuf,
        /// What `karri cluster token` printed
        #[arg(long)]
        token: String,
    },
    /// Give a node that is stopped a new certificate for its peers
    RenewCertificate {
        /// The node's configuration file
        #[arg(long)]
        config: PathBuf,
        /// End of its validity in seconds since 1970, for tests
        #[arg(long, hide = true)]
        end: Option<u64>,
    },
    /// Show nodes, ranges and extents
    Status {
        /// Configuration file of a running node
        #[arg(long)]
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum IamCommand {
    /// The root users of accounts
    #[command(subcommand)]
    Root(RootCommand),
    /// The shipped roles for delegation
    #[command(subcommand)]
    Templates(TemplateCommand),
}

#[derive(Subcommand)]
enum TemplateCommand {
    /// List the templates and their parameters
    List,
    /// Print a template's policy
    Show {
        /// The template
        name: String,
        /// A parameter, as `bucket=photos`
        #[arg(long = "set")]
        values: Vec<String>,
    },
    /// Show how the policy in an account differs from the template
    Diff(TemplateTarget),
    /// Make a role of the template in an account, or bring it up to date
    Install(TemplateTarget),
}

#[derive(clap::Args)]
struct TemplateTarget {
    /// The template
    name: String,
    /// Configuration file of a running node
    #[arg(long)]
    config: PathBuf,
    /// Name or id of the account; the cloud administrator's when left out
    #[arg(long)]
    account: Option<String>,
    /// Name of the role; the template's when left out
    #[arg(long)]
    role: Option<String>,
    /// A parameter, as `bucket=photos`
    #[arg(long = "set")]
    values: Vec<String>,
}

#[derive(Subcommand)]
enum RootCommand {
    /// Replace the root user's access keys of an account by a new one, and print it
    Rotate {
        /// Configuration file of a running node
        #[arg(long)]
        config: PathBuf,
        /// Name or id of the account; the cloud administrator's when left out
        #[arg(long)]
        account: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("karri: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::ConfigReference = command {
        print!("{}", config::reference());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        if let Command::Doctor { config, json } = command {
            return doctor::run(&config, json).await;
        }
        if let Command::Fsck { config, options } = command {
            return Ok(fsck::run(&Config::load(&config)?, options).await);
        }
        carry_out(command).await.map(|()| ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dev { data, listen, nodes, lifecycle_day_seconds, oidc_private_host } => {
            let extra = dev::Extra { lifecycle_day_seconds, oidc_private_hosts: oidc_private_host };
            dev::run(&data, listen, nodes, &extra).await
        }
        Command::Server { config } => {
            let config = Config::load(&config)?;
            logging::start(&config.log);
            node::serve(config).await
        }
        Command::Cluster(ClusterCommand::Init { config }) => cluster::init(&Config::load(&config)?),
        Command::Cluster(ClusterCommand::Token { config, ttl_seconds }) => {
            cluster::token(&Config::load(&config)?, ttl_seconds).await
        }
        Command::Cluster(ClusterCommand::Join { config, token }) => {
            cluster::join(&Config::load(&config)?, &token).await
        }
        Command::Cluster(ClusterCommand::RenewCertificate { config, end }) => {
            cluster::renew_certificate(&Config::load(&config)?, end)
        }
        Command::Cluster(ClusterCommand::Status { config, json }) => status::show(&Config::load(&config)?, json).await,
        Command::Iam(IamCommand::Root(RootCommand::Rotate { config, account })) => {
            iam::rotate_root(&Config::load(&config)?, account.as_deref()).await
        }
        Command::Iam(IamCommand::Templates(command)) => templates_command(command).await,
        Command::ConfigReference | Command::Doctor { .. } | Command::Fsck { .. } => Ok(()),
    }
}

async fn templates_command(command: TemplateCommand) -> anyhow::Result<()> {
    let (target, installs) = match command {
        TemplateCommand::List => {
            templates::list();
            return Ok(());
        }
        TemplateCommand::Show { name, values } => return templates::show(&name, &values),
        TemplateCommand::Diff(target) => (target, false),
        TemplateCommand::Install(target) => (target, true),
    };
    let config = Config::load(&target.config)?;
    let place = templates::Place { config: &config, account: target.account.as_deref(), role: target.role.as_deref() };
    match installs {
        true => templates::install(place, &target.name, &target.values).await,
        false => templates::diff(place, &target.name, &target.values).await,
    }
}
