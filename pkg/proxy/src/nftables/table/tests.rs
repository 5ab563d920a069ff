//! Fragments in, scripts out; what is due after a commit is nothing.

use expect_test::{Expect, expect};

use super::*;

fn name(name: &str) -> ServiceName {
    ServiceName::new("ns", name)
}

/// A Service with one chain of one rule, reached by one element.
fn fragment(chain: &str, rule: &str, key: &str) -> Fragment {
    let mut fragment = Fragment::default();
    fragment.chains.push((chain.into(), format!("{rule}\n").into()));
    fragment.map(Collection::ServiceIps, key.to_owned(), &format!("goto {chain}"), None);
    fragment
}

fn base() -> Base {
    Base {
        declarations: "add table ip kube-proxy\nadd set ip kube-proxy cluster-ips {}\nadd chain ip kube-proxy services\n".to_owned(),
        contents: "add rule ip kube-proxy services counter\n".to_owned(),
    }
}

/// A table that the kernel has, with the Service `a`.
fn table() -> Table {
    let mut table = Table::new("ip", base());
    table.set(&name("a"), fragment("chain-a", "rule 1", "10.96.0.1 . tcp . 80"));
    step(&mut table);
    table
}

/// What the next transaction says; empty if nothing is due. Commits it.
fn step(table: &mut Table) -> String {
    let existing = Existing::Table {
        chains: ["services", "chain-a", "chain-old"].map(str::to_owned).to_vec(),
        sets: ["cluster-ips", "affinity-old"].map(str::to_owned).to_vec(),
    };
    let Some(transaction) = table.transaction(&existing) else { return String::new() };
    let text = transaction.scripts.concat();
    table.commit(transaction);
    assert_eq!(table.transaction(&existing), None, "a committed transaction leaves nothing to do");
    text
}

#[track_caller]
fn check(table: &mut Table, expected: Expect) {
    expected.assert_eq(&step(table));
}

#[test]
fn a_changed_endpoint_rewrites_one_chain() {
    let mut table = table();
    table.set(&name("a"), fragment("chain-a", "rule 2", "10.96.0.1 . tcp . 80"));
    check(
        &mut table,
        expect![[r#"
        add chain ip kube-proxy chain-a
        flush chain ip kube-proxy chain-a
        add rule ip kube-proxy chain-a rule 2
    "#]],
    );
}

#[test]
fn a_new_service_is_chains_first_and_elements_last() {
    let mut table = table();
    table.set(&name("b"), fragment("chain-b", "rule b", "10.96.0.2 . tcp . 80"));
    check(
        &mut table,
        expect![[r#"
        add chain ip kube-proxy chain-b
        add rule ip kube-proxy chain-b rule b
        add element ip kube-proxy service-ips { 10.96.0.2 . tcp . 80 : goto chain-b }
    "#]],
    );
}

#[test]
fn a_removed_service_goes_in_two_steps() {
    let mut table = table();
    table.set(&name("a"), Fragment::default());
    check(
        &mut table,
        expect![[r#"
        delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }
        flush chain ip kube-proxy chain-a
    "#]],
    );
    expect![[r#"
        delete chain ip kube-proxy chain-a
        delete chain ip kube-proxy chain-old
        delete set ip kube-proxy affinity-old
    "#]]
    .assert_eq(&table.cleanup().unwrap());
    table.commit_cleanup();
    assert_eq!(table.cleanup(), None);
}

#[test]
fn a_service_that_comes_back_before_the_cleanup_keeps_its_chain() {
    let mut table = table();
    table.commit_cleanup();
    table.set(&name("a"), Fragment::default());
    step(&mut table);
    table.set(&name("a"), fragment("chain-a", "rule 3", "10.96.0.1 . tcp . 80"));
    check(
        &mut table,
        expect![[r#"
        add chain ip kube-proxy chain-a
        add rule ip kube-proxy chain-a rule 3
        add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : goto chain-a }
    "#]],
    );
    assert_eq!(table.cleanup(), None);
}

#[test]
fn there_and_back_again_is_nothing() {
    let mut table = table();
    table.set(&name("a"), Fragment::default());
    table.set(&name("a"), fragment("chain-a", "rule 1", "10.96.0.1 . tcp . 80"));
    assert_eq!(table.transaction(&Existing::Nothing), None);
}

#[test]
fn an_element_with_two_claimants_goes_to_the_first_by_name_and_is_inherited() {
    let mut table = table();
    table.set(&name("b"), fragment("chain-b", "rule b", "10.96.0.1 . tcp . 80"));
    check(
        &mut table,
        expect![[r#"
        add chain ip kube-proxy chain-b
        add rule ip kube-proxy chain-b rule b
    "#]],
    );
    table.set(&name("a"), Fragment::default());
    check(
        &mut table,
        expect![[r#"
        delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }
        add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : goto chain-b }
        flush chain ip kube-proxy chain-a
    "#]],
    );
}

#[test]
fn after_a_refusal_the_table_is_refilled_in_one_step() {
    let mut table = table();
    table.set(&name("b"), fragment("chain-b", "rule b", "10.96.0.1 . tcp . 80"));
    table.forget();
    check(
        &mut table,
        expect![[r#"
            flush table ip kube-proxy
            add table ip kube-proxy
            add set ip kube-proxy cluster-ips {}
            add chain ip kube-proxy services
            flush set ip kube-proxy cluster-ips
            add rule ip kube-proxy services counter
            add chain ip kube-proxy chain-a
            add chain ip kube-proxy chain-b
            add rule ip kube-proxy chain-a rule 1
            add rule ip kube-proxy chain-b rule b
            add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : goto chain-a }
        "#]],
    );
}

#[test]
fn a_cold_start_comes_in_chunks_and_a_warm_one_does_not() {
    let mut table = Table::new("ip", base());
    for number in 0..5000 {
        let chain = format!("chain-{number}");
        table.set(&name(&number.to_string()), fragment(&chain, &"x".repeat(100), &format!("{number}")));
    }
    let cold = table.transaction(&Existing::Nothing).unwrap();
    assert!(cold.scripts.len() > 3, "{}", cold.scripts.len());
    assert!(cold.scripts.iter().all(|script| script.len() < 2 * CHUNK));
    assert!(cold.scripts[0].starts_with("add table") && !cold.scripts[1].contains("add table"));
    assert_eq!(table.transaction(&Existing::Unusable).unwrap().scripts.len(), 1);
}
