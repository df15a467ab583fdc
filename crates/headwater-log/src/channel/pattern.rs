//! Names and patterns of channels: `*` is exactly one word between dots, `**` at the end one or more.

use crate::error::{Error, Result};
use crate::name;

/// Whether a subscriber of this name can hear channels of other names.
pub fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Checks a name or pattern.
///
/// Errors: `InvalidName`.
pub fn validate(pattern: &str) -> Result<()> {
    let mut words = pattern.split('.').peekable();
    while let Some(word) = words.next() {
        let whole = word == "*" || word == "**" && words.peek().is_none();
        if word.contains('*') && !whole {
            return Err(Error::InvalidName {
                name: pattern.to_owned(),
                why: "`*` stands for one whole word, `**` for the last ones",
            });
        }
    }
    // The stars are words like others to the rest of the grammar.
    name::validate(&pattern.replace('*', "x")).map_err(|error| match error {
        Error::InvalidName { why, .. } => Error::InvalidName {
            name: pattern.to_owned(),
            why,
        },
        other => other,
    })
}

/// Whether `pattern`, a name or a pattern, hears the channel `name`.
pub fn matches(pattern: &str, name: &str) -> bool {
    if !is_pattern(pattern) {
        return pattern == name;
    }
    let mut words = name.split('.');
    for wanted in pattern.split('.') {
        match (wanted, words.next()) {
            ("**", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_words() {
        for (pattern, yes, no) in [
            ("a", vec!["a"], vec!["b", "a.a", "A"]),
            ("a.*", vec!["a.b", "a.ü"], vec!["a", "a.b.c", "b.a"]),
            ("*", vec!["a"], vec!["a.b"]),
            ("**", vec!["a", "a.b", "a.b.c"], vec![]),
            ("a.**", vec!["a.b", "a.b.c"], vec!["a", "b.a"]),
            ("*.b", vec!["a.b"], vec!["b", "a.b.c", "a.c"]),
            (
                "*.b.**",
                vec!["a.b.c", "a.b.c.d"],
                vec!["a.b", "a.c.c", "b.c"],
            ),
        ] {
            validate(pattern).unwrap();
            for name in yes {
                assert!(matches(pattern, name), "{pattern} hears {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} does not hear {name}");
            }
        }
    }

    #[test]
    fn the_grammar_of_patterns() {
        for bad in ["", "a*", "**.a", "a.**.b", "***", "a..*", "*.", "a\n.*"] {
            match validate(bad) {
                Err(Error::InvalidName { name, .. }) => assert_eq!(name, bad),
                other => panic!("{bad:?}: {other:?}"),
            }
        }
    }
}
