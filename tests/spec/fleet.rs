//! More than one machine: the recipe of tests/README.md, with a real broker on loopback.

use std::collections::HashSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::*;
use crate::recipes::{TESTS_README, blocks_of, with_sockets};

/// A shell with all processes that it starts. They end together.
pub struct Group(pub Child);

impl Group {
    pub fn start(command: &str) -> Group {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).process_group(0);
        shell
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Group(shell.spawn().unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn blocks() -> Vec<&'static str> {
    blocks_of(TESTS_README, "More than one machine")
}

/// A broker with the configuration of tests/README.md, and its files in a folder.
struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    fn start(program: &Path, folder: &Path, port: u16) -> Broker {
        let configuration = blocks()
            .into_iter()
            .find(|block| block.starts_with("listener"))
            .unwrap()
            .replace("1883", &format!("{port} 127.0.0.1"))
            .replace("/var/lib/mosquitto", folder.to_str().unwrap());
        let file = folder.join("mosquitto.conf");
        // Started as root, it would become a user who may not write to the test's folder.
        fs::write(&file, configuration + "user root\n").unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Broker {
            child: command.spawn().unwrap(),
            port,
        };
        wait_until("the broker listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        broker
    }

    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        assert!(self.child.wait().unwrap().success());
    }

    /// Puts this broker's address into a command of tests/README.md.
    fn with_address(&self, command: &str) -> String {
        command.replace("-h broker", &format!("-h 127.0.0.1 -p {}", self.port))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An unused port from `first` on, below the ephemeral ports. A client that connects to a closed
/// ephemeral port may connect to itself.
pub fn free_port(first: u16) -> u16 {
    let start = first + (std::process::id() % 4_000) as u16;
    (start..start + 1_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

#[test]
fn a_restart_of_the_broker_loses_no_event_of_two_hosts() {
    let tools = ["mosquitto", "mosquitto_pub", "mosquitto_sub", "socat"].map(tool);
    let [Some(program), Some(_), Some(_), Some(_)] = tools else {
        return;
    };
    let folder = folder();
    let broker = Broker::start(&program, folder.path(), free_port(10_000));
    let [forward, subscribe, ..] = blocks()[..] else {
        panic!("the commands are missing")
    };

    let mut subscriber = Group::start(&broker.with_address(subscribe));
    let seen = Stream::collect(subscriber.0.stdout.take());
    let hosts = ["alpha", "beta"].map(|name| {
        let server = Server::with_readers(&[]);
        let command =
            with_sockets(&broker.with_address(forward), &server).replace("$(hostname)", name);
        let forwarder = Group::start(&command);
        let connected = |text: &str| text.contains("connected (1 total)");
        server.stderr.wait("the forwarder", connected);
        wait_until("an event has come through", || {
            server.post("Probe", "{}");
            seen.text().contains(&format!("hooks/{name}"))
        });
        (server, forwarder)
    });

    // Each host posts 2,000 events before the broker stops, 1,500 before it is back, and
    // 1,500 more.
    let (allowed, posted) = (AtomicUsize::new(2000), AtomicUsize::new(0));
    let post_all = |server: &Server| {
        for n in 0..5000 {
            wait_until("the next event may be posted", || {
                n < allowed.load(Ordering::Relaxed)
            });
            let text = "x".repeat(300);
            server.post("E", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
            posted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let port = broker.port;
    let _broker = thread::scope(|scope| {
        for (server, _) in &hosts {
            scope.spawn(|| post_all(server));
        }
        seen.wait("some events", |text| text.lines().count() > 500);
        broker.stop();
        allowed.store(3500, Ordering::Relaxed);
        wait_until("events are posted without a broker", || {
            posted.load(Ordering::Relaxed) == 7000
        });
        let broker = Broker::start(&program, folder.path(), port);
        allowed.store(5000, Ordering::Relaxed);
        broker
    });

    // Some events may come twice.
    let is_event = |line: &&str| line.contains("\"_event\":\"E\"") && line.ends_with('}');
    let all = seen.wait("every event", |text| {
        text.lines().filter(is_event).collect::<HashSet<_>>().len() == 10_000
    });
    let all = events(&all[..=all.rfind('\n').unwrap()]);
    for name in ["alpha", "beta"] {
        let topic = format!("hooks/{name}");
        let host_events = all.iter().filter(|line| line["topic"] == topic);
        let mut numbers: Vec<_> = host_events
            .filter_map(|line| line["event"]["n"].as_i64())
            .collect();
        let mut had = HashSet::new();
        numbers.retain(|n| had.insert(*n));
        assert_eq!(numbers, (0..5000).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn the_cost_of_a_thousand_hosts_is_computed_from_the_recorded_events() {
    let mut printer = Printer::new(&[]);
    let recorded = recorded();
    let lines = recorded
        .iter()
        .map(|(event, body)| printer.print(&format!("/?event={event}"), body).len());
    let each = lines.sum::<usize>() as f64 / recorded.len() as f64;
    let calls = recorded.iter().filter(|(event, _)| event == "PreToolUse");
    let sentence = format!(
        "{} events of {:.1} kB on average, for {} tool calls",
        recorded.len(),
        each / 1000.0,
        calls.count()
    );
    let words: Vec<_> = TESTS_README.split_whitespace().collect();
    assert!(words.join(" ").contains(&sentence), "{sentence}");
}
