//! The arguments of what people do: about updates that wait, dead letters, brakes, and records.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::ListArgs;

/// Arguments of `brakes`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BrakesArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub act: Option<BrakesAct>,
    /// Let this go
    #[arg(long, value_name = "ID")]
    pub release: Option<String>,
}

/// What to do about what is kept back.
#[derive(Debug, Subcommand)]
pub enum BrakesAct {
    /// Show it
    List,
    /// Let it go: deletes are decided, creates are sent
    #[command(after_help = "Example:\n  syncline brakes release create:oem:device --dry-run")]
    Release(LetGoArgs),
    /// Put it away: deletes are not followed, creates are not sent as they are
    #[command(after_help = "Example:\n  syncline brakes discard delete:oem:device")]
    Discard(LetGoArgs),
}

/// Which brake, and who decides.
#[derive(Debug, Args)]
pub struct LetGoArgs {
    /// The brake, as listed
    pub id: String,
    /// Who decides [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `parked`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ParkedArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub act: Option<ParkedAct>,
    /// Of the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// What to do about updates that wait.
#[derive(Debug, Subcommand)]
pub enum ParkedAct {
    /// Show them
    #[command(after_help = "Example:\n  syncline parked list --limit 10")]
    List(ListArgs),
    /// Take an update that is in review, as it is or edited
    #[command(after_help = "Example:\n  syncline parked approve crm:1042 --edit corrected.json --dry-run")]
    Approve(ApproveArgs),
    /// Take nothing of an update that is in review; its system is corrected
    #[command(after_help = "Example:\n  syncline parked reject crm:1042 --reason \"a test record\"")]
    Reject(RejectArgs),
    /// Look at a waiting update again now, whatever it waits for
    #[command(after_help = "Example:\n  syncline parked retry crm:1042")]
    Retry(RetryArgs),
}

/// Which waiting update, and who decides.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// The update: system:id
    pub update: String,
    /// Who decides [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `parked approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Which, and who.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The record as it should be, in the source's own names; - for stdin
    #[arg(long, value_name = "FILE")]
    pub edit: Option<PathBuf>,
}

/// Arguments of `parked reject`.
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// Which, and who.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `parked retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which, and who.
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// Arguments of `dead-letters`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLettersArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub act: Option<DeadLettersAct>,
    /// Of the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// What to do about dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersAct {
    /// Show them
    #[command(after_help = "Example:\n  syncline dead-letters list --limit 10")]
    List(ListArgs),
    /// Decide a message once more, as it is or edited; it keeps its id
    #[command(after_help = "Example:\n  syncline dead-letters requeue crm:1042 --edit corrected.json")]
    Requeue(RequeueArgs),
    /// Put a message away for good
    #[command(after_help = "Example:\n  syncline dead-letters discard crm:1042")]
    Discard(DiscardArgs),
}

/// Arguments of `dead-letters requeue`.
#[derive(Debug, Args)]
pub struct RequeueArgs {
    /// The dead letter
    pub id: String,
    /// The message as it should be; - for stdin
    #[arg(long, value_name = "FILE")]
    pub edit: Option<PathBuf>,
    /// Who does it [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `dead-letters discard`.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// The dead letter
    pub id: String,
    /// Who does it [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// Who says something about records, and why.
#[derive(Debug, Args)]
pub struct SayArgs {
    /// Who decides [default: whose token it is, else your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The entity type
    #[arg(value_name = "TYPE")]
    pub entity_type: String,
    /// The record that stays: canonical id, or system:native_id
    pub winner: String,
    /// The one that becomes part of it: canonical id, or system:native_id
    pub loser: String,
    /// Who, and why.
    #[command(flatten)]
    pub say: SayArgs,
}

/// Arguments of `erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The entity type
    #[arg(value_name = "TYPE")]
    pub entity_type: String,
    /// The record: canonical id, or system:native_id
    pub id: String,
    /// Who, and why.
    #[command(flatten)]
    pub say: SayArgs,
}

/// Arguments of `split`.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// The entity type
    #[arg(value_name = "TYPE")]
    pub entity_type: String,
    /// The record: canonical id, or system:native_id
    pub id: String,
    /// The native records to take out: system:native_id
    #[arg(required = true, value_name = "LINK")]
    pub links: Vec<String>,
    /// Who, and why.
    #[command(flatten)]
    pub say: SayArgs,
}
