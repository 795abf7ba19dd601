//! The architecture: no two files import each other, directly or through others. So the source can
//! be read from the bottom up, each file after those that it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex_lite::Regex;

/// The source of each module without its unit tests and comments, by its path, such as
/// `server::clients`. The root, `main.rs` and files that are only tests are left out.
fn modules(folder: &Path, path: &str, modules: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let own = match (path, name) {
            (_, "mod") => path.to_owned(),
            ("", _) => name.to_owned(),
            _ => format!("{path}::{name}"),
        };
        if file.is_dir() {
            self::modules(&file, &own, modules);
        } else if file.extension().is_some_and(|end| end == "rs")
            && !matches!(name, "main" | "lib" | "model" | "tests")
        {
            let text = fs::read_to_string(&file).unwrap();
            let tests = Regex::new(r"#\[cfg\(test\)\]\s+mod tests \{").unwrap();
            let code = tests.split(&text).next().unwrap();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let code: Vec<&str> = code.lines().filter(is_code).collect();
            modules.insert(own, code.join("\n"));
        }
    }
}

/// The paths that a `use` declaration names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    let inner = &rest[..rest.rfind('}').unwrap()];
    for (index, char) in inner.char_indices().chain([(inner.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branches = expand(&inner[start..index]);
                paths.extend(
                    branches
                        .iter()
                        .map(|path| format!("{}{path}", prefix.trim())),
                );
                start = index + 1;
            }
            _ => {}
        }
    }
    paths
}

/// The module in which a path of `module` ends: the longest prefix that is one.
fn resolve(module: &str, path: &str, modules: &BTreeMap<String, String>) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut names = path.split("::").peekable();
    match *names.peek()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while names.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return None,
    }
    let names = names.skip_while(|name| matches!(*name, "crate" | "self"));
    let path: Vec<&str> = base.into_iter().chain(names).collect();
    let prefixes = (1..=path.len())
        .rev()
        .map(|length| path[..length].join("::"));
    prefixes
        .into_iter()
        .find(|prefix| modules.contains_key(prefix))
}

#[test]
fn no_two_files_import_each_other() {
    let mut sources = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    modules(&src, "", &mut sources);
    let imports = Regex::new(r"(?s)\buse ((?:crate|self|super)::.*?);").unwrap();
    let paths = Regex::new(r"\b(?:crate|self|super)(?:::\w+)+").unwrap();
    let mods = Regex::new(r"(?m)^(?:pub(?:\([^)]*\))? )?mod (\w+);").unwrap();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, code) in &sources {
        let declared = imports
            .captures_iter(code)
            .flat_map(|found| expand(&found[1]));
        let inline = paths.find_iter(code).map(|found| found.as_str().to_owned());
        // A path of the second kind can be the beginning of a declaration: only the prefix counts.
        let inline = inline.filter(|path| !code.contains(&format!("use {path}")));
        // `child::name`, in a file that declares `mod child;`.
        let children = mods.captures_iter(code).map(|found| found[1].to_owned());
        let children: Vec<String> = children.collect();
        let of_children = children.iter().filter(|child| {
            let call = Regex::new(&format!(r"(?:^|[^:\w]){child}::")).unwrap();
            call.is_match(code)
        });
        let of_children = of_children.map(|child| format!("self::{child}"));
        let used = declared.chain(inline).chain(of_children);
        let used = used.filter_map(|path| resolve(module, &path, &sources));
        uses.insert(module.clone(), used.filter(|used| used != module).collect());
    }
    assert!(uses["server"].contains("server::clients") && uses.len() >= 90);
    assert!(uses["server::clients::bodies"].contains("server::clients"));
    // A module that uses none of those left, or is used by none of them, is in no circle.
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let used: BTreeSet<String> = uses.values().flatten().cloned().collect();
        uses.retain(|module, uses| {
            used.contains(module) && uses.iter().any(|other| left.contains(other))
        });
        uses.values_mut()
            .for_each(|uses| uses.retain(|other| left.contains(other)));
        if uses.len() == left.len() {
            break;
        }
    }
    assert!(uses.is_empty(), "files that import each other: {uses:#?}");
}

/// A path can contain what a terminal obeys. `Path::display` would show it as it is.
#[test]
fn every_path_in_a_message_is_shown_by_shown() {
    let mut sources = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    modules(&src, "", &mut sources);
    let containing = |what: &str| -> Vec<&str> {
        let found = sources.iter().filter(|(_, code)| code.contains(what));
        found.map(|(module, _)| module.as_str()).collect()
    };
    assert_eq!(containing(".display()"), [] as [&str; 0]);
    // The other one is the name in a patch, which other programs read.
    assert_eq!(containing("to_string_lossy"), ["terminal", "user_files"]);
}
