//! Which command is meant, and its flags.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use component_base::flags::{FlagSet, Kind};
use component_base::version;

use crate::options::Options;
use crate::{certs, kubeconfig};

const ABOUT: &str = "kubeadm makes the certificates and kubeconfig files that a Kubernetes control plane needs.

Usage:
  kubeadm init phase certs PHASE [flags]
  kubeadm init phase kubeconfig PHASE [flags]
  kubeadm version [-o short|json]

Use \"kubeadm init phase certs --help\" for the phases and flags of a command.
";

/// Upstream's other commands.
const NOT_YET: [&str; 9] = ["alpha", "certs", "completion", "config", "init", "join", "kubeconfig", "reset", "token"];

/// What to do, as the words of a command line name it.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Version,
    Certs(String),
    Kubeconfig(String),
}

/// Runs a command line; output goes to standard output, what went wrong to standard error.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let (words, flags): (Vec<String>, Vec<String>) = split(arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    let result = find(&words).and_then(|command| run(command, flags, &mut out));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Words come first, flags after.
fn split(mut arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    let at = arguments.iter().position(|argument| argument.starts_with('-')).unwrap_or(arguments.len());
    let flags = arguments.split_off(at);
    (arguments, flags)
}

fn find(words: &[&str]) -> Result<Command, String> {
    match words {
        [] => Ok(Command::Help),
        ["version"] => Ok(Command::Version),
        ["init", "phase", "certs", phase @ ..] => {
            phase_of(phase, "certs", certs::PHASES.iter().map(|phase| phase.name)).map(Command::Certs)
        }
        ["init", "phase", "kubeconfig", phase @ ..] => {
            phase_of(phase, "kubeconfig", kubeconfig::FILES.iter().map(|file| file.phase)).map(Command::Kubeconfig)
        }
        ["init", "phase", other, ..] => Err(format!("error: phase {other:?} is not supported yet by this build")),
        [known, ..] if NOT_YET.contains(known) => {
            Err(format!("error: the command \"kubeadm {}\" is not supported yet by this build", words.join(" ")))
        }
        [other, ..] => Err(format!("error: unknown command {other:?} for \"kubeadm\"\nRun 'kubeadm --help' for usage.")),
    }
}

/// The phase named, `all`, or nothing for the help text.
fn phase_of<'a>(words: &[&str], group: &str, mut known: impl Iterator<Item = &'a str>) -> Result<String, String> {
    match words {
        [] => Ok(String::new()),
        [phase] if *phase == "all" || known.any(|name| name == *phase) => Ok((*phase).to_owned()),
        [phase, ..] => Err(format!(
            "error: unknown command {phase:?} for \"kubeadm init phase {group}\"\nRun 'kubeadm init phase {group} --help' for usage."
        )),
    }
}

fn run(command: Command, arguments: Vec<String>, out: &mut dyn Write) -> Result<(), String> {
    let flags = match command {
        Command::Certs(_) => Options::declare(FlagSet::of("kubeadm init phase certs")),
        Command::Kubeconfig(_) => Options::declare(FlagSet::of("kubeadm init phase kubeconfig")),
        Command::Help => FlagSet::of("kubeadm"),
        Command::Version => FlagSet::of("kubeadm version")
            .own("output", Kind::Text, "", "Output format; available options are 'json' and 'short'")
            .with_short("output", 'o'),
    };
    let program = flags.program().to_owned();
    let told = |problems: component_base::problems::Problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("error: {problem}")).collect();
        format!("{}\nRun '{program} --help' for usage.", lines.join("\n"))
    };
    let values = flags.parse(arguments).map_err(told)?;
    let mut print = |text: &str| out.write_all(text.as_bytes()).map_err(|error| format!("error: cannot write: {error}"));
    if values.changed("version") {
        return print(&format!("Kubernetes {}\n", version::GIT_VERSION));
    }
    let help = values.bool("help");
    match command {
        Command::Help => print(ABOUT),
        Command::Version if help => print(&flags.help("Print the version of kubeadm.")),
        Command::Version => match values.text("output") {
            "" => print(&format!("kubeadm version: &{}\n", version::raw())),
            "short" => print(&format!("{}\n", version::GIT_VERSION)),
            "json" => print(&format!("{{\n  \"clientVersion\": {}\n}}\n", version::json().replace('\n', "\n  "))),
            other => Err(format!("error: invalid output format: {other}")),
        },
        Command::Certs(phase) if help || phase.is_empty() => {
            let names: Vec<&str> = certs::PHASES.iter().map(|phase| phase.name).collect();
            print(&flags.help(&format!("Generate certificates. Phases: all, {}.", names.join(", "))))
        }
        Command::Kubeconfig(phase) if help || phase.is_empty() => {
            let names: Vec<&str> = kubeconfig::FILES.iter().map(|file| file.phase).collect();
            print(&flags.help(&format!("Generate kubeconfig files. Phases: all, {}.", names.join(", "))))
        }
        Command::Certs(phase) => {
            let options = Options::complete(&values).map_err(told)?;
            certs::run(&phase, &options, SystemTime::now(), out).map_err(|error| failed(&error.phase, &error.cause))
        }
        Command::Kubeconfig(phase) => {
            let options = Options::complete(&values).map_err(told)?;
            kubeconfig::run(&phase, &options, SystemTime::now(), out).map_err(|error| failed(&error.phase, &error.cause))
        }
    }
}

fn failed(phase: &str, cause: &(dyn std::error::Error + 'static)) -> String {
    format!("error execution phase {phase}: {}", component_base::logs::chain(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<String, String> {
        let (words, flags) = split(line.split_whitespace().map(str::to_owned).collect());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut out = Vec::new();
        find(&words).and_then(|command| run(command, flags, &mut out))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn commands_are_found_or_refused() {
        assert_eq!(ask("version -o short"), Ok("v1.36.2\n".to_owned()));
        assert!(ask("").unwrap().starts_with("kubeadm makes"));
        assert!(ask("init phase certs").unwrap().contains("etcd-healthcheck-client"));
        assert!(ask("init phase kubeconfig all --help").unwrap().contains("--kubeconfig-dir"));
        for (line, message) in [
            ("join 1.2.3.4:6443", "error: the command \"kubeadm join 1.2.3.4:6443\" is not supported yet by this build"),
            ("init", "error: the command \"kubeadm init\" is not supported yet by this build"),
            ("init phase etcd local", "error: phase \"etcd\" is not supported yet by this build"),
            ("frob", "error: unknown command \"frob\" for \"kubeadm\"\nRun 'kubeadm --help' for usage."),
            (
                "init phase certs frob",
                "error: unknown command \"frob\" for \"kubeadm init phase certs\"\nRun 'kubeadm init phase certs --help' for usage.",
            ),
            (
                "init phase certs all --frob --config=x",
                "error: unknown flag: --frob\nerror: flag --config is not supported yet by this build\n\
                 Run 'kubeadm init phase certs --help' for usage.",
            ),
            (
                "init phase certs all --service-cidr=10.0.0.0/33 --node-name=A_b",
                "error: --node-name \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                 '-' or '.', and must start and end with an alphanumeric character\n\
                 error: --service-cidr: couldn't parse subnet \"10.0.0.0/33\"\n\
                 Run 'kubeadm init phase certs --help' for usage.",
            ),
        ] {
            assert_eq!(ask(line), Err(message.to_owned()), "{line}");
        }
    }
}
