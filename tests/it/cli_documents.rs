//! `partway completions` and `partway man`.

use std::collections::BTreeSet;

use crate::support::Cli;

fn printed(args: &[&str]) -> String {
    let output = Cli::new(args).run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `partway --help` lists.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_script_of_each_shell_completes_every_command() {
    assert!(commands().len() > 15);
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        assert!(script.contains("retry-for"), "{shell}");
    }
    assert_eq!(Cli::new(&["completions", "nonsense"]).run().status.code(), Some(2));
}

#[test]
fn the_manual_page_has_every_command_and_exit_code_in_ascii() {
    let page = printed(&["man"]);
    assert!(page.is_ascii() && page.contains(".TH partway 1"));
    let sections: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    for command in commands() {
        let section = format!("\"PARTWAY {}\"", command.to_uppercase());
        assert!(sections.contains(section.as_str()), "{section}: {sections:?}");
    }
    for section in ["NAME", "\"EXIT STATUS\"", "\"PARTWAY TOKEN CREATE\""] {
        assert!(sections.contains(section), "{section}: {sections:?}");
    }
    for expected in ["\\fB130\\fR", "PARTWAY_RETRY_FOR", "Interrupted with ctrl\\-C."] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn the_documentation_names_every_command() {
    let doc = include_str!("../../docs/cli.md");
    for command in commands() {
        assert!(doc.contains(&format!("`{command}")), "docs/cli.md does not name {command}");
    }
}
