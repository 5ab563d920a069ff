//! The grammar of label selectors, with upstream's messages.

use super::{Operator, Requirement, SelectorError, key_error};
use crate::validation::field::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    OpenParenthesis,
    CloseParenthesis,
    Not,
    Compare(Operator),
    Identifier,
    Error,
}

/// Tokens with their texts; `in` and `notin` are identifiers until an operator is asked for.
struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::Identifier | Token::Not, _) => {}
            (Token::End, _) => return Ok(requirements),
            (_, found) => return Err(SelectorError(format!("found '{found}', expected: !, identifier, or 'end of string'"))),
        }
        let requirement =
            parser.requirement().map_err(|SelectorError(message)| SelectorError(format!("unable to parse requirement: {message}")))?;
        requirements.push(requirement);
        match parser.next() {
            (Token::End, _) => return Ok(requirements),
            (Token::Comma, _) => match parser.peek() {
                (Token::Identifier | Token::Not, _) => {}
                (_, found) => return Err(SelectorError(format!("found '{found}', expected: identifier after ','"))),
            },
            (_, found) => return Err(SelectorError(format!("found '{found}', expected: ',' or 'end of string'"))),
        }
    }
}

fn tokens(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ')' => (Token::CloseParenthesis, 1),
            '(' => (Token::OpenParenthesis, 1),
            ',' => (Token::Comma, 1),
            '!' if rest.starts_with("!=") => (Token::Compare(Operator::NotEquals), 2),
            '!' => (Token::Not, 1),
            '=' if rest.starts_with("==") => (Token::Compare(Operator::DoubleEquals), 2),
            '=' => (Token::Compare(Operator::Equals), 1),
            '>' => (Token::Compare(Operator::GreaterThan), 1),
            '<' => (Token::Compare(Operator::LessThan), 1),
            '\0' => (Token::Error, 1),
            _ => {
                let end = rest.find(|c| is_space(c) || "(),!=<>".contains(c)).unwrap_or(rest.len());
                (Token::Identifier, end)
            }
        };
        tokens.push((token, &rest[..length]));
        rest = rest[length..].trim_start_matches(is_space);
    }
    tokens
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(SelectorError(format!("found '{key}', expected: identifier")));
        }
        if let Some(error) = key_error(key, &Path::ROOT) {
            return Err(SelectorError(error.to_string()));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            (Token::Compare(operator), _) => operator,
            (Token::Identifier, "in") => Operator::In,
            (Token::Identifier, "notin") => Operator::NotIn,
            (_, found) => return Err(SelectorError(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"))),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            (Token::End | Token::Comma, _) => Ok(String::new()),
            (Token::Identifier, value) => {
                self.next();
                Ok(value.into())
            }
            (_, found) => Err(SelectorError(format!("found '{found}', expected: identifier"))),
        }
    }

    /// Reads `(a,b)`. An empty place beside a comma is an empty value.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            (Token::OpenParenthesis, _) => {}
            (_, found) => return Err(SelectorError(format!("found '{found}' expected: '('"))),
        }
        let mut values = Vec::new();
        match self.peek() {
            (Token::CloseParenthesis, _) => {
                self.next();
                return Ok(values);
            }
            (Token::Identifier | Token::Comma, _) => {}
            (_, found) => return Err(SelectorError(format!("found '{found}', expected: ',', ')' or identifier"))),
        }
        loop {
            match self.next() {
                (Token::Identifier, value) => {
                    values.push(value.into());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::CloseParenthesis, _) => break,
                        (_, found) => return Err(SelectorError(format!("found '{found}', expected: ',' or ')'"))),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Token::CloseParenthesis => {
                            values.push(String::new());
                            break;
                        }
                        Token::Comma => {
                            self.next();
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, found) => return Err(SelectorError(format!("found '{found}', expected: ',', or identifier"))),
            }
        }
        self.next();
        Ok(values)
    }
}
