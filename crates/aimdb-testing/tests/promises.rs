//! Every test that `docs/connectors.md` names exists, and runs for the connector that the page names it for.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const CONNECTORS: [&str; 5] = ["MQTT 5", "MQTT 3.1.1", "Embassy MQTT", "serial", "memory"];

const PROMISES: [&str; 11] = [
    "Outage",
    "Restart of the broker",
    "Takeover",
    "QoS 0",
    "QoS 1",
    "QoS 2",
    "Order",
    "Doubles",
    "Full record",
    "Drain",
    "Refused message",
];

/// The folders of the files that the page names.
const FOLDERS: [(&str, &str); 5] = [
    ("connectors", "crates/aimdb-testing/src/connectors"),
    ("suite", "crates/aimdb-mqtt-connector/tests/suite"),
    ("mqtt", "crates/aimdb-mqtt-connector/tests"),
    ("protocol", "crates/aimdb-mqtt-protocol/tests"),
    ("serial", "crates/aimdb-serial-connector/tests"),
];

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of the page: the promise, the connector, and the tests, as `file::test`.
struct Row {
    promise: String,
    connector: String,
    tests: Vec<(String, String)>,
}

fn rows() -> Vec<Row> {
    let page = source("docs/connectors.md");
    let sections = page.split("\n## ").skip(1);
    let rows = sections.flat_map(|section| {
        let (promise, body) = section.split_once('\n').unwrap();
        body.lines()
            .filter(|line| CONNECTORS.iter().any(|name| line.starts_with(&format!("| {name} |"))))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                let [connector, _, tests] = cells[..] else { panic!("three cells: {line}") };
                let tests = tests
                    .split('`')
                    .filter_map(|name| name.split_once("::"))
                    .map(|(file, test)| (file.into(), test.into()))
                    .collect();
                Row { promise: promise.into(), connector: connector.into(), tests }
            })
            .collect::<Vec<_>>()
    });
    rows.collect()
}

/// The names of the tests in `text`: functions with the attribute, cases that a macro of another file runs (`pub async
/// fn`), and the list of `in_each_version!`.
fn tests_in(text: &str) -> BTreeSet<String> {
    let mut is_test = false;
    let mut names = BTreeSet::new();
    if let Some((_, list)) = text.split_once("\nin_each_version! {") {
        let (list, _) = list.split_once('}').unwrap();
        names.extend(list.split(',').map(|name| name.trim().to_string()));
    }
    for line in text.lines().map(str::trim_start) {
        let name = |rest: &str| {
            rest.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
        };
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("pub async fn ") {
            names.insert(name(rest));
        } else if let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn "))
            && std::mem::take(&mut is_test)
        {
            names.insert(name(rest));
        }
    }
    names
}

/// The words of each invocation of `connector_conformance!` in a file that is for this connector: the cases that it
/// does not run.
fn left_out(file: &str, module: &str) -> Vec<BTreeSet<String>> {
    let text = source(file);
    let calls = text.split("\nconnector_conformance!(").skip(1);
    calls
        .filter(|call| call.starts_with(module))
        .map(|call| {
            let call = call.split_once(");").unwrap().0;
            call.split_whitespace().map(str::to_string).collect()
        })
        .collect()
}

/// Whether the connector suite runs `case` for the connector.
fn suite_of_connectors_runs(connector: &str, case: &str) -> bool {
    let macros = source("crates/aimdb-testing/src/connectors/mod.rs");
    let (cases, _) = macros.split_once("macro_rules! __connector_tests").unwrap();
    let is_case = cases.lines().any(|line| line.trim() == case);
    let mqtt = "crates/aimdb-mqtt-connector/tests/conformance/main.rs";
    let (file, module) = match connector {
        "MQTT 5" => (mqtt, "v5_"),
        "MQTT 3.1.1" => (mqtt, "v311_"),
        "Embassy MQTT" => (mqtt, "embassy_"),
        "serial" => ("crates/aimdb-serial-connector/tests/conformance.rs", ""),
        _ => ("crates/aimdb-testing/tests/connectors.rs", ""),
    };
    is_case && left_out(file, module).iter().any(|cases| !cases.contains(case))
}

/// The macros of the MQTT suite that make a test of `case`.
fn macros_of_suite(case: &str) -> BTreeSet<String> {
    let suite = "crates/aimdb-mqtt-connector/tests/suite";
    let mut macros = BTreeSet::new();
    for file in ["mod.rs", "faults_new_api.rs"] {
        let text = source(&format!("{suite}/{file}"));
        for definition in text.split("macro_rules! ").skip(1) {
            if definition.lines().any(|line| line.trim() == case) {
                macros.insert(definition.split_whitespace().next().unwrap().to_string());
            }
        }
    }
    macros
}

/// Whether a file of the MQTT connector's tests calls one of these macros for the connector.
fn suite_of_mqtt_runs(connector: &str, case: &str) -> bool {
    let (file, subject) = match connector {
        "MQTT 5" => ("tokio.rs", "OnTokio<false>"),
        "MQTT 3.1.1" => ("tokio.rs", "OnTokio<true>"),
        "Embassy MQTT" => ("embassy.rs", "OnEmbassy"),
        _ => return false,
    };
    let text = source(&format!("crates/aimdb-mqtt-connector/tests/{file}"));
    macros_of_suite(case).iter().any(|name| {
        let calls = |line: &str| {
            line.trim_start_matches("crate::").starts_with(&format!("{name}!"))
                && line.contains(subject)
        };
        text.lines().any(|line| calls(line.trim()))
    })
}

#[test]
fn each_test_of_the_page_exists_and_runs_for_its_connector() {
    let mut sources = BTreeMap::new();
    let mut faults = Vec::new();
    for Row { promise, connector, tests } in rows() {
        for (file, test) in tests {
            let (folder, stem) = file.split_once('/').unwrap_or((&file, ""));
            let Some((_, path)) = FOLDERS.iter().find(|(name, _)| *name == folder) else {
                faults.push(format!("{promise}, {connector}: `{file}` is in no known folder"));
                continue;
            };
            let known = sources
                .entry(file.clone())
                .or_insert_with(|| tests_in(&source(&format!("{path}/{stem}.rs"))));
            let runs = match folder {
                "connectors" => suite_of_connectors_runs(&connector, &test),
                "suite" => suite_of_mqtt_runs(&connector, &test),
                "mqtt" | "protocol" => connector.contains("MQTT"),
                _ => connector == folder,
            };
            if !known.contains(&test) {
                faults.push(format!("{promise}, {connector}: `{file}` has no test `{test}`"));
            } else if !runs {
                faults.push(format!("{promise}, {connector}: `{test}` does not run for it"));
            }
        }
    }
    assert!(faults.is_empty(), "docs/connectors.md:\n{}", faults.join("\n"));
}

#[test]
fn each_promise_is_stated_for_each_connector() {
    let rows = rows();
    let stated: Vec<_> = rows.iter().map(|row| (&*row.promise, &*row.connector)).collect();
    let expected: Vec<_> = PROMISES
        .into_iter()
        .flat_map(|promise| CONNECTORS.map(|connector| (promise, connector)))
        .collect();
    assert_eq!(stated, expected);
}

#[test]
fn a_promise_without_a_test_is_none_in_the_overview_and_the_other_way_round() {
    let page = source("docs/connectors.md");
    let rows = rows();
    for promise in PROMISES {
        let line = page.lines().find(|line| line.starts_with(&format!("| [{promise}](#")));
        let line = line.unwrap_or_else(|| panic!("`{promise}` is not in the overview"));
        let words = line.trim_matches('|').split('|').skip(1).map(str::trim);
        for (connector, word) in CONNECTORS.into_iter().zip(words) {
            let row = rows.iter().find(|row| row.promise == promise && row.connector == connector);
            let has_tests = row.is_some_and(|row| !row.tests.is_empty());
            assert_eq!(word != "–", has_tests, "{promise}, {connector}: `{word}`");
        }
    }
}
