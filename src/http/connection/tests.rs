//! The table of transitions is what connections do: it is compared with the calls of a loop that
//! gets every request below in every two pieces, cut short at every byte. Long requests are cut in
//! a few places only.
//!
//! Stop 6 of EDU_NOTES.md.

use std::collections::BTreeSet;

use super::*;

const MAX_BODY: u64 = 8;

/// A state, the method that is called, the next state with the status of a response, and the
/// step. Without a next state the connection is over; without a step the method returns none.
type Transition = [String; 4];

/// A method that ends an authorization, and a call of it.
type Authorize = (&'static str, fn(&mut Connection));

/// What the loop does that a client cannot choose.
#[derive(Clone, Copy)]
struct Loop<'a> {
    /// The calls of `written` before the time for writing is over.
    writes: usize,
    /// The bytes that are written at once.
    write_size: usize,
    /// Whether the time is over after the last byte. Otherwise the input ends.
    is_timed_out: bool,
    /// The end of an authorization. `None`: the client becomes a reader.
    authorize: Option<Authorize>,
    /// What is read at once.
    pieces: &'a [&'a [u8]],
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Read => "Read",
        Step::Resume => "Resume",
        Step::Hook(_) => "Hook",
        Step::Subscribe { .. } => "Subscribe",
        Step::ListSessions => "ListSessions",
        Step::Write => "Write",
        Step::Close => "Close",
        Step::Linger => "Linger",
    }
}

/// The name of a state, and the status of its response.
fn shown(connection: &Connection) -> (String, String) {
    let shown = connection.state.to_string();
    let mut words = shown.split([' ', '(']);
    let name = words.next().unwrap_or_default().to_owned();
    (name, words.nth(1).unwrap_or_default().to_owned())
}

/// Takes every step of a new connection, as the loop does, and notes the transitions.
fn observe(case: Loop, seen: &mut BTreeSet<Transition>) {
    let mut connection = Connection::new(0, MAX_BODY);
    let (mut pieces, mut writes) = (case.pieces.iter(), 0);
    let mut step = "Read";
    loop {
        let before = shown(&connection);
        let (method, next) = match step {
            "Close" | "Linger" => return,
            "Resume" => ("received", step_name(&connection.received(&[]))),
            "Read" => match pieces.next() {
                Some(piece) => ("received", step_name(&connection.received(piece))),
                None if case.is_timed_out => ("time_out", step_name(&connection.time_out())),
                None => ("end_of_input", step_name(&connection.end_of_input())),
            },
            "Subscribe" | "ListSessions" => {
                let Some((method, call)) = case.authorize else {
                    return;
                };
                call(&mut connection);
                (method, "")
            }
            _ if writes == case.writes => ("time_out", step_name(&connection.time_out())),
            _ => {
                writes += 1;
                let count = connection.unsent().len().min(case.write_size);
                ("written", step_name(&connection.written(count)))
            }
        };
        let after = shown(&connection);
        let state = match next {
            "Close" | "Linger" => String::new(),
            _ if after == before || after.1.is_empty() => after.0,
            _ => format!("{} ({})", after.0, after.1),
        };
        seen.insert([before.0, method.to_owned(), state, next.to_owned()]);
        step = next;
    }
}

/// Requests for each route, with each framing, and for each refusal.
fn inputs() -> Vec<Vec<u8>> {
    let head = |start: &str, fields: &str| format!("{start} HTTP/1.1\r\n{fields}\r\n");
    let length = |length: u64| format!("Content-Length: {length}\r\n");
    let mut inputs = Vec::new();
    for target in ["POST /", "GET /health", "GET /events", "GET /sessions"]
        .into_iter()
        .chain(["GET /events?replay=x", "GET /x"])
    {
        inputs.push(head(target, ""));
        inputs.push(head(target, "Connection: keep-alive\r\n"));
        inputs.push(head(target, &length(2)) + "{}");
        inputs.push(head(target, "Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\n\r\n");
    }
    let kept = head("POST /", &(length(2) + "Connection: keep-alive\r\n")) + "{}";
    inputs.push(kept.clone() + &kept);
    inputs.push(head("POST /", &(length(2) + "Expect: 100-continue\r\n")) + "{}");
    inputs.push(head("POST /", &length(MAX_BODY + 1)));
    inputs.push(head("POST /", "Transfer-Encoding: gzip\r\n"));
    inputs.push("\0".into());
    let chunked = head("POST /", "Transfer-Encoding: chunked\r\n");
    inputs.extend(["x", "9\r\n"].map(|chunk| chunked.clone() + chunk));
    inputs.push(format!("{chunked}0;{}", "x".repeat(MAX_HEAD + 1)));
    inputs.push(format!("{chunked}0\r\n{}", "A: b\r\n".repeat(MAX_HEAD / 4)));
    inputs.push(head("POST /", &"A: b\r\n".repeat(101)));
    inputs.push(head("POST /", &format!("A: {}\r\n", "b".repeat(MAX_HEAD))));
    inputs.push(head(&format!("GET /{}", "x".repeat(MAX_LINE)), ""));
    inputs.into_iter().map(String::into_bytes).collect()
}

/// Every two pieces of every beginning of the input. A long one is only cut in its first line, and
/// in the middle.
fn cuts(input: &[u8]) -> Vec<[&[u8]; 2]> {
    if input.len() > 200 {
        return [10, 60, input.len() / 2]
            .map(|cut| [&input[..cut], &input[cut..]])
            .into();
    }
    let ends = 0..=input.len();
    let cuts = ends.flat_map(|end| (0..=end).map(move |cut| [&input[..cut], &input[cut..end]]));
    cuts.collect()
}

fn observed() -> BTreeSet<Transition> {
    let mut seen = BTreeSet::new();
    let authorize: [Option<Authorize>; 4] = [
        None,
        Some(("answer_json", |connection| {
            connection.answer_json("[]".into())
        })),
        Some(("decline", |it| it.decline(Status::Forbidden))),
        Some(("decline", |it| it.decline(Status::Unavailable))),
    ];
    for input in inputs() {
        for pieces in cuts(&input) {
            // An empty read is the end of input.
            let pieces: Vec<&[u8]> = pieces.into_iter().filter(|it| !it.is_empty()).collect();
            for (index, authorize) in authorize.into_iter().enumerate() {
                let case = Loop {
                    writes: [usize::MAX, usize::MAX, 1, 0][index],
                    write_size: [usize::MAX, 9, 9, 9][index],
                    is_timed_out: index % 2 == 1,
                    authorize,
                    pieces: &pieces,
                };
                observe(case, &mut seen);
            }
        }
    }
    seen
}

/// The transitions of the table: each row has some states, and some statuses or steps.
fn table() -> BTreeSet<Transition> {
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        let names = quoted.filter(|name| !name.contains(' '));
        names.map(str::to_owned).collect()
    };
    let or_none = |names: Vec<String>| {
        if names.is_empty() {
            vec![String::new()]
        } else {
            names
        }
    };
    let mut table = BTreeSet::new();
    let source = include_str!("../connection.rs");
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "));
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').collect();
        let Some(method) = names(cells[1]).into_iter().next() else {
            assert_eq!(cells[1], " the loop takes the socket ");
            continue;
        };
        let mut next = or_none(names(cells[2]));
        if let Some((_, statuses)) = cells[2].split_once('(') {
            let statuses = statuses.trim_end_matches([' ', ')']).split(", ");
            next = statuses
                .map(|status| format!("{} ({status})", next[0]))
                .collect();
        }
        for state in names(cells[0]) {
            for next in &next {
                for step in or_none(names(cells[3])) {
                    table.insert([state.clone(), method.clone(), next.clone(), step]);
                }
            }
        }
    }
    table
}

#[test]
fn connections_have_the_transitions_of_the_table() {
    let (table, observed) = (table(), observed());
    let unseen: Vec<_> = table.difference(&observed).collect();
    let unlisted: Vec<_> = observed.difference(&table).collect();
    assert!(unseen.is_empty(), "only in the table: {unseen:#?}");
    assert!(unlisted.is_empty(), "only observed: {unlisted:#?}");
}
