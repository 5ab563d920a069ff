//! `-o custom-columns=NAME:.metadata.name,...`.

use apimachinery::Value;

use super::jsonpath::{Template, relaxed};
use super::plain;

/// Columns that were understood.
#[derive(Clone, Debug)]
pub struct CustomColumns {
    columns: Vec<(String, Template)>,
}

impl CustomColumns {
    pub fn parse(spec: &str) -> Result<CustomColumns, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".into());
        }
        let mut columns = Vec::new();
        for part in split(spec) {
            let Some((header, path)) = part.split_once(':') else {
                return Err(format!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"));
            };
            columns.push((header.to_string(), relaxed(path)?));
        }
        Ok(CustomColumns { columns })
    }

    /// What a file says: headers in the first line, paths in the second.
    pub fn parse_file(text: &str) -> Result<CustomColumns, String> {
        let mut lines = text.lines();
        let (headers, paths) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let (headers, paths): (Vec<&str>, Vec<&str>) = (headers.split_whitespace().collect(), paths.split_whitespace().collect());
        if headers.is_empty() {
            return Err("invalid template, missing header line. Expected format is one line of space separated headers, one line of space separated column specs.".into());
        }
        if headers.len() != paths.len() {
            return Err(format!("number of headers ({}) and field specifications ({}) don't match", headers.len(), paths.len()));
        }
        let columns = headers.into_iter().zip(paths).map(|(header, path)| Ok((header.to_string(), relaxed(path)?)));
        Ok(CustomColumns { columns: columns.collect::<Result<_, String>>()? })
    }

    pub fn headers(&self) -> Vec<String> {
        self.columns.iter().map(|(header, _)| header.clone()).collect()
    }

    pub fn row(&self, object: &Value) -> Result<Vec<String>, String> {
        let cell = |(_, template): &(String, Template)| {
            let found = template.find(object, true)?;
            let texts: Vec<String> = found.into_iter().map(plain::go).collect();
            Ok(if texts.is_empty() { "<none>".to_string() } else { texts.join(",") })
        };
        self.columns.iter().map(cell).collect()
    }
}

/// Splits at commas that stand in no brackets.
fn split(spec: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in spec.char_indices() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&spec[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&spec[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let object = Value::parse(br#"{"metadata":{"name":"a","labels":{"x":"1"}},"c":[{"i":"p"},{"i":"q"}]}"#).unwrap();
        let columns = CustomColumns::parse("NAME:.metadata.name,IMAGES:.c[*].i,L:.metadata.labels,NO:.spec.no").unwrap();
        assert_eq!(columns.headers(), ["NAME", "IMAGES", "L", "NO"]);
        assert_eq!(columns.row(&object).unwrap(), ["a", "p,q", "map[x:1]", "<none>"]);
        assert!(CustomColumns::parse("NAME").is_err());
        assert_eq!(CustomColumns::parse_file("A B\nmetadata.name .c[0].i\n").unwrap().row(&object).unwrap(), ["a", "p"]);
    }
}
