//! Command-line flags with pflag's habits, on the tables of upstream's flags.
//!
//! A daemon names the flags it *honours*. Every other flag of its upstream counterpart is known too, and refused when
//! it is set to anything but its default: nothing is accepted and ignored. Parsing is clap's; the tables say what
//! there is to parse.

mod facts;
mod help;
mod kind;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

pub use kind::{Kind, parse_bool};

use crate::duration;
use crate::problems::Problems;

/// Whether this build does what a flag asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    Honoured,
    /// Only its default is accepted.
    Refused,
    /// Deprecated and hidden upstream; known by name only.
    Hidden,
}

/// One flag.
#[derive(Clone, Debug)]
struct Flag {
    name: String,
    kind: Kind,
    /// The type's name in help texts.
    type_name: String,
    short: Option<char>,
    /// As upstream prints it; empty for the zero value.
    default: String,
    section: String,
    usage: String,
    deprecated: bool,
    support: Support,
}

/// The flags of one program.
#[derive(Clone, Debug)]
pub struct FlagSet {
    program: String,
    flags: Vec<Flag>,
    index: HashMap<String, usize>,
}

impl FlagSet {
    /// The flags of upstream's component of that name, none of them honoured yet but `--help`, `--version` and the
    /// log flags, which [`daemon`](crate::daemon) sees to. A name that upstream does not have starts with those only.
    pub fn of(component: &str) -> FlagSet {
        let mut set = FlagSet { program: component.to_owned(), flags: Vec::new(), index: HashMap::new() };
        for flag in facts::flags_of(component) {
            set.add(flag);
        }
        for (name, short, kind, type_name, default, section, usage) in [
            ("help", Some('h'), Kind::Bool, "", "", "Global", "help for this program"),
            (
                "version",
                None,
                Kind::Version,
                "version[=true]",
                "",
                "Global",
                "--version, --version=raw prints version information and quits",
            ),
            ("v", Some('v'), Kind::Int32, "Level", "", "Logs", "number for the log level verbosity"),
            (
                "vmodule",
                None,
                Kind::Text,
                "pattern=N,...",
                "",
                "Logs",
                "comma-separated list of pattern=N settings for file-filtered logging (only works for text log format)",
            ),
            ("logging-format", None, Kind::Text, "string", "text", "Logs", "Sets the log format. Permitted formats: \"json\", \"text\"."),
        ] {
            if let Some(flag) = set.find(name) {
                flag.support = Support::Honoured;
                flag.usage = usage.to_owned();
                flag.deprecated = false;
                flag.short = short;
                flag.type_name = type_name.to_owned();
            } else {
                set.add(Flag {
                    name: name.to_owned(),
                    kind,
                    type_name: type_name.to_owned(),
                    short,
                    default: default.to_owned(),
                    section: section.to_owned(),
                    usage: usage.to_owned(),
                    deprecated: false,
                    support: Support::Honoured,
                });
            }
        }
        set
    }

    /// Declares upstream flags that the program acts upon: name and help text. Panics if upstream has no such flag.
    pub fn honour(mut self, flags: &[(&str, &str)]) -> FlagSet {
        for (name, usage) in flags {
            let program = self.program.clone();
            let flag = self.find(name).unwrap_or_else(|| panic!("{program} has no flag --{name} upstream"));
            flag.support = Support::Honoured;
            flag.usage = (*usage).to_owned();
        }
        self
    }

    /// Declares a flag of our own. Panics if the name is taken.
    pub fn own(mut self, name: &str, kind: Kind, default: &str, usage: &str) -> FlagSet {
        assert!(!self.index.contains_key(name), "--{name} is declared twice");
        self.add(Flag {
            name: name.to_owned(),
            kind,
            type_name: kind.type_name().to_owned(),
            short: None,
            default: default.to_owned(),
            section: "Ferrokube".to_owned(),
            usage: usage.to_owned(),
            deprecated: false,
            support: Support::Honoured,
        });
        self
    }

    /// Gives a flag of our own a shorthand.
    pub fn with_short(mut self, name: &str, short: char) -> FlagSet {
        let program = self.program.clone();
        self.find(name).unwrap_or_else(|| panic!("{program} has no flag --{name}")).short = Some(short);
        self
    }

    /// Declares a flag that upstream's program has but the tables do not (they know the daemons only): refused when set.
    pub fn known_but_refused(self, name: &str) -> FlagSet {
        let mut set = self.own(name, Kind::Text, "", "");
        set.find(name).expect("just added").support = Support::Hidden;
        set
    }

    /// Replaces the default of a flag, where a program's differs from upstream's (leader election names, say).
    pub fn with_default(mut self, name: &str, default: &str) -> FlagSet {
        let program = self.program.clone();
        self.find(name).unwrap_or_else(|| panic!("{program} has no flag --{name}")).default = default.to_owned();
        self
    }

    fn add(&mut self, flag: Flag) {
        self.index.insert(flag.name.clone(), self.flags.len());
        self.flags.push(flag);
    }

    fn find(&mut self, name: &str) -> Option<&mut Flag> {
        self.index.get(name).map(|index| &mut self.flags[*index])
    }

    /// The program's name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Parses arguments (without the program's own name). Every problem is reported, not just the first.
    pub fn parse<I, S>(&self, arguments: I) -> Result<Flags, Problems>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let (flags, words) = self.parse_with_words(arguments)?;
        match words.iter().find(|word| !word.is_empty()) {
            None => Ok(flags),
            Some(word) => Err(Problems::one(format_args!("{:?} does not take any arguments, got {word:?}", self.program))),
        }
    }

    /// Parses arguments among which there may be words that are no flags, for programs with commands.
    pub fn parse_with_words<I, S>(&self, arguments: I) -> Result<(Flags, Vec<String>), Problems>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut problems = Problems::new();
        let mut arguments: Vec<String> = arguments.into_iter().map(|argument| dashed(argument.into())).collect();
        let command = self.command();
        let matches = loop {
            match command.clone().try_get_matches_from(&arguments) {
                Ok(matches) => break matches,
                // What clap does not know is noted and taken out, so that the rest is looked at as well.
                Err(error) => {
                    let culprit = context(&error, ContextKind::InvalidArg);
                    problems.push(explain(&error, &culprit, &arguments));
                    let at = arguments.iter().position(|argument| names(argument, &culprit));
                    match (error.kind(), at) {
                        (ErrorKind::UnknownArgument, Some(at)) => drop(arguments.remove(at)),
                        _ => return Err(problems),
                    }
                }
            }
        };
        let words: Vec<String> = matches.get_many::<String>(POSITIONAL).unwrap_or_default().cloned().collect();

        let mut values = BTreeMap::new();
        for flag in &self.flags {
            let given: Option<Vec<String>> = matches.get_many::<String>(&flag.name).map(|texts| texts.cloned().collect());
            let changed = given.is_some();
            let texts = given.unwrap_or_else(|| flag.default_texts());
            if changed {
                self.check(flag, &texts, &mut problems);
            }
            values.insert(flag.name.clone(), Value { kind: flag.kind, changed, deprecated: flag.deprecated, texts });
        }
        problems.finish(Some((Flags { program: self.program.clone(), values }, words)))
    }

    fn check(&self, flag: &Flag, texts: &[String], problems: &mut Problems) {
        let before = problems.iter().count();
        for text in texts {
            if let Err(reason) = flag.kind.check(text) {
                let shown = flag.short.map(|short| format!("-{short}, ")).unwrap_or_default();
                problems.push(format_args!("invalid argument {text:?} for \"{shown}--{}\" flag: {reason}", flag.name));
            }
        }
        if problems.iter().count() > before {
            return;
        }
        let is_default = flag.kind.canonical(texts) == flag.kind.canonical(&flag.default_texts());
        match flag.support {
            Support::Honoured => {}
            Support::Refused if is_default => {}
            Support::Refused | Support::Hidden => {
                problems.push(format_args!("flag --{} is not supported yet by this build", flag.name));
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program.clone())
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .arg(Arg::new(POSITIONAL).num_args(0..).action(ArgAction::Append));
        for flag in &self.flags {
            let mut argument = Arg::new(flag.name.clone()).long(flag.name.clone()).action(ArgAction::Append);
            if let Some(short) = flag.short {
                argument = argument.short(short);
            }
            argument = match flag.kind.needs_value() {
                true => argument.num_args(1).allow_hyphen_values(true),
                false => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
            };
            command = command.arg(argument);
        }
        command
    }

    /// The help text, grouped as upstream groups it. Flags that are refused are left out.
    pub fn help(&self, about: &str) -> String {
        help::render(&self.program, about, &self.flags)
    }
}

impl Flag {
    fn default_texts(&self) -> Vec<String> {
        let text = match self.kind {
            // Lists print their brackets.
            Kind::Strings | Kind::StringArray | Kind::Int32Slice | Kind::Map => {
                self.default.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&self.default)
            }
            _ => &self.default,
        };
        if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }
    }
}

const POSITIONAL: &str = "\u{1}positional";

/// Underscores in a flag's name are dashes.
fn dashed(argument: String) -> String {
    if !argument.starts_with("--") {
        return argument;
    }
    let end = argument.find('=').unwrap_or(argument.len());
    format!("{}{}", argument[..end].replace('_', "-"), &argument[end..])
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether a command-line argument is the one that clap complains of.
fn names(argument: &str, culprit: &str) -> bool {
    argument == culprit
        || argument.strip_prefix(culprit).is_some_and(|rest| culprit.starts_with("--") && rest.starts_with('='))
        || (!culprit.starts_with("--") && argument.starts_with(culprit))
}

/// clap's complaint in pflag's words.
fn explain(error: &clap::Error, culprit: &str, arguments: &[String]) -> String {
    // clap shows a flag with its value's name behind it.
    let flag = culprit.split([' ', '=']).next().unwrap_or(culprit);
    match error.kind() {
        ErrorKind::UnknownArgument if culprit.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument => {
            let whole = arguments.iter().find(|argument| names(argument, culprit)).map_or(culprit, String::as_str);
            format!("unknown shorthand flag: '{}' in {whole}", culprit.trim_start_matches('-'))
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => format!("flag needs an argument: {flag}"),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// The value of one flag after parsing.
#[derive(Clone, Debug)]
struct Value {
    kind: Kind,
    changed: bool,
    deprecated: bool,
    texts: Vec<String>,
}

/// Parsed flags, asked by name. Asking for an undeclared name, or for another type than the flag's, is a bug and panics.
#[derive(Clone, Debug)]
pub struct Flags {
    program: String,
    values: BTreeMap<String, Value>,
}

impl Flags {
    fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("{} declares no flag --{name}", self.program))
    }

    fn last(&self, name: &str) -> &str {
        self.value(name).texts.last().map_or("", String::as_str)
    }

    /// Whether the flag was given on the command line.
    pub fn changed(&self, name: &str) -> bool {
        self.value(name).changed
    }

    /// The text of any flag that holds one value.
    pub fn text(&self, name: &str) -> &str {
        self.last(name)
    }

    /// The text, or nothing where it is empty.
    pub fn text_opt(&self, name: &str) -> Option<&str> {
        Some(self.last(name)).filter(|text| !text.is_empty())
    }

    /// A path, or nothing where the flag is empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text_opt(name).map(PathBuf::from)
    }

    /// A bool flag.
    pub fn bool(&self, name: &str) -> bool {
        let text = self.last(name);
        !text.is_empty() && parse_bool(text).expect("checked by parse")
    }

    /// A flag of any integer type.
    pub fn int(&self, name: &str) -> i64 {
        let text = self.last(name);
        if text.is_empty() { 0 } else { kind::parse_int(text, i64::MIN, i64::MAX).expect("checked by parse") }
    }

    /// A flag with a fraction.
    pub fn float(&self, name: &str) -> f64 {
        let text = self.last(name);
        if text.is_empty() { 0.0 } else { kind::parse_float(text).expect("checked by parse") }
    }

    /// Nanoseconds, possibly negative.
    pub fn nanos(&self, name: &str) -> i64 {
        let text = self.last(name);
        if text.is_empty() { 0 } else { duration::parse_nanos(text).expect("checked by parse") }
    }

    /// A duration; a negative one counts as zero, as for most of upstream's uses.
    pub fn duration(&self, name: &str) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos(name)).unwrap_or(0))
    }

    /// An address, or nothing where the flag is empty.
    pub fn ip(&self, name: &str) -> Option<IpAddr> {
        self.last(name).parse().ok()
    }

    /// First and last port, or nothing where the range is empty.
    pub fn port_range(&self, name: &str) -> Option<(u16, u16)> {
        kind::parse_port_range(self.last(name)).expect("checked by parse")
    }

    /// A port within 1..=65535, or a complaint as upstream's validation words it.
    pub fn port(&self, name: &str, problems: &mut Problems) -> u16 {
        let port = self.int(name);
        match u16::try_from(port) {
            Ok(port) if port > 0 => port,
            _ => {
                problems.push(format_args!("--{name} {port} must be between 1 and 65535, inclusive. It cannot be turned off with 0"));
                0
            }
        }
    }

    /// All parts of a list, whether given by commas or by repetition.
    pub fn strings(&self, name: &str) -> Vec<String> {
        let value = self.value(name);
        match value.kind {
            Kind::StringArray => value.texts.clone(),
            _ => value.texts.iter().flat_map(|text| kind::split_list(text)).collect(),
        }
    }

    /// All pairs of a map flag; of a key given twice the last value counts.
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let texts = &self.value(name).texts;
        texts.iter().flat_map(|text| kind::split_pairs(text).expect("checked by parse")).collect()
    }

    /// Whether the program knows a flag of that name.
    pub fn declares(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// `A=x,B=y` in the order given, for flags whose pairs are checked by their owner.
    pub fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Problems> {
        let mut problems = Problems::new();
        let mut pairs = Vec::new();
        for part in self.value(name).texts.iter().flat_map(|text| kind::split_list(text)) {
            match part.split_once('=') {
                Some((key, value)) => pairs.push((key.trim().to_owned(), value.trim().to_owned())),
                None => problems.push(format_args!("missing bool value for {part}")),
            }
        }
        problems.finish(Some(pairs))
    }

    /// Flags that were given although upstream has deprecated them.
    pub fn deprecated(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(_, value)| value.changed && value.deprecated).map(|(name, _)| name.as_str())
    }

    /// Every flag with its value, sorted by name: what `/flagz` shows.
    pub fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.values.iter().map(|(name, value)| {
            let text = match value.kind {
                Kind::Bool if value.texts.is_empty() => "false".to_owned(),
                Kind::Int | Kind::Int32 | Kind::Float if value.texts.is_empty() => "0".to_owned(),
                Kind::Duration => duration::format_nanos(self.nanos(name)),
                kind if kind.adds_up() => format!("[{}]", value.texts.join(",")),
                _ => self.last(name).to_owned(),
            };
            (name.as_str(), text)
        })
    }
}

#[cfg(test)]
mod tests;
