//! Makes the server a service of the user's systemd, and undoes it.
//!
//! `units` has the texts of the two units, and `systemd` runs `systemctl`. This file decides what
//! to do. It touches only files that it wrote itself, and asks before.
//!
//! This folder knows of the server only its sockets, and one event.
//!
//! Stop 17 of EDU_NOTES.md.

mod systemd;
mod units;

use std::env;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use self::systemd::{property, systemctl, unit_folder};
use self::units::{SERVICE, SOCKET, is_ours, units};
use crate::cli::{SOCKET_VARIABLE, ServiceAction, ServiceOptions};
use crate::diagnostics::stderr::say;
use crate::hooks::{installed_sockets, program_path, quote_text};
use crate::request::{self, check_health};
use crate::send;
use crate::terminal::Shown;
use crate::user_files::{Outcome, TextFile, confirm, diff};

/// The hook socket, in the folder of the runtime.
const SOCKET_FILE: &str = "claude-observatory.sock";
/// Starts the socket unit, which starts the server.
pub const START: &str = "systemctl --user start hooks-observatory.socket";
const UNDO: &str = "To undo it: hooks-observatory service --remove";
/// How often a new service is asked whether it answers. Each time it has a second.
const ATTEMPTS: usize = 10;

/// Does what the options say. `print` writes to stdout.
pub fn run(
    options: &ServiceOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let folder = unit_folder().map_err(|reason| without_systemd(&reason))?;
    let service = Service::find(&folder)?;
    match options.action {
        ServiceAction::Install => service.install(options, print),
        ServiceAction::Remove => service.remove(options, print),
        ServiceAction::Status => print(&service.status()?),
    }
}

/// The hook socket of the service, if there is one now.
pub fn present_socket() -> Option<PathBuf> {
    let is_socket = |path: &PathBuf| {
        let file = fs::metadata(path);
        file.is_ok_and(|file| file.file_type().is_socket())
    };
    socket().filter(is_socket)
}

/// Where the hook socket of the service is, or would be.
pub fn socket() -> Option<PathBuf> {
    Some(runtime_folder()?.join(SOCKET_FILE))
}

/// Whether there is a socket unit where the user's units usually are. systemd is not asked: that
/// takes a process.
pub fn is_installed() -> bool {
    let folder = |name| env::var_os(name).filter(|folder| !folder.is_empty());
    let config = folder("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(Path::new(&folder("HOME")?).join(".config")));
    config.is_some_and(|config| config.join("systemd/user").join(SOCKET).exists())
}

/// Where the sockets are: `%t` in the unit.
fn runtime_folder() -> Option<PathBuf> {
    let folder = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    folder.filter(|folder| folder.is_absolute())
}

/// The service as it is, and as it will be.
struct Service {
    files: [UnitFile; 2],
    hooks: PathBuf,
    readers: PathBuf,
}

/// The file of a unit.
struct UnitFile {
    path: PathBuf,
    file: TextFile,
    new_text: String,
}

impl Service {
    fn find(folder: &Path) -> Result<Service, String> {
        let runtime = runtime_folder().ok_or("XDG_RUNTIME_DIR is not set")?;
        let [first, second] = units(&program_path()?)?;
        let file = |(name, new_text)| {
            let path = folder.join(name);
            let file = TextFile::read(&path);
            let file = file.map_err(|error| format!("{}: {error}", Shown(&path)))?;
            Ok::<_, String>(UnitFile {
                path,
                file,
                new_text,
            })
        };
        Ok(Service {
            files: [file(first)?, file(second)?],
            hooks: runtime.join(SOCKET_FILE),
            readers: runtime.join("claude-observatory.out"),
        })
    }

    fn install(
        &self,
        options: &ServiceOptions,
        print: impl Fn(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        self.check_files()?;
        let is_active = property(SOCKET, "ActiveState")? == "active";
        if is_active && self.is_complete()? {
            let (answer, notes) = (self.answer()?, self.notes());
            return print(&format!("Nothing to change: {answer}\n{notes}"));
        }
        if !is_active {
            self.check_sockets_are_free()?;
        }
        if options.is_dry_run {
            for unit in &self.files {
                print(&diff(&unit.path, &unit.file.text, &unit.new_text))?;
            }
        }
        if !agree(&self.summary("This installs"), options, &print)? {
            return Ok(());
        }
        let undo = |error| format!("{error}. {UNDO}");
        self.write().and_then(|()| start()).map_err(undo)?;
        let answer = self.answer().map_err(undo)?;
        print(&format!("Installed: {answer}\n{}{UNDO}\n", self.notes()))
    }

    fn remove(
        &self,
        options: &ServiceOptions,
        print: impl Fn(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        self.check_files()?;
        if self.files.iter().all(|unit| unit.file.text.is_empty()) {
            return print("Nothing to remove: the service is not installed\n");
        }
        if !agree(&self.summary("This stops and removes"), options, &print)? {
            return Ok(());
        }
        systemctl(&["disable", SOCKET])?;
        systemctl(&["stop", SERVICE, SOCKET])?;
        for UnitFile { path, file, .. } in &self.files {
            if !file.text.is_empty() {
                let error = |error| format!("cannot remove {}: {error}", Shown(path));
                fs::remove_file(path).map_err(error)?;
            }
        }
        systemctl(&["daemon-reload"])?;
        print("Removed. To undo it: hooks-observatory service --install\n")
    }

    fn status(&self) -> Result<String, String> {
        let mut text = String::new();
        for UnitFile {
            path,
            file,
            new_text,
        } in &self.files
        {
            let state = match &file.text {
                text if text.is_empty() => "not installed",
                text if text == new_text => "installed",
                text if is_ours(text) => {
                    "installed for another path or version of this program: install it again"
                }
                _ => "not written by this program",
            };
            text += &format!("{}: {state}\n", Shown(path));
        }
        for unit in [SOCKET, SERVICE] {
            let [active, result] = [property(unit, "ActiveState")?, property(unit, "Result")?];
            text += &format!("{unit}: {active} ({result})\n");
        }
        text += &format!("{}\n{}", request::state(&self.hooks), self.notes());
        Ok(text)
    }

    /// Whether the units are those that would be written, and systemd starts them at each login.
    fn is_complete(&self) -> Result<bool, String> {
        let mut files = self.files.iter();
        let is_written = files.all(|unit| unit.file.text == unit.new_text);
        Ok(is_written && property(SOCKET, "UnitFileState")? == "enabled")
    }

    /// An error if a file is somebody else's.
    fn check_files(&self) -> Result<(), String> {
        let is_foreign = |unit: &&UnitFile| !unit.file.text.is_empty() && !is_ours(&unit.file.text);
        self.files.iter().find(is_foreign).map_or(Ok(()), |unit| {
            Err(format!(
                "{} was not written by this program, and was left as it was. To install the \
                 service of this program, disable that unit and move the file away",
                Shown(&unit.path)
            ))
        })
    }

    /// systemd would delete the sockets of a server, and put its own in their place.
    fn check_sockets_are_free(&self) -> Result<(), String> {
        for socket in [&self.hooks, &self.readers] {
            if !matches!(check_health(socket), Err(request::Error::NoServer(_))) {
                return Err(format!(
                    "{} is in use: stop the server that listens there first",
                    Shown(socket)
                ));
            }
        }
        Ok(())
    }

    fn summary(&self, what: &str) -> String {
        let [socket, service] = self.files.each_ref().map(|unit| Shown(&unit.path));
        format!(
            "{what} a service of your systemd, which starts the server when a hook or a reader \
             connects\n  hooks: {}\n  readers: {}\n  files: {socket}\n         {service}\n",
            Shown(&self.hooks),
            Shown(&self.readers)
        )
    }

    fn write(&self) -> Result<(), String> {
        for UnitFile {
            path,
            file,
            new_text,
        } in &self.files
        {
            let unchanged = |error| format!("{} was left as it was: {error}", Shown(path));
            let no_folder = |error| format!("cannot make {}: {error}", Shown(file.folder()));
            fs::create_dir_all(file.folder()).map_err(no_folder)?;
            let is_changed = file.text != *new_text;
            if is_changed && file.replace(new_text).map_err(unchanged)? == Outcome::Refused {
                return Err(unchanged("another program is writing it".into()));
            }
        }
        Ok(())
    }

    /// Sends the service an event, and says that it arrived.
    fn answer(&self) -> Result<String, String> {
        let (event, payload) = ("Test", br#"{"message":"the service answers"}"#);
        // The first request starts the server.
        let answers = (0..ATTEMPTS).any(|_| check_health(&self.hooks).is_ok());
        match send::post(&self.hooks, event, payload) {
            Ok(()) if answers => Ok(format!("an event arrived at {}", Shown(&self.hooks))),
            Ok(()) | Err(_) => Err(format!(
                "no event arrives at {}. systemctl --user status {SERVICE} says why",
                Shown(&self.hooks)
            )),
        }
    }

    /// What keeps events from going through the service.
    fn notes(&self) -> String {
        let mut notes = String::new();
        let variable = env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
        if let Some(other) =
            variable.filter(|path| !path.as_os_str().is_empty() && *path != self.hooks)
        {
            notes += &format!(
                "{SOCKET_VARIABLE} is {} in this shell: unset it, also in your profile\n",
                Shown(&other)
            );
        }
        if !installed_sockets().contains(&self.hooks) {
            notes += "no hooks send to it yet: hooks-observatory hooks --install\n";
        }
        notes
    }
}

/// Whether to go on: shows what changes, and asks.
fn agree(
    summary: &str,
    options: &ServiceOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<bool, String> {
    match (options.is_dry_run, options.is_confirmed) {
        (true, _) => say(format_args!("{summary}Nothing was changed.")),
        (false, true) => print(summary)?,
        (false, false) => confirm(&format!("{summary}Do it?"))?,
    }
    Ok(!options.is_dry_run)
}

/// Starts the service with the units that are written, also if an earlier one runs. systemd opens
/// no sockets for a server that runs already.
fn start() -> Result<(), String> {
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", SOCKET])?;
    systemctl(&["stop", SERVICE, SOCKET])?;
    systemctl(&["start", SOCKET]).map(drop)
}

/// What to do on a machine, or in a session, where the user has no systemd.
fn without_systemd(reason: &str) -> String {
    let quote = |path: &Path| quote_text(&Shown(path).to_string());
    let program = program_path().unwrap_or_else(|_| "hooks-observatory".into());
    let runtime = socket();
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let socket = runtime
        .clone()
        .unwrap_or_else(|| home.join(format!(".{SOCKET_FILE}")));
    let server = format!("{} --socket {}", quote(&program), quote(&socket));
    let export = match runtime {
        Some(_) => String::new(),
        None => format!(
            "\nand in either case, so that hooks and commands find its socket:\n  \
             export {SOCKET_VARIABLE}={}",
            quote(&socket)
        ),
    };
    format!(
        "no systemd of this user is running here: {reason}\nKeep the server in tmux instead:\n  \
         tmux new-session -d -s hooks-observatory {server}\nor start it in your shell's profile \
         (bash, zsh, sh):\n  (nohup {server} >/dev/null 2>&1 &){export}\n\
         then: hooks-observatory hooks --install"
    )
}
