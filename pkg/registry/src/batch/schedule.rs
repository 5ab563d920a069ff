//! The syntax of cron schedules, as the API server checks it. When a schedule fires is the controller's business.

/// What is wrong with a schedule in standard five-field form or as `@daily` and the like; `None` if nothing.
pub fn problem(schedule: &str) -> Option<String> {
    let text = schedule.trim();
    if text.is_empty() {
        return Some("empty spec string".to_owned());
    }
    if text.contains("TZ") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if let Some(name) = text.strip_prefix('@') {
        return descriptor_problem(name);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const BOUNDS: [(&str, u32, u32, &[&str]); 5] = [
        ("minute", 0, 59, &[]),
        ("hour", 0, 23, &[]),
        ("day of month", 1, 31, &[]),
        ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
        ("day of week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    fields
        .iter()
        .zip(BOUNDS)
        .find_map(|(field, (_, low, high, names))| field.split(',').find_map(|part| range_problem(part, low, high, names)))
}

fn descriptor_problem(name: &str) -> Option<String> {
    if matches!(name, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly") {
        return None;
    }
    if let Some(duration) = name.strip_prefix("every ") {
        return duration.parse::<apimachinery::Duration>().err().map(|err| format!("failed to parse duration @{name}: {err}"));
    }
    Some(format!("unrecognized descriptor: @{name}"))
}

/// One item of a field: `*`, `5`, `1-5`, `*/15`, `10-30/5`, `mon`.
fn range_problem(part: &str, low: u32, high: u32, names: &[&str]) -> Option<String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) if !step.contains('/') => (range, Some(step)),
        Some(_) => return Some(format!("too many slashes: {part}")),
        None => (part, None),
    };
    let number = |text: &str| -> Result<u32, String> {
        // Names count from the field's first value on.
        if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(low + at as u32);
        }
        text.parse().map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
    };
    let bounds = match range {
        "*" | "?" => Ok((low, high)),
        _ => match range.split_once('-') {
            None => number(range).map(|value| (value, if step.is_some() { high } else { value })),
            Some((_, rest)) if rest.contains('-') => Err(format!("too many hyphens: {part}")),
            Some((from, to)) => number(from).and_then(|from| number(to).map(|to| (from, to))),
        },
    };
    let (from, to) = match bounds {
        Ok(bounds) => bounds,
        Err(problem) => return Some(problem),
    };
    if let Some(step) = step {
        match step.parse::<u32>() {
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
            Err(_) => return Some(format!("failed to parse int from {step}: strconv.Atoi: parsing {step:?}: invalid syntax")),
        }
    }
    if from < low {
        return Some(format!("beginning of range ({from}) below minimum ({low}): {part}"));
    }
    if to > high {
        return Some(format!("end of range ({to}) above maximum ({high}): {part}"));
    }
    (from > to).then(|| format!("beginning of range ({from}) beyond end of range ({to}): {part}"))
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn schedules_in_standard_form_are_accepted() {
        for good in ["* * * * *", "*/5 0-12 1,15 jan-mar MON", "@daily", "@every 1h30m", "0 0 ? * 0"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", "* * * *", "60 * * * *", "* * * * 7", "*/0 * * * *", "5-1 * * * *", "@never", "TZ=UTC * * * * *", "a * * * *"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
