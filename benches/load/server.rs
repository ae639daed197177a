//! The servers that are measured, each a process of its own: what they are started with and what they cost.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// The token of Partway's first start on a folder.
    pub(crate) token: String,
}

impl Server {
    /// The real binary, as it is shipped but for these settings.
    pub(crate) fn partway(data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partway"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).envs(settings.iter().copied());
        fs::create_dir_all(data)?;
        let kept = data.join("bench-token");
        let mut server = Self::start(command.stderr(File::create(data.join("bench-log"))?))?;
        let output = server.child.stdout.take().context("partway's output")?;
        let mut lines = BufReader::new(output).lines();
        let listening = lines.next().context("partway did not start")??;
        listening.rsplit('/').next().unwrap_or_default().clone_into(&mut server.address);
        if !kept.exists() {
            let token = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("token=")?.1.to_owned()));
            fs::write(&kept, token.context("partway's first token")?)?;
        }
        server.token = fs::read_to_string(kept)?;
        Ok(server)
    }

    /// This executable once more, as one of the bare servers of `floor`.
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

    /// The CPU time that the process has used, in user and kernel mode, all threads, in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc(5): the fields after the name in parentheses; utime and stime are the 14th and 15th, in ticks of 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.map(str::parse::<f64>).sum::<Result<_, _>>()?;
        Ok(ticks * 10_000.0)
    }

    /// The most memory it had since [`Self::forget_peak`], in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// `Authorization` of the first token.
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
