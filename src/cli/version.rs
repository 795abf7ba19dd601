//! Versions of Claude Code, as `--client` and `claude --version` spell them.
//!
//! Stop 2 of EDU_NOTES.md.

use std::fmt;

/// A version of Claude Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Version {
        Version {
            major,
            minor,
            patch,
        }
    }

    /// Reads `2.1.119`. What follows the numbers is ignored, as in `2.1.119 (Claude Code)`
    /// and in `2.2.0-beta.1`.
    pub fn parse(text: &str) -> Option<Version> {
        let end = text.find(|char: char| !char.is_ascii_digit() && char != '.');
        let mut numbers = text[..end.unwrap_or(text.len())].split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Version::new(number()?, number()?, number()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers_and_what_follows_is_ignored() {
        let version = |text| Version::parse(text);
        assert_eq!(version("2.1.119"), Some(Version::new(2, 1, 119)));
        assert_eq!(version("2.1.119 (Claude Code)\n"), version("2.1.119"));
        assert_eq!(version("2.2.0-beta.1"), version("2.2.0"));
        for text in ["", "2.1", "2.1.", "v2.1.119", "4294967296.0.0"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert!(version("2.1.99") < version("2.1.100"));
    }
}
