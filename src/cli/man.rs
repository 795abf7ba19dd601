//! `hooks-observatory man`: the manual page, in the language of man(7).
//!
//! The commands and options are those of `--help`. What `--help` does not say is in
//! [`OTHER_SECTIONS`].
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::parser::{Exit, parse_with_argh};

const COMMAND: [&str; 2] = ["hooks-observatory", "man"];

const OTHER_SECTIONS: &str = r#".SH ENVIRONMENT
.TP
.B CLAUDE_UNIX_HOOK_WATCHER
The path of the hook socket, if
.B \-\-socket
does not give it.
.TP
.B XDG_RUNTIME_DIR
The folder of the service's sockets,
.I claude\-observatory.sock
and
.IR claude\-observatory.out .
.TP
.B CLAUDE_CONFIG_DIR
The folder of Claude Code's settings and session files, instead of
.IR ~/.claude .
.TP
.B NO_COLOR
If it is set, there are no colours.
.TP
.B RUST_LOG
Selects what
.B \-\-trace
reports.
.SH EXIT STATUS
0 for success, and for a server that a signal ended; 1 for a failure; 2 for wrong usage.
.B send
exits with 0 whatever happens, and with 1 for wrong usage.
.B sessions \-\-waiting
exits with 1 if no session waits.
.SH EXAMPLES
Add the hooks to the settings of Claude Code, run the server as a service, and show what the
sessions do:
.PP
.EX
hooks\-observatory service \-\-install
hooks\-observatory hooks \-\-install
hooks\-observatory watch
.EE
.SH SEE ALSO
.BR curl (1),
.BR jq (1),
.BR systemd.socket (5)
"#;

/// Prints the manual page, for man -l.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
pub(super) struct Arguments {}

/// Returns what to print.
pub(super) fn parse(arguments: &[OsString], description: &CommandInfoWithArgs) -> Exit {
    match parse_with_argh::<Arguments>(&COMMAND, arguments) {
        Ok(Arguments {}) => Exit::Print(page(description)),
        Err(exit) => exit,
    }
}

fn page(program: &CommandInfoWithArgs) -> String {
    let (name, version) = (program.name, env!("CARGO_PKG_VERSION"));
    let synopsis = program.commands.iter().map(|command| {
        let positionals = positionals(&command.command);
        let full = escape(&format!("{name} {}", command.name));
        format!(".br\n.B {full}\n[\\fIoption\\fR ...]{positionals}\n")
    });
    let commands = program.commands.iter().map(|command| {
        let title = escape(&format!("{name} {}", command.name));
        let text = section(&command.command);
        format!(".SS {title}{}\n{text}", positionals(&command.command))
    });
    format!(
        ".TH {} 1 \"\" \"{name} {version}\" \"User Commands\"\n\
         .SH NAME\n{name} \\- show what Claude Code is doing\n\
         .SH SYNOPSIS\n.B {}\n[\\fIoption\\fR ...]\n{}\
         .SH DESCRIPTION\n{}.SH COMMANDS\n{}{OTHER_SECTIONS}",
        escape(&name.to_uppercase()),
        escape(name),
        synopsis.collect::<String>(),
        section(program),
        commands.collect::<String>(),
    )
}

/// What a command does, and its options.
fn section(command: &CommandInfoWithArgs) -> String {
    let options = command.flags.iter().map(option);
    let description = escape(command.description);
    format!("{description}\n{}", options.collect::<String>())
}

fn option(option: &FlagInfo) -> String {
    let short = option.short.map(|short| format!("\\-{short}, "));
    let value = match option.kind {
        FlagInfoKind::Switch => String::new(),
        FlagInfoKind::Option { arg_name } => format!(" \\fI{}\\fR", escape(arg_name)),
    };
    format!(
        ".TP\n\\fB{}{}\\fR{value}\n{}\n",
        short.unwrap_or_default(),
        escape(option.long),
        escape(option.description)
    )
}

fn positionals(command: &CommandInfoWithArgs) -> String {
    let positionals = command.positionals.iter();
    let positionals = positionals.map(|positional| match positional.optionality {
        Optionality::Required => format!(" \\fI{}\\fR", escape(positional.name)),
        _ => format!(" [\\fI{}\\fR ...]", escape(positional.name)),
    });
    positionals.collect()
}

/// A text as roff shows it unchanged: it would take `-` for a hyphen (groff_char(7)).
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
