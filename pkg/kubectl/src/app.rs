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
