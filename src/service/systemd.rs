//! The user's systemd, by `systemctl --user`.
//!
//! Stop 17 of EDU_NOTES.md.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::terminal::sanitize;

/// Runs `systemctl --user` with these arguments, and returns what it printed. The error says what
/// was run.
pub fn systemctl(arguments: &[&str]) -> Result<String, String> {
    let shown = format!("systemctl --user {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .arg("--user")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {shown}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> = error.lines().map(sanitize).collect();
    let error = lines.join(" ");
    Err(format!("{shown} failed: {}", error.trim_end_matches('.')))
}

/// The folder for the user's own units. It depends on the environment of the user's systemd
/// (systemd.unit(5)), not on that of this shell: `XDG_CONFIG_HOME` may differ.
pub fn unit_folder() -> Result<PathBuf, String> {
    let folders = systemctl(&["show", "--property=UnitPath", "--value"])?;
    // Folders are separated by spaces, and can contain some.
    let mut folders = folders.trim_end().split(" /");
    let folder = folders.find(|folder| folder.ends_with("/systemd/user"));
    let folder = folder.map(|folder| format!("/{}", folder.trim_start_matches('/')));
    folder
        .map(PathBuf::from)
        .ok_or_else(|| "the user's systemd names no folder for units".into())
}

/// A property of a unit, such as `ActiveState`. Empty if systemd knows no such unit.
pub fn property(unit: &str, name: &str) -> Result<String, String> {
    let value = systemctl(&["show", &format!("--property={name}"), "--value", unit])?;
    Ok(value.trim_end().to_owned())
}
