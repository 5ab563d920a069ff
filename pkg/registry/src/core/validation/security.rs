//! Security contexts of Pods and containers.

use api::core::v1::{AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;

use super::paths::local_descending;
use crate::validation::fields::supported;
use crate::validation::go_value::go_value;

fn id(value: Option<i64>, check: fn(i64) -> Vec<String>, path: &Path<'_>) -> ErrorList {
    let Some(value) = value else { return ErrorList::new() };
    check(value).into_iter().map(|message| Error::invalid(path, value, message)).collect()
}

/// A container's. `host_users`: the Pod shares the node's users.
pub fn container(context: &SecurityContext, host_users: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = id(context.run_as_user, names::is_user_id, &path.child("runAsUser"));
    errors.extend(id(context.run_as_group, names::is_group_id, &path.child("runAsGroup")));
    if let Some(mount) = &context.proc_mount {
        errors.extend(supported(mount, &["Default", "Unmasked"], &path.child("procMount")));
        if host_users && mount == "Unmasked" {
            errors.push(Error::invalid(&path.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    if let Some(profile) = &context.seccomp_profile {
        errors.extend(seccomp(profile, &path.child("seccompProfile")));
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, go_value(context), detail));
        }
        if context.capabilities.as_ref().is_some_and(|capabilities| capabilities.add.iter().any(|added| added == "CAP_SYS_ADMIN")) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, go_value(context), detail));
        }
    }
    if let Some(profile) = &context.app_armor_profile {
        errors.extend(app_armor(profile, &path.child("appArmorProfile")));
    }
    errors
}

/// A Pod's.
pub fn pod(context: &PodSecurityContext, spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = id(context.fs_group, names::is_group_id, &path.child("fsGroup"));
    errors.extend(id(context.run_as_user, names::is_user_id, &path.child("runAsUser")));
    errors.extend(id(context.run_as_group, names::is_group_id, &path.child("runAsGroup")));
    let groups = path.child("supplementalGroups");
    for (index, group) in context.supplemental_groups.iter().enumerate() {
        errors.extend(id(Some(*group), names::is_group_id, &groups.index(index)));
    }
    errors.extend(sysctls(&context.sysctls, spec, &path.child("sysctls")));
    for (name, value, known) in [
        ("fsGroupChangePolicy", &context.fs_group_change_policy, &["Always", "OnRootMismatch"][..]),
        ("supplementalGroupsPolicy", &context.supplemental_groups_policy, &["Merge", "Strict"][..]),
        // The other value belongs to a gate that is off by default.
        ("seLinuxChangePolicy", &context.se_linux_change_policy, &["Recursive"][..]),
    ] {
        if let Some(value) = value {
            errors.extend(supported(value, known, &path.child(name)));
        }
    }
    if let Some(profile) = &context.seccomp_profile {
        errors.extend(seccomp(profile, &path.child("seccompProfile")));
    }
    if let Some(profile) = &context.app_armor_profile {
        errors.extend(app_armor(profile, &path.child("appArmorProfile")));
    }
    errors
}

fn seccomp(profile: &SeccompProfile, path: &Path<'_>) -> ErrorList {
    profile_of("seccomp", "seccompProfile", &profile.type_, profile.localhost_profile.as_deref(), go_value(profile), path)
}

fn app_armor(profile: &AppArmorProfile, path: &Path<'_>) -> ErrorList {
    let local = profile.localhost_profile.as_deref();
    profile_of("AppArmor", "appArmorProfile", &profile.type_, local, local.into(), path)
}

fn profile_of(what: &str, field: &str, kind: &str, local: Option<&str>, shown: BadValue, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let local_path = path.child("localhostProfile");
    match kind {
        "" => errors.push(Error::required(&path.child("type"), format!("type is required when {field} is set"))),
        kind => errors.extend(supported(kind, &["Localhost", "RuntimeDefault", "Unconfined"], &path.child("type"))),
    }
    match (kind, local) {
        ("Localhost", None) => errors.push(Error::required(&local_path, format!("must be set when {what} type is Localhost"))),
        ("Localhost", Some(local)) if what == "AppArmor" => {
            if local.trim().is_empty() {
                errors.push(Error::required(&local_path, "must be set when AppArmor type is Localhost"));
            } else if local.trim() != local {
                errors.push(Error::invalid(&local_path, local, "must not be padded with whitespace"));
            }
        }
        ("Localhost", Some(local)) => errors.extend(local_descending(local, &local_path)),
        (_, Some(_)) => errors.push(Error::invalid(&local_path, shown, format!("can only be set when {what} type is Localhost"))),
        (_, None) => {}
    }
    errors
}

const SYSCTL_PATTERN: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const SYSCTL_MAX: usize = 253;

fn is_sysctl(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if alphanumeric(*first) && alphanumeric(*last))
            && bytes.iter().all(|byte| alphanumeric(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(part)
}

fn sysctls(sysctls: &[Sysctl], spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let item = path.index(index);
        let path = item.child("name");
        let name = sysctl.name.as_str();
        // Both spellings are the same setting.
        let dotted = |name: &str| name.replace('/', ".");
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(Error::invalid(&path, name, format!("must have at most {SYSCTL_MAX} characters and match regex {SYSCTL_PATTERN}")));
        } else if sysctls[..index].iter().any(|other| dotted(&other.name) == dotted(name)) {
            errors.push(Error::duplicate(&path, name));
        }
        let dotted = dotted(name);
        if spec.host_network && dotted.starts_with("net.") {
            errors.push(Error::invalid(&path, name, "may not be specified when 'hostNetwork' is true"));
        }
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix)) || dotted == "kernel.sem";
        if spec.host_ipc && ipc {
            errors.push(Error::invalid(&path, name, "may not be specified when 'hostIPC' is true"));
        }
    }
    errors
}
