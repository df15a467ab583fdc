//! The headers of a record, as bytes. One byte for the content type, then entries `u16 name length, u32 value length, name, value`
//! (little-endian). No bytes at all: application/octet-stream and no headers.
//!
//! Content types: 1 octet-stream, 2 JSON, 3 msgpack, 4 UTF-8 text, 0 another: the entry with the empty name has its text. Names that
//! begin with NUL are ours: `\0r` reply_to, `\0c` correlation_id.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString};

use crate::errors::usage;

pub const BYTES: &str = "application/octet-stream";
const KNOWN: [&str; 5] = [
    "",
    BYTES,
    "application/json",
    "application/msgpack",
    "text/plain",
];

/// A content type: its byte, and its text where the byte is 0.
#[derive(Clone, PartialEq, Eq)]
pub struct ContentType {
    code: u8,
    other: String,
}

impl ContentType {
    pub fn new(text: &str) -> Self {
        match KNOWN.iter().skip(1).position(|known| *known == text) {
            Some(at) => Self {
                code: at as u8 + 1,
                other: String::new(),
            },
            None => Self {
                code: 0,
                other: text.to_owned(),
            },
        }
    }

    pub fn text(&self) -> &str {
        if self.code == 0 {
            &self.other
        } else {
            KNOWN[self.code as usize]
        }
    }

    /// Whether the encoded headers say this content type.
    pub fn is_of(&self, encoded: &[u8]) -> bool {
        match encoded.first() {
            None => self.code == 1,
            Some(0) => self.code == 0 && content_type(encoded) == self.other,
            Some(code) => *code == self.code,
        }
    }
}

/// The content type that encoded headers say.
pub fn content_type(encoded: &[u8]) -> &str {
    match encoded.first() {
        None => BYTES,
        Some(0) => find(encoded, b"")
            .and_then(|v| std::str::from_utf8(v).ok())
            .unwrap_or(BYTES),
        Some(code) => KNOWN.get(*code as usize).copied().unwrap_or(BYTES),
    }
}

/// The entries, our own among them. Stops at what does not parse.
pub fn entries(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = encoded.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (name_len, tail) = rest.split_first_chunk::<2>()?;
        let (value_len, tail) = tail.split_first_chunk::<4>()?;
        let (name, tail) = tail.split_at_checked(u16::from_le_bytes(*name_len) as usize)?;
        let (value, tail) = tail.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        rest = tail;
        Some((name, value))
    })
}

pub fn find<'a>(encoded: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    entries(encoded).find(|(n, _)| *n == name).map(|(_, v)| v)
}

/// Whether an entry is the user's.
pub fn is_users(name: &[u8]) -> bool {
    !matches!(name.first(), None | Some(0))
}

/// Only a content type.
pub fn plain(content: &ContentType, out: &mut Vec<u8>) {
    out.clear();
    match content.code {
        1 => {}
        0 => {
            out.push(0);
            push(out, b"", content.other.as_bytes());
        }
        code => out.push(code),
    }
}

pub fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// One of our own.
pub fn reserved(out: &mut Vec<u8>, name: &[u8], value: &str) {
    if out.is_empty() {
        out.push(1);
    }
    push(out, name, value.as_bytes());
}

fn user(py: Python<'_>, out: &mut Vec<u8>, name: &str, value: &[u8]) -> PyResult<()> {
    if !is_users(name.as_bytes()) || name.len() > u16::MAX as usize {
        return Err(usage(
            py,
            "the name of a header has 1 to 65,535 bytes and does not begin with NUL",
        ));
    }
    if out.is_empty() {
        out.push(1);
    }
    push(out, name.as_bytes(), value);
    Ok(())
}

/// A content type and the user's headers: a mapping of str to str, or pairs of str and bytes.
pub fn encode(
    content: &ContentType,
    headers: Option<&Bound<'_, PyAny>>,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    plain(content, out);
    let Some(headers) = headers else {
        return Ok(());
    };
    let py = headers.py();
    let add = |out: &mut Vec<u8>, pair: &Bound<'_, PyAny>| -> PyResult<()> {
        let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = pair.extract()?;
        if let Ok(text) = value.cast::<PyString>() {
            user(py, out, name.to_str()?, text.to_str()?.as_bytes())
        } else {
            user(py, out, name.to_str()?, value.cast::<PyBytes>()?.as_bytes())
        }
    };
    if let Ok(dict) = headers.cast::<PyDict>() {
        for (name, value) in dict {
            user(
                py,
                out,
                name.cast::<PyString>()?.to_str()?,
                value.cast::<PyString>()?.to_str()?.as_bytes(),
            )?;
        }
    } else if let Ok(mapping) = headers.cast::<PyMapping>() {
        for pair in mapping.items()? {
            add(out, &pair)?;
        }
    } else {
        for pair in headers.try_iter()? {
            add(out, &pair?)?;
        }
    }
    Ok(())
}
