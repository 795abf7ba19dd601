//! The memory bench: the peak memory of the server while it makes large events, compared with
//! a bound. One event needs at most twice its body, its compact line and its pretty form, and
//! 32 MiB. benches/README.md shows how to run it.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hooks_observatory::event::{self, Event};
use hooks_observatory::format::Format;
use hooks_observatory::peer::Peer;

const MIB: usize = 1 << 20;
const FORMATS: [(&str, Format); 4] = [
    ("compact", Format::Compact),
    ("--pretty-json", Format::PrettyJson),
    (
        "--pretty-yaml",
        Format::PrettyYaml {
            colour: false,
            cut: false,
        },
    ),
    (
        "--pretty-line",
        Format::PrettyLine {
            colour: false,
            cut: false,
        },
    ),
];
/// The numbers of readers of the output socket that never read. Without any, the events go to
/// a file.
const STALLED_READERS: [usize; 3] = [0, 1, 300];
/// The numbers of bodies that are posted at once, and the size of each.
const LOADS: [(usize, usize); 2] = [(1, 64 * MIB), (40, 8 * MIB)];
/// Twice the default of `--buffer`: the log, and evicted events of which readers have a part.
const LOG: usize = 128 * MIB;
/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A name, and what makes a body of this size.
type Content = (&'static str, fn(usize) -> Vec<u8>);

/// What the bodies contain.
const CONTENTS: [Content; 6] = [
    ("ASCII text", |size| text("x", size)),
    ("text of é", |size| text("é", size)),
    ("0xff", |size| vec![0xff; size]),
    ("short keys, one repeated", |size| {
        // Bases of 64 characters make the shortest distinct keys.
        let digit =
            |number: usize, place: u32| char::from(b'0' + (number >> (6 * place) & 63) as u8);
        let key = |number| {
            (0..4)
                .map(|place| digit(number, place))
                .collect::<String>()
                .replace('\\', "~")
        };
        let members: String = (0..size / 9 - 1)
            .map(|number| format!("\"{}\":0,", key(number)))
            .collect();
        format!("{{{members}\"0000\":1}}").into()
    }),
    ("deep, then 1,1,1,…", |size| {
        let ones = "1,".repeat((size - 200) / 2);
        format!("{{\"a\":{}{ones}1{}}}", "[".repeat(62), "]".repeat(62)).into()
    }),
    ("short strings and numbers", |size| {
        format!("{{\"a\":[{}0]}}", "\"ab\",17,".repeat((size - 20) / 8)).into()
    }),
];

fn text(piece: &str, size: usize) -> Vec<u8> {
    format!("{{\"a\":\"{}\"}}", piece.repeat((size - 8) / piece.len())).into()
}

/// A running server.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
    _stalled_readers: Vec<UnixStream>,
}

impl Server {
    fn start(format: &str, stalled_readers: usize) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let path = |name: &str| directory.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hooks-observatory"));
        command.arg("--socket").arg(path("hooks"));
        command
            .stdout(File::create(path("events"))?)
            .stderr(Stdio::null());
        if format.starts_with("--") {
            command.arg(format);
        }
        if stalled_readers > 0 {
            command.arg("--output-socket").arg(path("output"));
        }
        let child = command.spawn()?;
        let started_at = Instant::now();
        while UnixStream::connect(path("hooks")).is_err() {
            if started_at.elapsed() > START_TIMEOUT {
                return Err("the server did not start".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let connect = |_| UnixStream::connect(path("output"));
        let readers = (0..stalled_readers)
            .map(connect)
            .collect::<Result<_, _>>()?;
        Ok(Server {
            child,
            directory,
            _stalled_readers: readers,
        })
    }

    /// Posts the body on several connections at once, and waits for all responses.
    fn post(&self, body: &[u8], connections: usize) -> Result<(), String> {
        let socket = self.directory.path().join("hooks");
        let posted: Vec<bool> = thread::scope(|scope| {
            let posts: Vec<_> = (0..connections)
                .map(|_| scope.spawn(|| post(&socket, body)))
                .collect();
            let results = posts
                .into_iter()
                .map(|post| matches!(post.join(), Ok(Ok(true))));
            results.collect()
        });
        match posted.iter().all(|posted| *posted) {
            true => Ok(()),
            false => Err("a hook was not answered with 200".into()),
        }
    }

    /// The largest number of bytes of resident memory so far (proc_pid_status(5)).
    fn peak(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(value.split_whitespace().next()?.parse::<usize>().ok()? << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Posts one body. Returns whether the response is 200.
fn post(socket: &Path, body: &[u8]) -> std::io::Result<bool> {
    let mut client = UnixStream::connect(socket)?;
    write!(
        client,
        "POST /?event=E HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    client.write_all(body)?;
    let mut response = String::new();
    client.read_to_string(&mut response)?;
    Ok(response.starts_with("HTTP/1.1 200"))
}

/// The lengths of an event in the compact format and in another one.
fn lengths(body: &[u8], format: Format) -> (usize, usize) {
    let peer = Peer {
        pid: None,
        uid: 0,
        gid: 0,
    };
    let body = event::decode_utf8(body);
    let event = Event::hook("", "E", &peer, &body);
    let mut pretty = String::new();
    if format != Format::Compact {
        format.write(&event, &mut pretty);
    }
    (event.line().len(), pretty.len())
}

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds --bench to the arguments of every bench.
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    println!(
        "| content | format | bodies | stalled readers | body MiB | compact MiB | pretty MiB | peak MiB | peak / sum | bound MiB |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (content, make) in CONTENTS {
        for (count, size) in LOADS {
            let body = make(size);
            for (option, format) in FORMATS {
                let (compact, pretty) = lengths(&body, format);
                for readers in STALLED_READERS {
                    let case = format!("| {content} | {option} | {count} | {readers} |");
                    let is_selected = match filters[..] {
                        // A few rows that take a minute.
                        [] => format == Format::PrettyJson && count == 1 && readers != 1,
                        _ => filters.iter().all(|filter| case.contains(filter)),
                    };
                    if is_selected {
                        let server = Server::start(option, readers)?;
                        server.post(&body, count)?;
                        let peak = server.peak().ok_or("the peak cannot be read")?;
                        println!(
                            "{case} {}",
                            figures([body.len(), compact, pretty], count, peak)
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

/// The cells of the table that are figures. Lengths are of one event. Of several events the
/// server makes one after the other: the other bodies wait, and finished events are in the log.
fn figures(lengths: [usize; 3], count: usize, peak: usize) -> String {
    let sum = lengths.iter().sum::<usize>();
    let waiting = if count > 1 {
        (count - 1) * lengths[0] + LOG
    } else {
        0
    };
    let bound = 2 * sum + waiting + 32 * MIB;
    let mark = if peak > bound { " (exceeded)" } else { "" };
    let mebibytes = |bytes: usize| bytes as f64 / MIB as f64;
    let [body, compact, pretty] = lengths.map(mebibytes);
    let (peak_mib, bound) = (mebibytes(peak), mebibytes(bound));
    let ratio = peak as f64 / (sum + waiting) as f64;
    format!(
        "{body:.0} | {compact:.0} | {pretty:.0} | {peak_mib:.0} | {ratio:.2} | {bound:.0}{mark} |"
    )
}
