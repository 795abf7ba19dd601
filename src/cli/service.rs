//! The options of `hooks-observatory service`.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;

use argh::{ArgsInfo, FromArgs};

use super::parser::{Exit, parse_with_argh, usage};

const COMMAND: [&str; 2] = ["hooks-observatory", "service"];

/// What [`service`](crate::service) does.
#[derive(Debug)]
pub struct ServiceOptions {
    pub action: ServiceAction,
    /// Whether to show the change only.
    pub is_dry_run: bool,
    /// Whether not to ask the user.
    pub is_confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServiceAction {
    Install,
    Remove,
    Status,
}

/// Makes the server a service of your systemd, which starts it when the first hook or reader
/// connects.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
pub(super) struct Arguments {
    /// write the units of the service, start it, and send it an event
    #[argh(switch)]
    install: bool,

    /// stop the service, and remove its units
    #[argh(switch)]
    remove: bool,

    /// say whether the service is installed, and whether it answers
    #[argh(switch)]
    status: bool,

    /// show what --install (or --remove, if given) would change, and change nothing
    #[argh(switch)]
    dry_run: bool,

    /// with --install or --remove: do not ask. Without a terminal nothing changes otherwise
    #[argh(switch)]
    yes: bool,
}

pub(super) fn parse(arguments: &[OsString]) -> Result<ServiceOptions, Exit> {
    let arguments: Arguments = parse_with_argh(&COMMAND, arguments)?;
    let has_change_option = arguments.dry_run || arguments.yes;
    let action = match (arguments.install, arguments.remove, arguments.status) {
        (true, false, false) => ServiceAction::Install,
        (false, false, false) if arguments.dry_run => ServiceAction::Install,
        (false, true, false) => ServiceAction::Remove,
        (false, false, true) if !has_change_option => ServiceAction::Status,
        _ => {
            let error = "give one of --install, --remove and --status. --dry-run and --yes go \
                         with the first two";
            return Err(usage(&COMMAND, error));
        }
    };
    Ok(ServiceOptions {
        action,
        is_dry_run: arguments.dry_run,
        is_confirmed: arguments.yes,
    })
}
