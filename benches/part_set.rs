//! Measures each operation of the received set at realistic sizes.
//!
//! `cargo bench --bench part_set`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use partway::domain::PartSet;

const SIZES: [u32; 4] = [1, 100, 10_000, 1_000_000];

/// The best and the worst case: the first half of a file's parts, and every other part.
fn patterns(parts: u32) -> [(&'static str, PartSet); 2] {
    [("contiguous", (1..=parts).collect()), ("alternate", (1..=parts).map(|n| n * 2 - 1).collect())]
}

fn part_set(criterion: &mut Criterion) {
    for parts in SIZES {
        for (pattern, set) in patterns(parts) {
            let total = parts * 2;
            let bytes = set.to_bytes();
            let mut measure = |operation: &str, run: &dyn Fn()| {
                criterion.bench_function(&format!("{operation}/{pattern}/{parts}"), |bencher| bencher.iter(run));
            };
            measure("ranges", &|| _ = black_box(set.ranges().last()));
            measure("missing", &|| _ = black_box(set.missing(total).last()));
            measure("encode", &|| drop(black_box(set.to_bytes())));
            measure("decode", &|| drop(black_box(PartSet::from_bytes(&bytes))));
            criterion.bench_function(&format!("insert/{pattern}/{parts}"), |bencher| {
                let next = if pattern == "contiguous" { parts + 1 } else { total + 1 };
                bencher.iter_batched_ref(|| set.clone(), |set| set.insert(black_box(next)), BatchSize::SmallInput);
            });
        }
    }
}

criterion_group!(benches, part_set);
criterion_main!(benches);
