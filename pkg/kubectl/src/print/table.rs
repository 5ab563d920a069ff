//! Tables as the server draws them (`meta.k8s.io/v1 Table`), turned into rows of text.

use apimachinery::Value;

/// What of a table is shown.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub wide: bool,
    pub headers: bool,
    pub namespace: bool,
    /// In front of each name: `pod/`.
    pub kind_prefix: String,
    pub labels: bool,
    pub label_columns: Vec<String>,
    /// The type of event, of a watch.
    pub event: Option<&'static str>,
}

/// The rows of a table. `columns` are those of the first table of a watch: later ones come without.
pub fn rows(table: &Value, columns: &[Column], view: &View) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let shown: Vec<(usize, &Column)> = columns.iter().enumerate().filter(|(_, column)| view.wide || column.priority == 0).collect();
    if view.headers {
        rows.push(headers(&shown, view));
    }
    for row in table.get("rows").and_then(Value::as_array).unwrap_or_default() {
        let cells = row.get("cells").and_then(Value::as_array).unwrap_or_default();
        let object = row.get("object").unwrap_or(&Value::Null);
        let mut line = leading(object, view);
        for (index, column) in &shown {
            let text = cells.get(*index).map_or_else(|| "<none>".to_string(), cell);
            line.push(if column.name.eq_ignore_ascii_case("name") { format!("{}{text}", view.kind_prefix) } else { text });
        }
        trailing(object, view, &mut line);
        rows.push(line);
    }
    rows
}

fn leading(object: &Value, view: &View) -> Vec<String> {
    let mut line: Vec<String> = view.event.map(str::to_string).into_iter().collect();
    if view.namespace {
        line.push(object.str_at(&["metadata", "namespace"]).unwrap_or_default().to_string());
    }
    line
}

fn headers(shown: &[(usize, &Column)], view: &View) -> Vec<String> {
    let mut line: Vec<String> = view.event.map(|_| "EVENT".to_string()).into_iter().collect();
    if view.namespace {
        line.push("NAMESPACE".into());
    }
    line.extend(shown.iter().map(|(_, column)| column.name.to_uppercase()));
    // A column is named by what comes after the last slash of its label.
    line.extend(view.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()));
    if view.labels {
        line.push("LABELS".into());
    }
    line
}

fn trailing(object: &Value, view: &View, line: &mut Vec<String>) {
    let labels = object.at(&["metadata", "labels"]);
    for label in &view.label_columns {
        line.push(labels.and_then(|labels| labels.get(label)).and_then(Value::as_str).unwrap_or_default().to_string());
    }
    if view.labels {
        line.push(label_text(labels));
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn label_text(labels: Option<&Value>) -> String {
    let pairs: Vec<String> = match labels.and_then(Value::as_object) {
        Some(labels) => labels.sorted().into_iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect(),
        None => Vec::new(),
    };
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A column's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub priority: i64,
}

pub fn columns(table: &Value) -> Vec<Column> {
    let definitions = table.get("columnDefinitions").and_then(Value::as_array).unwrap_or_default();
    let column = |definition: &Value| Column {
        name: definition.str_at(&["name"]).unwrap_or_default().to_string(),
        priority: definition.get("priority").and_then(Value::as_i64).unwrap_or(0),
    };
    definitions.iter().map(column).collect()
}

/// Line breaks would tear the table: what comes after the first is cut off, as upstream does.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "<none>".to_string(),
        other => super::plain::go(other),
    };
    match text.find(['\n', '\r', '\u{c}']) {
        Some(at) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// A table of names and ages, of objects whose server draws none.
pub fn of_objects(list: &Value) -> Value {
    let items = match list.get("items").and_then(Value::as_array) {
        Some(items) => items.to_vec(),
        None => vec![list.clone()],
    };
    let mut rows = Vec::new();
    for object in items {
        let mut row = Value::object();
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default().to_string();
        let age = super::age::since(object.str_at(&["metadata", "creationTimestamp"]));
        row.set_at(&["cells"], vec![name, age]);
        row.set_at(&["object"], object);
        rows.push(row);
    }
    let mut table = Value::object();
    let column = |name: &str| {
        let mut column = Value::object();
        column.set_at(&["name"], name);
        column
    };
    table.set_at(&["kind"], "Table");
    table.set_at(&["columnDefinitions"], vec![column("Name"), column("Age")]);
    table.set_at(&["rows"], Value::Array(rows));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_rows() {
        let table = Value::parse(
            br#"{"columnDefinitions":[{"name":"Name","priority":0},{"name":"Ready","priority":0},{"name":"IP","priority":1}],
                 "rows":[{"cells":["a",1,null],"object":{"metadata":{"namespace":"n","labels":{"app":"x","t.io/tier":"y"}}}},
                         {"cells":["b","two\nlines","1.2.3.4"],"object":{"metadata":{"namespace":"m"}}}]}"#,
        )
        .unwrap();
        let text = |view: View| rows(&table, &columns(&table), &view).iter().map(|row| row.join("|")).collect::<Vec<_>>();
        assert_eq!(text(View { headers: true, ..View::default() }), ["NAME|READY", "a|1", "b|two..."]);
        let view = View {
            wide: true,
            namespace: true,
            kind_prefix: "pod/".into(),
            labels: true,
            label_columns: vec!["t.io/tier".into()],
            ..View::default()
        };
        assert_eq!(text(view), ["n|pod/a|1|<none>|y|app=x,t.io/tier=y", "m|pod/b|two...|1.2.3.4||<none>"]);
    }
}
