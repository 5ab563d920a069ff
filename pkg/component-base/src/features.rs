//! Feature gates: upstream's names, stages and defaults, and which of them this build can switch.
//!
//! The table is `api/defaults.json` by way of `features/table.txt`, which a test keeps equal to it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::flags::parse_bool;
use crate::problems::Problems;

const TABLE: &str = include_str!("features/table.txt");

/// How settled a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Alpha,
    Beta,
    GA,
    Deprecated,
}

impl Stage {
    /// The stage as metrics and help texts name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            Stage::GA => "",
            Stage::Deprecated => "DEPRECATED",
        }
    }
}

/// One gate as upstream has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    pub name: &'static str,
    pub stage: Stage,
    pub default: bool,
    /// Can no longer be switched.
    pub locked: bool,
}

/// All gates, sorted by name.
pub fn gates() -> &'static [Gate] {
    static GATES: LazyLock<Vec<Gate>> = LazyLock::new(|| TABLE.lines().map(parse_line).collect());
    &GATES
}

fn gate(name: &str) -> Option<Gate> {
    gates().binary_search_by(|gate| gate.name.cmp(name)).ok().map(|index| gates()[index])
}

fn parse_line(line: &'static str) -> Gate {
    let mut parts = line.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let name = next();
    let stage = match next() {
        "Alpha" => Stage::Alpha,
        "Beta" => Stage::Beta,
        "Deprecated" => Stage::Deprecated,
        _ => Stage::GA,
    };
    Gate { name, stage, default: next() == "on", locked: next() == "locked" }
}

/// The gates of one process. A value that is handed down, never a global.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    /// Only what differs from the default.
    switched: BTreeMap<&'static str, bool>,
}

impl FeatureGates {
    /// Whether a feature is on. Panics on a name that upstream does not have: a bug of the caller.
    pub fn enabled(&self, name: &str) -> bool {
        match self.switched.get(name) {
            Some(on) => *on,
            None => gate(name).unwrap_or_else(|| panic!("feature {name:?} is not registered")).default,
        }
    }

    /// Every gate with its state, sorted by name.
    pub fn all(&self) -> impl Iterator<Item = (Gate, bool)> + '_ {
        gates().iter().map(|gate| (*gate, self.switched.get(gate.name).copied().unwrap_or(gate.default)))
    }

    /// Applies settings (`--feature-gates`, or `featureGates` of a config file) to the defaults.
    ///
    /// `honoured` are the gates that this program reads and so can switch. Any other may only be set to its default.
    /// A name may have its component before it (`kube:Name`).
    pub fn set<'a, I>(&mut self, settings: I, honoured: &[&str]) -> Result<(), Problems>
    where
        I: IntoIterator<Item = (&'a str, &'a str)>,
    {
        let mut problems = Problems::new();
        for (name, value) in settings {
            let name = name.strip_prefix("kube:").unwrap_or(name);
            let on = match parse_bool(value) {
                Ok(on) => on,
                Err(reason) => {
                    problems.push(format_args!("invalid value of {name}: {value}, err: {reason}"));
                    continue;
                }
            };
            if matches!(name, "AllAlpha" | "AllBeta") {
                let is_default = !on;
                problems.require(is_default, format_args!("feature gate {name}={on} is not supported yet by this build"));
                continue;
            }
            let Some(gate) = gate(name) else {
                problems.push(format_args!("unrecognized feature gate: {name}"));
                continue;
            };
            if on == gate.default {
                self.switched.remove(gate.name);
            } else if gate.locked {
                problems.push(format_args!("cannot set feature gate {name} to {on}, feature is locked to {}", gate.default));
            } else if honoured.contains(&name) {
                self.switched.insert(gate.name, on);
            } else {
                problems.push(format_args!("feature gate {name}={on} is not supported yet by this build"));
            }
        }
        problems.finish(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn table_from_facts() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("../../api/defaults.json")).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut lines: Vec<String> = facts["featureGates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|gate| {
                let on = if gate["default"] == true { "on" } else { "off" };
                let locked = if gate["lockToDefault"] == true { " locked" } else { "" };
                format!("{} {} {on}{locked}\n", gate["name"].as_str().unwrap(), gate["stage"].as_str().unwrap())
            })
            .collect();
        lines.sort();
        lines.concat()
    }

    #[test]
    fn the_table_is_upstreams() {
        let expected = table_from_facts();
        if std::env::var_os("UPDATE_FACTS").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/features/table.txt"), &expected).unwrap();
        }
        assert!(TABLE == expected, "run: UPDATE_FACTS=1 cargo test -p ferrokube-component-base, then build again");
    }

    #[test]
    fn gates_are_switched_or_refused_in_upstreams_words() {
        let honoured = ["CRIListStreaming"];
        for (settings, message) in [
            (("CRIListStreaming", "true"), None),
            (("kube:CRIListStreaming", "true"), None),
            (("AllAlpha", "false"), None),
            (("AllAlpha", "true"), Some("feature gate AllAlpha=true is not supported yet by this build")),
            (("Nonsense", "true"), Some("unrecognized feature gate: Nonsense")),
            (("APIServerTracing", "true"), None),
            (("APIServerTracing", "false"), Some("cannot set feature gate APIServerTracing to false, feature is locked to true")),
            (("APIResponseCompression", "false"), Some("feature gate APIResponseCompression=false is not supported yet by this build")),
            (
                ("CRIListStreaming", "yes"),
                Some("invalid value of CRIListStreaming: yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax"),
            ),
        ] {
            let mut gates = FeatureGates::default();
            let result = gates.set([settings], &honoured).map_err(|problems| problems.to_string());
            assert_eq!(result.err().as_deref(), message, "{settings:?}");
        }
        let mut gates = FeatureGates::default();
        assert!(!gates.enabled("CRIListStreaming"));
        gates.set([("CRIListStreaming", "true")], &honoured).unwrap();
        assert!(gates.enabled("CRIListStreaming"));
        assert!(gates.enabled("APIServerTracing"));
    }
}
