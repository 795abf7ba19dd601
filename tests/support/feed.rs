//! A connection without a socket: fed with pieces as the server's loop feeds it.

use hooks_observatory::http::connection::{Connection, Step};

/// Bytes of body that a connection here takes.
const MAX_BODY: u64 = 1000;

/// What a connection made of a request: the events, and what it answered.
#[derive(Debug, PartialEq, Default)]
pub struct Outcome {
    pub hooks: Vec<(String, Vec<u8>)>,
    pub answer: Vec<u8>,
    pub closed: bool,
}

impl Outcome {
    /// Over in the end, an answer for every event, and nothing answered that is no response.
    pub fn assert_sane(&self) {
        let answer = std::str::from_utf8(&self.answer).unwrap();
        assert!(
            self.closed && (answer.is_empty() || answer.starts_with("HTTP/1.1 ")),
            "{self:?}"
        );
        let ok = answer.matches("HTTP/1.1 200 OK").count() - answer.matches("{\"status\"").count();
        assert_eq!(ok, self.hooks.len());
    }
}

/// Feeds pieces to a connection as the loop does, then the end of input.
pub fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut connection = Connection::new(0, MAX_BODY);
    let mut outcome = Outcome::default();
    for piece in pieces.into_iter().map(Some).chain([None]) {
        let mut bytes = piece;
        loop {
            let step = match bytes {
                Some(bytes) => connection.received(bytes),
                None => connection.end_of_input(),
            };
            match step {
                Step::Read => break,
                Step::Hook(hook) => outcome.hooks.push((hook.event_name, hook.body.to_vec())),
                Step::Write => {}
                Step::Resume => unreachable!("nothing was written"),
                Step::Close | Step::Linger => {
                    outcome.closed = true;
                    return outcome;
                }
            }
            match write_all(&mut connection, &mut outcome.answer) {
                Next::Resume => bytes = Some(&[]),
                Next::Read => break,
                Next::Over => {
                    outcome.closed = true;
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// What comes after a response.
enum Next {
    Read,
    Resume,
    Over,
}

fn write_all(connection: &mut Connection, to: &mut Vec<u8>) -> Next {
    loop {
        let unsent = connection.unsent();
        to.extend(unsent);
        match connection.written(unsent.len()) {
            Step::Write => {}
            Step::Read => return Next::Read,
            Step::Resume => return Next::Resume,
            _ => return Next::Over,
        }
    }
}
