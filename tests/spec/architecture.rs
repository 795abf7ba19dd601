//! The architecture: the modules of the program use each other without a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex_lite::Regex;

/// The source of each top-level module, without its unit tests.
fn modules() -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "main" && name != "lib" {
            modules.insert(name, source(&path));
        }
    }
    modules
}

fn source(path: &Path) -> String {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries
            .map(|entry| source(&entry.unwrap().path()))
            .collect();
    }
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn no_two_modules_use_each_other() {
    let path = Regex::new(r"crate::(\w+)").unwrap();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, source) in modules() {
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let used = path.captures_iter(&code).map(|found| found[1].to_owned());
        uses.insert(name.clone(), used.filter(|used| *used != name).collect());
    }
    assert!(uses["server"].contains("http") && uses.len() >= 10);
    // Without a cycle, some module always uses only modules that are removed already.
    while !uses.is_empty() {
        let is_free = |used: &BTreeSet<String>| used.iter().all(|name| !uses.contains_key(name));
        let free = uses.iter().find(|(_, used)| is_free(used));
        let free = free.map(|(name, _)| name.clone());
        let name = free.unwrap_or_else(|| panic!("a cycle among {uses:#?}"));
        uses.remove(&name);
    }
}
