//! The command line: arguments in, text or JSON out.

mod args;
mod args_people;
mod batch;
mod client;
mod commands;
mod credentials;
mod error;
mod output;
mod source;
mod stage;
mod stores;

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::config::{self, Config};
use crate::ports::broker::Tap;
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::PortError;
use crate::ports::store::Store;
use crate::views::topology::Topology;

use self::args::{Cli, Command};
pub use self::error::Failure;
pub use self::stage::Stage;

/// An orchestrator at work.
pub type Orchestrating = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// A look at the message broker: what is missing or different there.
pub type Checking = Pin<Box<dyn Future<Output = Result<Vec<String>, Failure>>>>;
/// A store that is being connected to.
pub type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Store>, Failure>>>>;

/// The message broker itself, if there is one beside the orchestrator.
pub type Tapping = Pin<Box<dyn Future<Output = Result<Option<Arc<dyn Tap>>, Failure>>>>;

/// What the command line gets from outside: how stores are opened, time, and ids.
#[derive(Clone, Debug)]
pub struct Host {
    /// Opens the store of a folder.
    pub open: fn(&Path) -> Result<Arc<dyn Store>, PortError>,
    /// Connects to the server that keeps the store; true: a store is made there if there is none.
    pub connect: fn(config::Store, bool) -> Opening,
    /// Runs an orchestrator until the process is told to end; true: beside others with another configuration.
    pub orchestrate: fn(Config, bool) -> Orchestrating,
    /// Plays the demo; true: it stays up afterwards.
    pub demo: fn(Stage, bool) -> Orchestrating,
    /// What a configuration asks for at its message broker.
    pub topology: fn(&Config) -> Result<Topology, Failure>,
    /// Looks whether it is there.
    pub check_topology: fn(Config) -> Checking,
    /// The contract of the HTTP interface.
    pub openapi: fn() -> serde_json::Value,
    /// The message broker without an orchestrator in between.
    pub tap: fn(Config) -> Tapping,
    /// Real time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

/// Runs one command and says how it ended.
#[must_use]
pub fn run(host: &Host) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { error::USAGE } else { 0 };
            // Nothing can be said any more if even this fails.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match execute(&cli, host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn execute(cli: &Cli, host: &Host) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("no threads: {error}")))?;
    let options = &cli.options;
    runtime.block_on(async {
        match &cli.command {
            Command::Run(args) => commands::run::run(args, options, host).await,
            Command::Demo(args) => commands::demo::run(args, host).await,
            Command::Send(args) => commands::send::run(args, options, host).await,
            Command::Snapshot(args) => commands::snapshot::run(args, options, host).await,
            Command::Receive(args) => commands::receive::run(args, options, host).await,
            Command::Systems => commands::systems::run(options).await,
            Command::Status(args) => commands::status::run(args, options).await,
            Command::Compare(args) => commands::compare::run(args, options).await,
            Command::Resync(args) => commands::resync::run(args, options).await,
            Command::Pause(args) => commands::pause::pause(args, options).await,
            Command::Resume(args) => commands::pause::resume(args, options).await,
            Command::Brakes(args) => commands::brakes::run(args, options).await,
            Command::Parked(args) => commands::parked::run(args, options).await,
            Command::DeadLetters(args) => commands::dead_letters::run(args, options).await,
            Command::Merge(args) => commands::identity::merge(args, options).await,
            Command::Erase(args) => commands::identity::erase(args, options).await,
            Command::Split(args) => commands::identity::split(args, options).await,
            Command::Batch(args) => batch::run(args, options, host).await,
            Command::Audit(args) => commands::audit::run(args, options).await,
            Command::Token(args) => commands::token::run(args, options),
            Command::Check => commands::check::run(options),
            Command::Topology(args) => commands::topology::run(args, options, host).await,
            Command::Schema(args) => commands::schema::run(args),
            Command::Openapi => output::json(&(host.openapi)()),
            Command::Completions(args) => commands::completions::run(args),
            Command::Asyncapi => commands::asyncapi::run(options, host),
            Command::Decisions(args) => commands::decisions::run(args, options, host).await,
            Command::Decision(args) => commands::decision::run(args, options, host).await,
            Command::Entity(args) => commands::entity::run(args, options, host).await,
            Command::Why(args) => commands::why::run(args, options, host).await,
            Command::History(args) => commands::history::run(args, options, host).await,
            Command::Recover(args) => commands::recover::run(args, options, host).await,
            Command::Whatif(args) => commands::whatif::run(args, options, host).await,
            Command::Verify => commands::verify::run(options, host).await,
        }
    })
}
