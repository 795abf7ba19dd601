//! `hooks-observatory completions SHELL`: a script that completes subcommands, options and paths.
//!
//! The crate `argh_complete` would need fish 4, and completes no paths in zsh and fish.
//!
//! Stop 2 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;

use argh::{
    ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgValue, FromArgs, Optionality,
};

use super::parser::{Exit, parse_with_argh};

const COMMAND: [&str; 2] = ["hooks-observatory", "completions"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[derive(FromArgValue)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints a script that completes the subcommands and options in a shell.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
pub(super) struct Arguments {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: Shell,
}

/// Returns what to print.
pub(super) fn parse(arguments: &[OsString], program: &CommandInfoWithArgs) -> Exit {
    match parse_with_argh(&COMMAND, arguments) {
        Ok(Arguments { shell: Shell::Bash }) => Exit::Print(bash(program)),
        Ok(Arguments { shell: Shell::Zsh }) => Exit::Print(zsh(program)),
        Ok(Arguments { shell: Shell::Fish }) => Exit::Print(fish(program)),
        Err(exit) => exit,
    }
}

/// Where it offers nothing, as for the value of an option, bash itself offers paths.
fn bash(program: &CommandInfoWithArgs) -> String {
    let mut cases = String::new();
    for command in &program.commands {
        // Writing to a string succeeds, here and below.
        let _ = writeln!(
            cases,
            "    {}) words='{}' ;;",
            command.name,
            words(&command.command)
        );
    }
    let all = program.commands.iter().map(|command| &command.command);
    let valued: BTreeSet<&str> = all.chain([program]).flat_map(valued).collect();
    let valued: Vec<&str> = valued.into_iter().collect();
    format!(
        "_hooks_observatory() {{
    local words='{}'
    (( COMP_CWORD == 1 )) || case ${{COMP_WORDS[1]}} in
{cases}    esac
    case $3 in {}) ;; *) COMPREPLY=($(compgen -W \"$words\" -- \"$2\")) ;; esac
}}
complete -o bashdefault -o default -F _hooks_observatory {}
",
        words(program),
        valued.join("|"),
        program.name
    )
}

/// The text works as the file `_hooks-observatory` in a folder of `$fpath`, and with `source`.
fn zsh(program: &CommandInfoWithArgs) -> String {
    let specifications = |command: &CommandInfoWithArgs| -> String {
        let options = command.flags.iter().map(zsh_option);
        let arguments = match arguments(command) {
            [] if has_paths(command) => "'*:path:_files'".to_owned(),
            words => format!("'*: :({})'", words.join(" ")),
        };
        let all: Vec<String> = options.chain([arguments]).collect();
        all.join(" \\\n            ")
    };
    let (mut commands, mut cases) = (String::new(), String::new());
    for command in &program.commands {
        let (name, info) = (command.name, &command.command);
        let summary = quote(first_sentence(info.description), r"'\''");
        let _ = writeln!(commands, "        '{name}:{summary}'");
        let _ = writeln!(
            cases,
            "        ({name}) shift words; (( CURRENT-- )); _arguments -s \\\n            {} ;;",
            specifications(info)
        );
    }
    format!(
        "#compdef {name}
_{name}() {{
    local -a commands=(
{commands}    )
    (( CURRENT > 2 )) || _describe command commands
    case $words[2] in
{cases}        (*) _arguments -s \\\n            {} ;;
    esac
}}
[[ $funcstack[1] == _{name} ]] && _{name} \"$@\" || compdef _{name} {name}
",
        specifications(program),
        name = program.name,
    )
}

/// An option for `_arguments` of zsh: zshcompsys(1).
fn zsh_option(option: &FlagInfo) -> String {
    let description = quote(option.description, r"'\''").replace('[', "\\[");
    let description = description.replace(']', "\\]").replace(':', "\\:");
    let value = match option.kind {
        FlagInfoKind::Switch => "",
        FlagInfoKind::Option { arg_name: "path" } => ":path:_files",
        FlagInfoKind::Option { .. } => ":value: ",
    };
    format!("'{}[{description}]{value}'", option.long)
}

fn fish(program: &CommandInfoWithArgs) -> String {
    let mut lines = String::new();
    let mut complete = |condition: &str, rest: String| {
        let name = program.name;
        let _ = writeln!(lines, "complete -c {name} -n '{condition}' {rest}");
    };
    let first = "__fish_use_subcommand";
    complete(first, "-f".into());
    for option in program.flags {
        complete(first, fish_option(option));
    }
    for command in &program.commands {
        let (name, info) = (command.name, &command.command);
        let summary = quote(first_sentence(info.description), r"\'");
        complete(first, format!("-a {name} -d '{summary}'"));
        let condition = format!("__fish_seen_subcommand_from {name}");
        if !has_paths(info) {
            complete(&condition, format!("-f -a '{}'", arguments(info).join(" ")));
        }
        for option in info.flags {
            complete(&condition, fish_option(option));
        }
    }
    lines
}

fn fish_option(option: &FlagInfo) -> String {
    let value = match option.kind {
        FlagInfoKind::Switch => "",
        FlagInfoKind::Option { arg_name: "path" } => " -rF",
        FlagInfoKind::Option { .. } => " -x",
    };
    let name = option.long.trim_start_matches('-');
    format!("-l {name}{value} -d '{}'", quote(option.description, r"\'"))
}

/// The options, subcommands and arguments that can follow a command.
fn words(command: &CommandInfoWithArgs) -> String {
    let options = command.flags.iter().map(|option| option.long);
    let commands = command.commands.iter().map(|command| command.name);
    let arguments = arguments(command).iter().copied();
    let words: Vec<&str> = options.chain(commands).chain(arguments).collect();
    words.join(" ")
}

/// The options that take a value.
fn valued(command: &CommandInfoWithArgs) -> Vec<&'static str> {
    let options = command.flags.iter();
    let valued = options.filter(|option| option.kind != FlagInfoKind::Switch);
    valued.map(|option| option.long).collect()
}

/// The words that can follow a subcommand.
fn arguments(command: &CommandInfoWithArgs) -> &'static [&'static str] {
    if command.name == COMMAND[1] {
        &SHELLS
    } else {
        &[]
    }
}

/// Whether paths can follow: the sources of events.
fn has_paths(command: &CommandInfoWithArgs) -> bool {
    let mut positionals = command.positionals.iter();
    positionals.any(|positional| positional.optionality == Optionality::Repeating)
}

/// A text between single quotes, where `quote` stands for one of them.
fn quote(text: &str, quote: &str) -> String {
    text.replace('\'', quote)
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(sentence, _)| sentence)
}
