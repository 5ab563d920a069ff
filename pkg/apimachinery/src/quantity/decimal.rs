//! Decimal numbers of any length, for the few quantities that do not fit an `i64` coefficient.

use std::cmp::Ordering;

/// Beyond so many places apart, the smaller of two summands is lost: an exact sum would need that many digits.
const MAX_DISTANCE: i64 = 10_000;

/// `± digits * 10^exponent`; digits from the least significant up, with no zero at either end, none at all for zero.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    pub fn new(coefficient: i128, exponent: i32) -> Self {
        let mut rest = coefficient.unsigned_abs();
        let mut digits = Vec::new();
        while rest > 0 {
            digits.push((rest % 10) as u8);
            rest /= 10;
        }
        Decimal { negative: coefficient < 0, digits, exponent }.trimmed()
    }

    /// `whole` and `fraction` are decimal digits; `exponent` is that of the last digit.
    pub fn from_digits(whole: &str, fraction: &str, exponent: i32) -> Self {
        let digits = fraction.bytes().rev().chain(whole.bytes().rev()).map(|byte| byte - b'0').collect();
        Decimal { negative: false, digits, exponent }.trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.exponent = self.exponent.saturating_add(zeros as i32);
        if self.digits.is_empty() {
            self.exponent = 0;
            self.negative = false;
        }
        self
    }

    pub fn signum(&self) -> i32 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    pub fn negated(&self) -> Self {
        Decimal { negative: !self.negative && !self.digits.is_empty(), ..self.clone() }
    }

    /// One more than the exponent of the most significant digit.
    fn magnitude(&self) -> i64 {
        self.digits.len() as i64 + i64::from(self.exponent)
    }

    /// The digit of weight `10^place`.
    fn digit(&self, place: i64) -> u8 {
        usize::try_from(place - i64::from(self.exponent)).ok().and_then(|index| self.digits.get(index)).copied().unwrap_or(0)
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        if self.digits.is_empty() || other.digits.is_empty() {
            return self.digits.len().cmp(&other.digits.len());
        }
        self.magnitude().cmp(&other.magnitude()).then_with(|| {
            // Same length from the top: compare digit by digit; what remains of the longer one is not zero.
            self.digits.iter().rev().cmp(other.digits.iter().rev())
        })
    }

    pub fn cmp(&self, other: &Self) -> Ordering {
        self.signum().cmp(&other.signum()).then_with(|| {
            let order = self.cmp_magnitude(other);
            if self.negative { order.reverse() } else { order }
        })
    }

    pub fn plus(&self, other: &Self) -> Self {
        let (large, small) = if self.cmp_magnitude(other).is_ge() { (self, other) } else { (other, self) };
        if small.digits.is_empty() || large.magnitude() - i64::from(small.exponent) > MAX_DISTANCE {
            return large.clone();
        }
        let low = large.exponent.min(small.exponent);
        let subtract = large.negative != small.negative;
        let mut digits = Vec::new();
        let mut carry = 0i8;
        for place in i64::from(low)..=large.magnitude() {
            let right = small.digit(place) as i8;
            let mut digit = large.digit(place) as i8 + carry + if subtract { -right } else { right };
            carry = digit.div_euclid(10);
            digit = digit.rem_euclid(10);
            digits.push(digit as u8);
        }
        Decimal { negative: large.negative, digits, exponent: low }.trimmed()
    }

    pub fn times(&self, factor: u64) -> Self {
        let mut carry = 0u128;
        let mut digits = Vec::with_capacity(self.digits.len() + 20);
        for digit in &self.digits {
            carry += u128::from(*digit) * u128::from(factor);
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        Decimal { negative: self.negative, digits, exponent: self.exponent }.trimmed()
    }

    /// Rounded away from zero to a multiple of `10^scale`.
    pub fn rounded_away(&self, scale: i32) -> Self {
        if self.exponent >= scale || self.digits.is_empty() {
            return self.clone();
        }
        let drop = (i64::from(scale) - i64::from(self.exponent)) as usize;
        let kept = self.digits.get(drop..).unwrap_or_default().to_vec();
        let one = Decimal { negative: self.negative, digits: vec![1], exponent: scale };
        Decimal { negative: self.negative, digits: kept, exponent: scale }.trimmed().plus(&one)
    }

    /// The whole number this is, unless it has a fraction or is too large.
    pub fn as_i128(&self) -> Option<i128> {
        if self.exponent < 0 || self.magnitude() > 38 {
            return None;
        }
        let magnitude = self.digits.iter().rev().fold(0i128, |sum, digit| sum * 10 + i128::from(*digit)) * 10i128.pow(self.exponent as u32);
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// Coefficient and exponent, if the coefficient fits.
    pub fn as_i64(&self) -> Option<(i64, i32)> {
        let whole = Decimal { exponent: 0, ..self.clone() }.as_i128()?;
        Some((i64::try_from(whole).ok()?, self.exponent))
    }

    /// The value in units of `10^scale`, of which it is a multiple, or the nearest limit.
    pub fn scaled_i64(&self, scale: i32) -> i64 {
        let exponent = (i64::from(self.exponent) - i64::from(scale)).clamp(0, 1000) as i32;
        match (Decimal { exponent, ..self.clone() }.as_i128().map(i64::try_from), self.negative) {
            (Some(Ok(value)), _) => value,
            (_, true) => i64::MIN,
            (_, false) => i64::MAX,
        }
    }

    pub fn as_f64(&self) -> f64 {
        format!("{}e{}", self.digits_text(0), self.exponent).parse().unwrap_or(f64::INFINITY)
    }

    /// Digits and exponent such that the exponent is a multiple of three, as large as possible.
    pub fn in_thousands(&self) -> (String, i32) {
        let zeros = self.exponent.rem_euclid(3);
        (self.digits_text(zeros as usize), self.exponent - zeros)
    }

    fn digits_text(&self, zeros: usize) -> String {
        let mut text = String::with_capacity(self.digits.len() + zeros + 1);
        if self.negative {
            text.push('-');
        }
        text.extend(self.digits.iter().rev().map(|digit| char::from(b'0' + digit)));
        text.extend(std::iter::repeat_n('0', zeros));
        text
    }
}
