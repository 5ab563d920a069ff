//! Runs the `nft` program.

use std::process::Stdio;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::base::TABLE;
use super::rules::ip;
use super::table::Existing;
use crate::service::Family;

/// What nft says of a script may be as long as the script; logs need the beginning.
const LONGEST_MESSAGE: usize = 2000;

#[derive(Debug, Error)]
pub enum NftError {
    #[error("cannot run {program}")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("nft refused the transaction: {message}")]
    Refused { message: String },
}

/// The command that changes the kernel's tables: `nft`, or for tests `ip netns exec NAME nft`.
#[derive(Clone, Debug)]
pub struct Nft {
    command: Vec<String>,
}

impl Default for Nft {
    fn default() -> Self {
        Self { command: vec!["nft".to_owned()] }
    }
}

impl Nft {
    /// `command` is a program and its first arguments; it must not be empty.
    pub fn new(command: Vec<String>) -> Self {
        assert!(!command.is_empty(), "a command names a program");
        Self { command }
    }

    /// Applies `script` as one transaction: all of it or nothing.
    pub async fn apply(&self, script: &str) -> Result<(), NftError> {
        self.run(&["-f", "-"], script).await.map(drop)
    }

    /// Does the kernel have our table in this family?
    pub async fn table_exists(&self, family: Family) -> Result<bool, NftError> {
        let tables = self.run(&["list", "tables"], "").await?;
        let ours = format!("table {} {TABLE}", ip(family));
        Ok(tables.lines().any(|line| line.trim() == ours))
    }

    /// What the kernel has of our table in this family: the names of its chains, sets and maps.
    pub async fn existing(&self, family: Family) -> Result<Existing, NftError> {
        if !self.table_exists(family).await? {
            return Ok(Existing::Nothing);
        }
        let ip = ip(family);
        let mut sets = Vec::new();
        for kind in ["sets", "maps"] {
            sets.extend(names(&self.run(&["--terse", "list", kind, ip], "").await?, ip));
        }
        let chains = names(&self.run(&["--terse", "list", "chains", ip], "").await?, ip);
        Ok(Existing::Table { chains, sets })
    }

    /// Deletes our table in this family, if there is one.
    pub async fn delete_table(&self, family: Family) -> Result<(), NftError> {
        let ip = ip(family);
        // Adding first makes the deletion succeed also where there is none.
        self.apply(&format!("add table {ip} {TABLE}\ndelete table {ip} {TABLE}\n")).await
    }

    async fn run(&self, args: &[&str], input: &str) -> Result<String, NftError> {
        let start = |source| NftError::Start { program: self.command[0].clone(), source };
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let feed = async move {
            // A broken pipe means that nft ended early; its exit code and message say why.
            let _ = stdin.write_all(input.as_bytes()).await;
            let _ = stdin.shutdown().await;
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(NftError::Refused { message: message.trim().chars().take(LONGEST_MESSAGE).collect() })
    }
}

/// The names in a listing of chains, sets or maps of all tables of a family, as far as they are in ours.
///
/// ```text
/// table ip kube-proxy {
///     chain services {
/// ```
fn names(listing: &str, ip: &str) -> Vec<String> {
    let ours = format!("table {ip} {TABLE} {{");
    let mut is_ours = false;
    let mut names = Vec::new();
    for line in listing.lines() {
        if line.starts_with("table ") {
            is_ours = line.trim_end() == ours;
        }
        let mut words = line.split_whitespace();
        if let (true, Some("chain" | "set" | "map"), Some(name), Some("{")) = (is_ours, words.next(), words.next(), words.next()) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_our_table_only() {
        let listing = "table ip nat {\n\tchain POSTROUTING {\n\t}\n}\ntable ip kube-proxy {\n\tchain services {\n\t}\n\n\
                       \tchain service-ABC-ns/web/tcp/ {\n\t}\n}\ntable ip other {\n\tset x {\n\t}\n}\n";
        assert_eq!(names(listing, "ip"), ["services", "service-ABC-ns/web/tcp/"]);
        assert!(names(listing, "ip6").is_empty());
    }
}
