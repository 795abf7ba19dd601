//! External load generators, as a check of the generator in [`crate::client`].

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::Latencies;

#[derive(Clone, Copy)]
pub enum Tool {
    Oha,
    H2load,
}

const URL: &str = "http://localhost/hook?event=PreToolUse";
/// Neither tool sends this field by default.
const KEEP_ALIVE: [&str; 2] = ["-H", "Connection: keep-alive"];

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Oha => "oha",
            Tool::H2load => "h2load",
        }
    }

    /// Checks that the tool is installed.
    pub fn check(self) -> Result<(), String> {
        let name = self.name();
        match Command::new(name).arg("--version").output() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{name} does not run: {error}")),
        }
    }

    /// Posts `body` to `socket`, `requests` times.
    pub fn post(
        self,
        socket: &Path,
        body: &str,
        clients: usize,
        keep_alive: bool,
        requests: usize,
    ) -> Result<Latencies, String> {
        let name = self.name();
        let tool_failed = |error: std::io::Error| format!("{name}: {error}");
        let directory = tempfile::tempdir().map_err(tool_failed)?;
        let body_file = directory.path().join("body");
        let log_file = directory.path().join("log");
        fs::write(&body_file, body).map_err(tool_failed)?;
        // timeout(1), because the tool would wait for a stalled server without end.
        let mut command = Command::new("timeout");
        command.args(["60", name]);
        command.args(["-n", &requests.to_string(), "-c", &clients.to_string()]);
        match self {
            Tool::Oha => {
                command.args(["--no-tui", "--output-format", "csv", "-m", "POST", "-D"]);
                command.arg(&body_file).arg("--unix-socket").arg(socket);
                if !keep_alive {
                    command.arg("--disable-keepalive");
                }
            }
            Tool::H2load => {
                command.args(["--h1", "-d"]).arg(&body_file);
                command.arg(format!("--log-file={}", log_file.display()));
                command.arg(format!("--base-uri=unix:{}", socket.display()));
            }
        }
        if keep_alive {
            command.args(KEEP_ALIVE);
        }
        let output = command.arg(URL).output().map_err(tool_failed)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let latencies: Latencies = match self {
            Tool::Oha => stdout.lines().filter_map(parse_oha).collect(),
            Tool::H2load => {
                let log = fs::read_to_string(log_file).map_err(tool_failed)?;
                log.lines().filter_map(parse_h2load).collect()
            }
        };
        if latencies.len() < requests {
            let count = latencies.len();
            return Err(format!(
                "{name}: {count} of {requests} requests got status 200"
            ));
        }
        Ok(latencies)
    }
}

/// The latency of a request with status 200. The columns: start, three delays, duration in
/// seconds, bytes, status.
fn parse_oha(line: &str) -> Option<Duration> {
    let columns: Vec<&str> = line.split(',').map(str::trim).collect();
    let seconds = columns.get(4)?.parse().ok()?;
    (columns.last()? == &"200").then(|| Duration::from_secs_f64(seconds))
}

/// The latency of a request with status 200. The columns: start, status, duration in
/// microseconds.
fn parse_h2load(line: &str) -> Option<Duration> {
    let mut columns = line.split('\t').skip(1);
    let is_ok = columns.next()? == "200";
    let microseconds = columns.next()?.parse().ok()?;
    is_ok.then(|| Duration::from_micros(microseconds))
}
