//! Upstream's flags per component, from `api/flags.json` by way of `table.txt`, which a test keeps equal to it.
//!
//! A component starts with `# name`; then one flag per line, its parts split by tabs: name, type, default, section,
//! attributes (`d` deprecated, `h` hidden, `s=X` shorthand).

use super::{Flag, Kind, Support};

const TABLE: &str = include_str!("table.txt");

/// The flags of one component, in upstream's order; none for an unknown name.
pub(super) fn flags_of(component: &str) -> Vec<Flag> {
    let mut lines = TABLE.lines();
    if !lines.by_ref().any(|line| line.strip_prefix("# ") == Some(component)) {
        return Vec::new();
    }
    lines.take_while(|line| !line.starts_with('#')).map(parse_line).collect()
}

fn parse_line(line: &str) -> Flag {
    let mut parts = line.split('\t');
    let mut next = || parts.next().unwrap_or_default();
    let (name, type_name, default, section, attributes) = (next(), next(), next(), next(), next());
    let hidden = attributes.contains('h');
    Flag {
        name: name.to_owned(),
        kind: Kind::of_fact(type_name).expect("a test reads every line of the table"),
        type_name: if type_name == "bool" { String::new() } else { type_name.to_owned() },
        short: attributes.split(',').find_map(|attribute| attribute.strip_prefix("s=")).and_then(|short| short.chars().next()),
        default: default.to_owned(),
        section: section.to_owned(),
        usage: String::new(),
        deprecated: attributes.split(',').any(|attribute| attribute == "d"),
        support: if hidden { Support::Hidden } else { Support::Refused },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const COMPONENTS: [&str; 5] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

    /// The table as `api/flags.json` has it.
    fn table_from_facts() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("../../api/flags.json")).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut table = String::new();
        for component in COMPONENTS {
            table += &format!("# {component}\n");
            for flag in facts[component].as_array().unwrap() {
                let text = |key: &str| flag[key].as_str().unwrap_or_default().to_owned();
                let default = match &flag["default"] {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Null => String::new(),
                    other => other.to_string(),
                };
                let mut attributes = Vec::new();
                if flag["deprecated"] == true {
                    attributes.push("d".to_owned());
                }
                if let Some(short) = flag["short"].as_str() {
                    attributes.push(format!("s={short}"));
                }
                table += &format!("{}\t{}\t{default}\t{}\t{}\n", text("name"), text("type"), text("section"), attributes.join(","));
            }
            for name in facts["hiddenDeprecated"][component].as_array().unwrap() {
                table += &format!("{}\tstring\t\t\th\n", name.as_str().unwrap());
            }
        }
        table
    }

    #[test]
    fn the_table_is_upstreams() {
        let expected = table_from_facts();
        if std::env::var_os("UPDATE_FACTS").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/flags/table.txt"), &expected).unwrap();
        }
        assert!(TABLE == expected, "run: UPDATE_FACTS=1 cargo test -p ferrokube-component-base, then build again");
    }

    #[test]
    fn every_component_has_its_flags() {
        for component in COMPONENTS {
            assert!(flags_of(component).len() > 50, "{component}");
        }
        assert!(flags_of("nobody").is_empty());
    }
}
