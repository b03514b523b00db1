//! Command line words of a chore: flags are taken by name, what is left over is an error.

use crate::Outcome;
use std::str::FromStr;

/// The words after the chore's name.
pub(crate) struct Args {
    words: Vec<String>,
    /// Words after a lone `--`: passed on, never looked at.
    rest: Vec<String>,
}

impl Args {
    pub(crate) fn new(mut words: Vec<String>) -> Self {
        let rest = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).split_off(1),
            None => Vec::new(),
        };
        Self { words, rest }
    }

    /// Takes `--name`; whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// Takes `--name VALUE` or `--name=VALUE`.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Outcome<Option<T>> {
        let prefix = format!("{name}=");
        let Some(at) = self.words.iter().position(|w| w == name || w.starts_with(&prefix)) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        let text = match word.strip_prefix(&prefix) {
            Some(text) => text.to_string(),
            None if at < self.words.len() => self.words.remove(at),
            None => return Err(format!("{name} needs a value")),
        };
        text.parse().map(Some).map_err(|_| format!("{name}: cannot read `{text}`"))
    }

    /// Takes the first word that is no flag. Call it after the flags have been taken.
    pub(crate) fn positional(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(at))
    }

    /// Takes what stood after `--`.
    pub(crate) fn passed_on(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rest)
    }

    /// Fails on words that nobody took.
    pub(crate) fn finish(self) -> Outcome<()> {
        match self.words.iter().chain(&self.rest).next() {
            Some(word) => Err(format!("unknown argument `{word}`; `cargo xtask help` lists all")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn flags_values_and_positionals_are_taken_once() {
        let mut a = args("tcp --peers --rounds 5 --secs=2 -- --peers x");
        assert!(a.flag("--peers") && !a.flag("--peers"));
        assert_eq!(a.value::<u32>("--rounds"), Ok(Some(5)));
        assert_eq!(a.value::<u32>("--secs"), Ok(Some(2)));
        assert_eq!(a.positional().as_deref(), Some("tcp"));
        assert_eq!(a.passed_on(), ["--peers", "x"]);
        assert_eq!(a.finish(), Ok(()));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(args("--seeds").value::<u64>("--seeds").is_err());
        assert!(args("--seeds many").value::<u64>("--seeds").is_err());
        assert!(args("--sedes 4").finish().is_err());
    }
}
