//! What to do where no server answers: the commands that lead to events.
//!
//! Stop 17 of EDU_NOTES.md.

use std::env;
use std::path::{self, Path, PathBuf};

use crate::cli::{SOCKET_VARIABLE, SourceOption, default_socket};
use crate::hooks::{installed_sockets, quote_text};
use crate::service;
use crate::terminal::Shown;

/// The command that starts the server of a hook socket.
pub fn start_command(path: &Path) -> String {
    if is_of_service(path) && service::is_installed() {
        return service::START.into();
    }
    let hooks = installed_sockets();
    let is_default = path == default_socket(env::var_os(SOCKET_VARIABLE));
    // Nobody has chosen this socket, and a server there would get no event.
    let other = hooks
        .first()
        .filter(|_| is_default && !hooks.contains(path));
    format!(
        "hooks-observatory{}",
        option(other.map_or(path, PathBuf::as_path))
    )
}

/// The commands that lead to events, in their order, where no server has answered yet.
#[cfg_attr(not(feature = "screen"), expect(dead_code))]
pub fn setup(source: &SourceOption) -> Vec<String> {
    let SourceOption::Server(path) = source else {
        // It can be an output socket.
        return vec!["hooks-observatory".into()];
    };
    let is_of_service = is_of_service(path);
    let start = match is_of_service && !service::is_installed() {
        true => "hooks-observatory service --install".into(),
        false => start_command(path),
    };
    let path = path::absolute(path).unwrap_or_else(|_| path.clone());
    let hooks = installed_sockets();
    let own = [
        Some(path.clone()),
        service::socket().filter(|_| is_of_service),
    ];
    match hooks.first() {
        // After that the service's socket is the default.
        None if is_of_service => vec![start, "hooks-observatory hooks --install".into()],
        None => vec![
            start,
            format!("hooks-observatory hooks --install{}", option(&path)),
        ],
        Some(_) if own.iter().flatten().any(|own| hooks.contains(own)) => vec![start],
        Some(other) => vec![format!("hooks-observatory watch{}", option(other))],
    }
}

/// Whether the service answers in place of a server with this hook socket: where there is a
/// service, its socket is the default.
fn is_of_service(path: &Path) -> bool {
    path == default_socket(None) || service::socket().is_some_and(|socket| path == socket)
}

/// The option for a hook socket that is not the default.
fn option(path: &Path) -> String {
    if path == default_socket(env::var_os(SOCKET_VARIABLE)) {
        return String::new();
    }
    format!(" --socket {}", quote_text(&Shown(path).to_string()))
}
