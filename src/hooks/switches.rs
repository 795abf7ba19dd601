//! The settings that keep installed hooks from running.
//!
//! Stop 17 of EDU_NOTES.md.

use std::path::PathBuf;

use super::{places, settings};
use crate::cli::Scope;
use crate::terminal::Shown;
use crate::user_files::TextFile;

/// A line for each setting that keeps hooks from running, with its file. A client that is given the file of
/// `scope` reads it before the administrator's.
pub fn effective(scope: &Scope) -> Result<String, String> {
    let managed = places::managed_settings();
    let mut all = places::user_and_project_settings();
    let other = places::settings(scope)?;
    if !all.contains(&other) {
        all.push(other);
    }
    all.extend(managed.iter().cloned());
    let disabled = holders("disableAllHooks", &all).into_iter().map(|file| {
        format!(
            "hooks do not run: disableAllHooks is true in {}. Set it to false there\n",
            Shown(&file)
        )
    });
    let restricted = holders("allowManagedHooksOnly", &managed)
        .into_iter()
        .map(|file| {
            format!(
                "only the administrator's hooks run: allowManagedHooksOnly is true in {}\n",
                Shown(&file)
            )
        });
    Ok(disabled.chain(restricted).collect())
}

/// The files in which a setting is true, and no later file says that it is false. The later ones
/// take precedence.
fn holders(setting: &str, files: &[PathBuf]) -> Vec<PathBuf> {
    let value = |file: &PathBuf| {
        let text = TextFile::read(file).ok()?.text;
        Some((file.clone(), settings::switch(&text, setting)?))
    };
    let values = files.iter().rev().filter_map(value);
    values
        .take_while(|(_, is_on)| *is_on)
        .map(|(file, _)| file)
        .collect()
}
