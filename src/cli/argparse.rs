//! What Python's argparse does and `argh` does not. Scripts written for the Python server
//! depend on it.
//!
//! - `--name=value` means `--name value`.
//! - The last one of a repeated option wins.
//! - A value that begins with `-` must follow an `=`. An empty value is refused.
//!
//! Stop 2 of EDU_NOTES.md.

/// Rewrites arguments to the form that `argh` accepts. `valued` lists the options that
/// take a value. The error says which option has no value.
pub(super) fn normalize(arguments: Vec<String>, valued: &[&str]) -> Result<Vec<String>, String> {
    let mut normalized: Vec<(String, Option<String>)> = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if valued.contains(&name) => (name.into(), Some(value.into())),
            _ if valued.contains(&argument.as_str()) => {
                let value = arguments.next().unwrap_or_default();
                if value.starts_with('-') {
                    return Err(format!(
                        "{argument} needs a value, and {value} looks like an option: \
                         if it is the value, write {argument}={value}"
                    ));
                }
                (argument, Some(value))
            }
            _ => (argument, None),
        };
        if value.as_ref().is_some_and(String::is_empty) {
            return Err(format!("{name} needs a value"));
        }
        if name.starts_with('-') {
            normalized.retain(|(earlier, _)| *earlier != name);
        }
        normalized.push((name, value));
    }
    Ok(normalized
        .into_iter()
        .flat_map(|(name, value)| [Some(name), value])
        .flatten()
        .collect())
}
