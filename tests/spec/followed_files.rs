//! The session files of the client, as the screen of `watch` follows them: what it notices, when,
//! and at what cost.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;

use crate::client_files::{Home, file};
use crate::harness::*;
use crate::screen::{Watch, picture};

/// What proc_pid_status(5) shows of each thread of a process.
fn threads(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let texts = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")));
    texts.filter_map(Result::ok).collect()
}

#[test]
fn the_screen_follows_the_files() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    fs::remove_dir(home.sessions()).unwrap();
    let server = Server::start(&[]);
    let watch = Watch::start(&home.command("watch", server.socket().to_str().unwrap()));
    watch.wait_for("No sessions yet");
    // The folder appears, and in it a file that the client has written by half.
    fs::create_dir(home.sessions()).unwrap();
    let text = file(pid, "s", "waiting").to_string();
    fs::write(home.path(pid), &text[..text.len() / 2]).unwrap();
    fs::write(home.path(pid), &text).unwrap();
    watch.wait_for("1 waiting");
    home.write(pid, &file(pid, "s", "idle"));
    watch.wait_for("1 idle");
    let mut busy = file(pid, "s", "busy");
    busy["statusUpdatedAt"] = json!(1_800_000_000_000_u64);
    home.write(pid, &busy);
    watch.wait_for("1 working · 1 without events: hooks-observatory hooks --status");
    let before = watch.screen.text().len();
    home.write(pid, &file(pid, "s", "idle"));
    watch.wait_for_more(before, "idle");
    // It replaces its file.
    let next = home.folder.path().join("next");
    fs::write(&next, file(pid, "s", "waiting").to_string()).unwrap();
    let before = watch.screen.text().len();
    fs::rename(&next, home.path(pid)).unwrap();
    watch.wait_for_more(before, "permission prompt");
    fs::remove_file(home.path(pid)).unwrap();
    watch.wait_for_more(before, "No sessions yet");
    home.write(pid, &file(pid, "s", "busy"));
    watch.wait_for_more(before, "thinking");
    let before = watch.screen.text().len();
    let mut client = home.clients.pop().unwrap();
    client.kill().unwrap();
    // Its parent has not waited for it yet.
    watch.wait_for_more(before, "No sessions yet");
    client.wait().unwrap();
}

/// The clocks of the server and of the client are years apart from that of the view, and the
/// client's is set back each time. On a machine that is too slow, the user is asked again.
#[test]
fn whatever_the_clocks_say_an_answer_is_shown_within_half_a_second() {
    let (Some(_), Some(faketime)) = (tool("setsid"), tool("faketime")) else {
        return;
    };
    for (offset, client_time) in [("+3650d", 1_000_000), ("-3650d", 4_000_000_000)] {
        let mut home = Home::new();
        let pid = home.client();
        let server = Server::start_with(&[], |command| {
            let faketime = [faketime.to_str().unwrap(), "-f", offset];
            run_under(command, &faketime).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        });
        let watch = Watch::start(&home.command("watch", server.socket().to_str().unwrap()));
        let mut asked = 0;
        wait_until("an answer is shown within half a second", || {
            asked += 1;
            let before = watch.screen.text().len();
            let input = json!({"command": format!("make {asked}")});
            let body = json!({"session_id": "s", "tool_name": "Bash", "tool_input": input});
            server.post("PermissionRequest", body.to_string());
            watch.wait_for_more(before, &format!("permission for Bash: make {asked}"));
            let before = watch.screen.text().len();
            let time = client_time - asked;
            let mut file = file(pid, "s", "busy");
            file["statusUpdatedAt"] = json!(time * 1000);
            file["startedAt"] = json!(time * 1000);
            let next = home.folder.path().join("next");
            fs::write(&next, file.to_string()).unwrap();
            let open = fs::OpenOptions::new().write(true).open(&next).unwrap();
            open.set_modified(UNIX_EPOCH + Duration::from_secs(time))
                .unwrap();
            let answered_at = Instant::now();
            fs::rename(&next, home.path(pid)).unwrap();
            watch.wait_for_more(before, "thinking");
            // The first answer creates the file.
            asked > 1 && answered_at.elapsed() < Duration::from_millis(500)
        });
        let output = home.run(server.socket().to_str().unwrap());
        let session = &events(str::from_utf8(&output.stdout).unwrap())[0];
        assert_eq!(
            (&session["state"], &session["source"]),
            (&json!("working"), &json!("client"))
        );
    }
}

/// Also where the same folder has two paths.
#[test]
fn while_a_file_is_half_written_it_says_what_it_said() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let (pid, other) = (home.client(), home.client());
    let text = file(pid, "s", "waiting").to_string();
    fs::write(home.path(pid), &text).unwrap();
    let link = home.folder.path().join("link");
    symlink(home.folder.path().join(".claude"), &link).unwrap();
    let mut command = home.command("watch", "/nonexistent");
    let watch = Watch::start(command.env("CLAUDE_CONFIG_DIR", &link));
    watch.wait_for("permission prompt");
    fs::write(home.path(pid), &text[..text.len() / 2]).unwrap();
    home.write(other, &file(other, "other", "busy"));
    watch.wait_for(", 1 working");
}

/// strace lets the program have no instance of inotify, or no pidfd.
#[test]
fn where_the_kernel_reports_nothing_the_files_are_read_once_a_second() {
    let (Some(_), Some(strace)) = (tool("setsid"), tool("strace")) else {
        return;
    };
    for failure in ["inotify_init1:error=EMFILE", "pidfd_open:error=ENOSYS"] {
        let mut home = Home::new();
        let pid = home.client();
        home.write(pid, &file(pid, "s", "busy"));
        let (strace, inject) = (strace.to_str().unwrap(), format!("inject={failure}"));
        let wrapper = [strace, "-f", "-D", "-o", "/dev/null", "-e", &inject];
        let mut command = home.command("watch", "/nonexistent");
        let command = run_under(&mut command, &wrapper).env("HOME", home.folder.path());
        let watch = Watch::start(command);
        watch.wait_for("thinking");
        home.write(pid, &file(pid, "s", "waiting"));
        watch.wait_for("permission prompt");
        let before = watch.screen.text().len();
        home.clients[0].kill().unwrap();
        watch.wait_for_more(before, "No sessions yet");
    }
}

/// It was moved by hand, or a tool that keeps several of them puts another one there.
#[test]
fn a_configuration_directory_that_is_replaced_is_followed() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "waiting"));
    let watch = Watch::start(&home.command("watch", "/nonexistent"));
    watch.wait_for("permission prompt");
    let own = home.folder.path().join(".claude");
    fs::rename(&own, home.folder.path().join("elsewhere")).unwrap();
    watch.wait_for("No sessions yet");
    fs::create_dir_all(home.sessions()).unwrap();
    home.write(pid, &file(pid, "s", "busy"));
    watch.wait_for("thinking");
    let before = watch.screen.text().len();
    fs::remove_dir_all(&own).unwrap();
    watch.wait_for_more(before, "No sessions yet");
    let next = folder();
    fs::create_dir(next.path().join("sessions")).unwrap();
    let path = next.path().join(format!("sessions/{pid}.json"));
    fs::write(path, file(pid, "s", "idle").to_string()).unwrap();
    fs::rename(next.path(), &own).unwrap();
    watch.wait_for_more(before, "idle");
}

/// Its stamp does not tell. After too many changes the kernel does not either: it drops reports.
#[test]
fn a_file_that_is_written_twice_at_once_is_read_again() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "busy"));
    let watch = Watch::start(&home.command("watch", "/nonexistent"));
    watch.wait_for("thinking");
    let write = |status: &str, rename_count: usize, shown: &str| {
        assert!(signal(watch.pid(), "STOP"));
        wait_until("it is stopped", || {
            threads(watch.pid())
                .iter()
                .all(|thread| thread.contains("State:\tT"))
        });
        let (one, other) = (home.sessions().join("1"), home.sessions().join("2"));
        fs::write(&one, "").unwrap();
        for _ in 0..rename_count {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        let written = fs::metadata(home.path(pid)).unwrap().modified().unwrap();
        home.write(pid, &file(pid, "s", status));
        let text = fs::OpenOptions::new().write(true).open(home.path(pid));
        text.unwrap().set_modified(written).unwrap();
        let before = watch.screen.text().len();
        assert!(signal(watch.pid(), "CONT"));
        watch.wait_for_more(before, shown);
    };
    write("idle", 0, "idle");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    write("busy", limit.trim().parse().unwrap(), "thinking");
}

/// Neither while the folder exists nor before.
#[test]
fn while_nothing_changes_nothing_is_read() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "busy"));
    let other = folder();
    let mut without_files = home.command("watch", "/nonexistent");
    without_files.env("HOME", other.path());
    let watches = [
        Watch::start(&home.command("watch", "/nonexistent")),
        Watch::start(&without_files),
    ];
    watches[0].wait_for("thinking");
    watches[1].wait_for("no server");
    // How often its thread has waited.
    let waits = |watch: &Watch| {
        let texts = threads(watch.pid());
        let files = texts.iter().find(|text| text.contains("Name:\tfiles\n"));
        let count = files.unwrap().split("\nvoluntary_ctxt_switches:\t").nth(1);
        count.unwrap().lines().next().unwrap().to_owned()
    };
    let before = watches.each_ref().map(waits);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(watches.each_ref().map(waits), before);
}

/// The commands lead to events from where the user is: with the service, and with hooks that send
/// here, elsewhere, or that are not installed.
#[test]
fn the_screen_says_that_no_server_answers_and_what_to_do() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "waiting"));
    let settings_path = home.folder.path().join(".claude/settings.json");
    let unit = home
        .folder
        .path()
        .join(".config/systemd/user/hooks-observatory.socket");
    let service = home.folder.path().join("claude-observatory.sock");
    let service = service.to_str().unwrap();
    let check = |socket: &str, commands: &str| {
        let mut command = home.command("watch", socket);
        let watch = Watch::start(command.env("XDG_RUNTIME_DIR", home.folder.path()));
        watch.wait_for("no server · 1 waiting");
        wait_until(commands, || {
            let picture = picture(&watch.screen.text());
            let words: Vec<&str> = picture.split_whitespace().collect();
            let words = words.join(" ");
            words.contains(&format!("sessions only; for events: {commands} ? help"))
        });
    };
    let start = "hooks-observatory --socket '/nonexistent'";
    let hooks = "then hooks-observatory hooks --install";
    check(
        "/nonexistent",
        &format!("{start}, {hooks} --socket '/nonexistent'"),
    );
    check(
        service,
        &format!("hooks-observatory service --install, {hooks}"),
    );
    let hooks = settings("/nonexistent".as_ref(), &[]).to_string();
    fs::write(&settings_path, hooks).unwrap();
    check("/nonexistent", start);
    check(service, "hooks-observatory watch --socket '/nonexistent'");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(unit, "").unwrap();
    let hooks = settings(service.as_ref(), &[]).to_string();
    fs::write(&settings_path, hooks).unwrap();
    check(service, "systemctl --user start hooks-observatory.socket");
}
