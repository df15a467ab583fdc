//! The log against a list.

use proptest::prelude::*;

use super::tests::{all, append, soon};
use super::Record;
use crate::stream::Start;
use crate::testing::{stream, Place};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Batch(Vec<usize>, bool),
    Trim(usize),
    Crash { lossy: bool },
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3000).prop_map(Step::Append),
        2 => (prop::collection::vec(0usize..200_000, 1..6), any::<bool>()).prop_map(|(sizes, atomic)| Step::Batch(sizes, atomic)),
        1 => any::<usize>().prop_map(Step::Trim),
        1 => any::<bool>().prop_map(|lossy| Step::Crash { lossy }),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn it_is_a_list(steps in prop::collection::vec(step(), 1..60)) {
        let mut place = Place::memory();
        let mut ctx = place.open(0, 0);
        let mut orders = stream(&ctx);
        let mut model: Vec<(u64, usize)> = Vec::new();
        let (mut last_unclean, mut last_lossy) = (0, 0);
        for step in steps {
            match step {
                Step::Append(size) => {
                    let seq = append(&orders, &vec![size as u8; size]);
                    prop_assert!(model.last().is_none_or(|(last, _)| *last < seq));
                    model.push((seq, size));
                }
                Step::Batch(sizes, atomic) => {
                    let values: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
                    let records: Vec<Record<'_>> = values.iter().map(|value| Record::of(value)).collect();
                    for (size, done) in sizes.iter().zip(orders.append_many(&records, atomic, soon()).unwrap()) {
                        model.push((done.unwrap().seq, *size));
                    }
                }
                Step::Trim(n) => {
                    if let Some((seq, _)) = model.get(n % model.len().max(1)).copied() {
                        let first = orders.trim(seq).unwrap();
                        model.retain(|(seq, _)| *seq >= first);
                    }
                }
                Step::Crash { lossy } => {
                    last_unclean = place.session;
                    last_lossy = if lossy { place.session } else { last_lossy };
                    ctx = place.open(last_unclean, last_lossy);
                    orders = stream(&ctx);
                }
                Step::Close => {
                    orders.log.write_tail_note().unwrap();
                    ctx = place.open(last_unclean, last_lossy);
                    orders = stream(&ctx);
                }
            }
            let found: Vec<(u64, usize)> = all(&orders, Start::Earliest)
                .into_iter()
                .map(|(seq, value)| { assert!(value.iter().all(|byte| *byte == value.len() as u8)); (seq, value.len()) })
                .collect();
            prop_assert_eq!(&found, &model);
            prop_assert_eq!(orders.info().unwrap().records as usize, model.len());
        }
        drop(ctx);
    }
}
