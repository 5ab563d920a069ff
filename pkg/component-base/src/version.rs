//! Which release this is: upstream's version number, since clients compare it, and the compiler that built it.

/// The release whose API and behaviour this build has.
pub const GIT_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
pub const MAJOR: &str = env!("CARGO_PKG_VERSION_MAJOR");
pub const MINOR: &str = env!("CARGO_PKG_VERSION_MINOR");
/// The minor version before, which a server of this release still works with.
pub const MIN_COMPATIBILITY_MINOR: &str = "35";
/// `rustc` and its version.
pub const COMPILER: &str = env!("FERROKUBE_RUSTC");

/// The commit, where the build was told.
pub fn git_commit() -> &'static str {
    option_env!("FERROKUBE_GIT_COMMIT").unwrap_or("unknown")
}

/// Whether the build was of exactly that commit.
pub fn git_tree_state() -> &'static str {
    if git_commit() == "unknown" { "unknown" } else { "clean" }
}

/// When it was built; upstream's value for "not told" otherwise.
pub fn build_date() -> &'static str {
    option_env!("FERROKUBE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z")
}

/// Operating system and architecture, by Go's names.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

/// The fields of upstream's version document, in its order.
fn fields() -> [(&'static str, String); 13] {
    [
        ("major", MAJOR.to_owned()),
        ("minor", MINOR.to_owned()),
        ("emulationMajor", MAJOR.to_owned()),
        ("emulationMinor", MINOR.to_owned()),
        ("minCompatibilityMajor", MAJOR.to_owned()),
        ("minCompatibilityMinor", MIN_COMPATIBILITY_MINOR.to_owned()),
        ("gitVersion", GIT_VERSION.to_owned()),
        ("gitCommit", git_commit().to_owned()),
        ("gitTreeState", git_tree_state().to_owned()),
        ("buildDate", build_date().to_owned()),
        ("goVersion", COMPILER.to_owned()),
        ("compiler", "rustc".to_owned()),
        ("platform", platform()),
    ]
}

/// What `/version` answers.
pub fn json() -> String {
    // No value needs escaping.
    let lines: Vec<String> = fields().iter().map(|(key, value)| format!("  \"{key}\": \"{value}\"")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// What `--version=raw` prints.
pub fn raw() -> String {
    let capitalised = |key: &str| key[..1].to_uppercase() + &key[1..];
    let parts: Vec<String> = fields().iter().map(|(key, value)| format!("{}:\"{value}\"", capitalised(key))).collect();
    format!("version.Info{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_upstreams() {
        assert_eq!(GIT_VERSION, "v1.36.2");
        assert!(json().starts_with("{\n  \"major\": \"1\",\n  \"minor\": \"36\",\n"));
        assert!(COMPILER.starts_with("rustc 1."), "{COMPILER}");
        assert!(raw().contains("GitVersion:\"v1.36.2\""), "{}", raw());
    }
}
