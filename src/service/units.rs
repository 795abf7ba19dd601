//! The two units: systemd opens the sockets of the first one, and starts the second one when
//! somebody connects.
//!
//! Stop 17 of EDU_NOTES.md.

use std::path::Path;

use crate::terminal::Shown;

/// The unit with the sockets, which starts the other one.
pub const SOCKET: &str = "hooks-observatory.socket";
/// The unit with the server.
pub const SERVICE: &str = "hooks-observatory.service";

/// The first line of both. A file without it is somebody else's.
const MARK: &str =
    "# Written by hooks-observatory service --install. Its --remove deletes this file.\n";

/// The names and texts of the units, for the program with this path.
pub fn units(program: &Path) -> Result<[(&'static str, String); 2], String> {
    Ok([(SOCKET, socket()), (SERVICE, service(program)?)])
}

/// Whether this text is that of a unit that this program wrote, perhaps an earlier version.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// `%t` is the user's `XDG_RUNTIME_DIR` (systemd.unit(5)). Without `RemoveOnStop` the files would
/// outlive the service, and commands find the socket by its file.
fn socket() -> String {
    format!(
        "{MARK}
[Unit]
Description=Sockets for Claude Code's hooks and for their readers

[Socket]
ListenStream=%t/claude-observatory.sock
ListenStream=%t/claude-observatory.out
SocketMode=0600
RemoveOnStop=true

[Install]
WantedBy=sockets.target
"
    )
}

fn service(program: &Path) -> Result<String, String> {
    let program = quote(program)?;
    Ok(format!(
        "{MARK}
[Unit]
Description=Shows what Claude Code is doing

[Service]
ExecStart={program}
"
    ))
}

/// A path as the first word of a command in a unit: `%` begins a specifier (systemd.unit(5)), and
/// systemd starts no program whose path has a quote, a backslash or a control character.
fn quote(path: &Path) -> Result<String, String> {
    let is_refused = |char: char| matches!(char, '"' | '\'' | '\\') || char.is_control();
    match path.to_str() {
        Some(text) if !text.contains(is_refused) => Ok(format!("\"{}\"", text.replace('%', "%%"))),
        _ => Err(format!(
            "systemd cannot start {}: the path is not UTF-8, or has a quote, a backslash or a \
             control character. Install the program elsewhere",
            Shown(path)
        )),
    }
}
