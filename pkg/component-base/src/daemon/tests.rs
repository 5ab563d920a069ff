use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

fn parse(arguments: &str) -> Result<Parsed<i64>, String> {
    let flags = FlagSet::of("kube-scheduler").honour(&[("secure-port", "port"), ("feature-gates", "gates")]);
    let command = Command::new("Schedules.", flags, |flags, problems| Some(i64::from(flags.port("secure-port", problems))));
    command.parse(arguments.split_whitespace()).map_err(|problems| problems.to_string())
}

#[test]
fn version_and_help_are_printed() {
    for (arguments, start) in [
        ("--version", "Kubernetes v1.36.2\n"),
        ("--version=true", "Kubernetes v1.36.2\n"),
        ("--version=raw", "version.Info{Major:\"1\""),
        ("--help", "Schedules.\n\nUsage:\n"),
        ("-h", "Schedules.\n\nUsage:\n"),
    ] {
        match parse(arguments) {
            Ok(Parsed::Print(text)) => assert!(text.starts_with(start), "{arguments}: {text}"),
            other => panic!("{arguments}: {other:?}"),
        }
    }
    assert!(parse("--version=v1.2.3").is_err());
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = parse("--secure-port=70000 --logging-format=xml --feature-gates=Nope=true,Bad").unwrap_err();
    assert_eq!(
        problems,
        "[format: Invalid value: \"xml\": Unsupported log format, missing bool value for Bad, \
         --secure-port 70000 must be between 1 and 65535, inclusive. It cannot be turned off with 0]"
    );
    match parse("--secure-port=5 -v=3").unwrap() {
        Parsed::Run(config, logs, _) => assert_eq!((*config, logs.verbosity), (5, 3)),
        other => panic!("{other:?}"),
    }
}

/// The arguments of the daemon that [`child`] runs.
const ARGUMENTS: &str = "FERROKUBE_TEST_DAEMON";

/// Not a test by itself: the process that the tests below start.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let flags = FlagSet::of("kube-scheduler").own("fail", crate::flags::Kind::Bool, "", "fails at once").own(
        "stubborn",
        crate::flags::Kind::Bool,
        "",
        "does not stop",
    );
    let command = Command::new("Waits.", flags, |flags, _| Some((flags.bool("fail"), flags.bool("stubborn"))));
    let well = start(command, arguments.split_whitespace().map(str::to_owned), |(fail, stubborn), stop| async move {
        if fail {
            return Err(BoxError::from("out of luck"));
        }
        tracing::info!("Ready");
        stop.cancelled().await;
        if stubborn {
            tracing::info!("Staying");
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    std::process::exit(if well { 0 } else { 1 });
}

fn daemon(arguments: &str) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon::tests::child", "--nocapture", "--test-threads=1"])
        .env(ARGUMENTS, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal_it(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_stops_the_process_and_a_second_one_ends_it() {
    for (arguments, signals, code) in [
        ("", [Some(Signal::TERM), None], 0),
        ("", [Some(Signal::INT), None], 0),
        ("--stubborn", [Some(Signal::TERM), Some(Signal::TERM)], 1),
    ] {
        let mut child = daemon(arguments);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for (signal, sign) in signals.into_iter().zip(["\"Ready\"", "\"Staying\""]) {
            let Some(signal) = signal else { continue };
            lines.by_ref().find(|line| line.as_ref().unwrap().ends_with(sign)).expect(sign).unwrap();
            signal_it(&child, signal);
        }
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments}");
    }
}

#[test]
fn failures_are_told_and_exit_with_1() {
    for (arguments, part) in [
        ("--fail", "\"command failed\" err=\"out of luck\"\n"),
        ("--nonsense", "Error: unknown flag: --nonsense\nRun 'kube-scheduler --help' for usage.\n"),
    ] {
        let mut child = daemon(arguments);
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.ends_with(part), "{told}");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{arguments}");
    }
}
