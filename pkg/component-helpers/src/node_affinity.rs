//! Which nodes a pod may run on. Upstream: component-helpers/scheduling/corev1/nodeaffinity.

use api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};

/// True if one of the selector's terms matches the node. A selector without terms matches nothing.
pub fn selector_matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// True if the term matches. A term without requirements matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let labels = &node.metadata.labels;
    term.match_expressions.iter().all(|requirement| requirement_matches(requirement, labels.get(&requirement.key).map(String::as_str)))
        && term.match_fields.iter().all(|requirement| {
            let value = (requirement.key == "metadata.name").then_some(node.metadata.name.as_str());
            requirement_matches(requirement, value)
        })
}

/// True if the value (`None`: there is no such label) meets the requirement.
pub fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = |value: &str| requirement.values.iter().any(|wanted| wanted == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" | "Lt" => {
            let bound = requirement.values.first().and_then(|bound| bound.parse::<i64>().ok());
            match (value.and_then(|value| value.parse::<i64>().ok()), bound) {
                (Some(value), Some(bound)) if requirement.operator == "Gt" => value > bound,
                (Some(value), Some(bound)) => value < bound,
                _ => false,
            }
        }
        _ => false,
    }
}

/// True if the pod's node selector and its required node affinity allow the node.
pub fn pod_fits(pod: &Pod, node: &Node) -> bool {
    let selected = pod.spec.node_selector.iter().all(|(key, value)| node.metadata.labels.get(key) == Some(value));
    let affinity = pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| selector_matches(required, node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[test]
    fn terms_are_alternatives_and_requirements_add_up() {
        let node: Node = json::from_slice(br#"{"metadata":{"name":"n1","labels":{"zone":"a","cores":"8"}}}"#).unwrap();
        let matches =
            |terms: &str| selector_matches(&json::from_slice(format!(r#"{{"nodeSelectorTerms":{terms}}}"#).as_bytes()).unwrap(), &node);
        assert!(matches(
            r#"[{"matchExpressions":[{"key":"zone","operator":"In","values":["a","b"]},{"key":"cores","operator":"Gt","values":["4"]}]}]"#
        ));
        assert!(!matches(
            r#"[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]},{"key":"cores","operator":"Lt","values":["4"]}]}]"#
        ));
        assert!(matches(
            r#"[{"matchExpressions":[{"key":"x","operator":"Exists"}]},{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]"#
        ));
        assert!(matches(r#"[{"matchExpressions":[{"key":"x","operator":"NotIn","values":["y"]}]}]"#));
        assert!(!matches("[{}]"));
        assert!(!matches("[]"));
    }
}
