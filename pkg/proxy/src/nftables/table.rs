//! One table as it should be and as it is, and the transaction that leads from one to the other.
//!
//! [`Table`] takes fragments (what each Service asks for) and notes which names they touch. A transaction compares only
//! those with the mirror of what the kernel has, so its cost depends on the change and not on the number of Services:
//!
//! ```text
//! fragments --set--> desired chains, sets, elements --diff of touched names--> script --nft--> kernel
//!                                                                  mirror <---committed---'
//! ```
//!
//! If nft refuses a script, or the table is not ours yet, the mirror is dropped and the next transaction builds the
//! table anew. An existing table is refilled in one step: no packet sees an empty one, and the sets that remember the
//! clients of services with affinity stay.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use super::base::{Base, TABLE};
use super::fragment::{Collection, Fragment, Value};
use crate::service::ServiceName;

/// Elements in one statement. nft reads long statements faster than many short ones, but reports errors by statement.
const ELEMENTS_PER_STATEMENT: usize = 200;

/// Size at which a script for a cold start is cut, so that the first Services work before the last one is loaded.
const CHUNK: usize = 256 << 10;

type Key = (Collection, Arc<str>);

/// What the kernel holds apart from the base.
#[derive(Debug, Default, PartialEq)]
struct Mirror {
    sets: BTreeSet<Arc<str>>,
    chains: HashMap<Arc<str>, Arc<str>>,
    elements: HashMap<Key, Value>,
    /// Flushed chains and unused sets that wait for [`Table::cleanup`].
    stale_chains: BTreeSet<Arc<str>>,
    stale_sets: BTreeSet<Arc<str>>,
}

/// Names that may differ between what should be and what is.
#[derive(Debug, Default)]
struct Touched {
    sets: BTreeSet<Arc<str>>,
    chains: BTreeSet<Arc<str>>,
    elements: BTreeSet<Key>,
}

/// One table: `ip kube-proxy` or `ip6 kube-proxy`.
#[derive(Debug)]
pub struct Table {
    ip: &'static str,
    base: Base,
    fragments: HashMap<ServiceName, Fragment>,
    sets: HashMap<Arc<str>, Arc<str>>,
    chains: HashMap<Arc<str>, Arc<str>>,
    /// Who asks for an element, and with which value. The first by name gets it.
    claims: HashMap<Key, BTreeMap<ServiceName, Value>>,
    mirror: Option<Mirror>,
    touched: Touched,
}

/// What the kernel has under the table's name before the table is built anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Existing {
    #[default]
    Nothing,
    /// A table of a former run or transaction, with these chains, and these sets and maps.
    Table { chains: Vec<String>, sets: Vec<String> },
    /// A table that cannot be refilled: it has to go.
    Unusable,
}

/// What to feed to nft, in this order. More than one script only where the table does not exist yet.
#[derive(Debug, PartialEq)]
pub struct Transaction {
    pub scripts: Vec<String>,
    /// The table is built anew rather than changed.
    pub is_full: bool,
    /// What an existing table has and nobody needs.
    stale_chains: BTreeSet<Arc<str>>,
    stale_sets: BTreeSet<Arc<str>>,
}

impl Table {
    /// A table whose state in the kernel is not known. `base` comes from [`super::base::base`].
    pub fn new(ip: &'static str, base: Base) -> Self {
        Self {
            ip,
            base,
            fragments: HashMap::new(),
            sets: HashMap::new(),
            chains: HashMap::new(),
            claims: HashMap::new(),
            mirror: None,
            touched: Touched::default(),
        }
    }

    /// Puts `fragment` in place of what `service` asked for before; an empty one takes the Service out.
    pub fn set(&mut self, service: &ServiceName, fragment: Fragment) {
        if self.fragments.get(service).map_or(fragment.is_empty(), |old| *old == fragment) {
            return;
        }
        let old = self.fragments.remove(service).unwrap_or_default();
        for (name, _) in old.sets {
            self.sets.remove(&name);
            self.touched.sets.insert(name);
        }
        for (name, _) in old.chains {
            self.chains.remove(&name);
            self.touched.chains.insert(name);
        }
        for (collection, key, _) in old.elements {
            let key = (collection, key);
            if let Entry::Occupied(mut claims) = self.claims.entry(key.clone()) {
                claims.get_mut().remove(service);
                if claims.get().is_empty() {
                    claims.remove();
                }
            }
            self.touched.elements.insert(key);
        }
        for (name, declaration) in &fragment.sets {
            self.sets.insert(name.clone(), declaration.clone());
            self.touched.sets.insert(name.clone());
        }
        for (name, rules) in &fragment.chains {
            self.chains.insert(name.clone(), rules.clone());
            self.touched.chains.insert(name.clone());
        }
        for (collection, key, value) in &fragment.elements {
            let key = (*collection, key.clone());
            self.claims.entry(key.clone()).or_default().insert(service.clone(), value.clone());
            self.touched.elements.insert(key);
        }
        if !fragment.is_empty() {
            self.fragments.insert(service.clone(), fragment);
        }
    }

    /// Replaces the fixed part, which means that the whole table is built anew.
    pub fn set_base(&mut self, base: Base) {
        if base != self.base {
            self.base = base;
            self.forget();
        }
    }

    /// Forgets what the kernel holds: the next transaction builds the table anew.
    pub fn forget(&mut self) {
        self.mirror = None;
    }

    /// Is it known what the kernel holds? If not, the next transaction builds the table anew.
    pub fn is_known(&self) -> bool {
        self.mirror.is_some()
    }

    /// The change that is due, if any. `existing` matters only if the table has to be built anew.
    pub fn transaction(&self, existing: &Existing) -> Option<Transaction> {
        if let Some(mirror) = &self.mirror {
            let script = self.incremental(mirror);
            let (stale_chains, stale_sets) = Default::default();
            return (!script.is_empty()).then(|| Transaction { scripts: vec![script], is_full: false, stale_chains, stale_sets });
        }
        let (mut stale_chains, mut stale_sets) = (BTreeSet::new(), BTreeSet::new());
        if let Existing::Table { chains, sets } = existing {
            let ours: BTreeSet<&str> = self.base.names("chain").chain(self.chains.keys().map(|name| &**name)).collect();
            stale_chains.extend(chains.iter().filter(|name| !ours.contains(name.as_str())).map(|name| Arc::from(name.as_str())));
            let fixed = self.base.names("set").chain(self.base.names("map"));
            let ours: BTreeSet<&str> = fixed.chain(self.sets.keys().map(|name| &**name)).collect();
            stale_sets.extend(sets.iter().filter(|name| !ours.contains(name.as_str())).map(|name| Arc::from(name.as_str())));
        }
        Some(Transaction { scripts: self.full(existing), is_full: true, stale_chains, stale_sets })
    }

    /// Call this when nft has taken the whole transaction. After a refusal call [`Table::forget`].
    pub fn commit(&mut self, done: Transaction) {
        let touched = std::mem::take(&mut self.touched);
        let Some(mut mirror) = self.mirror.take() else {
            self.mirror = Some(Mirror {
                sets: self.sets.keys().cloned().collect(),
                chains: self.chains.clone(),
                elements: self.claims.iter().map(|(key, claims)| (key.clone(), winner(claims).clone())).collect(),
                stale_chains: done.stale_chains,
                stale_sets: done.stale_sets,
            });
            return;
        };
        for name in touched.sets {
            if self.sets.contains_key(&name) {
                mirror.stale_sets.remove(&name);
                mirror.sets.insert(name);
            } else if mirror.sets.remove(&name) {
                mirror.stale_sets.insert(name);
            }
        }
        for name in touched.chains {
            if let Some(rules) = self.chains.get(&name) {
                mirror.stale_chains.remove(&name);
                mirror.chains.insert(name, rules.clone());
            } else if mirror.chains.remove(&name).is_some() {
                mirror.stale_chains.insert(name);
            }
        }
        for key in touched.elements {
            match self.claims.get(&key) {
                Some(claims) => drop(mirror.elements.insert(key, winner(claims).clone())),
                None => drop(mirror.elements.remove(&key)),
            }
        }
        self.mirror = Some(mirror);
    }

    /// The script that deletes chains and sets no longer in use. It is a transaction of its own, made when there is
    /// nothing more urgent: deleting is slow in the kernel, and no packet depends on it.
    pub fn cleanup(&self) -> Option<String> {
        let mirror = self.mirror.as_ref()?;
        let mut out = String::new();
        for chain in &mirror.stale_chains {
            let _ = writeln!(out, "delete chain {} {TABLE} {chain}", self.ip);
        }
        for set in &mirror.stale_sets {
            let _ = writeln!(out, "delete set {} {TABLE} {set}", self.ip);
        }
        (!out.is_empty()).then_some(out)
    }

    /// Call this when nft has taken the script of [`Table::cleanup`].
    pub fn commit_cleanup(&mut self) {
        if let Some(mirror) = &mut self.mirror {
            mirror.stale_chains.clear();
            mirror.stale_sets.clear();
        }
    }

    fn incremental(&self, mirror: &Mirror) -> String {
        let mut script = Script::new(self.ip);
        for name in &self.touched.sets {
            if let Some(declaration) = self.sets.get(name)
                && !mirror.sets.contains(name)
            {
                script.add_set(name, declaration);
            }
        }
        let mut written = Vec::new();
        for name in &self.touched.chains {
            match (mirror.chains.get(name), self.chains.get(name)) {
                (was, Some(now)) if was != Some(now) => {
                    script.add_chain(name);
                    if was.is_some() {
                        script.flush_chain(name);
                    }
                    written.push((name, now));
                }
                _ => {}
            }
        }
        for (name, rules) in written {
            script.add_rules(name, rules);
        }
        let changed = |key: &Key| (mirror.elements.get(key), self.claims.get(key).map(winner));
        for key in &self.touched.elements {
            if let (Some(was), now) = changed(key)
                && now != Some(was)
            {
                script.element("delete", key, None);
            }
        }
        script.end_statement();
        for key in &self.touched.elements {
            if let (was, Some(now)) = changed(key)
                && was != Some(now)
            {
                script.element("add", key, Some(now));
            }
        }
        script.end_statement();
        // Emptied only now that no element leads there. They hold on to chains and sets until then.
        for name in &self.touched.chains {
            if mirror.chains.contains_key(name) && !self.chains.contains_key(name) {
                script.flush_chain(name);
            }
        }
        script.out
    }

    fn full(&self, existing: &Existing) -> Vec<String> {
        let mut script = Script::new(self.ip);
        let ip = self.ip;
        match existing {
            Existing::Nothing => script.out.push_str(&self.base.declarations),
            Existing::Unusable => {
                let _ = writeln!(script.out, "add table {ip} {TABLE}\ndelete table {ip} {TABLE}");
                script.out.push_str(&self.base.declarations);
            }
            Existing::Table { .. } => {
                // The rules of all chains; elements go by set. What is not ours stays behind empty, for the cleanup.
                let _ = writeln!(script.out, "flush table {ip} {TABLE}");
                script.out.push_str(&self.base.declarations);
                for kind in ["set", "map"] {
                    for name in self.base.names(kind) {
                        let _ = writeln!(script.out, "flush {kind} {ip} {TABLE} {name}");
                    }
                }
            }
        }
        script.out.push_str(&self.base.contents);
        let mut scripts = Vec::new();
        let mut names: Vec<&ServiceName> = self.fragments.keys().collect();
        names.sort();
        let mut names = names.into_iter().peekable();
        while names.peek().is_some() {
            let room = if *existing == Existing::Nothing { CHUNK } else { usize::MAX };
            let (mut batch, mut size) = (Vec::new(), script.out.len());
            while size < room
                && let Some(name) = names.next()
            {
                let fragment = &self.fragments[name];
                size += fragment.chains.iter().map(|(name, rules)| 3 * name.len() + rules.len()).sum::<usize>();
                size += 100 * fragment.elements.len();
                batch.push((name, fragment));
            }
            self.write_batch(&mut script, &batch);
            scripts.push(std::mem::take(&mut script.out));
        }
        if scripts.is_empty() {
            scripts.push(script.out);
        }
        scripts
    }

    fn write_batch(&self, script: &mut Script, batch: &[(&ServiceName, &Fragment)]) {
        let fragments = || batch.iter().map(|(_, fragment)| *fragment);
        for (name, declaration) in fragments().flat_map(|fragment| &fragment.sets) {
            script.add_set(name, declaration);
        }
        for (name, _) in fragments().flat_map(|fragment| &fragment.chains) {
            script.add_chain(name);
        }
        for (name, rules) in fragments().flat_map(|fragment| &fragment.chains) {
            script.add_rules(name, rules);
        }
        let mut elements: BTreeMap<Key, &Value> = BTreeMap::new();
        for (service, fragment) in batch {
            for (collection, key, value) in &fragment.elements {
                let key = (*collection, key.clone());
                // Whoever lost the element must not write it, for the winner may be in another batch.
                if self.claims[&key].keys().next() == Some(*service) {
                    elements.insert(key, value);
                }
            }
        }
        for (key, value) in elements {
            script.element("add", &key, Some(value));
        }
        script.end_statement();
    }
}

/// Of several Services that ask for one element (say, the same external IP and port) the first by name gets it.
fn winner(claims: &BTreeMap<ServiceName, Value>) -> &Value {
    claims.values().next().expect("claims without a claimant are removed")
}

/// Writes statements of nft's language; consecutive elements of one collection share a statement.
struct Script {
    ip: &'static str,
    out: String,
    open: Option<(Collection, usize)>,
}

impl Script {
    fn new(ip: &'static str) -> Self {
        Self { ip, out: String::new(), open: None }
    }

    fn add_set(&mut self, name: &str, declaration: &str) {
        let _ = writeln!(self.out, "add set {} {TABLE} {name} {{ {declaration} }}", self.ip);
    }

    fn add_chain(&mut self, name: &str) {
        let _ = writeln!(self.out, "add chain {} {TABLE} {name}", self.ip);
    }

    fn flush_chain(&mut self, name: &str) {
        let _ = writeln!(self.out, "flush chain {} {TABLE} {name}", self.ip);
    }

    fn add_rules(&mut self, chain: &str, rules: &str) {
        for rule in rules.lines() {
            let _ = writeln!(self.out, "add rule {} {TABLE} {chain} {rule}", self.ip);
        }
    }

    fn element(&mut self, verb: &str, (collection, key): &Key, value: Option<&Value>) {
        match &mut self.open {
            Some((open, count)) if open == collection && *count < ELEMENTS_PER_STATEMENT => {
                *count += 1;
                self.out.push_str(", ");
            }
            _ => {
                self.end_statement();
                let _ = write!(self.out, "{verb} element {} {TABLE} {} {{ ", self.ip, collection.as_str());
                self.open = Some((*collection, 1));
            }
        }
        self.out.push_str(key);
        let Some(value) = value else {
            return;
        };
        if let Some(comment) = &value.comment {
            let _ = write!(self.out, " comment \"{comment}\"");
        }
        if let Some(target) = &value.target {
            let _ = write!(self.out, " : {target}");
        }
    }

    fn end_statement(&mut self) {
        if self.open.take().is_some() {
            self.out.push_str(" }\n");
        }
    }
}

#[cfg(test)]
mod tests;
