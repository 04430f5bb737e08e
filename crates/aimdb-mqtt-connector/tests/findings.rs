//! Every fault that shows before anything connects is a finding: settings, URLs, topics, options, and links that feed each
//! other. A finding names the record or the connector and a remedy, and nothing shows a secret.

mod support;

use std::time::Duration;

use aimdb_core::link::with_properties;
use aimdb_core::{AimDbBuilder, BufferCfg, Connector, Finding, Json, Rule};
use aimdb_mqtt_connector::{EmbassyMqttConnector, LastWill, MqttConnector, MqttVersion, mqtt};
use aimdb_tokio_adapter::TokioAdapter;
use support::*;

/// The longest text that MQTT can carry, in bytes.
const LONGEST: usize = 65_535;

/// Errors and warnings, without those of a graph that has neither sources nor taps.
fn findings(builder: &AimDbBuilder<TokioAdapter>) -> Vec<Finding> {
    let all: Vec<Finding> = match builder.graph().check() {
        Ok(plan) => plan.warnings().iter().cloned().collect(),
        Err(findings) => findings.iter().cloned().collect(),
    };
    all.into_iter()
        .filter(|finding| !matches!(finding.rule, Rule::NoWriter | Rule::NoReader))
        .collect()
}

/// The findings about one connector with one link.
fn findings_about(connector: MqttConnector) -> Vec<Finding> {
    let mut builder = builder();
    builder.connector(connector);
    link_to(&mut builder, "out", "mqtt://out");
    findings(&builder)
}

fn link_to(builder: &mut AimDbBuilder<TokioAdapter>, key: &str, address: &str) {
    builder.configure::<u64>(key.to_owned(), |reg| {
        reg.buffer(QUEUE).link_to(address, Json);
    });
}

fn link_from(builder: &mut AimDbBuilder<TokioAdapter>, key: &str, address: &str) {
    builder.configure::<u64>(key.to_owned(), |reg| {
        reg.buffer(QUEUE).link_from(address, Json);
    });
}

fn local() -> MqttConnector {
    MqttConnector::new("mqtt://127.0.0.1")
}

/// Asserts that some finding is about `subject`, by its record or in its text, and has a remedy.
#[track_caller]
fn assert_found(findings: &[Finding], subject: &str, case: &str) {
    let about = |finding: &&Finding| {
        (finding.record == subject || finding.problem.contains(subject)) && !finding.help.is_empty()
    };
    assert!(findings.iter().find(about).is_some(), "{case}: no finding in {findings:?}");
}

#[track_caller]
fn assert_none(findings: &[Finding], case: &str) {
    assert!(findings.is_empty(), "{case}: {findings:?}");
}

#[tokio::test]
async fn a_number_sign_in_a_password_is_a_finding_and_nothing_connects() {
    // The user means a broker on port 1, a user called 127.0.0.1, and a password with a `#` in it.
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stranger.local_addr().unwrap().port();
    for rest in ["#rest@127.0.0.1:1", "#@127.0.0.1:1", "#rest", "#"] {
        let mut builder = builder();
        builder.connector(to_url(format!("mqtt://127.0.0.1:{port}{rest}")));
        link_to(&mut builder, "out", "mqtt://out");
        let found = findings(&builder);
        assert_found(&found, "mqtt", rest);
        if let Ok(db) = builder.build() {
            db.start();
            let connected = tokio::time::timeout(QUIET_TIME, stranger.accept()).await.is_ok();
            panic!("{rest}: the database starts; it connects to a stranger: {connected}");
        }
    }
}

#[tokio::test]
async fn a_character_that_ends_a_url_early_is_found_with_the_advice_to_encode_it() {
    let mut missed = Vec::new();
    for sign in ["#", "?", "/"] {
        for url in [format!("mqtt://me:12{sign}34@host"), format!("mqtt://m{sign}e:1234@host")] {
            let found = findings_about(MqttConnector::new(&url));
            let advice = |finding: &Finding| {
                finding.rule == Rule::BadConnector
                    && finding.problem.contains("mqtt")
                    && finding.help.contains("percent-encode")
            };
            if !found.iter().any(advice) {
                missed.push((url, found));
            }
        }
    }
    assert!(missed.is_empty(), "without the advice: {missed:#?}");
}

#[tokio::test]
async fn an_encoded_password_may_have_every_character() {
    for url in ["mqtt://me:12%2334@host", "mqtt://m%23e:%3F%2F%40%3A@host:1", "mqtt://host:1883"] {
        assert_none(&findings_about(MqttConnector::new(url)), url);
    }
}

/// Everything that a program, a log or a report shows of a connector before it connects.
fn shown(url: &str) -> String {
    let connector = MqttConnector::new(url);
    let debug = format!("{connector:?} {connector:#?}");
    let mut builder = builder();
    builder.connector(connector);
    link_to(&mut builder, "out", "mqtt://out");
    let graph = builder.graph();
    let mut text = format!("{debug}\n{graph}\n{graph:?}\n{}", graph.mermaid());
    for finding in findings(&builder) {
        text += &format!("\n{finding}\n{finding:#}\n{finding:?}");
    }
    if let Err(error) = builder.build() {
        text += &format!("\n{error}\n{error:?}");
    }
    text
}

#[tokio::test]
async fn a_url_that_cannot_be_parsed_shows_no_password() {
    let urls = [
        "admin:s3cret@10.0.0.2:1883",
        "mqtt:/admin:s3cret@10.0.0.2:1883",
        "mqtt:admin:s3cret@10.0.0.2",
        "mqtt//admin:s3cret@10.0.0.2",
        "mqtt;//admin:s3cret@10.0.0.2",
        "//admin:s3cret@10.0.0.2",
        "://admin:s3cret@10.0.0.2",
        "mqtt ://admin:s3cret@10.0.0.2",
        "mqtt:///admin:s3cret@10.0.0.2",
        "mqtt:\\\\admin:s3cret@10.0.0.2",
        "http://admin:s3cret@10.0.0.2",
        "admin:s3cret://10.0.0.2",
        "mqtt://admin:s3cret@10.0.0.2:99999",
        "mqtt://admin:s3cret@10.0.0.2/path",
        "mqtt://admin:s3cret@",
        "mqtt://admin:s3cret",
        "mqtt://admin:s3cret%zz@10.0.0.2",
        "mqtt://admin:s3cret%ff@10.0.0.2",
        "mqtt://admin:a b s3cret@10.0.0.2",
        "mqtt://admin:a/s3cret@10.0.0.2",
        "mqtt://admin:a?s3cret@10.0.0.2",
        "mqtt://admin:a#s3cret@10.0.0.2",
        "mqtt://admin:s3cret#b@10.0.0.2",
        "mqtt://admin:s3cret@b@10.0.0.2",
        "mqtt://admin:a@s3cret@10.0.0.2",
        "mqtt://admin:a:s3cret@10.0.0.2",
    ];
    let leaks: Vec<&str> = urls.into_iter().filter(|url| shown(url).contains("s3cret")).collect();
    assert!(leaks.is_empty(), "the password of these is shown: {leaks:#?}");
}

#[tokio::test]
async fn a_url_that_can_be_parsed_shows_its_broker_and_no_password() {
    for (url, broker) in [
        ("mqtt://admin:s3cret@10.0.0.2:2883", "10.0.0.2:2883"),
        ("mqtts://admin:s3cret@broker.example", "broker.example"),
        ("mqtt://admin:%733cret@[::1]:2883", "::1"),
    ] {
        let text = shown(url);
        assert!(!text.contains("s3cret") && !text.contains("%733cret"), "{url} is shown as {text}");
        assert!(text.contains(broker), "{url} is shown as {text}");
    }
    let connector = local().credentials("admin", "s3cret");
    assert!(!format!("{connector:?}").contains("s3cret"));
}

/// Settings that no broker can serve, each with a word that its finding has; and those at the edge, which are possible.
macro_rules! settings {
    ($connector:ty, $session:ident) => {{
        type Setting = (&'static str, fn($connector) -> $connector);
        let impossible: [Setting; 13] = [
            ("pause", |c| c.backoff(Duration::ZERO, Duration::ZERO)),
            ("pause", |c| c.backoff(Duration::ZERO, Duration::from_secs(1))),
            ("client id", |c| c.client_id("x".repeat(LONGEST + 1))),
            ("client id", |c| c.client_id("ab\0c")),
            ("client id", |c| c.client_id("")),
            ("user", |c| c.credentials("x".repeat(LONGEST + 1), "")),
            ("user", |c| c.credentials("a\0b", "")),
            ("password", |c| c.credentials("", "x".repeat(LONGEST + 1))),
            ("will", |c| c.last_will(LastWill::new("t", vec![0; LONGEST + 1]))),
            ("will", |c| c.last_will(LastWill::new("a\nb", ""))),
            ("session", |c| c.client_id("a").$session(Duration::from_millis(999))),
            ("session", |c| c.client_id("a").$session(Duration::from_nanos(1))),
            ("connect", |c| c.connect_timeout(Duration::ZERO)),
        ];
        let possible: [Setting; 6] = [
            ("pause", |c| c.backoff(Duration::from_millis(1), Duration::from_secs(3600))),
            ("client id", |c| c.client_id("größe-7")),
            ("credentials", |c| c.credentials("u", "pass\0word")),
            ("will", |c| c.last_will(LastWill::new("a/b", vec![0; 1000]))),
            ("session", |c| c.client_id("a").$session(Duration::from_secs(1))),
            ("connect", |c| c.connect_timeout(Duration::from_secs(1))),
        ];
        (impossible, possible)
    }};
}

#[tokio::test]
async fn an_impossible_setting_is_a_finding_on_tokio() {
    let (impossible, possible) = settings!(MqttConnector, persistent_session);
    for version in VERSIONS {
        let check =
            |set: fn(MqttConnector) -> MqttConnector| findings_about(set(local().version(version)));
        assert_settings_found(impossible.map(|(word, set)| (word, check(set))));
        for (word, set) in possible {
            assert_none(&check(set), &format!("{version:?} {word}"));
        }
    }
}

#[tokio::test]
async fn an_impossible_setting_is_a_finding_on_embassy() {
    type Embassy = EmbassyMqttConnector<Tcp>;
    let (impossible, possible) = settings!(Embassy, keep_session);
    // A send buffer in which the longest settings have room: its size is another finding.
    let check = |set: fn(Embassy) -> Embassy| {
        let connector = set(embassy_to(1).send_buffer(400_000));
        Connector::<TokioAdapter>::check(&connector, &[])
    };
    assert_settings_found(impossible.map(|(word, set)| (word, check(set))));
    for (word, set) in possible {
        assert_none(&check(set), word);
    }
}

#[track_caller]
fn assert_settings_found<const N: usize>(settings: [(&str, Vec<Finding>); N]) {
    let mut missed = Vec::new();
    for (at, (word, found)) in settings.into_iter().enumerate() {
        let about = |finding: &Finding| {
            finding.rule == Rule::BadConnector
                && finding.problem.to_lowercase().contains(word)
                && finding.problem.contains("mqtt")
                && !finding.help.is_empty()
                // A finding about a long text does not contain it.
                && finding.to_string().len() < 1000
        };
        if !found.iter().any(about) {
            missed.push((at, word, found));
        }
    }
    assert!(missed.is_empty(), "settings without a finding: {missed:#?}");
}

#[tokio::test]
async fn a_persistent_session_without_a_client_id_is_a_finding() {
    for version in VERSIONS {
        let connector = local().version(version).persistent_session(Duration::from_secs(60));
        let found = findings_about(connector);
        assert_found(&found, "mqtt", "without an id");
        assert!(found[0].help.contains("client_id"), "{found:?}");
    }
}

#[tokio::test]
async fn credentials_in_a_url_have_the_same_limits() {
    let long = "x".repeat(LONGEST + 1);
    for (url, word) in [
        (format!("mqtt://{long}:p@host"), "user"),
        (format!("mqtt://u:{long}@host"), "password"),
        ("mqtt://a%00b:p@host".into(), "user"),
    ] {
        let found = findings_about(MqttConnector::new(&url));
        assert_found(&found, "mqtt", word);
        for finding in found {
            assert!(!finding.to_string().contains(&long[..1000]), "the text has the long {word}");
        }
    }
}

/// Topics that MQTT lets a receiver refuse, and that Mosquitto or EMQX end a connection for.
fn strange_topics() -> Vec<String> {
    let mut topics: Vec<String> = ["a\nb", "a\rb", "\ta", "a\u{1}", "a\u{7f}", "a\u{85}b"]
        .into_iter()
        .chain(["a\u{ffff}", "a\u{fffe}b", "\u{1ffff}", "a\0b"])
        .map(Into::into)
        .collect();
    topics.push(vec!["x"; 129].join("/"));
    topics.push("/".repeat(128));
    topics.push("x".repeat(LONGEST + 1));
    topics
}

/// Unusual, and right.
fn good_topics() -> Vec<String> {
    let good = ["a", "/", "a//b", "Küche/größe 7", "温度", "🌡/a", "a:b;c=d!", "\u{e000}"];
    let mut topics: Vec<String> = good.into_iter().map(Into::into).collect();
    topics.push(vec!["x"; 128].join("/"));
    topics.push("x".repeat(LONGEST));
    topics
}

#[tokio::test]
async fn a_fixed_topic_that_brokers_do_not_accept_is_a_finding() {
    let mut accepted = Vec::new();
    for topic in strange_topics() {
        let mut builder = builder();
        builder.connector(local());
        builder.configure::<u64>("typed", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic(topic.clone()), Json);
        });
        link_to(&mut builder, "text", &format!("mqtt://{topic}"));
        let found = findings(&builder);
        let unfound = ["typed", "text"].into_iter().filter(|record| !has_bad_topic(&found, record));
        accepted.extend(unfound.map(|record| format!("{record}: {}", start_of(&topic))));
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// The first characters of a topic, for the text of a failure.
fn start_of(topic: &str) -> String {
    format!("{:?}", topic.chars().take(40).collect::<String>())
}

/// Whether a finding says that the topic of a record's link is bad, and names a remedy.
fn has_bad_topic(found: &[Finding], record: &str) -> bool {
    let about = |finding: &Finding| {
        finding.record == record && finding.rule == Rule::BadTopic && !finding.help.is_empty()
    };
    found.iter().any(about)
}

#[tokio::test]
async fn a_filter_that_brokers_do_not_accept_is_a_finding() {
    let mut accepted = Vec::new();
    for topic in strange_topics() {
        for filter in [topic.clone(), format!("+/{topic}"), format!("$share/group/{topic}")] {
            let mut builder = builder();
            builder.connector(local());
            builder.configure::<u64>("typed", |reg| {
                reg.buffer(QUEUE).link_from(mqtt::filter(filter.clone()), Json);
            });
            link_from(&mut builder, "text", &format!("mqtt://{filter}"));
            let found = findings(&builder);
            let unfound =
                ["typed", "text"].into_iter().filter(|record| !has_bad_topic(&found, record));
            accepted.extend(unfound.map(|record| format!("{record}: {}", start_of(&filter))));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[tokio::test]
async fn a_last_wills_topic_that_brokers_do_not_accept_is_a_finding() {
    let mut accepted = Vec::new();
    for topic in strange_topics().into_iter().chain(["a/+".into(), String::new()]) {
        let found = findings_about(local().last_will(LastWill::new(topic.clone(), "gone")));
        let about = |finding: &Finding| {
            finding.rule == Rule::BadConnector
                && finding.problem.contains("will")
                && !finding.help.is_empty()
        };
        if !found.iter().any(about) {
            accepted.push(start_of(&topic));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[tokio::test]
async fn an_unusual_topic_that_brokers_accept_is_no_finding() {
    for topic in good_topics() {
        let mut builder = builder();
        builder.connector(local().last_will(LastWill::new(topic.clone(), "gone")));
        builder.configure::<u64>("out", |reg| {
            reg.buffer(QUEUE).link_to(mqtt::topic(topic.clone()), Json);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(QUEUE).link_from(mqtt::filter(topic.clone()), Json);
        });
        assert_none(&findings(&builder), &start_of(&topic));
    }
}

/// The findings about two connectors, each with a link.
fn two(first: MqttConnector, second: MqttConnector) -> Vec<Finding> {
    let mut builder = builder();
    builder.connector(first.named("first"));
    builder.connector(second.named("second"));
    link_to(&mut builder, "one", "first://one");
    link_to(&mut builder, "two", "second://two");
    findings(&builder)
}

#[tokio::test]
async fn two_connectors_with_one_broker_and_one_client_id_are_a_finding() {
    let url = |url: &str| MqttConnector::new(url).client_id("gateway-7");
    for (case, first, second) in [
        ("one URL", url("mqtt://10.0.0.2:1883"), url("mqtt://10.0.0.2:1883")),
        ("the default port", url("mqtt://10.0.0.2"), url("mqtt://10.0.0.2:1883/")),
        ("two users", url("mqtt://a:b@10.0.0.2"), url("mqtt://c:d@10.0.0.2")),
        ("capitals", url("mqtt://Broker.example"), url("mqtt://broker.example")),
        ("two versions", url("mqtt://10.0.0.2"), url("mqtt://10.0.0.2").version(MqttVersion::V311)),
    ] {
        let found = two(first, second);
        let about = |finding: &Finding| {
            let text = finding.to_string();
            text.contains("gateway-7")
                && (text.contains("first") || text.contains("second"))
                && !finding.help.is_empty()
        };
        assert!(found.iter().any(about), "{case}: {found:?}");
    }
}

#[tokio::test]
async fn two_connectors_that_differ_in_broker_or_client_id_are_no_finding() {
    let at = |url: &str, id: &str| MqttConnector::new(url).client_id(id);
    for (case, first, second) in [
        ("two ids", at("mqtt://10.0.0.2", "a"), at("mqtt://10.0.0.2", "b")),
        ("two hosts", at("mqtt://10.0.0.2", "a"), at("mqtt://10.0.0.3", "a")),
        ("two ports", at("mqtt://10.0.0.2:1", "a"), at("mqtt://10.0.0.2:2", "a")),
        ("random ids", local(), local()),
    ] {
        assert_none(&two(first, second), case);
    }
}

/// The findings about one record, linked to `to` and from `from`.
fn both_ways(version: MqttVersion, to: &str, from: &str) -> Vec<Finding> {
    let mut builder = builder();
    builder.connector(local().version(version));
    builder.connector(MqttConnector::new("mqtt://10.0.0.3").named("elsewhere"));
    builder.configure::<u64>("both", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 8 }).link_to(to, Json).link_from(from, Json);
    });
    // Another record, so that each connector has a link.
    link_to(&mut builder, "other", "elsewhere://other");
    link_to(&mut builder, "another", "mqtt://another");
    findings(&builder)
}

#[tokio::test]
async fn a_record_linked_both_ways_on_overlapping_topics_is_a_finding() {
    for version in VERSIONS {
        for (to, from) in [
            ("mqtt://a/b", "mqtt://a/b"),
            ("mqtt://a/b?qos=1&retain", "mqtt://a/b?qos=2"),
            ("mqtt://a/b", "mqtt://a/+"),
            ("mqtt://a/b", "mqtt://#"),
            ("mqtt://a", "mqtt://a/#"),
            ("mqtt://a/b", "mqtt://$share/group/a/+"),
        ] {
            let found = both_ways(version, to, from);
            assert_found(&found, "both", &format!("{version:?} {to} {from}"));
            let text: String = found.iter().map(ToString::to_string).collect();
            let topic = to["mqtt://".len()..].split('?').next().unwrap();
            assert!(text.contains(topic), "{text}");
        }
    }
}

#[tokio::test]
async fn a_record_linked_both_ways_without_an_overlap_is_no_finding() {
    for (to, from) in [
        ("mqtt://a/b", "mqtt://a/c"),
        ("mqtt://a/b", "mqtt://a"),
        ("mqtt://a/b/c", "mqtt://a/+"),
        ("mqtt://$own/a", "mqtt://#"),
        ("mqtt://a/b", "elsewhere://a/b"),
    ] {
        for version in VERSIONS {
            assert_none(&both_ways(version, to, from), &format!("{version:?} {to} {from}"));
        }
    }
}

#[tokio::test]
async fn two_records_that_share_a_topic_are_no_finding() {
    let mut builder = builder();
    builder.connector(local());
    link_to(&mut builder, "sender", "mqtt://a/b");
    link_from(&mut builder, "receiver", "mqtt://a/b");
    assert_none(&findings(&builder), "a loop through the broker of two records may be meant");
}

#[tokio::test]
async fn a_broker_that_does_not_return_own_messages_may_serve_a_record_both_ways() {
    let found = both_ways(MqttVersion::V5, "mqtt://a/b", "mqtt://a/+?no_local");
    assert_none(&found, "no_local");
}

#[tokio::test]
async fn options_of_mqtt_5_are_known_and_their_values_are_checked() {
    let found = |version, outbound: bool, address: &str| {
        let mut builder = builder();
        builder.connector(local().version(version));
        let link = if outbound { link_to } else { link_from };
        link(&mut builder, "r", address);
        findings(&builder)
    };
    const TO: bool = true;
    const FROM: bool = false;
    let good = [
        (FROM, "mqtt://a?no_local"),
        (FROM, "mqtt://a?no_local=true&qos=1"),
        (FROM, "mqtt://a?retain_as_published"),
        (FROM, "mqtt://a?retain_handling=0"),
        (FROM, "mqtt://a?retain_handling=2"),
        (TO, "mqtt://a?expiry=60"),
        (TO, "mqtt://a?content_type=application/json"),
        (TO, "mqtt://a?property=unit:K"),
        (TO, "mqtt://a?property=unit:K&property=unit:C&qos=1&retain"),
    ];
    for (direction, address) in good {
        // MQTT 3.1.1 has none of them, and an option that would be ignored is refused.
        assert_found(&found(MqttVersion::V311, direction, address), "r", address);
    }
    let refused = good.map(|(direction, address)| found(MqttVersion::V5, direction, address));
    let refused: Vec<Finding> = refused.into_iter().flatten().collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for (direction, address) in [
        (FROM, "mqtt://a?retain_handling=3"),
        (FROM, "mqtt://a?retain_handling"),
        (FROM, "mqtt://a?no_local=perhaps"),
        (FROM, "mqtt://a?retain_as_published=perhaps"),
        (FROM, "mqtt://a?no_local&no_local"),
        // MQTT 5, 3.8.3.1: a shared subscription with it is a protocol error.
        (FROM, "mqtt://$share/group/a?no_local"),
        (FROM, "mqtt://a?expiry=60"),
        (FROM, "mqtt://a?property=unit:K"),
        (TO, "mqtt://a?no_local"),
        (TO, "mqtt://a?retain_handling=0"),
        (TO, "mqtt://a?expiry=soon"),
        (TO, "mqtt://a?expiry=4294967296"),
        (TO, "mqtt://a?expiry=60&expiry=61"),
        (TO, "mqtt://a?property=unit"),
    ] {
        let found = found(MqttVersion::V5, direction, address);
        assert_found(&found, "r", address);
        assert!(found.iter().any(|finding| finding.rule == Rule::BadOption), "{found:?}");
    }
}

#[tokio::test]
async fn computed_properties_are_a_finding_where_the_protocol_has_none() {
    for (version, count) in [(MqttVersion::V5, 0), (MqttVersion::V311, 1)] {
        let mut builder = builder();
        builder.connector(MqttConnector::new("mqtt://10.0.0.2").version(version));
        builder.configure::<u64>("r", |reg| {
            let target = with_properties("mqtt://a", |_: &u64| Vec::new());
            reg.buffer(QUEUE).written_from_outside().link_to(target, Json);
        });
        let found = findings(&builder);
        assert_eq!(found.len(), count, "{found:?}");
        assert!(found.iter().all(|finding| finding.rule == Rule::BadOption), "{found:?}");
    }
}

#[tokio::test]
async fn links_with_one_filter_and_different_options_are_a_finding() {
    for (first, second, count) in [
        ("a/+?no_local", "a/+", 1),
        ("a/+?retain_handling=2&qos=1", "a/+?qos=1", 1),
        ("a/+?retain_as_published", "a/+?retain_as_published&qos=1", 0),
        ("a/+?no_local", "a/b", 0),
    ] {
        let mut builder = builder();
        builder.connector(MqttConnector::new("mqtt://10.0.0.2"));
        for (key, address) in [("one", first), ("two", second)] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(QUEUE).link_from(format!("mqtt://{address}"), Json);
            });
        }
        let found = findings(&builder);
        let about = found.iter().filter(|finding| finding.rule == Rule::BadOption).count();
        assert_eq!(about, count, "{first}, {second}: {found:?}");
    }
}
