//! kubectl's JSONPath: text with `{...}` in it. Upstream: `client-go/util/jsonpath`.

use apimachinery::Value;

use super::plain;

/// A template that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// Steps from the current object.
    Path(Vec<Step>),
    /// `{range PATH}...{end}`.
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: back to the whole document.
    Root,
    Field(String),
    /// `*`.
    All,
    /// `..`.
    Descend,
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    /// `['a','b']` or `[0,1]`.
    Union(Vec<Step>),
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
enum Filter {
    Exists(Operand),
    Compare(Operand, String, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Value(Value),
}

type Result<T> = std::result::Result<T, String>;

/// What `-o jsonpath=X`, `--sort-by` and custom columns accept: `.a.b`, `a.b` and `{.a.b}` alike.
pub fn relaxed(text: &str) -> Result<Template> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Template { nodes: Vec::new() });
    }
    let inner = match (text.starts_with('{'), text.ends_with('}')) {
        (true, true) => &text[1..text.len() - 1],
        (false, false) => text,
        _ => {
            return Err(format!(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or '{{.name1.name2}}'"
            ));
        }
    };
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    Template::parse(&format!("{{.{inner}}}"))
}

impl Template {
    pub fn parse(text: &str) -> Result<Template> {
        let mut parser = Parser { text: text.chars().collect(), at: 0 };
        let (nodes, ended) = parser.nodes()?;
        if ended {
            return Err("not in range, nothing to end".into());
        }
        Ok(Template { nodes })
    }

    /// The text. What is not there is an error unless `lenient`.
    pub fn render(&self, root: &Value, lenient: bool) -> Result<String> {
        let mut out = String::new();
        render(&self.nodes, root, root, lenient, &mut out)?;
        Ok(out)
    }

    /// The values that the template's paths find.
    pub fn find<'a>(&self, root: &'a Value, lenient: bool) -> Result<Vec<&'a Value>> {
        let mut found = Vec::new();
        for node in &self.nodes {
            if let Node::Path(steps) = node {
                found.extend(walk(steps, root, root, lenient)?);
            }
        }
        Ok(found)
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, lenient: bool, out: &mut String) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                let found = walk(steps, root, current, lenient)?;
                out.push_str(&found.into_iter().map(plain::text).collect::<Vec<_>>().join(" "));
            }
            Node::Range(steps, body) => {
                for item in walk(steps, root, current, lenient)? {
                    render(body, root, item, lenient, out)?;
                }
            }
        }
    }
    Ok(())
}

fn walk<'a>(steps: &[Step], root: &'a Value, current: &'a Value, lenient: bool) -> Result<Vec<&'a Value>> {
    let mut found = vec![current];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            take(step, root, value, lenient, &mut next)?;
        }
        found = next;
    }
    Ok(found)
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value, lenient: bool, out: &mut Vec<&'a Value>) -> Result<()> {
    match step {
        Step::Root => out.push(root),
        Step::Field(name) => match (value, value.get(name)) {
            (_, Some(found)) => out.push(found),
            // After `..` most places have no such field.
            _ if lenient => {}
            _ => return Err(format!("{name} is not found")),
        },
        Step::All => match value {
            Value::Array(items) => out.extend(items),
            Value::Object(object) => out.extend(object.sorted().into_iter().map(|(_, value)| value)),
            _ => {}
        },
        Step::Descend => descend(value, out),
        Step::Index(index) => {
            let Some(items) = value.as_array() else {
                return if lenient && value.is_null() { Ok(()) } else { Err(format!("{} is not array or slice", plain::text(value))) };
            };
            let at = if *index < 0 { *index + items.len() as i64 } else { *index };
            match usize::try_from(at).ok().and_then(|at| items.get(at)) {
                Some(item) => out.push(item),
                None if lenient => {}
                None => return Err(format!("array index out of bounds: index {index}, length {}", items.len())),
            }
        }
        Step::Slice(from, to, every) => {
            let Some(items) = value.as_array() else { return Err(format!("{} is not array or slice", plain::text(value))) };
            let length = items.len() as i64;
            let place = |at: i64| if at < 0 { (at + length).max(0) } else { at.min(length) };
            let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
            let mut at = from;
            while at < to {
                out.push(&items[at as usize]);
                at += every.max(&1);
            }
        }
        Step::Union(steps) => {
            for step in steps {
                take(step, root, value, lenient, out)?;
            }
        }
        Step::Filter(filter) => {
            let Some(items) = value.as_array() else {
                return if value.is_null() || value.as_object().is_some() {
                    Ok(())
                } else {
                    Err(format!("{} is not array or slice and cannot be filtered", plain::text(value)))
                };
            };
            for item in items {
                if filter.matches(root, item)? {
                    out.push(item);
                }
            }
        }
    }
    Ok(())
}

fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, out)),
        Value::Object(object) => object.sorted().into_iter().for_each(|(_, item)| descend(item, out)),
        _ => {}
    }
}

impl Filter {
    fn matches(&self, root: &Value, item: &Value) -> Result<bool> {
        let value_of = |operand: &Operand| -> Result<Option<Value>> {
            match operand {
                Operand::Value(value) => Ok(Some(value.clone())),
                Operand::Path(steps) => Ok(walk(steps, root, item, true)?.first().map(|value| (*value).clone())),
            }
        };
        match self {
            Filter::Exists(operand) => Ok(value_of(operand)?.is_some()),
            Filter::Compare(left, operator, right) => {
                let (Some(left), Some(right)) = (value_of(left)?, value_of(right)?) else { return Ok(false) };
                let order = match (left.as_f64(), right.as_f64()) {
                    (Some(left), Some(right)) => left.partial_cmp(&right),
                    _ => match (left.as_bool(), right.as_bool()) {
                        (Some(left), Some(right)) => Some(left.cmp(&right)),
                        _ => match (left.as_str(), right.as_str()) {
                            (Some(left), Some(right)) => Some(left.cmp(right)),
                            _ => None,
                        },
                    },
                };
                let Some(order) = order else { return Ok(operator == "!=") };
                Ok(match operator.as_str() {
                    "==" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
        }
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn starts_with(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(offset, c)| self.text.get(self.at + offset) == Some(&c))
    }

    /// Nodes up to the end of the text or an `{end}`; which of the two it was.
    fn nodes(&mut self) -> Result<(Vec<Node>, bool)> {
        let mut nodes = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.next() {
            if c != '{' {
                text.push(c);
                continue;
            }
            if !text.is_empty() {
                nodes.push(Node::Text(std::mem::take(&mut text)));
            }
            loop {
                self.skip_spaces();
                match self.peek() {
                    None => return Err("unclosed action".into()),
                    Some('}') => {
                        self.at += 1;
                        break;
                    }
                    Some('"' | '\'') => {
                        let text = self.quoted()?;
                        nodes.push(Node::Text(text));
                    }
                    Some(_) if self.word("range") => {
                        self.skip_spaces();
                        let steps = self.path("}")?;
                        self.skip_spaces();
                        if self.next() != Some('}') {
                            return Err("unclosed action".into());
                        }
                        let (body, ended) = self.nodes()?;
                        if !ended {
                            return Err("unterminated range".into());
                        }
                        nodes.push(Node::Range(steps, body));
                        break;
                    }
                    Some(_) if self.word("end") => {
                        self.skip_spaces();
                        if self.next() != Some('}') {
                            return Err("unclosed action".into());
                        }
                        return Ok((nodes, true));
                    }
                    Some(_) => {
                        let before = self.at;
                        let steps = self.path("}")?;
                        if self.at == before {
                            return Err(format!(
                                "unrecognized character in action: U+{:04X} '{}'",
                                self.text[before] as u32, self.text[before]
                            ));
                        }
                        nodes.push(Node::Path(steps));
                    }
                }
            }
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text));
        }
        Ok((nodes, false))
    }

    fn word(&mut self, word: &str) -> bool {
        let after = self.text.get(self.at + word.len());
        let found = self.starts_with(word) && after.is_none_or(|c| c.is_whitespace() || *c == '}');
        if found {
            self.at += word.len();
        }
        found
    }

    fn quoted(&mut self) -> Result<String> {
        let quote = self.next();
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == quote => return Ok(text),
                '\\' => text.push(match self.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(other) => other,
                    None => break,
                }),
                _ => text.push(c),
            }
        }
        Err("unterminated quoted string".into())
    }

    /// Steps up to a space or one of the characters of `stop`.
    fn path(&mut self, stop: &str) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                '$' => {
                    self.at += 1;
                    steps.push(Step::Root);
                }
                '@' => self.at += 1,
                '.' if self.starts_with("..") => {
                    self.at += 2;
                    steps.push(Step::Descend);
                    self.field(stop, &mut steps);
                }
                '.' => {
                    self.at += 1;
                    self.field(stop, &mut steps);
                }
                '[' => {
                    self.at += 1;
                    steps.push(self.brackets()?);
                }
                '*' => {
                    self.at += 1;
                    steps.push(Step::All);
                }
                _ if c.is_whitespace() || stop.contains(c) => break,
                _ => {
                    let before = self.at;
                    self.field(stop, &mut steps);
                    if self.at == before {
                        return Err(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32));
                    }
                }
            }
        }
        Ok(steps)
    }

    fn field(&mut self, stop: &str, steps: &mut Vec<Step>) {
        if self.peek() == Some('*') {
            self.at += 1;
            steps.push(Step::All);
            return;
        }
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    name.extend(self.next());
                }
                _ if c.is_whitespace() || ".[]{}()$@,".contains(c) || stop.contains(c) => break,
                _ => {
                    name.push(c);
                    self.at += 1;
                }
            }
        }
        if !name.is_empty() {
            steps.push(Step::Field(name));
        }
    }

    /// What stands between brackets, the first of which is read.
    fn brackets(&mut self) -> Result<Step> {
        self.skip_spaces();
        if self.starts_with("?(") {
            self.at += 2;
            let filter = self.filter()?;
            self.skip_spaces();
            return if self.next() == Some(']') { Ok(Step::Filter(Box::new(filter))) } else { Err("unclosed array expect ]".into()) };
        }
        let mut steps = Vec::new();
        loop {
            self.skip_spaces();
            match self.peek() {
                Some('\'' | '"') => steps.push(Step::Field(self.quoted()?)),
                Some('*') => {
                    self.at += 1;
                    steps.push(Step::All);
                }
                _ => {
                    let mut text = String::new();
                    while let Some(c) = self.peek().filter(|c| !"],".contains(*c)) {
                        text.push(c);
                        self.at += 1;
                    }
                    steps.push(index_or_slice(text.trim())?);
                }
            }
            self.skip_spaces();
            match self.next() {
                Some(',') => {}
                Some(']') => break,
                _ => return Err("unterminated array".into()),
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }

    fn filter(&mut self) -> Result<Filter> {
        let left = self.operand()?;
        self.skip_spaces();
        let mut operator = String::new();
        while let Some(c) = self.peek().filter(|c| "=!<>".contains(*c)) {
            operator.push(c);
            self.at += 1;
        }
        let filter = match operator.as_str() {
            "" => Filter::Exists(left),
            "==" | "!=" | "<" | "<=" | ">" | ">=" => {
                self.skip_spaces();
                Filter::Compare(left, operator, self.operand()?)
            }
            other => return Err(format!("unrecognized filter operator {other}")),
        };
        self.skip_spaces();
        if self.next() == Some(')') { Ok(filter) } else { Err("unterminated filter".into()) }
    }

    fn operand(&mut self) -> Result<Operand> {
        self.skip_spaces();
        match self.peek() {
            Some('\'' | '"') => Ok(Operand::Value(Value::String(self.quoted()?))),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path(")=!<>")?)),
            _ => {
                let mut text = String::new();
                while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !")=!<>".contains(*c)) {
                    text.push(c);
                    self.at += 1;
                }
                Value::parse(text.as_bytes()).map(Operand::Value).map_err(|_| format!("cannot read {text:?} in a filter"))
            }
        }
    }
}

fn index_or_slice(text: &str) -> Result<Step> {
    let number = |text: &str| match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("invalid array index {text}")),
    };
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [""] => Err("invalid array index ".into()),
        [one] => Ok(Step::Index(number(one)?.unwrap_or(0))),
        [from, to] => Ok(Step::Slice(number(from)?, number(to)?, 1)),
        [from, to, every] => Ok(Step::Slice(number(from)?, number(to)?, number(every)?.unwrap_or(1))),
        _ => Err(format!("invalid array index {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let document = r#"{"kind":"List","items":[
            {"metadata":{"name":"a","labels":{"app.io/x":"1"}},"n":1,"ports":[80,443],"on":true},
            {"metadata":{"name":"b"},"n":2,"ports":[],"on":false}]}"#;
        let root = Value::parse(document.as_bytes()).unwrap();
        let told =
            Template::parse(template).and_then(|template| template.render(&root, true)).unwrap_or_else(|err| format!("error: {err}"));
        assert_eq!(told, expected, "{template}");
    }

    #[test]
    fn templates() {
        check("{.kind}", "List");
        check("{.items[*].metadata.name}", "a b");
        check("{.items[0].metadata.name}-{.items[-1:].n}", "a-2");
        check("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2\n");
        check("{.items[?(@.metadata.name==\"b\")].n}", "2");
        check("{.items[?(@.n>1)].metadata.name}", "b");
        check("{.items[?(@.on==true)].metadata.name}", "a");
        check("{.items[?(@.metadata.labels)].metadata.name}", "a");
        check("{.items[0].metadata.labels.app\\.io/x}", "1");
        check("{.items[0].metadata.labels['app\\.io/x']}", "1");
        check("{.items[0]['metadata.name']}", "");
        check("{..name}", "a b");
        check("{.items[0].ports}", "[80,443]");
        check("{.items[0].ports[0:1]}{.items[0].ports[0,1]}", "8080 443");
        check("{.items[0].metadata}", "{\"labels\":{\"app.io/x\":\"1\"},\"name\":\"a\"}");
        check("text {$.kind} {'quoted'}", "text List quoted");
        check("{.nothing.here}", "");
        check("{.kind", "error: unclosed action");
        check("{range .items[*]}x", "error: unterminated range");
    }

    #[test]
    fn strictness_tells_what_is_missing() {
        let template = Template::parse("{.a.b}").unwrap();
        assert_eq!(template.render(&Value::object(), false), Err("a is not found".to_string()));
    }

    #[test]
    fn relaxed_paths_are_all_the_same() {
        for text in [".metadata.name", "metadata.name", "{.metadata.name}", "{metadata.name}"] {
            assert_eq!(relaxed(text).unwrap(), Template::parse("{.metadata.name}").unwrap(), "{text}");
        }
        assert!(relaxed("{.a").is_err());
    }
}
