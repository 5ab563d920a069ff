//! Where the recording is, and what to take of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use apimachinery::Value;

/// One recorded exchange.
#[derive(Clone, Debug)]
pub struct Step {
    /// The scenario's name, a slash, the step's name.
    pub id: String,
    /// What refers to its answer calls it so.
    pub name: String,
    pub line: Value,
}

/// Steps that belong together and run in order.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub steps: Vec<Step>,
}

/// Where the recording is; none on machines that have none.
pub fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/replay");
    root.is_dir().then_some(root)
}

/// The scenarios of one file. Of steps that change nothing and that no other step refers to, each `every`th.
pub fn read(group: &str, every: usize) -> Option<Vec<Scenario>> {
    let text = std::fs::read_to_string(folder()?.join(format!("{group}.jsonl"))).ok()?;
    let mut scenarios: Vec<Scenario> = Vec::new();
    for line in text.lines() {
        let line = Value::parse(line.as_bytes()).expect("a line of the recording is JSON");
        let (id, scenario) = (line["id"].as_str().unwrap_or_default(), line["scenario"].as_str().unwrap_or_default());
        let name = id.strip_prefix(scenario).unwrap_or(id).trim_start_matches('/').to_owned();
        let step = Step { id: id.to_owned(), name, line: line.clone() };
        match scenarios.last_mut().filter(|last| last.name == scenario) {
            Some(last) => last.steps.push(step),
            None => scenarios.push(Scenario { name: scenario.to_owned(), steps: vec![step] }),
        }
    }
    if every > 1 {
        scenarios.iter_mut().for_each(|scenario| scenario.thin_out(every));
    }
    Some(scenarios)
}

impl Scenario {
    fn thin_out(&mut self, every: usize) {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for step in &self.steps {
            let text = step.line["req"].to_string();
            needed.extend(text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).map(str::to_owned));
        }
        let mut seen = 0;
        self.steps.retain(|step| {
            let request = &step.line["req"];
            let dry = request["query"].as_array().unwrap_or_default().iter().any(|pair| pair[0].as_str() == Some("dryRun"));
            if needed.contains(&step.name) || !(dry || request["method"].as_str() == Some("GET")) {
                return true;
            }
            seen += 1;
            seen % every == 1
        });
    }
}
