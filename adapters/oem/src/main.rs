//! The portal of a manufacturer on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use syncline_oem::database::{Table, checked};
use syncline_oem::{Credentials, Device, Oem, Sensor};

/// A small portal of a manufacturer.
#[derive(Parser)]
struct Arguments {
    /// Its database.
    #[arg(long, default_value = "oem.db")]
    db: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a record: add device serial_no=SN-001 label="Air handler"
    Add {
        kind: Kind,
        #[arg(required = true, value_parser = field)]
        fields: Vec<(String, String)>,
    },
    /// Changes a record: edit oemD1 label="Air handler 1" warranty_until=
    Edit {
        id: String,
        #[arg(required = true, value_parser = field)]
        fields: Vec<(String, String)>,
    },
    /// Deletes a record: delete oemD1
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

fn show<T: Table>(oem: &Oem) -> anyhow::Result<()> {
    for row in oem.list::<T>()? {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let oem = Oem::open(&arguments.db)?;
    match arguments.command {
        Command::Add { kind: Kind::Device, fields } => println!("{}", oem.find_or_add::<Device>(&checked::<Device>(&fields)?)?),
        Command::Add { kind: Kind::Sensor, fields } => println!("{}", oem.find_or_add::<Sensor>(&checked::<Sensor>(&fields)?)?),
        Command::Edit { id, fields } => oem.edit(&id, &fields)?,
        Command::Delete { id } => oem.delete(&id)?,
        Command::List => {
            show::<Device>(&oem)?;
            show::<Sensor>(&oem)?;
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
            syncline_oem::run_as(&oem, &url, &credentials, told).await?;
        }
    }
    Ok(())
}
