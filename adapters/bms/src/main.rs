//! The building management system on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use syncline_bms::database::{Table, checked};
use syncline_bms::{Bms, Credentials, Device, Sensor};

/// A small building management system.
#[derive(Parser)]
struct Arguments {
    /// Its database.
    #[arg(long, default_value = "bms.db")]
    db: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a record: add device serial=SN-001 name="Air handler"
    Add {
        kind: Kind,
        #[arg(required = true, value_parser = field)]
        fields: Vec<(String, String)>,
    },
    /// Changes a record: edit bmsD1 name="Air handler 1" location=
    Edit {
        id: String,
        #[arg(required = true, value_parser = field)]
        fields: Vec<(String, String)>,
    },
    /// Deletes a record: delete bmsD1
    Delete { id: String },
    /// Shows everything.
    List,
    /// Keeps in sync, until Ctrl-C.
    Run {
        /// The broker.
        #[arg(long, default_value = "http://127.0.0.1:7171")]
        url: String,
        /// A file with the token to show the broker, over HTTP; SYNCLINE_TOKEN may hold the token itself.
        #[arg(long, value_name = "FILE", env = "SYNCLINE_TOKEN_FILE")]
        token_file: Option<PathBuf>,
        /// A file with the certificates (PEM) that vouch for the broker, instead of those of the operating system.
        #[arg(long, value_name = "FILE", env = "SYNCLINE_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// Show the token to another machine without encryption.
        #[arg(long)]
        allow_plain_text: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Device,
    Sensor,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn show<T: Table>(bms: &Bms) -> anyhow::Result<()> {
    for row in bms.list::<T>()? {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let bms = Bms::open(&arguments.db)?;
    match arguments.command {
        Command::Add { kind: Kind::Device, fields } => println!("{}", bms.find_or_add::<Device>(&checked::<Device>(&fields)?)?),
        Command::Add { kind: Kind::Sensor, fields } => println!("{}", bms.find_or_add::<Sensor>(&checked::<Sensor>(&fields)?)?),
        Command::Edit { id, fields } => bms.edit(&id, &fields)?,
        Command::Delete { id } => bms.delete(&id)?,
        Command::List => {
            show::<Device>(&bms)?;
            show::<Sensor>(&bms)?;
        }
        Command::Run { url, token_file, ca_file, allow_plain_text } => {
            let mut credentials = Credentials::from_env()?.allow_plain_text(allow_plain_text);
            if let Some(path) = token_file {
                credentials = credentials.with_token_file(path)?;
            }
            if let Some(path) = ca_file {
                credentials = credentials.with_ca_file(path);
            }
            let told = async { drop(tokio::signal::ctrl_c().await) };
            syncline_bms::run_as(&bms, &url, &credentials, told).await?;
        }
    }
    Ok(())
}
