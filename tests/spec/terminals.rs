//! The screen on terminals that lack something, as tmux shows it.

use crate::harness::*;
use crate::jump::Tmux;

/// A shell in a pane. `watch` begins below what it has written.
fn shell() -> Option<Tmux> {
    tool("tmux")?;
    let tmux = Tmux::start("shell", &["-x", "100", "-y", "20", "PS1='ready> ' sh"]);
    tmux.run(&["set-option", "-g", "alternate-screen", "off"]);
    let fill = "for n in 1 2 3 4 5 6 7 8 9; do echo old text; done";
    tmux.run(&["send-keys", fill, "Enter"]);
    tmux.wait_for_text("shell", "\nold text\nold text\nready>");
    Some(tmux)
}

/// Runs `watch` in the shell, with variables in front, until it shows a text.
fn watch(tmux: &Tmux, variables: &str, server: &Server, text: &str) {
    let socket = server.socket();
    let line = format!(
        "{variables} HOME=/nonexistent {BINARY} watch {}",
        socket.display()
    );
    tmux.run(&["send-keys", &line, "Enter"]);
    tmux.wait_for_text("shell", text);
}

fn rows(tmux: &Tmux) -> Vec<String> {
    let text = tmux.run(&["capture-pane", "-p", "-t", "shell"]);
    text.lines().map(str::to_owned).collect()
}

fn prompt(server: &Server, prompt: &str) {
    let body = serde_json::json!({"session_id": "s", "cwd": "/home/dev/shop", "prompt": prompt});
    server.post("UserPromptSubmit", body.to_string());
}

#[test]
fn without_an_alternate_screen_the_view_is_cleared_and_ends_above_the_prompt() {
    let Some(tmux) = shell() else { return };
    let server = Server::start(&[]);
    prompt(&server, "add a test");
    watch(&tmux, "", &server, "prompt: add a test");
    let shown = rows(&tmux);
    assert_eq!(shown[0], "1 working");
    assert!(shown[19].starts_with("? help | q quit"), "{shown:#?}");
    assert!(!shown.concat().contains("old text"), "{shown:#?}");
    tmux.run(&["send-keys", "q"]);
    tmux.wait_for_text("shell", "Space pause\nready>");
    assert!(rows(&tmux).last().unwrap().starts_with("ready>"));
}

#[test]
fn a_text_that_terminals_disagree_on_leaves_nothing_behind() {
    let Some(tmux) = shell() else { return };
    let server = Server::start(&[]);
    prompt(
        &server,
        "🇩 🇩🇪🇫 👍\u{1f3fd}👍\u{1f3fd} ☂\u{fe0f}☂\u{fe0f} 👨\u{200d}👩\u{200d}👧 1\u{fe0f}\u{20e3} end",
    );
    watch(&tmux, "LC_ALL=C.UTF-8", &server, " end");
    prompt(&server, "short");
    tmux.wait_for_text("shell", "prompt: short");
    let shown = rows(&tmux);
    let row = shown.iter().find(|row| row.starts_with("prompt:"));
    assert_eq!(row.unwrap(), "prompt: short", "{shown:#?}");
}

#[test]
fn in_the_c_locale_only_ascii_is_written() {
    let Some(tmux) = shell() else { return };
    let server = Server::start(&[]);
    prompt(&server, "größer");
    server.post(
        "StopFailure",
        r#"{"session_id": "s", "error": "rate_limit"}"#,
    );
    watch(&tmux, "LC_ALL=C", &server, "X failed");
    let shown = rows(&tmux);
    assert!(shown.concat().is_ascii(), "{shown:#?}");
    assert!(shown.contains(&"prompt: gr??er".to_owned()), "{shown:#?}");
}
