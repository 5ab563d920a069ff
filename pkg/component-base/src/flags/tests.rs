use super::*;

fn set() -> FlagSet {
    FlagSet::of("kube-apiserver")
        .honour(&[
            ("advertise-address", "address"),
            ("enable-garbage-collector", "gc"),
            ("event-ttl", "ttl"),
            ("max-requests-inflight", "limit"),
            ("etcd-servers", "servers"),
            ("service-node-port-range", "ports"),
            ("secure-port", "port"),
            ("feature-gates", "gates"),
        ])
        .own("data-dir", Kind::Text, "/var/lib/x", "where the embedded store lives")
}

fn parse(arguments: &str) -> Result<Flags, String> {
    set().parse(arguments.split_whitespace()).map_err(|problems| problems.iter().collect::<Vec<_>>().join("\n"))
}

#[test]
fn values_are_read_as_pflag_reads_them() {
    let flags = parse(
        "--enable-garbage-collector=false --event_ttl=1h30m --max-requests-inflight 7 --etcd-servers=a,b \
         --etcd-servers c --secure-port=1 --secure-port=0x10 -v=4 --service-node-port-range 100-200",
    )
    .unwrap();
    assert!(!flags.bool("enable-garbage-collector"));
    assert_eq!(flags.duration("event-ttl"), Duration::from_secs(5400));
    assert_eq!(flags.int("max-requests-inflight"), 7);
    assert_eq!(flags.strings("etcd-servers"), ["a", "b", "c"]);
    assert_eq!(flags.int("secure-port"), 16);
    assert_eq!(flags.int("v"), 4);
    assert_eq!(flags.port_range("service-node-port-range"), Some((100, 200)));
    assert_eq!(flags.text("data-dir"), "/var/lib/x");
    assert!(flags.changed("v") && !flags.changed("data-dir"));
}

#[test]
fn defaults_are_upstreams() {
    let flags = parse("").unwrap();
    assert!(flags.bool("enable-garbage-collector"));
    assert_eq!(flags.duration("event-ttl"), Duration::from_secs(3600));
    assert_eq!(flags.int("secure-port"), 6443);
    assert_eq!(flags.ip("advertise-address"), None);
    assert_eq!(flags.port_range("service-node-port-range"), Some((30_000, 32_767)));
    assert!(!flags.bool("help"));
}

#[test]
fn a_bare_bool_is_true_and_takes_no_argument() {
    assert!(parse("--enable-garbage-collector").unwrap().bool("enable-garbage-collector"));
    assert_eq!(parse("--enable-garbage-collector false").unwrap_err(), "\"kube-apiserver\" does not take any arguments, got \"false\"");
}

#[test]
fn bad_flags_are_explained_in_pflags_words() {
    for (arguments, message) in [
        ("--foo", "unknown flag: --foo"),
        ("--foo=1 --bar", "unknown flag: --foo\nunknown flag: --bar"),
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("--event-ttl", "flag needs an argument: --event-ttl"),
        ("--event-ttl=5", "invalid argument \"5\" for \"--event-ttl\" flag: time: missing unit in duration \"5\""),
        ("--v=x", "invalid argument \"x\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "--enable-garbage-collector=no",
            "invalid argument \"no\" for \"--enable-garbage-collector\" flag: strconv.ParseBool: parsing \"no\": invalid syntax",
        ),
        ("--advertise-address=1.2", "invalid argument \"1.2\" for \"--advertise-address\" flag: failed to parse IP: \"1.2\""),
        (
            "--max-requests-inflight=99999999999999999999",
            "invalid argument \"99999999999999999999\" for \"--max-requests-inflight\" flag: strconv.ParseInt: parsing \
             \"99999999999999999999\": value out of range",
        ),
        (
            "--service-node-port-range=5-1",
            "invalid argument \"5-1\" for \"--service-node-port-range\" flag: end port cannot be less than start port: 5-1",
        ),
    ] {
        assert_eq!(parse(arguments).unwrap_err(), message, "{arguments}");
    }
}

#[test]
fn flags_not_honoured_are_refused_unless_they_say_what_holds_anyway() {
    for (arguments, refused) in [
        ("--goaway-chance=0.1", Some("goaway-chance")),
        ("--goaway-chance=0", None),
        ("--delete-collection-workers=1", None),
        ("--delete-collection-workers=2", Some("delete-collection-workers")),
        ("--request-timeout=60s", None),
        ("--request-timeout=61s", Some("request-timeout")),
        ("--watch-cache=true", None),
        ("--watch-cache=false", Some("watch-cache")),
        ("--etcd-prefix=/registry", None),
        ("--audit-log-path=/x", Some("audit-log-path")),
        ("--kubelet-port=1", Some("kubelet-port")),
    ] {
        let expected = refused.map(|name| format!("flag --{name} is not supported yet by this build"));
        assert_eq!(parse(arguments).err(), expected, "{arguments}");
    }
}

#[test]
fn the_help_shows_what_is_honoured() {
    let help = set().help("The server.");
    assert!(help.starts_with("The server.\n\nUsage:\n  kube-apiserver [flags]\n"), "{help}");
    assert!(help.contains("\nSecure serving flags:\n\n      --secure-port int\n                port (default 6443)\n"), "{help}");
    assert!(help.contains("  -v, --v Level\n"), "{help}");
    assert!(!help.contains("goaway"), "{help}");
}

#[test]
fn quoted_parts_of_a_list_keep_their_commas() {
    let flags = set().parse(["--etcd-servers=\"a,b\",c"]).unwrap();
    assert_eq!(flags.strings("etcd-servers"), ["a,b", "c"]);
}
