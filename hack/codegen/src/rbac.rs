//! Bootstrap roles and bindings: `rbac-bootstrap.yaml` -> one object a line, as JSON.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Writes pkg/registry/src/rbac/bootstrap_policy.jsonl.
pub fn run(root: &Path) -> Result<(), String> {
    let path = root.join("api/rbac-bootstrap.yaml");
    let text = std::fs::read_to_string(&path).map_err(|err| format!("cannot read {}: {err}", path.display()))?;
    let table = apimachinery::yaml::parse(text.as_bytes()).map_err(|err| err.to_string())?;
    let table: Value = serde_json::from_slice(&table.to_vec()).map_err(|err| err.to_string())?;
    let mut out = String::new();
    for (list, kind) in
        [("clusterRoles", "ClusterRole"), ("clusterRoleBindings", "ClusterRoleBinding"), ("roles", "Role"), ("roleBindings", "RoleBinding")]
    {
        for row in table[list].as_array().ok_or_else(|| format!("no {list}"))? {
            let object = expand(row, kind, &table["common"]);
            out.push_str(&object.to_string());
            out.push('\n');
        }
    }
    std::fs::write(root.join("pkg/registry/src/rbac/bootstrap_policy.jsonl"), out).map_err(|err| err.to_string())
}

fn expand(row: &Value, kind: &str, common: &Value) -> Value {
    let mut labels = common["labels"].clone();
    if let (Some(labels), Some(extra)) = (labels.as_object_mut(), row["extraLabels"].as_object()) {
        labels.extend(extra.clone());
    }
    let mut metadata = json!({"name": row["name"], "labels": labels, "annotations": common["annotations"]});
    if row["namespace"].is_string() {
        metadata["namespace"] = row["namespace"].clone();
    }
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), common["apiVersion"].clone());
    object.insert("kind".to_owned(), json!(kind));
    object.insert("metadata".to_owned(), metadata);
    for key in ["rules", "aggregationRule", "roleRef", "subjects"] {
        if !row[key].is_null() {
            object.insert(key.to_owned(), row[key].clone());
        }
    }
    Value::Object(object)
}
