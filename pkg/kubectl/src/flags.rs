//! kubectl's commands and flags as upstream's tables have them, and pflag's way of reading a command line.
//!
//! Clap is not used here: building 109 commands takes longer than what most of them do, and pflag's habits (flags after words, `-n=x`,
//! `-it`, a value that is optional) are simple once written down.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use component_base::duration;

pub use table::{COMMANDS, Spec, ValueKind};

/// A command line that was understood.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The command's words: `rollout status`.
    pub command: String,
    /// What is left of the words.
    pub args: Vec<String>,
    /// How many of `args` stand before `--`.
    pub dash: Option<usize>,
    values: BTreeMap<&'static str, Vec<String>>,
    specs: Vec<Spec>,
    pub help: bool,
}

/// A command line that was not understood. The text has no `error: ` in front.
#[derive(Debug, PartialEq)]
pub struct LineError {
    pub command: String,
    pub message: String,
}

impl Line {
    /// Reads the arguments, without the program's name.
    pub fn parse(arguments: &[String]) -> Result<Line, LineError> {
        let command = find_command(arguments);
        let mut line = Line { specs: table::specs_of(&command), command, ..Line::default() };
        line.read(arguments).map_err(|message| LineError { command: line.command.clone(), message })?;
        // The command's own words come first among the words.
        let depth = line.command.split_whitespace().count();
        line.args.drain(..depth);
        line.dash = line.dash.map(|dash| dash - depth);
        Ok(line)
    }

    fn read(&mut self, arguments: &[String]) -> Result<(), String> {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                self.dash = Some(self.args.len());
                self.args.extend(rest.cloned());
                break;
            }
            if let Some(long) = argument.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_string())),
                    None => (long, None),
                };
                let name = name.replace('_', "-");
                if name == "help" {
                    self.help = true;
                    continue;
                }
                let Some(spec) = self.specs.iter().find(|spec| spec.name == name).copied() else {
                    return Err(format!("unknown flag: --{name}"));
                };
                let value = match (value, spec.optional_value()) {
                    (Some(value), _) => value,
                    (None, Some(default)) => default.to_string(),
                    (None, None) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
                };
                self.set(spec, value)?;
            } else if argument.len() > 1 && argument.starts_with('-') {
                self.read_shorts(argument, &mut rest)?;
            } else {
                self.args.push(argument.clone());
            }
        }
        Ok(())
    }

    fn read_shorts(&mut self, argument: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let mut letters = argument[1..].chars();
        while let Some(letter) = letters.next() {
            let Some(spec) = self.specs.iter().find(|spec| spec.short == Some(letter)).copied() else {
                if letter == 'h' {
                    self.help = true;
                    return Ok(());
                }
                return Err(format!("unknown shorthand flag: '{letter}' in {argument}"));
            };
            let tail = letters.as_str();
            if let Some(value) = tail.strip_prefix('=') {
                return self.set(spec, value.to_string());
            }
            if let Some(default) = spec.optional_value() {
                self.set(spec, default.to_string())?;
                continue;
            }
            if !tail.is_empty() {
                return self.set(spec, tail.to_string());
            }
            let value = rest.next().cloned().ok_or_else(|| format!("flag needs an argument: '{letter}' in {argument}"))?;
            return self.set(spec, value);
        }
        Ok(())
    }

    fn set(&mut self, spec: Spec, value: String) -> Result<(), String> {
        let problem = match spec.kind {
            ValueKind::Bool => parse_bool(&value).is_none().then(|| format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
            ValueKind::Int => value.parse::<i64>().is_err().then(|| format!("strconv.ParseInt: parsing {value:?}: invalid syntax")),
            ValueKind::Duration => duration::parse_nanos(&value).err().map(|err| format!("time: {err}")),
            ValueKind::Text | ValueKind::List => None,
        };
        if let Some(problem) = problem {
            let short = spec.short.map(|short| format!("-{short}, ")).unwrap_or_default();
            return Err(format!("invalid argument {value:?} for \"{short}--{}\" flag: {problem}", spec.name));
        }
        let values = self.values.entry(spec.name).or_default();
        if spec.kind != ValueKind::List {
            values.clear();
        }
        values.push(value);
        Ok(())
    }

    fn spec(&self, name: &str) -> Option<&Spec> {
        self.specs.iter().find(|spec| spec.name == name)
    }

    /// The command's own flags: name, shorthand, default.
    pub fn flags_of(command: &str) -> Vec<(&'static str, Option<char>, &'static str)> {
        table::own_specs(command).into_iter().map(|spec| (spec.name, spec.short, spec.default)).collect()
    }

    /// Whether the command has such a flag at all.
    pub fn has(&self, name: &str) -> bool {
        self.spec(name).is_some()
    }

    /// Whether the flag was given.
    pub fn changed(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether the flag has its default, given or not. A command without the flag has it too.
    pub fn is_default(&self, name: &str) -> bool {
        self.spec(name).is_none_or(|spec| self.text(name) == spec.default)
    }

    /// The names of all flags that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        self.values.keys().copied()
    }

    /// The flag's text; its default if it was not given, empty if the command has no such flag.
    pub fn text(&self, name: &str) -> &str {
        match self.values.get(name).and_then(|values| values.last()) {
            Some(value) => value,
            None => self.spec(name).map_or("", |spec| spec.default),
        }
    }

    pub fn text_opt(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    pub fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Seconds or longer; zero if not given. A negative one counts as "for ever".
    pub fn duration(&self, name: &str) -> Option<Duration> {
        let nanos = duration::parse_nanos(self.text(name)).unwrap_or(0);
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// Every value of a repeated flag, as given.
    pub fn array(&self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            Some(values) => values.clone(),
            None => self.spec(name).filter(|spec| !spec.default.is_empty()).map(|spec| vec![spec.default.to_string()]).unwrap_or_default(),
        }
    }

    /// Every value of a repeated flag, split at commas.
    pub fn strings(&self, name: &str) -> Vec<String> {
        self.array(name).iter().flat_map(|value| value.split(',')).filter(|value| !value.is_empty()).map(str::to_string).collect()
    }
}

/// The longest run of words that names a command: flags and their values are passed over as well as can be told.
fn find_command(arguments: &[String]) -> String {
    let mut command = String::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        if argument.starts_with('-') {
            // Only flags that every command has may stand before the command; of the others the value looks like a word.
            let specs = table::specs_of(&command);
            let takes_next = match argument.strip_prefix("--") {
                Some(long) => !long.contains('=') && specs.iter().any(|spec| spec.name == long && spec.optional_value().is_none()),
                None => {
                    argument.len() == 2 && specs.iter().any(|spec| spec.short == argument.chars().nth(1) && spec.optional_value().is_none())
                }
            };
            if takes_next {
                rest.next();
            }
            continue;
        }
        let longer = if command.is_empty() { argument.clone() } else { format!("{command} {argument}") };
        match table::is_command(&longer) {
            true => command = longer,
            false => break,
        }
    }
    command
}

pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Line, LineError> {
        Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn command_lines() {
        let line = parse("-n kube-system get pods web -owide --watch -l app=x").unwrap();
        assert_eq!((line.command.as_str(), line.args.join(" ")), ("get", "pods web".to_string()));
        assert_eq!(
            (line.text("namespace"), line.text("output"), line.bool("watch"), line.text("selector")),
            ("kube-system", "wide", true, "app=x")
        );
        let line = parse("rollout status deploy/web --timeout 5s").unwrap();
        assert_eq!((line.command.as_str(), line.args.join(" ")), ("rollout status", "deploy/web".to_string()));
        assert_eq!(line.duration("timeout"), Some(Duration::from_secs(5)));
        let line = parse("exec -it web -c app -- ls -la").unwrap();
        assert_eq!((line.args.join(" "), line.dash), ("web ls -la".to_string(), Some(1)));
        assert!(line.bool("stdin") && line.bool("tty"));
        let line = parse("apply -f a.yaml -f - --dry-run=server").unwrap();
        assert_eq!((line.array("filename"), line.text("dry-run")), (vec!["a.yaml".to_string(), "-".to_string()], "server"));
    }

    #[test]
    fn complaints_are_pflags() {
        for (text, command, message) in [
            ("get --foo", "get", "unknown flag: --foo"),
            ("get -Z", "get", "unknown shorthand flag: 'Z' in -Z"),
            ("get pods -o", "get", "flag needs an argument: 'o' in -o"),
            ("get pods --output", "get", "flag needs an argument: --output"),
            (
                "scale --replicas=x",
                "scale",
                "invalid argument \"x\" for \"--replicas\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), LineError { command: command.into(), message: message.into() }, "{text}");
        }
    }
}
