//! What recovery and repair make of damage, of cut files, and of what a killed process left half-done.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::segment::{Header, Segment, START};
use super::{now_ns, LogKind, Record};
use crate::ctx::EngineCtx;
use crate::error::Error;
use crate::shared::layout::intent_op;
use crate::stream::{Conditions, ExpectKey, ReadOptions, Start, Stream, Wait};
use crate::testing::{stream, Place};

fn append(stream: &Stream, value: &[u8]) -> u64 {
    let soon = Wait::Until(Instant::now() + Duration::from_secs(10));
    stream
        .append(&Record::of(value), &Conditions::default(), soon)
        .unwrap()
        .seq
}

/// Everything that can be read, and how often damage was told.
fn all(stream: &Stream) -> (Vec<(u64, u8)>, usize) {
    let mut reader = stream
        .reader(ReadOptions {
            start: Start::Earliest,
            stop: None,
            follow: false,
            key: None,
            skip_trimmed: false,
        })
        .unwrap();
    let (mut found, mut damaged) = (Vec::new(), 0);
    while !reader.ended() {
        match reader.next() {
            Ok(Some(record)) => found.push((record.seq, record.value[0])),
            Ok(None) => {}
            Err(Error::Corruption { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (found, damaged)
}

const FRAME: usize = 32 + 8 + 56;

/// Ten records of 50 bytes, frames of 96; their value is their number.
fn ten(stream: &Stream) -> Vec<(u64, u8)> {
    (0..10u8).map(|n| (append(stream, &[n; 50]), n)).collect()
}

fn active(stream: &Stream) -> Arc<Segment> {
    let base = stream.log.state().active_base.load(Ordering::Relaxed);
    stream.log.segment(base).unwrap().unwrap()
}

fn flip(segment: &Segment, off: usize) {
    let mut byte = [0u8];
    segment.map.read(off, &mut byte);
    segment.map.write(off, &[byte[0] ^ 4]);
}

/// The file that a roll makes before it writes anything else.
fn begun_roll(ctx: &EngineCtx, stream: &Stream) -> std::path::PathBuf {
    let old = active(stream);
    let page = stream.log.state();
    let header = Header {
        base_seq: page.next_seq.load(Ordering::Relaxed),
        base_lba: old.end_lba(),
        base_ordinal: page.ordinal.load(Ordering::Relaxed),
        base_max_time: 0,
        created_ns: now_ns(),
        file_size: 2 * old.header.file_size,
        ..old.header
    };
    page.intent_op.store(intent_op::ROLL, Ordering::Relaxed);
    let made = Segment::create(ctx, &stream.log.dir, LogKind::Stream, header).unwrap();
    made.path
}

#[test]
fn a_roll_that_died_with_the_new_file_made_is_finished() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let mut model = ten(&orders);
    begun_roll(&ctx, &orders);
    orders.log.repair().unwrap();
    model.push((append(&orders, &[10; 50]), 10));
    assert_eq!(model[10].0, 11);
    assert_eq!(orders.log.segment_bases().unwrap(), [1, 11]);
    assert_eq!(all(&orders), (model.clone(), 0));
    for lossy in [false, true] {
        let session = place.session;
        let orders = stream(&place.open(session, if lossy { session } else { 0 }));
        assert_eq!(all(&orders), (model.clone(), 0));
    }
}

#[test]
fn a_roll_that_nobody_was_left_to_finish_is_finished_by_the_next_session() {
    for lossy in [false, true] {
        let mut place = Place::memory();
        let ctx = place.open(0, 0);
        let orders = stream(&ctx);
        let mut model = ten(&orders);
        begun_roll(&ctx, &orders);
        let session = place.session;
        let orders = stream(&place.open(session, if lossy { session } else { 0 }));
        assert_eq!(all(&orders), (model.clone(), 0));
        let seq = append(&orders, &[10; 50]);
        assert!(if lossy { seq > 11 } else { seq == 11 }, "{seq}");
        model.push((seq, 10));
        assert_eq!(all(&orders), (model, 0));
        assert_eq!(orders.info().unwrap().holes, []);
    }
}

#[test]
fn a_file_that_begins_at_a_position_that_was_given_out_is_put_aside() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let mut model = ten(&orders);
    begun_roll(&ctx, &orders);
    // As if the roll had been taken back, and others had gone on in the old file.
    orders
        .log
        .state()
        .intent_op
        .store(intent_op::NONE, Ordering::Relaxed);
    model.push((append(&orders, &[10; 50]), 10));
    let orders = stream(&place.open(place.session, 0));
    model.push((append(&orders, &[11; 50]), 11));
    assert_eq!(model[11].0, 12);
    assert_eq!(all(&orders), (model, 0));
}

#[test]
fn the_repair_of_a_killed_append_gives_up_nothing_behind_damage() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let mut model = ten(&orders);
    let segment = active(&orders);
    flip(&segment, START as usize + 3 * FRAME + 60);
    let page = orders.log.state();
    let tail = page.tail.load(Ordering::Relaxed);
    page.intent_lba.store(tail, Ordering::Relaxed);
    page.intent_len.store(FRAME as u64, Ordering::Relaxed);
    page.intent_op.store(intent_op::APPEND, Ordering::Relaxed);
    // It had written a part of its frame.
    segment.map.write(tail as usize + 40, &[7; 30]);
    orders.log.repair().unwrap();
    assert_eq!(page.tail.load(Ordering::Relaxed), tail);
    model.remove(3);
    model.push((append(&orders, &[10; 50]), 10));
    assert_eq!(model[9].0, 11);
    assert_eq!(all(&orders), (model, 1));
    assert_eq!(orders.info().unwrap().records, 11);
}

#[test]
fn the_repair_of_a_killed_append_takes_what_was_committed() {
    for noted in [false, true] {
        let mut place = Place::memory();
        let ctx = place.open(0, 0);
        let orders = stream(&ctx);
        let model = ten(&orders);
        let page = orders.log.state();
        let words = [&page.next_seq, &page.last_seq, &page.ordinal];
        // It died before it could publish the tenth, with or without having brought the caches up to date.
        let tail = page.tail.load(Ordering::Relaxed);
        page.tail.store(tail - FRAME as u64, Ordering::Relaxed);
        if !noted {
            for word in words {
                word.fetch_sub(1, Ordering::Relaxed);
            }
        }
        page.intent_lba
            .store(tail - FRAME as u64, Ordering::Relaxed);
        page.intent_len.store(FRAME as u64, Ordering::Relaxed);
        page.intent_op.store(intent_op::APPEND, Ordering::Relaxed);
        orders.log.repair().unwrap();
        assert_eq!(all(&orders), (model, 0));
        assert_eq!(words.map(|word| word.load(Ordering::Relaxed)), [11, 10, 10]);
        assert_eq!(append(&orders, &[10; 50]), 11);
    }
}

#[test]
fn damage_in_the_last_record_is_told_and_its_position_is_not_given_out_again() {
    // A byte of the value, of the length (no length at all; one that reaches far behind), of the position.
    for byte in [60, 3, 2, 8] {
        for promised in [false, true] {
            let mut place = Place::memory();
            let ctx = place.open(0, 0);
            let orders = stream(&ctx);
            let mut model = ten(&orders);
            if promised {
                orders.log.write_tail_note().unwrap();
            }
            flip(&active(&orders), START as usize + 9 * FRAME + byte);
            model.pop();
            let session = place.session;
            let ctx = place.open(session, if promised { session } else { 0 });
            let orders = stream(&ctx);
            assert_eq!(all(&orders), (model.clone(), 1), "{byte} {promised}");
            let seq = append(&orders, &[10; 50]);
            assert!(seq > 1 << 32, "{seq}");
            model.push((seq, 10));
            assert_eq!(all(&orders), (model.clone(), 1), "{byte} {promised}");
            let holes = orders.info().unwrap().holes;
            assert!(
                holes.len() == 1 && holes[0].0 == 10 && holes[0].1 <= seq,
                "{holes:?}"
            );
            // Once more: it is the same hole, and kept aside once.
            let kept = ctx.storage.list(&ctx.root.join("quarantine")).unwrap();
            let ctx = place.open(place.session, 0);
            let orders = stream(&ctx);
            assert_eq!(all(&orders), (model, 1), "{byte} {promised}");
            assert_eq!(orders.info().unwrap().holes, holes);
            assert_eq!(
                ctx.storage.list(&ctx.root.join("quarantine")).unwrap(),
                kept
            );
        }
    }
}

/// A stream of several files, on a disk or in memory: what it holds, and where the files begin.
fn several(orders: &Stream) -> (Vec<(u64, u8)>, Vec<u64>) {
    let model = (0..3000u32)
        .map(|n| (append(orders, &[n as u8; 100]), n as u8))
        .collect();
    (model, orders.log.segment_bases().unwrap())
}

#[test]
fn a_file_that_never_reached_the_disk_is_no_end_of_the_log() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let (mut model, bases) = several(&orders);
    let last = *bases.last().unwrap();
    ctx.storage
        .unlink(&orders.log.dir.join(LogKind::Stream.file_name(last)))
        .unwrap();
    let orders = stream(&place.open(place.session, place.session));
    model.retain(|(seq, _)| *seq < last);
    assert_eq!(all(&orders), (model.clone(), 0));
    model.push((append(&orders, &[1; 50]), 1));
    assert!(model.last().unwrap().0 > 1 << 32);
    assert_eq!(all(&orders), (model, 0));
}

#[test]
fn a_file_that_is_gone_is_told_and_the_others_are_read() {
    for lost in [0, 1] {
        let mut place = Place::memory();
        let ctx = place.open(0, 0);
        let orders = stream(&ctx);
        let (mut model, bases) = several(&orders);
        assert!(bases.len() > 2);
        orders.log.write_tail_note().unwrap();
        ctx.storage
            .unlink(&orders.log.dir.join(LogKind::Stream.file_name(bases[lost])))
            .unwrap();
        model.retain(|(seq, _)| *seq < bases[lost] || *seq >= bases[lost + 1]);
        for unclean in [false, true] {
            let session = if unclean { place.session } else { 0 };
            let orders = stream(&place.open(session, 0));
            assert_eq!(all(&orders), (model.clone(), 1), "{lost} {unclean}");
        }
    }
}

#[test]
fn recovery_on_a_disk_steps_over_damage() {
    let tmp = tempfile::tempdir().unwrap();
    let mut place = Place::disk(tmp.path());
    let ctx = place.open(0, 0);
    std::fs::create_dir_all(tmp.path()).unwrap();
    let orders = stream(&ctx);
    let mut model = ten(&orders);
    flip(&active(&orders), START as usize + 5 * FRAME);
    model.remove(5);
    let orders = stream(&place.open(place.session, 0));
    assert_eq!(all(&orders), (model, 1));
    assert_eq!(orders.info().unwrap().holes, [(6, 7)]);
}

#[test]
fn a_cut_file_is_read_up_to_the_cut() {
    let tmp = tempfile::tempdir().unwrap();
    let mut place = Place::disk(tmp.path());
    let orders = stream(&place.open(0, 0));
    let mut model = ten(&orders);
    orders.log.write_tail_note().unwrap();
    let path = active(&orders).path.clone();
    drop(orders);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(START + 9 * FRAME as u64 + 50).unwrap();
    model.pop();
    // The session was clean, or it is a copy.
    for session in [0, 1] {
        let orders = stream(&place.open(session, session));
        assert_eq!(all(&orders), (model.clone(), 1));
    }
    file.set_len(100).unwrap();
    let error = crate::object::find(&place.open(0, 0), "s", "orders").and_then(|found| {
        let (rel, meta) = found.unwrap();
        crate::object::open_log(&place.open(0, 0), &rel, &meta, LogKind::Stream)
    });
    assert!(matches!(error, Err(Error::Corruption { .. })));
    assert_eq!(
        std::fs::metadata(&path).unwrap().len(),
        100,
        "nothing was touched"
    );
}

#[test]
fn a_header_with_one_flipped_bit_is_put_right() {
    for off in [0, 9, 0x21, 0x31, 0x39, 0x41, 0x60, 0x71, 0x1FD] {
        let mut place = Place::memory();
        let orders = stream(&place.open(0, 0));
        let model = ten(&orders);
        orders.log.write_tail_note().unwrap();
        flip(&active(&orders), off);
        let orders = stream(&place.open(0, 0));
        assert_eq!(all(&orders), (model, 0), "{off}");
    }
}

#[test]
fn old_index_entries_do_not_come_to_light_again() {
    let mut place = Place::memory();
    let orders = stream(&place.open(0, 0));
    several(&orders);
    let segment = active(&orders);
    let n = (0..)
        .take_while(|n| segment.search(|entry| entry.off as u64 >= *n).is_some())
        .count();
    assert!(n > 0);
    let last = segment.last_entry().unwrap();
    // The first entry's page never reached the disk, the others did.
    segment.lose_first_entry();
    assert_eq!(segment.last_entry(), None);
    segment.cut_index(START);
    segment.add_entry(&last);
    assert_eq!(segment.last_entry(), Some(last));
    assert_eq!(segment.search(|_| true), Some(last));
}

#[test]
fn metadata_that_is_cut_is_an_error_and_no_signal() {
    let tmp = tempfile::tempdir().unwrap();
    let mut place = Place::disk(tmp.path());
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let path = orders.log.dir.join("meta.bin");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    // One copy is enough.
    file.set_len(4096).unwrap();
    assert!(crate::object::find(&ctx, "s", "orders").unwrap().is_some());
    for len in [4095, 0] {
        file.set_len(len).unwrap();
        let found = crate::object::find(&ctx, "s", "orders");
        assert!(matches!(found, Err(Error::Corruption { .. })), "{len}");
    }
}

#[test]
fn ids_and_keys_are_known_over_damage() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    let soon = || Wait::Until(Instant::now() + Duration::from_secs(10));
    let record = |n: u8| Record {
        value: b"x",
        key: Some(b"k"),
        id: Some([b"a", b"b", b"c"][n as usize]),
        ..Record::default()
    };
    for n in 0..3 {
        orders
            .append(&record(n), &Conditions::default(), soon())
            .unwrap();
    }
    flip(&active(&orders), START as usize + 40);
    let orders = stream(&place.open(place.session, 0));
    let again = orders
        .append(&record(1), &Conditions::default(), soon())
        .unwrap();
    assert!(again.duplicate);
    let conditions = Conditions {
        expect_key: Some(ExpectKey::Seq(3)),
        ..Conditions::default()
    };
    let last = Record {
        id: None,
        ..record(0)
    };
    assert!(orders.append(&last, &conditions, soon()).is_ok());
}
