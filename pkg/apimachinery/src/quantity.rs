//! Resource quantities: fixed-point numbers with a suffix, such as `100m`, `1536Mi` or `12e6`.
//!
//! A [`Quantity`] keeps its value exactly and the family of its suffix, and prints in canonical form: no fraction, and the largest suffix
//! that loses nothing. Upstream: apimachinery `pkg/api/resource`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

mod decimal;
#[cfg(test)]
mod tests;

use decimal::Decimal;

/// The family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`: powers of 1024.
    BinarySI,
    /// `12M`: powers of 1000.
    #[default]
    DecimalSI,
}

/// Why a text is not a quantity. The texts are upstream's: they end up in answers to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact decimal number with the suffix family it was written in. The default is `0`.
///
/// Equality compares value and format, not the spelling: `1000m` equals `1`. Order is [`Quantity::cmp`], by value alone.
#[derive(Clone)]
pub struct Quantity {
    repr: Repr,
    format: Format,
}

#[derive(Clone)]
enum Repr {
    /// `coefficient * 10^exponent`, which is what nearly every quantity needs.
    Small {
        coefficient: i64,
        exponent: i32,
    },
    Large(Box<Large>),
}

#[derive(Clone)]
struct Large {
    value: Decimal,
    /// The text it was parsed from, where upstream repeats it although it is not canonical (`+1`, `1.500`).
    text: Option<Box<str>>,
}

/// Powers of ten of the decimal suffixes, in thousands from `n` up.
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The finest step a quantity can hold: 10^-9.
const NANO: i32 = -9;

/// With at most so many digits a number takes part in `i128` arithmetic without overflow, even times 2^60.
const FAST_DIGITS: usize = 18;

impl Quantity {
    pub const ZERO: Quantity = Quantity { repr: Repr::Small { coefficient: 0, exponent: 0 }, format: Format::DecimalSI };

    /// The whole number `value`.
    pub fn from_value(value: i64, format: Format) -> Self {
        Self::from_i128(i128::from(value), 0, format)
    }

    /// `value` thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self::from_i128(i128::from(value), -3, format)
    }

    /// `value * 10^scale`, written with decimal suffixes.
    pub fn from_scaled(value: i64, scale: i32) -> Self {
        Self::from_i128(i128::from(value), scale, Format::DecimalSI)
    }

    fn from_i128(coefficient: i128, exponent: i32, format: Format) -> Self {
        Quantity { repr: Repr::reduced(coefficient, exponent), format }
    }

    fn from_decimal(value: Decimal, format: Format) -> Self {
        let repr = match value.as_i64() {
            Some((coefficient, exponent)) => Repr::Small { coefficient, exponent },
            None => Repr::Large(Box::new(Large { value, text: None })),
        };
        Quantity { repr, format }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn set_format(&mut self, format: Format) {
        self.format = format;
        self.forget_text();
    }

    pub fn is_zero(&self) -> bool {
        self.signum() == 0
    }

    pub fn is_negative(&self) -> bool {
        self.signum() < 0
    }

    /// -1, 0 or 1.
    pub fn signum(&self) -> i32 {
        match &self.repr {
            Repr::Small { coefficient, .. } => coefficient.signum() as i32,
            Repr::Large(large) => large.value.signum(),
        }
    }

    /// The value as a whole number, a fraction rounded away from zero; values out of range become the nearest limit.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The value in thousandths, rounded as [`Quantity::value`] is.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The value in units of `10^scale`, rounded as [`Quantity::value`] is.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        if let Repr::Small { coefficient, exponent } = self.repr {
            if exponent == scale {
                return coefficient;
            }
            if let Some(factor) = exponent.checked_sub(scale).and_then(pow10) {
                return saturate(i128::from(coefficient) * factor);
            }
            if let Some(divisor) = scale.checked_sub(exponent).and_then(pow10) {
                return saturate(divide_away_from_zero(i128::from(coefficient), divisor));
            }
        }
        self.to_decimal().rounded_away(scale).scaled_i64(scale)
    }

    /// The value if it is a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.repr {
            Repr::Small { coefficient, exponent } if exponent >= 0 => {
                let value = i128::from(coefficient).checked_mul(pow10(exponent)?)?;
                i64::try_from(value).ok()
            }
            _ => None,
        }
    }

    /// The nearest double, as far as double arithmetic gives it.
    pub fn as_f64(&self) -> f64 {
        match &self.repr {
            Repr::Small { coefficient, exponent: 0 } => *coefficient as f64,
            Repr::Small { coefficient, exponent } => format!("{coefficient}e{exponent}").parse().unwrap_or(f64::INFINITY),
            Repr::Large(large) => large.value.as_f64(),
        }
    }

    /// Compares values, whatever the formats.
    #[expect(clippy::should_implement_trait, reason = "equality looks at the format too, so this cannot be the order of the type")]
    pub fn cmp(&self, other: &Quantity) -> Ordering {
        if let (Repr::Small { coefficient: a, exponent: ea }, Repr::Small { coefficient: b, exponent: eb }) = (&self.repr, &other.repr) {
            if ea == eb {
                return a.cmp(b);
            }
            let shift = i64::from(*ea) - i64::from(*eb);
            let aligned = match i32::try_from(shift.abs()).ok().and_then(pow10) {
                Some(factor) if shift > 0 => Some((i128::from(*a) * factor, i128::from(*b))),
                Some(factor) => Some((i128::from(*a), i128::from(*b) * factor)),
                None => None,
            };
            if let Some((a, b)) = aligned {
                return a.cmp(&b);
            }
        }
        self.to_decimal().cmp(&other.to_decimal())
    }

    pub fn cmp_i64(&self, other: i64) -> Ordering {
        self.cmp(&Quantity::from_value(other, Format::DecimalSI))
    }

    /// Adds `other`. A zero takes over the other's format.
    pub fn add(&mut self, other: &Quantity) {
        self.combine(other, false);
    }

    /// Subtracts `other`. A zero takes over the other's format.
    pub fn sub(&mut self, other: &Quantity) {
        self.combine(other, true);
    }

    pub fn neg(&mut self) {
        self.repr = match &self.repr {
            Repr::Small { coefficient, exponent } => Repr::reduced(-i128::from(*coefficient), *exponent),
            Repr::Large(large) => Repr::Large(Box::new(Large { value: large.value.negated(), text: None })),
        };
    }

    /// Multiplies by a whole number.
    pub fn mul(&mut self, factor: i64) {
        let product = match self.repr {
            Repr::Small { coefficient, exponent } => Self::from_i128(i128::from(coefficient) * i128::from(factor), exponent, self.format),
            Repr::Large(ref large) => {
                let mut product = large.value.times(factor.unsigned_abs());
                if factor < 0 {
                    product = product.negated();
                }
                Self::from_decimal(product, self.format)
            }
        };
        *self = product;
    }

    /// Rounds away from zero to a multiple of `10^scale`; true if nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if let Repr::Small { exponent, .. } = self.repr
            && exponent >= scale
        {
            return true;
        }
        let exact = self.to_decimal();
        let rounded = exact.rounded_away(scale);
        let unchanged = rounded.cmp(&exact) == Ordering::Equal;
        if !unchanged {
            *self = Self::from_decimal(rounded, self.format);
        }
        unchanged
    }

    fn combine(&mut self, other: &Quantity, subtract: bool) {
        let format = if self.is_zero() { other.format } else { self.format };
        if let (Repr::Small { coefficient: a, exponent: ea }, Repr::Small { coefficient: b, exponent: eb }) = (&self.repr, &other.repr) {
            let low = (*ea).min(*eb);
            if let (Some(fa), Some(fb)) = (ea.checked_sub(low).and_then(pow10), eb.checked_sub(low).and_then(pow10)) {
                let (a, b) = (i128::from(*a) * fa, i128::from(*b) * fb);
                let sum = if subtract { a - b } else { a + b };
                *self = Self::from_i128(sum, low, format);
                return;
            }
        }
        let right = other.to_decimal();
        let right = if subtract { right.negated() } else { right };
        *self = Self::from_decimal(self.to_decimal().plus(&right), format);
    }

    fn to_decimal(&self) -> Decimal {
        match &self.repr {
            Repr::Small { coefficient, exponent } => Decimal::new(i128::from(*coefficient), *exponent),
            Repr::Large(large) => large.value.clone(),
        }
    }

    fn forget_text(&mut self) {
        if let Repr::Large(large) = &mut self.repr
            && large.text.take().is_some()
        {
            *self = Self::from_decimal(large.value.clone(), self.format);
        }
    }

    /// The canonical spelling, whatever text this was parsed from.
    fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        if self.format == Format::BinarySI
            && let Some(text) = self.binary()
        {
            return text;
        }
        let decimal = self.to_decimal();
        let (digits, exponent) = decimal.in_thousands();
        let step = exponent / 3 - NANO / 3;
        match usize::try_from(step).ok().and_then(|step| DECIMAL_SUFFIXES.get(step)) {
            Some(suffix) if self.format != Format::DecimalExponent => digits + suffix,
            _ if exponent == 0 => digits,
            _ => format!("{digits}e{exponent}"),
        }
    }

    /// The value in powers of 1024, unless it is small or not whole: then decimal suffixes say it better.
    fn binary(&self) -> Option<String> {
        if self.cmp_i64(1024) == Ordering::Less && self.cmp_i64(-1024) == Ordering::Greater {
            return None;
        }
        let mut value = self.to_decimal().as_i128()?;
        let mut step = 0;
        while step + 1 < BINARY_SUFFIXES.len() && value % 1024 == 0 {
            value /= 1024;
            step += 1;
        }
        Some(format!("{value}{}", BINARY_SUFFIXES[step]))
    }
}

impl Repr {
    /// Drops trailing zeros, so that equal values have one form.
    fn reduced(mut coefficient: i128, mut exponent: i32) -> Self {
        if coefficient == 0 {
            return Repr::Small { coefficient: 0, exponent: 0 };
        }
        while coefficient % 10 == 0 && exponent < i32::MAX {
            coefficient /= 10;
            exponent += 1;
        }
        match i64::try_from(coefficient) {
            Ok(coefficient) => Repr::Small { coefficient, exponent },
            Err(_) => Repr::Large(Box::new(Large { value: Decimal::new(coefficient, exponent), text: None })),
        }
    }
}

/// `10^exponent` while a product with any `i64` still fits an `i128`.
fn pow10(exponent: i32) -> Option<i128> {
    match u32::try_from(exponent) {
        Ok(exponent @ 0..=19) => Some(10i128.pow(exponent)),
        _ => None,
    }
}

fn divide_away_from_zero(value: i128, divisor: i128) -> i128 {
    let quotient = value / divisor;
    if value % divisor == 0 { quotient } else { quotient + value.signum() }
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// A quantity's text taken apart. `whole` has no leading zeros and may be empty.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseQuantityError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        None => return Err(ParseQuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let rest = unsigned.trim_start_matches('0');
    let (whole, rest) = leading_digits(rest);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => leading_digits(rest),
        None => ("", rest),
    };
    let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if exponent.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(Parts { negative, whole, fraction, suffix })
    } else {
        Err(ParseQuantityError::Format)
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What a suffix multiplies with.
enum Unit {
    Decimal { exponent: i32, format: Format },
    Binary { shift: u32 },
}

fn unit(suffix: &str) -> Option<Unit> {
    if let Some(step) = DECIMAL_SUFFIXES.iter().position(|known| *known == suffix) {
        return Some(Unit::Decimal { exponent: step as i32 * 3 + NANO, format: Format::DecimalSI });
    }
    if let Some(step) = BINARY_SUFFIXES.iter().position(|known| *known == suffix) {
        return Some(Unit::Binary { shift: step as u32 * 10 });
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some(Unit::Decimal { exponent, format: Format::DecimalExponent })
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    /// Reads a quantity; what is finer than a nano is rounded away from zero, and a binary quantity ends at the largest `i64`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = split(text)?;
        let unit = unit(parts.suffix).ok_or(ParseQuantityError::Suffix)?;
        let scale = -i32::try_from(parts.fraction.len()).map_err(|_| ParseQuantityError::Numeric)?;
        let fast = parts.whole.len() + parts.fraction.len() <= FAST_DIGITS;
        let (format, shift, exponent) = match unit {
            Unit::Decimal { exponent, format } => (format, 0, exponent.saturating_add(scale)),
            Unit::Binary { shift } => (Format::BinarySI, shift, scale),
        };

        let mut quantity = if fast && exponent >= NANO {
            let digits = parts.whole.bytes().chain(parts.fraction.bytes());
            let magnitude = digits.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0')) << shift;
            Self::from_i128(if parts.negative { -magnitude } else { magnitude }, exponent, format)
        } else {
            let magnitude = Decimal::from_digits(parts.whole, parts.fraction, exponent).times(1 << shift).rounded_away(NANO);
            Self::from_decimal(if parts.negative { magnitude.negated() } else { magnitude }, format)
        };
        if format == Format::BinarySI {
            quantity.limit_binary();
        }
        if fast && exponent >= NANO && parts.repeats_its_text(format, exponent, shift) && quantity.canonical() != text {
            quantity.repr = Repr::Large(Box::new(Large { value: quantity.to_decimal(), text: Some(text.into()) }));
        }
        Ok(quantity)
    }
}

impl Parts<'_> {
    /// Whether upstream takes the text as canonical without a closer look.
    fn repeats_its_text(&self, format: Format, exponent: i32, shift: u32) -> bool {
        match format {
            Format::BinarySI => {
                let last_digits = self.whole.get(self.whole.len().saturating_sub(3)..).unwrap_or_default();
                // A multiple of eight might hold a larger suffix.
                let digits = self.whole.len() + shift as usize * 3 / 10;
                self.fraction.is_empty() && digits <= 14 && last_digits.parse::<u32>().is_ok_and(|value| value % 8 != 0)
            }
            Format::DecimalSI | Format::DecimalExponent => {
                let ends_in_zeros = match self.fraction.len() {
                    0 => self.whole.ends_with("000"),
                    1 => self.fraction == "0" && self.whole.ends_with("00"),
                    2 => self.fraction == "00" && self.whole.ends_with('0'),
                    _ => self.fraction.ends_with("000"),
                };
                exponent % 3 == 0 && !self.whole.is_empty() && !ends_in_zeros
            }
        }
    }
}

impl Quantity {
    fn limit_binary(&mut self) {
        let limit = Quantity::from_value(i64::MAX, Format::BinarySI);
        if self.cmp(&limit) == Ordering::Greater {
            *self = limit;
        } else if self.cmp_i64(-i64::MAX) == Ordering::Less {
            *self = Quantity::from_value(-i64::MAX, Format::BinarySI);
        }
        let below_one = self.cmp_i64(1) == Ordering::Less && self.cmp_i64(-1) == Ordering::Greater;
        if below_one && !self.is_zero() {
            self.format = Format::DecimalSI;
        }
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity::ZERO
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format && self.cmp(other) == Ordering::Equal
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repr {
            Repr::Large(large) if large.text.is_some() => f.pad(large.text.as_deref().unwrap_or_default()),
            _ => f.pad(&self.canonical()),
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantity({self})")
    }
}
