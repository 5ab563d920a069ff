//! The tables, from `api/flags.json` by way of `table.txt`, which a test keeps equal to it.
//!
//! A command starts with `# words`, the global flags with `#`; then one flag per line: name, type, default, shorthand.

const TABLE: &str = include_str!("table.txt");

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    Bool,
    Int,
    Duration,
    Text,
    /// May be given more than once.
    List,
}

/// One flag of one command.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub name: &'static str,
    pub kind: ValueKind,
    pub default: &'static str,
    pub short: Option<char>,
}

impl Spec {
    /// What the flag means without a value, for those that need none.
    pub fn optional_value(&self) -> Option<&'static str> {
        match self.name {
            _ if self.kind == ValueKind::Bool => Some("true"),
            "dry-run" => Some("unchanged"),
            "validate" => Some("strict"),
            "cascade" => Some("background"),
            _ => None,
        }
    }
}

/// Every command's words.
pub const COMMANDS: fn() -> Vec<&'static str> = || TABLE.lines().filter_map(|line| line.strip_prefix("# ")).collect();

pub(super) fn is_command(words: &str) -> bool {
    TABLE.lines().any(|line| line.strip_prefix("# ") == Some(words))
}

/// The flags of a command: its own first, then those of all commands.
pub(super) fn specs_of(command: &str) -> Vec<Spec> {
    let mut specs = section(&format!("# {command}"));
    for global in section("#") {
        if !specs.iter().any(|spec| spec.name == global.name) {
            // `port-forward -n`: a shorthand of the command's own wins.
            let taken = specs.iter().any(|spec| spec.short.is_some() && spec.short == global.short);
            specs.push(if taken { Spec { short: None, ..global } } else { global });
        }
    }
    specs
}

/// The flags that only this command has.
pub(super) fn own_specs(command: &str) -> Vec<Spec> {
    section(&format!("# {command}"))
}

fn section(title: &str) -> Vec<Spec> {
    let mut lines = TABLE.lines();
    if !lines.by_ref().any(|line| line == title) {
        return Vec::new();
    }
    lines.take_while(|line| !line.starts_with('#')).map(spec).collect()
}

fn spec(line: &'static str) -> Spec {
    let mut parts = line.split('\t');
    let mut next = || parts.next().unwrap_or_default();
    let (name, kind, default, short) = (next(), next(), next(), next());
    let kind = match (name, kind) {
        // Not durations, whatever the facts say.
        ("vmodule" | "aggregation-rule", _) => ValueKind::Text,
        (_, "bool") => ValueKind::Bool,
        (_, "int") => ValueKind::Int,
        (_, "duration") => ValueKind::Duration,
        (_, "list") => ValueKind::List,
        _ => ValueKind::Text,
    };
    Spec { name, kind, default, short: short.chars().next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_facts() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/flags.json")).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
        let facts = &facts["kubectl"];
        let lines = |flags: &serde_json::Value| {
            let mut out = String::new();
            for flag in flags.as_array().unwrap() {
                let default = match &flag["default"] {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(","),
                    other => other.to_string(),
                };
                let text = |key: &str| flag[key].as_str().unwrap_or_default().to_string();
                out += &format!("{}\t{}\t{default}\t{}\n", text("name"), text("type"), text("short"));
            }
            out
        };
        let known: Vec<&str> = TABLE.split("# ").collect();
        assert!(known[0].starts_with("#\n") && known[0][2..] == lines(&facts["global"]));
        let commands = facts["commands"].as_object().unwrap();
        assert_eq!(known.len() - 1, commands.len());
        for (name, command) in commands {
            let wanted = format!("{name}\n{}", lines(&command["flags"]));
            assert!(known.contains(&wanted.as_str()), "{name}");
        }
    }
}
