//! `partway man`: prints the manual page.
//!
//! Owns that all commands are on one page, and the section of exit codes. The text is the help of the commands.

use std::{io, process::ExitCode};

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Cli, exit::Exit, output::answer};

/// Commands of clap itself.
const BUILT_IN: &str = "help";

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let mut page = Vec::new();
    write(&mut page)?;
    answer(ascii(&String::from_utf8(page)?).trim_end())?;
    Ok(Exit::Done.into())
}

/// Writes other characters than those of ASCII as roff does, which every version of man understands.
fn ascii(page: &str) -> String {
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    page.chars().map(escape).collect()
}

fn write(page: &mut Vec<u8>) -> io::Result<()> {
    let mut partway = Cli::command();
    // Gives each command the options of the commands above it, and its whole name.
    partway.build();
    let man = Man::new(partway.clone().disable_help_subcommand(true));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    for command in partway.get_subcommands() {
        write_command(page, command)?;
    }
    write_exit_codes(page)?;
    man.render_version_section(page)
}

/// Writes a section for a command, and for each of its own commands.
fn write_command(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    if command.get_name() == BUILT_IN {
        return Ok(());
    }
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    Roff::new().control("SH", [name.to_uppercase().as_str()]).to_writer(page)?;
    let (man, mut section) = (Man::new(command.clone()), Vec::new());
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    if command.get_opts().chain(command.get_positionals()).next().is_some() {
        man.render_options_section(&mut section)?;
    }
    // The sections of a page of its own become parts of this section.
    page.extend(String::from_utf8_lossy(&section).replace("\n.SH ", "\n.SS ").bytes());
    command.get_subcommands().try_for_each(|command| write_command(page, command))
}

fn write_exit_codes(page: &mut Vec<u8>) -> io::Result<()> {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        section.control("TP", []).text([bold(exit.code().to_string())]).text([roman(exit.meaning())]);
    }
    section.to_writer(page)
}
