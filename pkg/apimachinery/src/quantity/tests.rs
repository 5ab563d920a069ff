use super::*;

#[track_caller]
fn parse(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn prints_in_canonical_form() {
    let table = [
        ("0", "0"),
        ("0Mi", "0"),
        ("0.0", "0"),
        ("-0", "0"),
        ("+", "0"),
        (".", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1."),
        ("1.5", "1500m"),
        ("-1.5", "-1500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Mi", "1000Mi"),
        ("512Ki", "512Ki"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("1023", "1023"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("10e2", "1e3"),
        ("12e6", "12e6"),
        ("1e-3", "1e-3"),
        ("1E", "1E"),
        ("1000k", "1M"),
        ("1000000", "1M"),
        ("1000", "1k"),
        ("100000", "100k"),
        ("1500k", "1500k"),
        ("1.500", "1.500"),
        ("+1", "+1"),
        ("0.9n", "1n"),
        ("-0.9n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("0.0001Ki", "102400u"),
        ("8Ei", "9223372036854775807"),
        ("100Ei", "9223372036854775807"),
        ("-9Ei", "-9223372036854775807"),
        ("7Ei", "7Ei"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551616", "18446744073709551616"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("3.0000000000000000000001Gi", "3221225472000000001n"),
        ("1234567890123456789012345678900000", "1234567890123456789012345678900k"),
    ];
    for (text, canonical) in table {
        assert_eq!(parse(text).to_string(), canonical, "{text}");
        let again = parse(canonical);
        assert_eq!(again.cmp(&parse(text)), Ordering::Equal, "{text} read again");
    }
}

#[test]
fn refuses_what_is_no_quantity() {
    use ParseQuantityError::{Format, Suffix};
    let table = [
        ("", Format),
        ("1 Mi", Format),
        ("1.2.3", Format),
        ("--1", Suffix),
        ("1a", Format),
        ("1Ki5x", Format),
        ("--", Suffix),
        ("1mi", Suffix),
        ("1ki", Suffix),
        ("1e", Suffix),
        ("1Ki5", Suffix),
        ("m", Suffix),
        ("1eE3", Suffix),
    ];
    for (text, error) in table {
        if text == "m" {
            // A suffix alone counts as zero of it, as upstream has it.
            assert_eq!(parse(text).to_string(), "0");
        } else {
            assert_eq!(text.parse::<Quantity>(), Err(error), "{text}");
        }
    }
}

#[test]
fn integers_round_away_from_zero() {
    for (text, value, milli) in [
        ("100m", 1, 100),
        ("1", 1, 1000),
        ("1.0001", 2, 1001),
        ("-100m", -1, -100),
        ("1Ki", 1024, 1_024_000),
        ("1n", 1, 1),
        ("0", 0, 0),
        ("9223372036854775807", i64::MAX, i64::MAX),
        ("1e30", i64::MAX, i64::MAX),
        ("1e1000000", i64::MAX, i64::MAX),
        ("-1e30", i64::MIN, i64::MIN),
    ] {
        assert_eq!((parse(text).value(), parse(text).milli_value()), (value, milli), "{text}");
    }
    assert_eq!(parse("1500m").as_i64(), None);
    assert_eq!(parse("2k").as_i64(), Some(2000));
}

#[test]
fn adds_and_subtracts_exactly() {
    for (a, b, sum, difference) in [
        ("1", "500m", "1500m", "500m"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "1Gi", "2Gi", "0"),
        ("1Gi", "1", "1073741825", "1073741823"),
        ("9223372036854775807", "1", "9223372036854775808", "9223372036854775806"),
        ("18446744073709551616", "1n", "18446744073709551616000000001n", "18446744073709551615999999999n"),
        ("1e40", "-1e40", "0", "20e39"),
        (
            "100000000000000000000000000000000000000000",
            "1",
            "100000000000000000000000000000000000000001",
            "99999999999999999999999999999999999999999",
        ),
    ] {
        let mut left = parse(a);
        left.add(&parse(b));
        assert_eq!(left.to_string(), sum, "{a} + {b}");
        let mut left = parse(a);
        left.sub(&parse(b));
        assert_eq!(left.to_string(), difference, "{a} - {b}");
    }
}

#[test]
fn compares_by_value() {
    let ascending = [
        "-1e100",
        "-1Gi",
        "-1",
        "-1n",
        "0",
        "1n",
        "1m",
        "999m",
        "1",
        "1023",
        "1Ki",
        "1M",
        "1Mi",
        "1e30",
        "10000000000000000000000000000001",
        "1e2000000000",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(parse(a).cmp(&parse(b)), i.cmp(&j), "{a} and {b}");
        }
    }
    assert_eq!(parse("1000m"), parse("1"));
    assert_eq!(parse("1.500"), parse("1500m"));
    assert_ne!(parse("1Ki"), parse("1024"));
}

#[test]
fn rounds_to_a_scale() {
    let mut quantity = parse("1.2345");
    assert!(!quantity.round_up(-3));
    assert_eq!(quantity.to_string(), "1235m");
    assert!(quantity.round_up(-3));
}

#[test]
fn is_small() {
    assert!(std::mem::size_of::<Quantity>() <= 24);
    assert_eq!(Quantity::default().to_string(), "0");
    assert_eq!(Quantity::from_milli(1500, Format::DecimalSI).to_string(), "1500m");
    assert_eq!(Quantity::from_value(2048, Format::BinarySI).to_string(), "2Ki");
    assert_eq!(parse("1.5").as_f64(), 1.5);
}
