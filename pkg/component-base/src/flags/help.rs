//! Help texts in the form of upstream's.

use std::fmt::Write as _;

use super::{Flag, Kind, Support};

/// Widest column of flag names before the description moves to its own line.
const WRAP: usize = 100;

impl Kind {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Kind::Bool | Kind::Version => "",
            Kind::Int => "int",
            Kind::Int32 => "int32",
            Kind::Float => "float",
            Kind::Duration => "duration",
            Kind::Text => "string",
            Kind::Strings => "strings",
            Kind::StringArray => "stringArray",
            Kind::Int32Slice => "int32Slice",
            Kind::Map => "mapStringString",
            Kind::Ip => "ip",
            Kind::IpPort => "ipport",
            Kind::PortRange => "portRange",
        }
    }
}

pub(super) fn render(program: &str, about: &str, flags: &[Flag]) -> String {
    let mut out = String::new();
    for line in wrap(about, WRAP) {
        let _ = writeln!(out, "{line}");
    }
    let _ = write!(out, "\nUsage:\n  {program} [flags]\n");
    let mut sections: Vec<&str> = Vec::new();
    for flag in flags.iter().filter(|flag| flag.support == Support::Honoured) {
        if !sections.contains(&flag.section.as_str()) {
            sections.push(&flag.section);
        }
    }
    for section in sections {
        let title = if section.is_empty() { "Flags".to_owned() } else { format!("{section} flags") };
        let _ = write!(out, "\n{title}:\n\n");
        let shown = flags.iter().filter(|flag| flag.support == Support::Honoured && flag.section == section);
        for flag in shown {
            describe(flag, &mut out);
        }
    }
    out
}

fn describe(flag: &Flag, out: &mut String) {
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let type_name = if flag.type_name.is_empty() { String::new() } else { format!(" {}", flag.type_name) };
    let _ = writeln!(out, "  {short}--{}{type_name}", flag.name);
    let mut usage = flag.usage.clone();
    if !flag.default.is_empty() && flag.default != "false" && flag.default != "0" && flag.default != "[]" {
        let quoted = flag.kind == Kind::Text;
        let _ = if quoted { write!(usage, " (default {:?})", flag.default) } else { write!(usage, " (default {})", flag.default) };
    }
    for line in wrap(usage.trim_start(), WRAP - 16) {
        let _ = writeln!(out, "                {line}");
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
