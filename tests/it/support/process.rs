//! Runs the real binary, as a server and as a command.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use partway::client::SessionBody;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::{Deadline, database_url};

const BINARY: &str = env!("CARGO_BIN_EXE_partway");
/// How long an answer may take on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);

/// `partway serve` on a data folder. `Drop` kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) address: String,
    /// The token that the first start prints; empty after later starts.
    pub(crate) first_token: String,
}

impl Server {
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_on("127.0.0.1:0", data, settings)
    }

    /// Starts on a given address, such as that of a killed server.
    pub(crate) fn start_on(address: &str, data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(address, data, settings, Stdio::null())
    }

    /// Starts with the log going to `log`.
    pub(crate) fn start_logging_to(log: Stdio, data: &Path) -> Self {
        Self::start_with_log(log, data, &[("RUST_LOG", "info")])
    }

    /// Starts with these settings, and the log going to `log`.
    pub(crate) fn start_with_log(log: Stdio, data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn("127.0.0.1:0", data, settings, log)
    }

    /// Starts with this soft and hard limit on file descriptors.
    pub(crate) fn start_with_descriptors(descriptors: u64, data: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""), BINARY]);
        Self::run(clean(shell), "127.0.0.1:0", data, &[], Stdio::null())
    }

    fn spawn(address: &str, data: &Path, settings: &[(&str, &str)], log: Stdio) -> Self {
        Self::run(command(), address, data, settings, log)
    }

    fn run(mut command: Command, address: &str, data: &Path, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = command
            .args(["serve", "--listen", address, "--data"])
            .arg(data)
            .envs(database_url(data).map(|url| ("PARTWAY_DATABASE", url)))
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The server prints the first line when it listens.
        let listening = lines.next().expect("the server did not start").unwrap();
        let url = listening.rsplit(' ').next().unwrap().to_owned();
        // A first start then prints more lines, of which the last is the link with the token. Later starts print no more.
        let mut first_token = String::new();
        if !data.join(".started").exists() {
            let token = lines.map(Result::unwrap).find_map(|line| line.split("token=").nth(1).map(str::to_owned));
            first_token = token.unwrap();
            std::fs::write(data.join(".started"), "").unwrap();
        }
        let address = url.trim_start_matches("http://").to_owned();
        Self { child, url, address, first_token }
    }

    /// Sends a part without the client, so that there are no retries. Returns the status, or `None` without a response.
    pub(crate) fn put(&self, token: &str, id: &str, number: usize, part: &[u8]) -> Option<u16> {
        let path = format!("/uploads/sessions/{id}/parts/{number}");
        exchange(&self.address, "PUT", &path, token, part).map(|(status, _)| status)
    }

    /// Sends GET with the token of the first start.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        exchange(&self.address, "GET", path, &self.first_token, b"").unwrap()
    }

    /// Lists the newest sessions with this status, at most 100.
    pub(crate) fn sessions(&self, token: &str, status: &str) -> Vec<SessionBody> {
        let path = format!("/uploads/sessions?status={status}&limit=100");
        let (_, body) = exchange(&self.address, "GET", &path, token, b"").unwrap();
        let mut list: serde_json::Value = serde_json::from_str(&body).unwrap();
        serde_json::from_value(list["sessions"].take()).unwrap()
    }

    /// Sends POST with JSON and the token of the first start.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        exchange(&self.address, "POST", path, &self.first_token, body).unwrap()
    }

    /// Sets the limit on file descriptors of the running server. Open descriptors stay open.
    pub(crate) fn limit_descriptors(&self, limit: u64) {
        let limit = Rlimit { current: Some(limit), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends the server without a chance to clean up, as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        let deadline = Deadline::new();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None => deadline.wait_for("the server to end"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request on a new connection. Returns status and body, or `None` without a response.
pub(crate) fn exchange(address: &str, method: &str, path: &str, token: &str, body: &[u8]) -> Option<(u16, String)> {
    let exchange = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(LONGEST))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(body)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// A `partway` command.
pub(crate) struct Cli(Command);

impl Cli {
    pub(crate) fn new(args: &[&str]) -> Self {
        let mut command = command();
        command.args(args).stdin(Stdio::null());
        let data = args.iter().skip_while(|arg| **arg != "--data").nth(1);
        command.envs(data.and_then(|data| database_url(Path::new(data))).map(|url| ("PARTWAY_DATABASE", url)));
        Self(command)
    }

    /// Uses SQLite, also if the other tests run on PostgreSQL.
    pub(crate) fn on_sqlite(self) -> Self {
        self.env("PARTWAY_DATABASE", "")
    }

    /// Sets the server and the token.
    pub(crate) fn to(mut self, server: &Server, token: &str) -> Self {
        self.0.env("PARTWAY_SERVER", &server.url).env("PARTWAY_TOKEN", token);
        self
    }

    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn arg(mut self, arg: &OsStr) -> Self {
        self.0.arg(arg);
        self
    }

    pub(crate) fn stdin(mut self, stdin: Stdio) -> Self {
        self.0.stdin(stdin);
        self
    }

    pub(crate) fn stdout(mut self, stdout: Stdio) -> Self {
        self.0.stdout(stdout);
        self
    }

    pub(crate) fn stderr(mut self, stderr: Stdio) -> Self {
        self.0.stderr(stderr);
        self
    }

    /// Runs the command. Captures the streams that were not redirected.
    pub(crate) fn run(mut self) -> Output {
        self.0.output().unwrap()
    }

    pub(crate) fn spawn(mut self) -> Child {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// The binary without the `PARTWAY_*` settings and the proxies of the environment.
fn command() -> Command {
    clean(Command::new(BINARY))
}

fn is_unwanted(name: &str) -> bool {
    name.starts_with("PARTWAY_") || name.to_lowercase().ends_with("_proxy")
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| is_unwanted(name)) {
        command.env_remove(name);
    }
    command.env("RUST_LOG", "off");
    // The tests must run on a nearly full disk too.
    command.env("PARTWAY_MIN_FREE_SPACE", "0");
    command
}
