//! `headwater.json`: what a directory is, and for whom it is readable. Written once, at creation.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::options::{Durability, OpenOptions};

/// The format that this code writes. Readers of one major version read all its minor ones.
pub const MAJOR: u32 = 1;
pub const MINOR: u32 = 0;
/// Features without which the directory cannot be used, that this code knows: none yet. TABLES, TXN and COMPACTED are
/// reserved as bits 0, 1 and 2.
const KNOWN_INCOMPAT: u64 = 0;
const KNOWN_RO_COMPAT: u64 = 0;

#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub uuid: [u8; 16],
    pub durability: Durability,
    pub interval: Duration,
}

#[derive(Serialize, Deserialize)]
struct Format {
    major: u32,
    minor: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: Format,
    uuid: String,
    incompat: u64,
    ro_compat: u64,
    compat: u64,
    durability: Durability,
    /// Seconds.
    interval: f64,
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("read", "the kernel's random numbers")(e.into())),
        }
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// File systems on which a map or a lock is not one thing for all machines, by `statfs` type.
const REFUSED: [(i64, &str); 12] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0x6573_5546, "FUSE"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786F_4256, "a VirtualBox shared folder"),
];

/// File systems that write to new places each time.
const COPYING: [(i64, &str); 3] = [
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "ZFS"),
    (0xCA45_1A4E, "bcachefs"),
];

fn named_fs(dir: &Path, names: &'static [(i64, &'static str)]) -> Option<&'static str> {
    let found = rustix::fs::statfs(dir).ok()?;
    // The field is signed on some machines and narrower on others; the numbers are 32 bits wide.
    #[allow(clippy::unnecessary_cast)]
    let kind = (found.f_type as i64) & 0xFFFF_FFFF;
    names
        .iter()
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name)
}

/// The name of the network file system that a directory lies on, if it does.
pub(crate) fn shared_fs(dir: &Path) -> Option<&'static str> {
    named_fs(dir, &REFUSED)
}

/// The name of the copying file system that a directory lies on, if it does.
pub(crate) fn copying_fs(dir: &Path) -> Option<&'static str> {
    named_fs(dir, &COPYING)
}

/// Makes the directory when it is missing, and refuses what cannot be one: a network file system, a file, somebody
/// else's files. Nothing is written into a directory that is refused.
///
/// Errors: `Connect`, `Incompatible`.
pub(crate) fn prepare(dir: &Path, options: &OpenOptions) -> Result<()> {
    let cannot = |why: String| Error::Connect {
        path: dir.to_owned(),
        why,
    };
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            return Err(cannot("it is not a directory".to_owned()));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && options.create => {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent)
                    .map_err(|e| cannot(format!("its parent cannot be made: {e}")))?;
            }
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(cannot(format!("it cannot be made: {e}")));
                }
                _ => {}
            }
        }
        Err(e) => return Err(cannot(e.to_string())),
    }
    if !options.allow_network_fs {
        if let Some(name) = shared_fs(dir) {
            return Err(cannot(format!(
                "it lies on {name}, where processes of several machines can meet; use a local file system, or \
                 options={{'allow_network_fs': True}} if only one machine ever opens it"
            )));
        }
    }
    if !dir.join("headwater.json").exists() {
        let entries = fs::read_dir(dir).map_err(|e| cannot(e.to_string()))?;
        for entry in entries {
            let name = entry.map_err(|e| cannot(e.to_string()))?.file_name();
            // What another process that makes the directory right now leaves in it, or one that died doing so.
            let ours = ["SETUP", "LOCK", "headwater.json", "headwater.json.tmp"];
            if !ours.iter().any(|our| name == *our) {
                return Err(Error::Incompatible {
                    path: dir.to_owned(),
                    found: format!(
                        "other files ({}), no headwater.json",
                        name.to_string_lossy()
                    ),
                    supported: "an empty or a headwater directory".to_owned(),
                });
            }
        }
        if !options.create {
            return Err(cannot("it holds no headwater.json".to_owned()));
        }
    }
    rustix::fs::access(
        dir,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|e| cannot(format!("it cannot be written to: {e}")))
}

impl Identity {
    /// Reads headwater.json, or writes it. The caller holds SETUP.
    ///
    /// Errors: `Incompatible`; `Usage` when a weaker durability than the stored one is asked for.
    pub(crate) fn load_or_create(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let path = dir.join("headwater.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let found = Self::parse(dir, &bytes)?;
                found.check(options)?;
                Ok(found)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::create(dir, options),
            Err(e) => Err(Error::io("read", path)(e)),
        }
    }

    pub(crate) fn new(options: &OpenOptions) -> Result<Self> {
        let mut uuid: [u8; 16] = random()?;
        // Version 4, variant 1 of RFC 9562.
        uuid[6] = uuid[6] & 0x0F | 0x40;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        Ok(Self {
            uuid,
            durability: options.durability.unwrap_or(Durability::Interval),
            interval: options.interval.unwrap_or(Duration::from_millis(100)),
        })
    }

    fn create(dir: &Path, options: &OpenOptions) -> Result<Self> {
        let made = Self::new(options)?;
        let stored = Stored {
            format: Format {
                major: MAJOR,
                minor: MINOR,
            },
            uuid: hex(&made.uuid),
            incompat: 0,
            ro_compat: 0,
            compat: 0,
            durability: made.durability,
            interval: made.interval.as_secs_f64(),
        };
        let text = serde_json::to_string_pretty(&stored)
            .map_err(|e| Error::Usage(format!("headwater.json cannot be written: {e}")))?;
        let (path, tmp) = (dir.join("headwater.json"), dir.join("headwater.json.tmp"));
        fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&tmp)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.write_all(b"\n")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&tmp, &path))
            .and_then(|()| fs::File::open(dir)?.sync_all())
            .map_err(Error::io("write", &path))?;
        Ok(made)
    }

    pub(crate) fn parse(dir: &Path, bytes: &[u8]) -> Result<Self> {
        let refused = |found: String| Error::Incompatible {
            path: dir.to_owned(),
            found,
            supported: format!("format {MAJOR}.{MINOR}"),
        };
        // The version first: a newer file need not look like ours in anything else.
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|_| refused("a headwater.json that is not JSON".to_owned()))?;
        match value["format"]["major"].as_u64() {
            Some(major) if major == u64::from(MAJOR) => {}
            Some(major) => return Err(refused(format!("format {major}"))),
            None => return Err(refused("a headwater.json without a format".to_owned())),
        }
        let stored: Stored = serde_json::from_value(value)
            .map_err(|e| refused(format!("a headwater.json with {e}")))?;
        if stored.incompat & !KNOWN_INCOMPAT != 0 {
            return Err(refused(format!(
                "features {:#x}",
                stored.incompat & !KNOWN_INCOMPAT
            )));
        }
        if stored.ro_compat & !KNOWN_RO_COMPAT != 0 {
            return Err(refused(format!(
                "features {:#x}, with which it can only be read",
                stored.ro_compat & !KNOWN_RO_COMPAT
            )));
        }
        let uuid = unhex(&stored.uuid)
            .ok_or_else(|| refused("a headwater.json with a broken uuid".to_owned()))?;
        if !(stored.interval.is_finite() && (0.0..=3600.0).contains(&stored.interval)) {
            return Err(refused(
                "a headwater.json with a broken interval".to_owned(),
            ));
        }
        Ok(Self {
            uuid,
            durability: stored.durability,
            interval: Duration::from_secs_f64(stored.interval),
        })
    }

    /// Weaker promises than the stored ones are refused: other processes rely on those.
    pub(crate) fn check(&self, options: &OpenOptions) -> Result<()> {
        if let Some(asked) = options.durability {
            if asked < self.durability {
                return Err(Error::Usage(format!(
                    "{} was made with durability={}; the weaker {} cannot be had",
                    options.path.display(),
                    word(self.durability),
                    word(asked)
                )));
            }
        }
        match options.interval {
            Some(asked) if asked > self.interval && self.durability == Durability::Interval => {
                Err(Error::Usage(format!(
                    "{} was made with interval={}; the longer {} cannot be had",
                    options.path.display(),
                    self.interval.as_secs_f64(),
                    asked.as_secs_f64()
                )))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn word(durability: Durability) -> &'static str {
    match durability {
        Durability::Never => "never",
        Durability::Interval => "interval",
        Durability::Always => "always",
    }
}
