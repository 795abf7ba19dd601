//! Runs one of the five small servers in `tests/steps`.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{
    Stream, TIMEOUT, folder, is_asleep, process_state, request, signal, status, steps_folder,
    wait_until,
};

/// A running server, and the temporary folder with its sockets. Dropping it kills the server.
pub struct Step {
    pub child: Child,
    pub folder: TempDir,
    pub stdout: Stream,
}

/// A request for the event `Stop`.
pub fn stop(body: &str) -> Vec<u8> {
    request("/hook?event=Stop", body)
}

impl Step {
    /// Starts `stepN hooks.sock output.sock`, and waits until it listens.
    pub fn start(number: u32) -> Step {
        Step::start_with(number, |command| command)
    }

    /// Starts a server whose command is modified by `prepare`. A pipe on its stdout is read, if
    /// there is one.
    pub fn start_with(number: u32, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Step {
        let program = steps_folder().join(format!("step{number}"));
        let folder = folder();
        let mut command = Command::new(program);
        command
            .args(["hooks.sock", "output.sock"])
            .stdout(Stdio::piped());
        let mut child = prepare(&mut command)
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Stream::collect(child.stdout.take());
        Stream::collect(child.stderr.take()).wait("the server listens", |text| {
            text.contains("listening on hooks.sock")
        });
        Step {
            child,
            folder,
            stdout,
        }
    }

    /// Connects a client.
    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("hooks.sock")).unwrap()
    }

    /// Connects a client, which sends these bytes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> UnixStream {
        let mut client = self.connect();
        client.write_all(bytes.as_ref()).unwrap();
        client
    }

    /// Sends these bytes, and returns the status of the response.
    pub fn post(&self, bytes: impl AsRef<[u8]>) -> String {
        read_status(self.send(bytes))
    }

    /// Connects a reader, and waits until the server has accepted it.
    pub fn reader(&self) -> UnixStream {
        let reader = UnixStream::connect(self.folder.path().join("output.sock")).unwrap();
        self.wait_until_at_rest();
        reader
    }

    /// The status of a client's response. `None`: the server has done all that it can do now, and
    /// has not answered. (The kernel wakes a server that waits for what a client sends before the
    /// client's call returns.)
    pub fn status_now(&self, mut client: &UnixStream) -> Option<String> {
        self.wait_until_at_rest();
        client.set_nonblocking(true).unwrap();
        let mut response = [0; 1000];
        let result = client.read(&mut response);
        client.set_nonblocking(false).unwrap();
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            result => {
                Some(status(str::from_utf8(&response[..result.unwrap()]).unwrap()).to_owned())
            }
        }
    }

    pub fn wait_until_at_rest(&self) {
        wait_until("the server sleeps", || is_asleep(self.child.id()));
    }

    pub fn signal(&self, name: &str) {
        assert!(signal(self.child.id(), name));
    }

    /// Stops the server, and waits until it has stopped. (Before that, the poll could still return
    /// a report.)
    pub fn pause(&self) {
        self.signal("STOP");
        wait_until("it has stopped", || process_state(self.child.id()) == 'T');
    }
}

/// The status of the response that the server sends.
pub fn read_status(mut client: UnixStream) -> String {
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    status(&response).to_owned()
}

impl Drop for Step {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
