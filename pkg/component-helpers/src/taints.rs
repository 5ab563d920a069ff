//! Taints and tolerations. Upstream: component-helpers/scheduling/corev1.

use api::core::v1::{Taint, Toleration};

/// True if the toleration covers the taint. Comparison operators (`Lt`, `Gt`) want integers on both sides.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        "Lt" | "Gt" => match (toleration.value.parse::<i64>(), taint.value.parse::<i64>()) {
            (Ok(bound), Ok(value)) => {
                if toleration.operator == "Lt" {
                    value < bound
                } else {
                    value > bound
                }
            }
            _ => false,
        },
        _ => false,
    }
}

/// True if any toleration covers the taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// The first taint of these effects that nothing tolerates.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    taints.iter().filter(|taint| effects.contains(&taint.effect.as_str())).find(|taint| !tolerated(tolerations, taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_by_key_value_and_effect() {
        let taint = Taint { key: "k".into(), value: "5".into(), effect: "NoSchedule".into(), ..Taint::default() };
        let check = |key: &str, operator: &str, value: &str, effect: &str| {
            tolerates(
                &Toleration {
                    key: key.into(),
                    operator: operator.into(),
                    value: value.into(),
                    effect: effect.into(),
                    ..Toleration::default()
                },
                &taint,
            )
        };
        assert!(check("k", "", "5", "NoSchedule"));
        assert!(check("k", "Exists", "", ""));
        assert!(check("", "Exists", "", ""));
        assert!(check("k", "Lt", "6", ""));
        assert!(!check("k", "Gt", "6", ""));
        assert!(!check("k", "Equal", "4", ""));
        assert!(!check("j", "Exists", "", ""));
        assert!(!check("k", "Exists", "", "NoExecute"));
    }
}
