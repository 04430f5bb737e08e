//! The text of each finding and of each error of a handle, word for word.
#![cfg(not(aimdb_loom))]

mod common;

use std::fmt;

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{
    AimDbBuilder, BufferCfg, Connector, Consumer, Finding, Input, Json, Producer, Registrar, Rule,
    RuntimeContext, input,
};
use aimdb_testing::TestRuntime;
use common::{RING, builder, ms};

type Builder = AimDbBuilder<TestRuntime>;
type Reg<'r, 'b, T> = &'r mut Registrar<'b, T, TestRuntime>;

/// A connector with one option, `qos`.
struct Fake(&'static str);

impl Connector<TestRuntime> for Fake {
    type Run = std::future::Ready<()>;

    fn name(&self) -> &str {
        self.0
    }

    fn describe(&self) -> String {
        format!("a fake called {}", self.0)
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let options = links
            .iter()
            .flat_map(|link| link.address.options.iter().map(move |option| (link, option)));
        let unknown = options.filter(|(_, (name, _))| name != "qos");
        unknown
            .map(|(link, (name, _))| {
                let problem =
                    format!("its link `{}` has the unknown option `{name}`", link.address);
                Finding::new(Rule::BadOption, link.record, problem, "there is: `qos`")
            })
            .collect()
    }

    fn run(self, _links: Links, _context: RuntimeContext<TestRuntime>) -> Self::Run {
        std::future::ready(())
    }
}

async fn write<T: aimdb_core::Record>(_: RuntimeContext<TestRuntime>, _: Producer<T, TestRuntime>) {
}
async fn rewrite<T: aimdb_core::Record>(
    _: RuntimeContext<TestRuntime>,
    _: Producer<T, TestRuntime>,
) {
}
async fn show<T: aimdb_core::Record>(_: RuntimeContext<TestRuntime>, _: Consumer<T, TestRuntime>) {}
async fn store<T: aimdb_core::Record>(_: RuntimeContext<TestRuntime>, _: Consumer<T, TestRuntime>) {
}

fn same(n: u32) -> u32 {
    n
}

fn twice(n: u32) -> u32 {
    2 * n
}

/// The error text of `build()`, or `"no findings"`.
fn build_error(declare: impl FnOnce(&mut Builder)) -> String {
    let (_, mut builder) = builder();
    declare(&mut builder);
    builder.build().map_or_else(|error| error.to_string(), |_| "no findings".into())
}

/// The text without the lines of locations, which `locations.rs` tests.
fn without_locations(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("  --> "));
    lines.collect::<Vec<_>>().join("\n")
}

/// A finding on one line, as the log has it, without its one location.
fn without_location(line: &str) -> String {
    let (problem, rest) = line.split_once("; at ").expect("a location");
    let (_location, help) = rest.split_once("; ").expect("a remedy");
    format!("{problem}; {help}")
}

/// Asserts that the graph has exactly one finding, with this text.
#[track_caller]
fn assert_finding(expected: &str, declare: impl FnOnce(&mut Builder)) {
    let expected = format!("the graph has 1 finding; nothing was started\n\n{expected}");
    assert_eq!(without_locations(&build_error(declare)), expected);
}

/// A complete record: it has a buffer, a writer and a reader.
fn complete(reg: Reg<'_, '_, u32>) {
    reg.buffer(RING).source(write).tap(show);
}

#[test]
fn a_capacity_of_zero_is_a_finding() {
    assert_finding(
        "E02 record `temp`: its buffer is a ring of 0, which can hold nothing\n  help: give it a capacity of at least 1, or use \
         `BufferCfg::SingleLatest`",
        |builder| {
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(BufferCfg::SpmcRing { capacity: 0 });
            });
        },
    );
    assert_finding(
        "E02 record `temp`: its buffer is a queue of 0, which can hold nothing\n  help: give it a capacity of at least 1, or \
         use `BufferCfg::SingleLatest`",
        |builder| {
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(BufferCfg::SpmcQueue { capacity: 0 });
            });
        },
    );
}

#[test]
fn a_record_without_a_buffer_is_a_finding() {
    assert_finding(
        "E01 record `temp`: is used by source `write` and tap `show` but has no buffer\n  help: add \
         `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind",
        |builder| {
            builder.configure::<u32>("temp", |reg| {
                reg.source(write).tap(show);
            });
        },
    );
    assert_finding(
        "E01 record `temp`: is configured but has no buffer\n  help: add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or \
         another kind",
        |builder| {
            builder.configure::<u32>("temp", |_| {});
        },
    );
}

#[test]
fn two_buffers_of_a_record_are_a_finding() {
    assert_finding(
        "E03 record `temp`: has 2 buffers: a latest and a ring of 4\n  help: keep one `.buffer(…)` call",
        |builder| {
            builder.configure::<u32>("temp", complete);
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(BufferCfg::SingleLatest);
            });
        },
    );
}

#[test]
fn two_types_of_a_key_are_a_finding() {
    assert_finding(
        "E04 record `temp`: is configured with 2 types: `f32` and `u32`\n  help: give each type a key of its own, or use one \
         type for both",
        |builder| {
            builder.configure::<u32>("temp", complete);
            builder.configure::<f32>("temp", |reg| {
                reg.buffer(RING);
            });
        },
    );
}

#[test]
fn writers_that_exclude_each_other_are_a_finding() {
    let derived = "a derived record follows its inputs alone: give every other writer a record of its own and join them";
    assert_finding(
        "E05 record `temp`: its writers exclude each other: source `rewrite` and source `write`\n  help: let one source write \
         it, or give each source its own record: a processor that reads both can merge them, a join combines their newest values",
        |builder| {
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(RING).source(write).source(rewrite);
            });
        },
    );
    assert_finding(
        &format!(
            "E05 record `temp`: its writers exclude each other: source `write` and transform `same`\n  help: {derived}"
        ),
        |builder| {
            builder.configure::<u32>("raw", complete);
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(RING).source(write).transform(input::<u32>("raw"), same);
            });
        },
    );
    assert_finding(
        &format!(
            "E05 record `temp`: its writers exclude each other: link from `fake://in` and transform `same`\n  help: {derived}"
        ),
        |builder| {
            builder.connector(Fake("fake")).configure::<u32>("raw", complete);
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(RING).transform(input::<u32>("raw"), same).link_from("fake://in", Json);
            });
        },
    );
    assert_finding(
        &format!(
            "E05 record `temp`: its writers exclude each other: transform `same` and transform `twice`\n  help: {derived}"
        ),
        |builder| {
            builder.configure::<u32>("raw", complete);
            builder.configure::<u32>("temp", |reg| {
                reg.buffer(RING)
                    .transform(input::<u32>("raw"), twice)
                    .transform(input::<u32>("raw"), same);
            });
        },
    );
}

#[test]
fn an_input_that_does_not_exist_is_a_finding() {
    assert_finding(
        "E06 record `mean`: its transform `same` reads `tmep`, which does not exist\n  help: configure it: \
         `builder.configure::<u32>(\"tmep\", …)`; did you mean `temp`?",
        |builder| {
            builder.configure::<u32>("temp", complete);
            builder.configure::<u32>("mean", |reg| {
                reg.buffer(RING).transform(input::<u32>("tmep"), same);
            });
        },
    );
    assert_finding(
        "E06 record `mean`: its transform `same` reads `pressure`, which does not exist\n  help: configure it: \
         `builder.configure::<u32>(\"pressure\", …)`",
        |builder| {
            builder.configure::<u32>("temp", complete);
            builder.configure::<u32>("mean", |reg| {
                reg.buffer(RING).transform(input::<u32>("pressure"), same);
            });
        },
    );
}

#[test]
fn an_input_of_another_type_is_a_finding() {
    assert_finding(
        "E07 record `mean`: its transform `transform` reads `temp` as `f32`, but it holds `u32`\n  help: use `input::<u32>` and \
         that type",
        |builder| {
            builder.configure::<u32>("temp", complete);
            builder.configure::<u32>("mean", |reg| {
                reg.buffer(RING).transform(input::<f32>("temp"), |celsius| celsius as u32);
            });
        },
    );
}

#[test]
fn an_input_without_a_buffer_is_a_finding() {
    let text = build_error(|builder| {
        builder.configure::<u32>("temp", |_| {});
        builder.configure::<u32>("mean", |reg| {
            reg.buffer(RING).transform(input::<u32>("temp"), same);
        });
    });
    assert_eq!(
        without_locations(&text),
        "the graph has 2 findings; nothing was started\n\n\
         E08 record `mean`: its transform `same` reads `temp`, which has no buffer\n  help: give `temp` a \
         buffer\n\n\
         E01 record `temp`: is configured but has no buffer\n  help: add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or \
         another kind"
    );
}

const BREAK: &str =
    "break the cycle: let one of these stages read a record that a source or a link writes";

fn derive(builder: &mut Builder, key: &'static str, from: &'static str) {
    builder.configure::<u32>(key, |reg| {
        reg.buffer(RING).transform(input::<u32>(from), same);
    });
}

#[test]
fn a_circle_of_transforms_is_a_finding() {
    assert_finding(
        &format!("E09 record `a`: depends on itself: a → a\n  help: {BREAK}"),
        |builder| {
            derive(builder, "a", "a");
        },
    );
    assert_finding(
        &format!("E09 record `a`: depends on itself: a → b → c → a\n  help: {BREAK}"),
        |builder| {
            derive(builder, "c", "b");
            derive(builder, "b", "a");
            derive(builder, "a", "c");
        },
    );
    let two = build_error(|builder| {
        for (key, from) in [("y", "x"), ("b", "a"), ("x", "y"), ("a", "b")] {
            derive(builder, key, from);
        }
    });
    assert_eq!(
        without_locations(&two),
        format!(
            "the graph has 2 findings; nothing was started\n\n\
             E09 record `a`: depends on itself: a → b → a\n  help: {BREAK}\n\n\
             E09 record `x`: depends on itself: x → y → x\n  help: {BREAK}"
        )
    );
}

#[test]
fn a_join_without_inputs_is_a_finding() {
    let expected = "E10 record `mean`: its join `join` has no inputs and would never produce anything\n  help: give it at \
                    least one `input::<T>(key)`";
    assert_finding(expected, |builder| {
        builder.configure::<u32>("mean", |reg| {
            reg.buffer(RING).join([] as [Input<u32>; 0], |_| 0);
        });
    });
    assert_finding(expected, |builder| {
        builder.configure::<u32>("mean", |reg| {
            reg.buffer(RING).join(Vec::<Input<u32>>::new(), |_| 0);
        });
    });
}

fn linked(address: &str) -> impl FnOnce(&mut Builder) {
    move |builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING).source(write).link_to(address, Json);
        });
    }
}

#[test]
fn a_scheme_without_a_connector_is_a_finding() {
    assert_finding(
        "E11 record `temp`: its link `mqtt://t` names the connector `mqtt`, which does not exist (there are none)\n  help: \
         add it with `builder.connector(…)`, or correct the scheme",
        linked("mqtt://t"),
    );
    assert_finding(
        "E11 record `temp`: its link `mqtt://t` names the connector `mqtt`, which does not exist (there are: `fake`, \
         `kafka`)\n  help: add it with `builder.connector(…)`, or correct the scheme",
        |builder| {
            builder.connector(Fake("kafka")).connector(Fake("fake"));
            linked("mqtt://t")(builder);
        },
    );
}

#[test]
fn two_connectors_with_one_name_are_a_finding() {
    assert_finding(
        "E12 2 connectors are named `fake`: a fake called fake and a fake called fake\n  help: name them apart, for instance \
         `.named(\"fake-2\")`, and use that as the links' scheme",
        |builder| {
            builder.connector(Fake("fake")).connector(Fake("fake"));
        },
    );
}

#[test]
fn an_address_that_cannot_be_parsed_is_a_finding() {
    let write = "write `scheme://topic?option=value`, for instance `mqtt://sensors/temp?qos=1`";
    for (address, reason) in [
        ("sensors/temp", "it has no `scheme://`"),
        ("", "it has no `scheme://`"),
        ("://sensors/temp", "the scheme before `://` is empty"),
        ("fake://sensors/temp?=1", "the option `=1` has no name"),
    ] {
        assert_finding(
            &format!(
                "E13 record `temp`: its link address `{address}` cannot be read: {reason}\n  help: {write}"
            ),
            |builder| {
                builder.connector(Fake("fake"));
                linked(address)(builder);
            },
        );
    }
}

#[test]
fn an_option_that_a_connector_refuses_is_a_finding() {
    assert_finding(
        "E15 record `temp`: its link `fake://t?qos=1&quos=1` has the unknown option `quos`\n  help: there is: `qos`",
        |builder| {
            builder.connector(Fake("fake"));
            linked("fake://t?qos=1&quos=1")(builder);
        },
    );
}

const TAKERS: &str = "keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue";

#[test]
fn several_takers_of_a_mailbox_are_a_finding_unless_it_is_shared() {
    let takers = [
        ("tap `show` and tap `store`", 0),
        ("link to `fake://t` and tap `show`", 1),
        ("tap `show` and transform `same` of `mean`", 2),
    ];
    for (names, case) in takers {
        let graph = |shared: bool| {
            move |builder: &mut Builder| {
                builder.connector(Fake("fake")).configure::<u32>("command", |reg| {
                    reg.buffer(BufferCfg::Mailbox).source(write).tap(show);
                    match case {
                        0 => reg.tap(store),
                        1 => reg.link_to("fake://t", Json),
                        _ => reg,
                    };
                    if shared {
                        reg.shared();
                    }
                });
                if case == 2 {
                    derive(builder, "mean", "command");
                }
            }
        };
        assert_finding(
            &format!(
                "E16 record `command`: its mailbox gives each command to one taker, but has 2: {names}\n  help: {TAKERS}"
            ),
            graph(false),
        );
        assert_eq!(build_error(graph(true)), "no findings", "the record is shared");
    }
}

#[test]
fn an_empty_key_is_a_finding() {
    assert_finding(
        "E19 a record of type `u32` has an empty key\n  help: give it a name, for instance `sensor.temperature`",
        |builder| {
            builder.configure::<u32>("", complete);
        },
    );
    // The other findings of a record with an empty key call it "record ``".
    let bare = build_error(|builder| {
        builder.configure::<u32>("", |_| {});
    });
    assert_eq!(
        without_locations(&bare),
        "the graph has 2 findings; nothing was started\n\n\
         E01 record ``: is configured but has no buffer\n  help: add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or \
         another kind\n\n\
         E19 a record of type `u32` has an empty key\n  help: give it a name, for instance `sensor.temperature`"
    );
}

/// Declarations of one mistake or more each. `EVERYTHING` is the error text of all of them together.
const MISTAKES: [fn(&mut Builder); 6] = [
    |builder| {
        builder.configure::<u32>("a", |reg| {
            reg.buffer(RING).transform(input::<u32>("b"), same);
        });
    },
    |builder| {
        builder.configure::<u32>("b", |reg| {
            reg.buffer(BufferCfg::Mailbox).transform(input::<u32>("a"), same).tap(store);
        });
    },
    |builder| {
        builder.configure::<u64>("b", |reg| {
            reg.source(write).tap(show);
        });
    },
    |builder| {
        builder.configure::<u32>("c", |reg| {
            reg.source(rewrite).link_to("mqtt://c", Json);
        });
    },
    |builder| {
        builder.configure::<u32>("c", |reg| {
            reg.source(write).tap(show).transform(input::<i8>("b"), |n| n as u32);
        });
    },
    |builder| {
        builder.connector(Fake("zeta")).connector(Fake("fake"));
    },
];

const EVERYTHING: &str = "\
the graph has 7 findings; nothing was started

E09 record `a`: depends on itself: a → b → a
  help: break the cycle: let one of these stages read a record that a source or a link writes

E04 record `b`: is configured with 2 types: `u32` and `u64`
  help: give each type a key of its own, or use one type for both

E16 record `b`: its mailbox gives each command to one taker, but has 3: tap `store` and transform `same` of `a` and transform `transform` of `c`
  help: keep one, declare the record `.shared()` if they are meant to divide the commands, or use a queue

E01 record `c`: is used by link to `mqtt://c` and source `rewrite` and source `write` and tap `show` and transform `transform` but has no buffer
  help: add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind

E05 record `c`: its writers exclude each other: source `rewrite` and source `write` and transform `transform`
  help: a derived record follows its inputs alone: give every other writer a record of its own and join them

E07 record `c`: its transform `transform` reads `b` as `i8`, but it holds `u32` or `u64`
  help: decide on its type and use that in `input::<…>`

E11 record `c`: its link `mqtt://c` names the connector `mqtt`, which does not exist (there are: `fake`, `zeta`)
  help: add it with `builder.connector(…)`, or correct the scheme";

#[test]
fn all_findings_are_reported_at_once_and_in_the_same_order_for_every_order_of_calls() {
    let mut order: Vec<usize> = (0..MISTAKES.len()).collect();
    let mut orders = 0;
    let mut first_text = None;
    permute(&mut order, MISTAKES.len(), &mut |order| {
        orders += 1;
        let text = build_error(|builder| order.iter().for_each(|&at| MISTAKES[at](builder)));
        assert_eq!(without_locations(&text), EVERYTHING, "with the calls in the order {order:?}");
        let first = first_text.get_or_insert_with(|| text.clone());
        assert_eq!(text, *first, "locations, with the calls in the order {order:?}");
    });
    assert_eq!(orders, 720);
}

/// Calls `visit` with each permutation of the first `len` items, by Heap's algorithm.
fn permute(items: &mut [usize], len: usize, visit: &mut impl FnMut(&[usize])) {
    if len <= 1 {
        return visit(items);
    }
    for at in 0..len {
        permute(items, len - 1, visit);
        items.swap(if len.is_multiple_of(2) { at } else { 0 }, len - 1);
    }
}

#[test]
fn a_record_without_a_writer_or_a_reader_is_a_warning_in_the_log() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(RING);
    });
    builder.build().unwrap();
    let lines = runtime.log_lines().into_iter();
    let lines = lines.map(|line| {
        let message = without_location(&line.message);
        format!("{:?} {}: {message}", line.level, line.origin)
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "Warn temp: W01 record `temp`: no stage of the graph writes it; help: add a source, a transform or a link, or say that `db.producer(…)` writes it: `.written_from_outside()`",
            "Warn temp: W02 record `temp`: no stage of the graph reads it; help: add a tap, a transform or a link, or say that \
             `db.consumer(…)` reads it: `.read_from_outside()`",
        ]
    );
}

#[test]
fn a_complete_graph_has_no_warnings() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("temp", complete);
    builder.build().unwrap();
    assert!(runtime.log_lines().is_empty());
}

#[test]
fn handles_of_records_that_do_not_exist_are_errors() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("temp", complete).configure::<u32>("command", |reg| {
        reg.buffer(BufferCfg::Mailbox).source(write).tap(show);
    });
    let db = builder.build().unwrap();
    let text = |error: &dyn fmt::Display| error.to_string();
    assert_eq!(
        text(&db.producer::<u32>("tmep").unwrap_err()),
        "no record has the key `tmep`\n  help: use one of the keys there are: `command`, `temp`"
    );
    assert_eq!(
        text(&db.consumer::<f32>("temp").unwrap_err()),
        "record `temp` holds `u32`, but `f32` was requested\n  help: request `u32`, or use another key"
    );
    assert_eq!(
        text(&db.consumer::<u32>("command").unwrap().subscribe().unwrap_err()),
        "cannot subscribe to mailbox `command`: `show` takes its commands already\n  help: declare the record \
         `.shared()` if several takers are meant to divide them"
    );
    let temp = db.consumer::<u32>("temp").unwrap();
    runtime.block_on(db.shutdown(ms(10_000)));
    assert_eq!(
        text(&temp.subscribe().unwrap_err()),
        "cannot subscribe to `temp`: the database has been shut down"
    );
    let (_, empty) = common::builder();
    assert_eq!(
        text(&empty.build().unwrap().producer::<u32>("temp").unwrap_err()),
        "no record has the key `temp`; the database has no records\n  help: declare it with `configure`"
    );
}

#[test]
fn a_buffer_larger_than_the_memory_is_a_finding() {
    let (_, mut builder) = builder();
    builder.configure::<[u64; 4]>("wide", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: usize::MAX }).source(write).tap(show);
    });
    builder.configure::<u64>("narrow", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: usize::MAX / 64 }).source(write).tap(show);
    });
    let text = builder.build().unwrap_err().to_string();
    let text = without_locations(&text);
    let lines: Vec<_> = text.lines().collect();
    let [heading, "", narrow, narrow_help, "", wide, wide_help] = lines[..] else {
        panic!("{text}");
    };
    assert_eq!(heading, "the graph has 2 findings; nothing was started");
    assert!(
        narrow.starts_with("E20 record `narrow`: there is no memory for its buffer, queue of"),
        "{text}"
    );
    assert!(
        wide.starts_with("E20 record `wide`: there is no memory for its buffer, ring of"),
        "{text}"
    );
    for help in [narrow_help, wide_help] {
        assert_eq!(help, "  help: give it a smaller capacity, or the allocator more memory");
    }
}
