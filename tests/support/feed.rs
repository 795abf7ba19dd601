//! Feeds requests to a [`Connection`] without a socket, as the event loop does.

use hooks_observatory::http::connection::{Connection, Step};
use hooks_observatory::http::response::Status;

const MAX_BODY: u64 = 1000;

/// What a connection did with its input.
#[derive(Debug, PartialEq, Default)]
pub struct Outcome {
    /// The event's name and the body of each hook.
    pub hooks: Vec<(String, Vec<u8>)>,
    pub responses: Vec<u8>,
    pub closed: bool,
}

impl Outcome {
    /// Asserts that the connection was closed, that it sent nothing but responses, and that
    /// each event got a 200.
    pub fn assert_valid(&self) {
        let responses = std::str::from_utf8(&self.responses).unwrap();
        assert!(
            self.closed && (responses.is_empty() || responses.starts_with("HTTP/1.1 ")),
            "{self:?}"
        );
        let ok = responses.matches("HTTP/1.1 200 OK").count();
        let healthy = responses.matches("{\"status\"").count();
        assert_eq!(ok - healthy, self.hooks.len());
    }
}

/// Feeds the pieces to a connection, then the end of input.
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
                Step::Subscribe { .. } | Step::ListSessions => {
                    connection.decline(Status::Forbidden)
                }
                Step::Write => {}
                Step::Resume => unreachable!("nothing was written"),
                Step::Close | Step::Linger => {
                    outcome.closed = true;
                    return outcome;
                }
            }
            match write_all(&mut connection, &mut outcome.responses) {
                Next::Resume => bytes = Some(&[]),
                Next::Read => break,
                Next::Close => {
                    outcome.closed = true;
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// The step after a response.
enum Next {
    Read,
    Resume,
    Close,
}

fn write_all(connection: &mut Connection, out: &mut Vec<u8>) -> Next {
    loop {
        let unsent = connection.unsent();
        out.extend(unsent);
        match connection.written(unsent.len()) {
            Step::Write => {}
            Step::Read => return Next::Read,
            Step::Resume => return Next::Resume,
            _ => return Next::Close,
        }
    }
}
