//! Load generators that others made, so that nobody needs to trust ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::Latencies;

#[derive(Clone, Copy, PartialEq)]
pub enum Tool {
    Oha,
    H2load,
}

const URL: &str = "http://localhost/hook?event=PreToolUse";
/// Neither asks for it by itself.
const KEEP: [&str; 2] = ["-H", "Connection: keep-alive"];

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Oha => "oha",
            Tool::H2load => "h2load",
        }
    }

    /// Why it cannot be used here, if so.
    pub fn obstacle(self) -> Option<String> {
        let runs = Command::new(self.name()).arg("--version").output();
        let name = self.name();
        runs.err()
            .map(|error| format!("{name} does not run: {error}"))
    }

    /// Posts `body` to `socket`.
    pub fn post(
        self,
        socket: &Path,
        body: &str,
        clients: usize,
        keeps: bool,
        requests: usize,
    ) -> Result<Latencies, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.name());
        let folder = tempfile::tempdir().map_err(failed)?;
        let (file, log) = (folder.path().join("body"), folder.path().join("log"));
        fs::write(&file, body).map_err(failed)?;
        // A server that stalls must not stall the measurement: timeout(1).
        let mut command = Command::new("timeout");
        command.args(["60", self.name()]);
        command.args(["-n", &requests.to_string(), "-c", &clients.to_string()]);
        match self {
            Tool::Oha => {
                command.args(["--no-tui", "--output-format", "csv", "-m", "POST", "-D"]);
                command.arg(&file).arg("--unix-socket").arg(socket);
                if !keeps {
                    command.arg("--disable-keepalive");
                }
            }
            Tool::H2load => {
                command.args(["--h1", "-d"]).arg(&file);
                command.arg(format!("--log-file={}", log.display()));
                command.arg(format!("--base-uri=unix:{}", socket.display()));
            }
        }
        if keeps {
            command.args(KEEP);
        }
        let output = command.arg(URL).output().map_err(failed)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let latencies: Latencies = match self {
            Tool::Oha => printed.lines().filter_map(of_oha).collect(),
            Tool::H2load => {
                let log = fs::read_to_string(log).map_err(failed)?;
                log.lines().filter_map(of_h2load).collect()
            }
        };
        if latencies.len() < requests {
            let answered = latencies.len();
            return Err(format!("{}: {answered} answers of {requests}", self.name()));
        }
        Ok(latencies)
    }
}

/// When it began, three delays, how long it took, in seconds, bytes, status.
fn of_oha(line: &str) -> Option<Duration> {
    let columns: Vec<&str> = line.split(',').map(str::trim).collect();
    let seconds = columns.get(4)?.parse().ok()?;
    (columns.last()? == &"200").then(|| Duration::from_secs_f64(seconds))
}

/// When it began, status, how long it took, in microseconds.
fn of_h2load(line: &str) -> Option<Duration> {
    let mut columns = line.split('\t').skip(1);
    let is_ok = columns.next()? == "200";
    let microseconds = columns.next()?.parse().ok()?;
    is_ok.then(|| Duration::from_micros(microseconds))
}
