//! Static tokens: `--token-auth-file`, lines of `token,user,uid[,"group1,group2"]`.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticated, Authenticator, Credentials, bearer_from_websocket};
use crate::request::User;

/// The users of a token file.
#[derive(Debug, Default)]
pub struct TokenFile {
    users: HashMap<String, Arc<User>>,
}

impl TokenFile {
    /// Reads the file's text. Errors with a line that has fewer than three columns.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let columns = split_csv(line);
            let [token, name, uid, rest @ ..] = &columns[..] else {
                return Err(format!(
                    "line {}: token file must have at least 3 columns (token, user name, user uid), found {}",
                    number + 1,
                    columns.len()
                ));
            };
            if token.is_empty() {
                continue; // As upstream: such a line would let everybody in.
            }
            let groups = rest.first().map_or_else(Vec::new, |groups| groups.split(',').map(str::to_owned).collect());
            users.insert(token.clone(), Arc::new(User { name: name.clone(), uid: uid.clone(), groups, extra: Vec::new() }));
        }
        Ok(Self { users })
    }
}

/// Splits a line at commas outside double quotes; a doubled quote inside quotes is one.
fn split_csv(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                columns.last_mut().expect("starts with one column").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => columns.last_mut().expect("starts with one column").push(c),
        }
    }
    columns.into_iter().map(|column| column.trim().to_owned()).collect()
}

#[async_trait]
impl Authenticator for TokenFile {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let hidden;
        let token = match credentials.bearer() {
            Some(token) => token,
            None => match bearer_from_websocket(credentials.headers) {
                Some(token) => {
                    hidden = token;
                    &hidden
                }
                None => return Ok(None),
            },
        };
        Ok(self.users.get(token).map(|user| Authenticated { user: Arc::clone(user), audiences: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_users() {
        let file = TokenFile::parse("t1,admin,1,\"system:masters,ops\"\n\nt2,joe,2\n").unwrap();
        assert_eq!(file.users["t1"].groups, ["system:masters", "ops"]);
        assert!(file.users["t2"].groups.is_empty());
        assert!(TokenFile::parse("a,b").unwrap_err().contains("at least 3 columns"));
    }
}
