//! From arguments to exit code.

use crate::cmds;
use crate::context::{Context, Environment, out};
use crate::failure::Failure;
use crate::flags::{COMMANDS, Line};
use crate::help;

/// Runs one command line (without the program's name) and returns the exit code.
pub fn run(arguments: &[String], environment: Environment) -> u8 {
    let arguments = expand_aliases(arguments);
    let line = match Line::parse(&arguments) {
        Ok(line) => line,
        Err(problem) => {
            let name = format!("kubectl {}", problem.command);
            eprintln!("error: {}\nSee '{} --help' for usage.", problem.message, name.trim_end());
            return 1;
        }
    };
    let command = line.command.clone();
    if line.help || command.is_empty() && line.args.is_empty() {
        out(&help::of(&command));
        return 0;
    }
    let outcome = match cmds::find(&command) {
        Some(_) if unsupported(&line).is_some() => {
            Err(Failure::text(format!("flag --{} is not supported yet by this build", unsupported(&line).unwrap_or_default())))
        }
        Some(found) => {
            let context = Context::new(line, environment);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    let outcome = runtime.block_on((found.run)(&context));
                    // A read of standard input that nobody waits for must not hold up the end.
                    runtime.shutdown_background();
                    outcome
                }
                Err(err) => Err(Failure::text(format!("cannot start: {err}"))),
            }
        }
        None => Err(unknown(&command, &line)),
    };
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let (text, code) = failure.report(&command);
            eprint!("{text}");
            code
        }
    }
}

/// A flag with a value that this build does not act upon.
fn unsupported(line: &Line) -> Option<&'static str> {
    const ANYWHERE: &[&str] =
        &["warnings-as-errors", "match-server-version", "profile", "kuberc", "disable-compression", "detach-keys", "pod-running-timeout"];
    let own: &[&str] = if line.command == "apply" { &["wait", "timeout"] } else { &[] };
    ANYWHERE.iter().chain(own).copied().find(|name| !line.is_default(name))
}

/// A word that is no command, a command of others, or one that only has subcommands.
fn unknown(command: &str, line: &Line) -> Failure {
    let has_children = COMMANDS().iter().any(|known| known.strip_prefix(command).is_some_and(|rest| rest.starts_with(' ')));
    match line.args.first() {
        Some(word) if command.is_empty() => Failure::text(format!("unknown command {word:?} for \"kubectl\"")),
        Some(word) if has_children => {
            Failure::text(format!("unknown command \"{command} {word}\"\nSee 'kubectl {command} -h' for help and examples"))
        }
        None if has_children => {
            out(&help::of(command));
            Failure::Exit(0)
        }
        _ => Failure::text(format!("command \"kubectl {command}\" is not supported yet by this build")),
    }
}

/// Replaces the other names of commands.
fn expand_aliases(arguments: &[String]) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    let words: Vec<usize> =
        (0..arguments.len()).take_while(|at| arguments[*at] != "--").filter(|at| !arguments[*at].starts_with('-')).collect();
    for pair in words.windows(2) {
        let two = format!("{} {}", arguments[pair[0]], arguments[pair[1]]);
        if let Some((_, real)) = cmds::ALIASES.iter().find(|(alias, _)| *alias == two) {
            arguments[pair[1]] = real.rsplit(' ').next().unwrap_or_default().to_string();
            break;
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_without_effect_are_refused() {
        let found = |text: &str| unsupported(&Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>()).unwrap());
        assert_eq!(found("get pods --warnings-as-errors"), Some("warnings-as-errors"));
        assert_eq!(found("apply -f x --wait"), Some("wait"));
        assert_eq!(found("get pods --profile none -v 4"), None);
        assert_eq!(found("wait pod/x --for=delete --timeout 5s"), None);
    }
}
