//! Opening and closing directories: what is made, what is refused, what a clean or unclean end leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use headwater_log::options::{Durability, OpenOptions};
use headwater_log::{Engine, Error};

fn refused(options: &OpenOptions) -> Error {
    match Engine::open(options) {
        Ok(_) => panic!("{} was opened", options.path.display()),
        Err(error) => error,
    }
}

#[test]
fn a_new_directory_is_private_and_ours() {
    let tmp = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(tmp.path().join("a/b"));
    let engine = Engine::open(&options).unwrap();
    let mode = |name: &str| {
        let path = options.path.join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for file in ["headwater.json", "session", "SETUP", "LOCK", "run/state"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    let info = engine.info();
    assert_eq!((info.session, info.last_unclean), (1, 0));
    assert_eq!(info.durability, Durability::Interval);
    let processes = engine.processes().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0].pid, std::process::id());
    engine.close().unwrap();
    engine.close().unwrap();
    assert!(matches!(engine.processes(), Err(Error::Closed(_))));
}

#[test]
fn a_clean_close_is_noticed_and_an_unclean_one_too() {
    let tmp = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(tmp.path());
    let uuid = {
        let engine = Engine::open(&options).unwrap();
        engine.close().unwrap();
        engine.info().uuid
    };
    let engine = Engine::open(&options).unwrap();
    assert_eq!((engine.info().session, engine.info().last_unclean), (2, 0));
    assert_eq!(engine.info().uuid, uuid);
    engine.close().unwrap();
    // The newest record of `session`, which says clean, is gone: another session may have followed, for all we know.
    let path = options.path.join("session");
    let mut bytes = fs::read(&path).unwrap();
    let newest = (0..2).max_by_key(|n| bytes[n * 512 + 8]).unwrap();
    bytes[newest * 512..(newest + 1) * 512].fill(0);
    fs::write(&path, bytes).unwrap();
    let engine = Engine::open(&options).unwrap();
    assert_eq!((engine.info().session, engine.info().last_unclean), (4, 3));
}

#[test]
fn openings_in_one_process_share_the_directory() {
    let tmp = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(tmp.path());
    let one = Engine::open(&options).unwrap();
    fs::create_dir(tmp.path().join("elsewhere")).unwrap();
    let same = OpenOptions::new(tmp.path().join("elsewhere/.."));
    let two = Engine::open(&same).unwrap();
    assert_eq!(one.info().slot, two.info().slot);
    assert_eq!(one.processes().unwrap().len(), 1);
    one.close().unwrap();
    assert!(one.is_closed() && !two.is_closed());
    assert_eq!(two.processes().unwrap().len(), 1);
    drop(two);
    let three = Engine::open(&options).unwrap();
    assert_eq!(three.info().session, 2);
    assert_eq!(three.info().last_unclean, 0);
}

#[test]
fn memory_is_shared_by_name() {
    let options = OpenOptions::new("");
    let one = Engine::memory(Some("shared"), &options).unwrap();
    let two = Engine::memory(Some("shared"), &options).unwrap();
    let other = Engine::memory(Some("other"), &options).unwrap();
    let alone = Engine::memory(None, &options).unwrap();
    assert_eq!(one.info().uuid, two.info().uuid);
    assert_ne!(one.info().uuid, other.info().uuid);
    assert_ne!(alone.info().uuid, other.info().uuid);
    let uuid = one.info().uuid;
    one.close().unwrap();
    two.close().unwrap();
    let again = Engine::memory(Some("shared"), &options).unwrap();
    assert_ne!(again.info().uuid, uuid);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("thesis.tex"), "x").unwrap();
    let error = refused(&OpenOptions::new(tmp.path()));
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);

    let error = refused(&OpenOptions::new(tmp.path().join("thesis.tex")));
    assert!(matches!(error, Error::Connect { .. }), "{error}");

    let mut missing = OpenOptions::new(tmp.path().join("missing"));
    missing.create = false;
    assert!(matches!(refused(&missing), Error::Connect { .. }));
    assert!(!missing.path.exists());
}

#[test]
fn a_newer_format_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(tmp.path());
    Engine::open(&options).unwrap().close().unwrap();
    let path = tmp.path().join("headwater.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"major\": 1", "\"major\": 2"),
        ("\"incompat\": 0", "\"incompat\": 1"),
        ("\"incompat\": 0", "\"incompat\": 4096"),
        ("\"ro_compat\": 0", "\"ro_compat\": 1"),
        ("{", "["),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        fs::write(&path, changed).unwrap();
        let error = refused(&options);
        assert!(matches!(error, Error::Incompatible { .. }), "{to}: {error}");
    }
    // A later minor version and features that may be ignored are no reason.
    let changed = text.replacen("\"minor\": 0", "\"minor\": 9", 1).replacen(
        "\"compat\": 0,\n  \"durability\"",
        "\"compat\": 8,\n  \"durability\"",
        1,
    );
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    Engine::open(&options).unwrap().close().unwrap();
}

#[test]
fn a_weaker_durability_than_the_stored_one_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let mut options = OpenOptions::new(tmp.path());
    options.durability = Some(Durability::Interval);
    options.interval = Some(Duration::from_millis(50));
    let engine = Engine::open(&options).unwrap();
    let mut weaker = options.clone();
    weaker.durability = Some(Durability::Never);
    assert!(matches!(refused(&weaker), Error::Usage(_)));
    let mut slower = options.clone();
    slower.interval = Some(Duration::from_secs(1));
    assert!(matches!(refused(&slower), Error::Usage(_)));
    engine.close().unwrap();
    assert!(matches!(refused(&weaker), Error::Usage(_)));
    let mut stronger = options.clone();
    stronger.durability = Some(Durability::Always);
    let engine = Engine::open(&stronger).unwrap();
    assert_eq!(engine.info().durability, Durability::Interval);
    assert_eq!(engine.info().acks, Durability::Always);
    engine.close().unwrap();
    let asked_nothing = OpenOptions::new(tmp.path());
    let engine = Engine::open(&asked_nothing).unwrap();
    assert_eq!(engine.info().acks, Durability::Interval);
    assert_eq!(engine.info().interval, Duration::from_millis(50));
}

#[test]
fn many_threads_open_and_close_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(tmp.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let engine = Engine::open(&options).unwrap();
                    assert_eq!(engine.processes().unwrap().len(), 1);
                    engine.close().unwrap();
                }
            });
        }
    });
    let engine = Engine::open(&options).unwrap();
    assert_eq!(engine.info().last_unclean, 0);
}
