//! The arguments of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::args_people::{
    BrakesAct, BrakesArgs, DeadLettersAct, DeadLettersArgs, EraseArgs, JudgeArgs, LetGoArgs, MergeArgs, ParkedAct, ParkedArgs, SayArgs,
    SplitArgs,
};
use super::batch::input::InputArg;
use crate::config::Role;
use crate::schema::Contract;

/// Syncline keeps the copies that several systems hold of the same things right, and says why.
#[derive(Debug, Parser)]
#[command(name = "syncline", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The store's folder, or the folder a batch wrote [default: the configuration's, else ./syncline-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// The running orchestrator [default: where the configuration says it listens, else http://127.0.0.1:7171]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the token to show the orchestrator; never the token itself, which every process could read here
    #[arg(long, global = true, value_name = "FILE", env = "SYNCLINE_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that vouch for the orchestrator [default: those of the operating system]
    #[arg(long, global = true, value_name = "FILE", env = "SYNCLINE_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<PathBuf>,
    /// Show the token to another machine without encryption
    #[arg(long, global = true)]
    pub allow_plain_text: bool,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch two systems being kept in sync: an orchestrator and two sample adapters, no servers
    #[command(after_help = "Example:\n  syncline demo --serve")]
    Demo(DemoArgs),
    /// Run the orchestrator: adapters hand in and fetch over HTTP
    #[command(after_help = "Example:\n  syncline run --config config/syncline.toml")]
    Run(RunArgs),
    /// Hand in native records, one JSON object a line
    #[command(after_help = "Example:\n  syncline send --system bms --type device devices.jsonl")]
    Send(SendArgs),
    /// Hand in a full export of a system: only what differs from what it is known to hold. Records that it is known to hold and
    /// that are not in the file are handed in as deleted
    #[command(after_help = "Example:\n  syncline snapshot --system bms --type device devices.jsonl --dry-run")]
    Snapshot(SnapshotArgs),
    /// Show or take what waits for a system
    #[command(after_help = "Example:\n  syncline receive --system oem --max 10 --ack")]
    Receive(ReceiveArgs),
    /// Show who takes part, and what is still on its way to whom
    #[command(after_help = "Example:\n  syncline systems")]
    Systems,
    /// Show what is left to do, or wait until nothing is
    #[command(after_help = "Example:\n  syncline status --wait-idle 30s")]
    Status(StatusArgs),
    /// Show where a system really differs from what it should hold
    #[command(after_help = "Example:\n  syncline compare --system oem --type device")]
    Compare(CompareArgs),
    /// Send a system what it lacks, or everything again; a type of records, to everybody
    #[command(after_help = "Example:\n  syncline resync --type device --dry-run")]
    Resync(ResyncArgs),
    /// Take nothing from a system, or send it nothing, until it is resumed
    #[command(after_help = "Example:\n  syncline pause --system oem --direction out")]
    Pause(PauseArgs),
    /// Go on with a paused system; sends what it lacks by now
    #[command(after_help = "Example:\n  syncline resume --system oem --dry-run")]
    Resume(PauseArgs),
    /// Show what is kept back until a person lets it go, and let it go
    #[command(after_help = "Example:\n  syncline brakes release create:oem:device")]
    Brakes(BrakesArgs),
    /// Show updates that wait, and for what; approve, reject or retry one
    #[command(after_help = "Example:\n  syncline parked approve crm:1042 --reason \"checked with the customer\"")]
    Parked(ParkedArgs),
    /// Show messages that could not be processed, and why; requeue or discard one
    #[command(after_help = "Example:\n  syncline dead-letters requeue crm:1042 --edit corrected.json")]
    DeadLetters(DeadLettersArgs),
    /// Say that two records are one thing: the second becomes part of the first
    #[command(after_help = "Example:\n  syncline merge device bms:bmsD1 oem:oemD7 --dry-run")]
    Merge(MergeArgs),
    /// Say that native records are another thing: take them out of their record again
    #[command(after_help = "Example:\n  syncline split device bms:bmsD1 oem:oemD7 --reason \"two fans with one serial\"")]
    Split(SplitArgs),
    /// Erase the values of a record, here and in all that is kept about it; it is deleted everywhere
    #[command(after_help = "Example:\n  syncline erase contact crm:1042 --reason \"asked by the person\" --dry-run")]
    Erase(EraseArgs),
    /// Feed files of native records through the engine and write what comes of it
    #[command(
        after_help = "Example:\n  syncline batch --config examples/batch/syncline.toml \\\n    --input bms:device:examples/batch/bms-devices.jsonl --input oem:device:examples/batch/oem-devices.jsonl --out out"
    )]
    Batch(BatchArgs),
    /// Show who did what, newest first: approvals, pauses, merges, log-ins
    #[command(after_help = "Example:\n  syncline audit --limit 20")]
    Audit(ListArgs),
    /// Make a token for a person or a program: prints it once, and the line to add to the file of [http.auth]
    #[command(
        after_help = "Example:\n  syncline token --name anna --role operator\n  syncline token --name bms-adapter --role adapter:bms"
    )]
    Token(TokenArgs),
    /// Print every problem of a configuration at once
    #[command(after_help = "Example:\n  syncline check --config config/syncline.toml")]
    Check,
    /// Print what there has to be at the message broker, and who needs which rights there
    #[command(after_help = "Example:\n  syncline topology --config config/syncline.toml --permissions")]
    Topology(TopologyArgs),
    /// Print the JSON Schema of a contract
    #[command(after_help = "Example:\n  syncline schema outbound > outbound.schema.json")]
    Schema(SchemaArgs),
    /// Print the OpenAPI document of the HTTP interface
    #[command(after_help = "Example:\n  syncline openapi > openapi.json")]
    Openapi,
    /// Print what a shell needs to complete commands
    #[command(after_help = "Example:\n  syncline completions bash > /etc/bash_completion.d/syncline")]
    Completions(CompletionsArgs),
    /// Print the AsyncAPI document of what adapters send and receive over RabbitMQ
    #[command(after_help = "Example:\n  syncline asyncapi --config config/rabbitmq-mongodb.toml > asyncapi.json")]
    Asyncapi,
    /// List decisions, newest first
    #[command(after_help = "Example:\n  syncline decisions --store out --system oem --decision dropped --reason \"source priority\"")]
    Decisions(DecisionsArgs),
    /// Show one decision, field by field
    #[command(after_help = "Example:\n  syncline decision --store out oem:r1-i2-l0000001")]
    Decision(DecisionArgs),
    /// Show one canonical record
    #[command(after_help = "Example:\n  syncline entity --store out device bms:bmsD1")]
    Entity(RecordArgs),
    /// Explain why a record, or one field of it, is as it is
    #[command(after_help = "Example:\n  syncline why --store out device bms:bmsD1 name")]
    Why(WhyArgs),
    /// Show every decision about one record, oldest first
    #[command(after_help = "Example:\n  syncline history --store out device bms:bmsD1")]
    History(RecordArgs),
    /// After an older back-up was put back: have adapters take what they are sent from now on for newer than all before
    #[command(after_help = "Example:\n  syncline recover --config syncline.toml")]
    Recover(RecoverArgs),
    /// Decide recorded updates again by the rules of another configuration: which decisions and fields would be others. Changes
    /// nothing
    #[command(after_help = "Example:\n  syncline whatif --config new.toml --since 7d --url http://127.0.0.1:7171")]
    Whatif(WhatifArgs),
    /// Check everything that must hold in a store
    #[command(after_help = "Example:\n  syncline verify --store out --config examples/batch/syncline.toml")]
    Verify,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stay up afterwards, with the HTTP edge, until Ctrl-C
    #[arg(long)]
    pub serve: bool,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `topology`.
#[derive(Debug, Args)]
pub struct TopologyArgs {
    /// Look whether it is there; changes nothing
    #[arg(long, conflicts_with = "permissions")]
    pub check: bool,
    /// Print the least rights of each user, as commands for the server
    #[arg(long)]
    pub permissions: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The person or program; stands in decisions and logs
    #[arg(long)]
    pub name: String,
    /// What it may do: adapter:SYSTEM, viewer, operator or admin
    #[arg(long)]
    pub role: Role,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// How log lines are written, to stderr
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormatArg,
    /// Start beside orchestrators with another configuration, to upgrade them one after the other
    #[arg(long)]
    pub rolling: bool,
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The system they come from
    #[arg(long)]
    pub system: String,
    /// Their type
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: String,
    /// What each line is
    #[arg(long, value_enum, default_value = "upsert")]
    pub op: OpArg,
    /// The file, or - for stdin
    pub file: PathBuf,
}

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// The system it comes from
    #[arg(long)]
    pub system: String,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: String,
    /// Only say what would be handed in
    #[arg(long)]
    pub dry_run: bool,
    /// The file, one record a line, or - for stdin
    pub file: PathBuf,
}

/// What a line of `send` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OpArg {
    /// A whole record
    Upsert,
    /// Only the changed fields
    Patch,
    /// Only the id: the record is gone
    Delete,
}

impl OpArg {
    /// As it is written in an envelope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Arguments of `receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// The system
    #[arg(long)]
    pub system: String,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub max: usize,
    /// Take them: they count as delivered
    #[arg(long)]
    pub ack: bool,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The system
    #[arg(long)]
    pub system: String,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: Option<String>,
    /// At most so many records
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// Arguments of `resync`.
#[derive(Debug, Args)]
pub struct ResyncArgs {
    /// The system [default: every one that is sent the type]
    #[arg(long, required_unless_present = "entity_type")]
    pub system: Option<String>,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: Option<String>,
    /// Also what it is believed to hold: after its database was restored, or fields were renamed
    #[arg(long)]
    pub everything: bool,
    /// Only say what would be sent
    #[arg(long)]
    pub dry_run: bool,
    /// Who does it [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The system
    #[arg(long)]
    pub system: String,
    /// What it says, what it is sent, or both
    #[arg(long, value_enum, default_value = "both")]
    pub direction: DirectionArg,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Who does it [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// What is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DirectionArg {
    /// What it says stays in the inbound queue
    In,
    /// What it is sent is kept back
    Out,
    /// Both
    Both,
}

impl DirectionArg {
    /// As it is written in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

/// Arguments of lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many rows
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Wait until nothing is left to do, at most so long (30s, 2m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait_idle: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).ok_or_else(|| format!("{text:?} is no time; write 500ms, 30s, 2m"))
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// When outbound messages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RelayWhen {
    /// Once, after the last input: an initial load
    End,
    /// All along, as a running broker does
    Live,
}

/// Arguments of `batch`.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// SYSTEM:TYPE:FILE.jsonl (native records, one a line) or envelopes:FILE.jsonl; in this order
    #[arg(long = "input", required = true, value_name = "INPUT", num_args = 1..)]
    pub inputs: Vec<InputArg>,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The field that holds a native record's id [default: the configured id_field, else id]
    #[arg(long, value_name = "NAME")]
    pub id_field: Option<String>,
    /// Ids and times come from this number: the same input gives the same bytes
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// When outbound messages are made
    #[arg(long, value_enum, default_value = "end")]
    pub relay: RelayWhen,
    /// Apply every outbound message at once, by a perfect adapter that answers with a receipt
    #[arg(long)]
    pub apply: bool,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which contract [default: all of them in one document]
    #[arg(value_enum)]
    pub which: Option<Contract>,
}

/// Arguments of `decisions`.
#[derive(Debug, Default, Args)]
pub struct DecisionsArgs {
    /// Only updates of this system
    #[arg(long)]
    pub system: Option<String>,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: Option<String>,
    /// Only this kind: accepted, partially_accepted, dropped, unchanged, echo, superseded, deferred, parked
    #[arg(long, value_name = "KIND")]
    pub decision: Option<String>,
    /// Only this record: canonical id, or system:native_id together with --type
    #[arg(long, value_name = "ID")]
    pub entity: Option<String>,
    /// Decided at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Decided before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The reason has all these words
    #[arg(long, value_name = "WORDS")]
    pub reason: Option<String>,
    /// At most so many rows
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Stay, and print each as it is made; asks a running orchestrator
    #[arg(long, short)]
    pub follow: bool,
}

/// Arguments of `whatif`.
#[derive(Debug, Args)]
pub struct WhatifArgs {
    /// From this time on (RFC 3339), or so long ago (7d, 12h)
    #[arg(long, value_name = "TIME")]
    pub since: String,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: Option<String>,
    /// Print at most so many decisions; all are counted
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

/// Arguments of `decision`.
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// The update: system:id
    pub update: String,
}

/// Arguments that name a record.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The entity type
    #[arg(value_name = "TYPE")]
    pub entity_type: String,
    /// Canonical id, or system:native_id
    pub id: String,
}

/// Arguments of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Which record.
    #[command(flatten)]
    pub record: RecordArgs,
    /// One field only
    pub field: Option<String>,
}
