//! Help texts, from the tables: what a command's subcommands and flags are.

use std::fmt::Write;

use crate::cmds;
use crate::flags::{COMMANDS, Line};

/// The help of a command, or of kubectl itself.
pub fn of(command: &str) -> String {
    let mut text = String::new();
    let name = format!("kubectl {command}");
    let name = name.trim_end();
    let children: Vec<&str> = COMMANDS()
        .into_iter()
        .filter(|known| match command {
            "" => !known.contains(' ') && *known != "kubectl",
            _ => known.strip_prefix(command).and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| !rest.contains(' ')),
        })
        .collect();
    if command.is_empty() {
        text.push_str("kubectl controls the Kubernetes cluster manager.\n\n");
    }
    if !children.is_empty() {
        text.push_str("Available Commands:\n");
        for child in children {
            let built = cmds::ALL.iter().any(|known| known.words == child || known.words.starts_with(&format!("{child} ")));
            let note = if built { "" } else { "  (not supported yet by this build)" };
            let _ = writeln!(text, "  {}{note}", child.rsplit(' ').next().unwrap_or(child));
        }
        text.push('\n');
    }
    let flags = Line::flags_of(command);
    if !flags.is_empty() {
        text.push_str("Options:\n");
        for (name, short, default) in flags {
            let short = short.map_or_else(|| "    ".to_string(), |short| format!("-{short}, "));
            let default = if default.is_empty() { "''".to_string() } else { default.to_string() };
            let _ = writeln!(text, "    {short}--{name}={default}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "Usage:\n  {name} [flags] [options]");
    text
}
