//! Numbers as Go's encoder prints them.

/// Formats a float as Go's JSON encoder does: shortest form that reads back, exponents outside 1e-6 to 1e21.
/// Infinities and NaN, which JSON cannot carry, give `null`.
pub fn format_float(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        // Rust writes 1e21 and 1e-7; Go writes 1e+21 and 1e-07 trimmed to 1e-7.
        return match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
            _ => text,
        };
    }
    if value == 0.0 && value.is_sign_negative() {
        return "-0".to_owned();
    }
    format!("{value}")
}
