//! Where the client's programs and settings are.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path, PathBuf};

use crate::cli::Scope;
use crate::terminal::Shown;

/// The folder of the administrator's settings.
#[cfg(not(target_os = "macos"))]
const MANAGED: &str = "/etc/claude-code";
#[cfg(target_os = "macos")]
const MANAGED: &str = "/Library/Application Support/ClaudeCode";

/// The settings file of a scope, from any directory.
pub fn settings(scope: &Scope) -> Result<PathBuf, String> {
    let path = match scope {
        Scope::User => user_folder()?.join("settings.json"),
        Scope::Project => PathBuf::from(".claude/settings.local.json"),
        Scope::File(path) => path.clone(),
    };
    path::absolute(&path).map_err(|error| format!("cannot make {} absolute: {error}", Shown(&path)))
}

/// The settings files that a client in this directory reads, the later ones with precedence.
pub fn user_and_project_settings() -> Vec<PathBuf> {
    let project = Scope::File(".claude/settings.json".into());
    let scopes = [Scope::User, project, Scope::Project];
    scopes
        .iter()
        .filter_map(|scope| settings(scope).ok())
        .collect()
}

/// The settings files of the administrator, the later ones with precedence.
pub fn managed_settings() -> Vec<PathBuf> {
    let folder = Path::new(MANAGED);
    let is_shown = |path: &PathBuf| {
        !path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let parts = fs::read_dir(folder.join("managed-settings.d"));
    let parts = parts
        .into_iter()
        .flatten()
        .flatten()
        .map(|part| part.path());
    let is_json = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let parts: BTreeSet<PathBuf> = parts.filter(is_json).filter(is_shown).collect();
    let mut files = vec![folder.join("managed-settings.json")];
    files.extend(parts);
    files
}

/// The installed clients, each once: the one on the PATH, and those where the client's
/// installers put one without adding it to the PATH.
pub fn clients() -> Vec<PathBuf> {
    let home = |path| variable("HOME").map(|home| Path::new(&home).join(path));
    let configured = variable("CLAUDE_CONFIG_DIR").map(|folder| folder.join("local/claude"));
    let installed = [
        home(".local/bin/claude"),
        home(".claude/local/claude"),
        configured,
    ];
    let installed = installed
        .into_iter()
        .flatten()
        .filter(|path| is_program(path));
    let mut seen = BTreeSet::new();
    find_on_path(Path::new("claude"))
        .into_iter()
        .chain(installed)
        .filter(|path| path.canonicalize().is_ok_and(|file| seen.insert(file)))
        .collect()
}

/// The first executable file of this name, as a shell finds it.
pub fn find_on_path(name: &Path) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The folder in which the client looks for the user's settings.
fn user_folder() -> Result<PathBuf, String> {
    if let Some(folder) = variable("CLAUDE_CONFIG_DIR") {
        return Ok(folder);
    }
    let home = variable("HOME");
    home.map(|home| home.join(".claude"))
        .ok_or_else(|| "HOME is not set: give the settings file with --file PATH".into())
}

fn variable(name: &str) -> Option<PathBuf> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}
