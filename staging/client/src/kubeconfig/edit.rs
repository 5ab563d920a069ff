//! Changing one kubeconfig file. What the file holds and we do not know stays as it is.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use apimachinery::value::Object;
use apimachinery::{Value, yaml};

use super::KubeconfigError;

/// A list of named entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Section {
    Contexts,
    Clusters,
    Users,
}

impl Section {
    fn list(self) -> &'static str {
        match self {
            Section::Contexts => "contexts",
            Section::Clusters => "clusters",
            Section::Users => "users",
        }
    }

    fn member(self) -> &'static str {
        match self {
            Section::Contexts => "context",
            Section::Clusters => "cluster",
            Section::Users => "user",
        }
    }
}

/// One file as a document to change and [`save`](File::save).
#[derive(Clone, Debug)]
pub struct File {
    pub path: PathBuf,
    pub document: Value,
}

impl File {
    /// Opens the file, or begins a new one there.
    pub fn open(path: &Path) -> Result<File, KubeconfigError> {
        let document = match std::fs::read(path) {
            Ok(text) => yaml::parse(&text).map_err(|err| KubeconfigError::Parse { path: path.to_path_buf(), message: err.to_string() })?,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Value::Null,
            Err(source) => return Err(KubeconfigError::Read { path: path.to_path_buf(), source }),
        };
        let document = if document.is_null() { empty_document() } else { document };
        if document.as_object().is_none() {
            let message = format!("json: cannot unmarshal {} into Go value of type v1.Config", document.kind_name());
            return Err(KubeconfigError::Parse { path: path.to_path_buf(), message });
        }
        Ok(File { path: path.to_path_buf(), document })
    }

    pub fn current_context(&self) -> &str {
        self.document.str_at(&["current-context"]).unwrap_or_default()
    }

    pub fn set_current_context(&mut self, name: &str) {
        self.document.set_at(&["current-context"], name);
    }

    fn list_mut(&mut self, section: Section) -> &mut Vec<Value> {
        let object = self.document.as_object_mut().expect("checked when opened");
        let list = object.entry(section.list(), || Value::Array(Vec::new()));
        if list.as_array().is_none() {
            *list = Value::Array(Vec::new());
        }
        list.as_array_mut().expect("made an array just above")
    }

    /// The entry of this name, to read.
    pub fn entry(&self, section: Section, name: &str) -> Option<&Value> {
        let entries = self.document[section.list()].as_array()?;
        entries.iter().find(|entry| entry.str_at(&["name"]) == Some(name))?.get(section.member())
    }

    /// The entry of this name, to change; made if missing.
    pub fn entry_mut(&mut self, section: Section, name: &str) -> &mut Value {
        let entries = self.list_mut(section);
        let at = entries.iter().position(|entry| entry.str_at(&["name"]) == Some(name)).unwrap_or_else(|| {
            let mut entry = Object::new();
            entry.insert(section.member(), Object::new());
            entry.insert("name", name);
            entries.push(entry.into());
            entries.len() - 1
        });
        let entry = entries[at].as_object_mut().expect("a named entry is an object");
        let member = entry.entry(section.member(), Value::object);
        if member.is_null() {
            *member = Value::object();
        }
        member
    }

    /// Removes the entry; false if there was none.
    pub fn remove(&mut self, section: Section, name: &str) -> bool {
        let entries = self.list_mut(section);
        let before = entries.len();
        entries.retain(|entry| entry.str_at(&["name"]) != Some(name));
        entries.len() != before
    }

    /// Gives the entry another name; false if there was none.
    pub fn rename(&mut self, section: Section, from: &str, to: &str) -> bool {
        let found = self.list_mut(section).iter_mut().find(|entry| entry.str_at(&["name"]) == Some(from));
        found.map(|entry| entry.set_at(&["name"], to)).is_some()
    }

    /// Writes the file, readable by its owner only, in one step. Its folder is made if missing.
    pub fn save(&self) -> Result<(), KubeconfigError> {
        let failed = |source| KubeconfigError::Write { path: self.path.clone(), source };
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
        // Held while writing, by us and by upstream's kubectl, so that two edits do not mix.
        let lock = Lock::take(&self.path).map_err(failed)?;
        // A link is followed: it is the file behind it that people manage.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let temporary = target.with_extension(format!("{}.tmp", std::process::id()));
        let written =
            write_private(&temporary, yaml::to_string(&self.document).as_bytes()).and_then(|()| std::fs::rename(&temporary, &target));
        if written.is_err() {
            drop(std::fs::remove_file(&temporary));
        }
        drop(lock);
        written.map_err(failed)
    }
}

fn empty_document() -> Value {
    let mut document = Object::new();
    document.insert("apiVersion", "v1");
    for list in ["clusters", "contexts"] {
        document.insert(list, Value::Array(Vec::new()));
    }
    document.insert("current-context", "");
    document.insert("kind", "Config");
    document.insert("users", Value::Array(Vec::new()));
    document.into()
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// `config.lock` beside the file, upstream's way.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> std::io::Result<Lock> {
        let mut name = path.as_os_str().to_os_string();
        name.push(".lock");
        let lock = PathBuf::from(name);
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock)?;
        Ok(Lock(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
