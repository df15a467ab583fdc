//! The grammar of names.

use crate::error::{Error, Result};
use crate::options::limits;

/// Checks the grammar of names: 1 to 200 bytes, no control characters, no `*`, no empty word between dots. (That the
/// text is in NFC is checked where text comes from.)
///
/// Errors: `InvalidName`.
pub fn validate(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > limits::NAME_BYTES {
        "it is longer than 200 bytes of UTF-8"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else if name.contains('*') {
        "`*` is kept for patterns"
    } else if name.split('.').any(str::is_empty) {
        "it has an empty word beside a dot"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName {
        name: name.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_names() {
        for good in [
            "a",
            "orders",
            "chat.lobby",
            "größe.x",
            "a b",
            &"x".repeat(200),
        ] {
            validate(good).unwrap();
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a*",
            "a\n",
            "\u{7f}",
            &"x".repeat(201),
        ] {
            assert!(
                matches!(validate(bad), Err(Error::InvalidName { .. })),
                "{bad:?}"
            );
        }
    }
}
