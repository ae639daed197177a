//! The flags with which a command reaches a server.
//!
//! Owns where the address, the token and the trusted certificates come from. Does not connect: that is `client`.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, parser::ValueSource, value_parser};
use humantime_serde::re::humantime::parse_duration;

use super::output::note;
use crate::client::{Client, ClientError, RetryPolicy};

/// The longest token file. A token has some dozens of bytes, a JWT some thousands.
const MAX_TOKEN_FILE_BYTES: u64 = 64 * 1024;
/// The permission of a file that all users may read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The server's address and the token.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(long = "server", env = "PARTWAY_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    #[command(flatten)]
    token: TokenSource,
    /// A file of certificates in PEM to trust beside those of the system, such as that of a private authority
    #[arg(long, env = "PARTWAY_CA_FILE", value_name = "FILE")]
    ca_file: Option<OsString>,
    /// How long to retry without progress, as in 90s or 2h
    ///
    /// Bytes that are sent or received count as progress. The client retries broken connections and temporary errors (408,
    /// 425, 429, 499 and most 5xx), and waits as long as Retry-After asks. Some errors end the command at once: an invalid
    /// certificate, a redirect, a response that does not come from Partway, and, before the server's first response, a
    /// host that is unknown or refuses connections.
    #[arg(long, env = "PARTWAY_RETRY_FOR", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,
}

/// No token was given.
#[derive(Debug, thiserror::Error)]
#[error(
    "no token: set PARTWAY_TOKEN or PARTWAY_TOKEN_FILE, or add --token-file; the server printed a token at its first start"
)]
pub(super) struct NoToken;

impl Server {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let token = self.token.read()?;
        let ca_file = self.ca_file.as_ref().filter(|path| !path.is_empty()).map(Path::new);
        let ca_pem = ca_file.map(|path| std::fs::read(path).with_context(|| path.display().to_string())).transpose()?;
        let client = Client::trusting(&self.url, &token, ca_pem.as_deref());
        Ok(match (client, ca_file) {
            (Err(error @ ClientError::Certificates), Some(path)) => {
                return Err(anyhow::Error::new(error).context(path.display().to_string()));
            }
            (client, _) => client?,
        })
    }

    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// The retry policy of a command that sends one request after the other.
    pub(super) fn retry(&self) -> RetryPolicy {
        RetryPolicy::new(self.retry_for)
    }
}

/// Where the token comes from. A flag is stronger than a variable, whichever of the two flags and variables they are.
#[derive(Debug)]
enum TokenSource {
    Nowhere,
    Given(String),
    File(PathBuf),
}

impl TokenSource {
    fn read(&self) -> anyhow::Result<String> {
        match self {
            Self::Nowhere => Err(NoToken.into()),
            Self::Given(token) => Ok(token.clone()),
            Self::File(path) => read_token(path).with_context(|| path.display().to_string()),
        }
    }
}

fn read_token(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // Only a warning: secrets that a container gets are often readable by all of its users.
    if metadata.is_file() && metadata.permissions().mode() & READABLE_BY_OTHERS != 0 {
        let path = path.display();
        note(format_args!(
            "warning: all users of this machine can read the token in {path}; to end that: chmod o= {path}"
        ));
    }
    let mut token = String::new();
    if file.take(MAX_TOKEN_FILE_BYTES + 1).read_to_string(&mut token)? as u64 > MAX_TOKEN_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long for a token"));
    }
    Ok(token)
}

impl Args for TokenSource {
    fn augment_args(command: Command) -> Command {
        let token = Arg::new("token").long("token").env("PARTWAY_TOKEN").value_name("TOKEN").hide_env_values(true);
        let file = Arg::new("token_file").long("token-file").env("PARTWAY_TOKEN_FILE").value_name("FILE");
        command
            .arg(token.help("The token that the server gave you; better in the variable or a file, because others can see arguments"))
            .arg(file.value_parser(value_parser!(OsString)).help("A file with the token"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TokenSource {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let token = matches.get_one::<String>("token").filter(|token| !token.is_empty());
        let file = matches.get_one::<OsString>("token_file").filter(|path| !path.is_empty());
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(match (token, file) {
            (Some(token), Some(file)) => match (is_flag("token"), is_flag("token_file")) {
                (true, false) => Self::Given(token.clone()),
                (false, true) => Self::File(file.into()),
                _ => {
                    let problem = "give the token or a file with the token, not both\n";
                    return Err(clap::Error::raw(ErrorKind::ArgumentConflict, problem));
                }
            },
            (Some(token), None) => Self::Given(token.clone()),
            (None, Some(file)) => Self::File(file.into()),
            (None, None) => Self::Nowhere,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
