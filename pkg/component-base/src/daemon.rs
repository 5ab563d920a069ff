//! The frame of every program: options, config, run; exit codes, logs, signals and the runtime.
//!
//! ```no_run
//! use component_base::daemon::{self, Command};
//! use component_base::flags::FlagSet;
//!
//! struct Config { port: u16 }
//!
//! fn main() -> std::process::ExitCode {
//!     let flags = FlagSet::of("kube-scheduler").honour(&[("secure-port", "The port on which to serve HTTPS.")]);
//!     let command = Command::new("The Kubernetes scheduler.", flags, |flags, problems| {
//!         Some(Config { port: flags.port("secure-port", problems) })
//!     });
//!     daemon::main(command, |config, stop| async move {
//!         tracing::info!(port = config.port, "Serving");
//!         stop.cancelled().await;
//!         Ok::<(), std::io::Error>(())
//!     })
//! }
//! ```

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::features::FeatureGates;
use crate::flags::{FlagSet, Flags};
use crate::http::BoxError;
use crate::logs::{self, LogOptions};
use crate::problems::Problems;
use crate::version;

/// Blocking work that does not end is left behind after this.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

type Complete<C> = Box<dyn FnOnce(&Flags, &mut Problems) -> Option<C>>;

/// A program: what it is, its flags, and how a config is made of them.
pub struct Command<C> {
    about: &'static str,
    flags: FlagSet,
    honoured_gates: &'static [&'static str],
    complete: Complete<C>,
}

impl<C> std::fmt::Debug for Command<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Command").field("program", &self.flags.program()).finish_non_exhaustive()
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<C> {
    /// Print this and be done: `--help`, `--version`.
    Print(String),
    /// Run with this config.
    Run(Box<C>, LogOptions, Flags),
}

impl<C> Command<C> {
    /// `complete` makes the config: defaulted, validated, complete. It enters all problems it finds, and gives no
    /// config only if it entered one.
    pub fn new(about: &'static str, flags: FlagSet, complete: impl FnOnce(&Flags, &mut Problems) -> Option<C> + 'static) -> Command<C> {
        Command { about, flags, honoured_gates: &[], complete: Box::new(complete) }
    }

    /// Names the feature gates that the program reads. Others can only be set to their defaults.
    pub fn honour_gates(mut self, gates: &'static [&'static str]) -> Command<C> {
        self.honoured_gates = gates;
        self
    }

    /// Parses and completes, without any effect outside. Arguments come without the program's own name.
    pub fn parse<I, S>(self, arguments: I) -> Result<Parsed<C>, Problems>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let flags = self.flags.parse(arguments)?;
        if flags.bool("help") {
            return Ok(Parsed::Print(self.flags.help(self.about)));
        }
        let mut problems = Problems::new();
        if flags.changed("version") {
            match flags.text("version") {
                "true" => return Ok(Parsed::Print(format!("Kubernetes {}\n", version::GIT_VERSION))),
                "raw" => return Ok(Parsed::Print(version::raw() + "\n")),
                "false" => {}
                other => problems.push(format_args!("--version={other} is not supported by this build: use --version or --version=raw")),
            }
        }
        let verbosity = i32::try_from(flags.int("v")).expect("checked by parse");
        let logs = problems.take(LogOptions::parse(flags.text("logging-format"), verbosity, flags.text("vmodule")));
        if let Err(bad) = features_of(&flags, self.honoured_gates) {
            problems.extend(bad);
        }
        let config = (self.complete)(&flags, &mut problems);
        let both = config.zip(logs);
        problems.finish(both).map(|(config, logs)| Parsed::Run(Box::new(config), logs, flags))
    }
}

/// The gates set by `--feature-gates`, if the program has that flag. A config file's gates are added by the caller.
pub fn features_of(flags: &Flags, honoured: &[&str]) -> Result<FeatureGates, Problems> {
    let mut gates = FeatureGates::default();
    if flags.declares("feature-gates") {
        let settings: Vec<(String, String)> = flags.pairs("feature-gates")?;
        gates.set(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())), honoured)?;
    }
    Ok(gates)
}

/// Parses the command line, sets up logs, signals and the runtime, and calls `run`.
///
/// Exit code 0 when `run` ends well after SIGTERM or SIGINT, and for `--help` and `--version`; 1 for a bad command
/// line, when `run` fails, and at the second signal.
pub fn main<C, F, R, E>(command: Command<C>, run: F) -> ExitCode
where
    F: FnOnce(C, CancellationToken) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    if start(command, std::env::args().skip(1), run) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// [`main`] with other arguments; whether all went well.
fn start<C, F, R, E>(command: Command<C>, arguments: impl Iterator<Item = String>, run: F) -> bool
where
    F: FnOnce(C, CancellationToken) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let program = command.flags.program().to_owned();
    let (config, flags) = match command.parse(arguments) {
        Ok(Parsed::Print(text)) => {
            // A reader that has gone away (`--help | head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return true;
        }
        Ok(Parsed::Run(config, options, flags)) => {
            logs::init(options);
            (config, flags)
        }
        Err(problems) => {
            for problem in problems.iter() {
                eprintln!("Error: {problem}");
            }
            eprintln!("Run '{program} --help' for usage.");
            return false;
        }
    };
    for name in flags.deprecated() {
        tracing::warn!(flag = name, "Flag has been deprecated");
    }
    log_panics();
    let result = block_on(run, *config);
    if let Err(error) = &result {
        tracing::error!(err = %logs::chain(error.as_ref()), "command failed");
    }
    result.is_ok()
}

fn block_on<C, F, R, E>(run: F, config: C) -> Result<(), BoxError>
where
    F: FnOnce(C, CancellationToken) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build()?;
    let stop = CancellationToken::new();
    let result = runtime.block_on(async {
        watch_signals(stop.clone())?;
        run(config, stop).await.map_err(Into::into)
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

/// The first SIGTERM or SIGINT fires `stop`; the second ends the process.
fn watch_signals(stop: CancellationToken) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for seen in 0.. {
            // Receiving a signal is cancel-safe.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if seen > 0 {
                tracing::error!("Second signal: ending without shutting down");
                std::process::exit(1);
            }
            tracing::info!("Shutting down");
            stop.cancel();
        }
    });
    Ok(())
}

/// Panics go to the log like everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(panic = message, place, backtrace = %backtrace, "Observed a panic");
    }));
}

#[cfg(test)]
mod tests;
