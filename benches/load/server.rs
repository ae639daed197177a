//! The measured servers.
//!
//! Owns how to start each server as a separate process, and how to read its CPU time and memory.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;

/// A running server. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// The token that Partway created at its first start on the folder.
    pub(crate) token: String,
}

impl Server {
    /// Starts the real binary with the default settings, except for `settings`.
    pub(crate) fn partway(data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partway"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).envs(settings.iter().copied());
        fs::create_dir_all(data)?;
        let token_file = data.join("bench-token");
        let mut server = Self::start(command.stderr(File::create(data.join("bench-log"))?))?;
        let output = server.child.stdout.take().context("partway's output")?;
        let mut lines = BufReader::new(output).lines();
        let listening = lines.next().context("partway did not start")??;
        listening.rsplit('/').next().unwrap_or_default().clone_into(&mut server.address);
        if !token_file.exists() {
            let token = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("token=")?.1.to_owned()));
            fs::write(&token_file, token.context("partway's first token")?)?;
        }
        server.token = fs::read_to_string(token_file)?;
        Ok(server)
    }

    /// Starts this executable again, as one of the floor's servers.
    pub(crate) fn floor(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut server = Self::start(command.arg("floor").args(arguments))?;
        let output = server.child.stdout.take().context("the floor's output")?;
        server.address = BufReader::new(output).lines().next().context("the floor did not start")??;
        Ok(server)
    }

    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        Ok(Self { child, address: String::new(), token: String::new() })
    }

    /// The process's CPU time in user and kernel mode, over all threads, in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc(5): the fields after the name in parentheses; utime and stime are the 14th and 15th, in ticks of 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.map(str::parse::<f64>).sum::<Result<_, _>>()?;
        Ok(ticks * 10_000.0)
    }

    /// The process's peak memory since [`Self::reset_peak_memory`], in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    pub(crate) fn reset_peak_memory(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// The `Authorization` header for the token.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
