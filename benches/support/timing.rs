//! Criterion, with the median of every figure kept for the line of JSON at the end.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;

/// What all benches start with; options of the command line prevail. Iterations of a second need few samples.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args()
}

/// Times `run` on `state`, which `prepare` has put in order, untimed, before every call. Returns the median in seconds,
/// warm-up included; `None` when the command line's filter leaves it out.
pub fn measure<S>(
    c: &mut Criterion,
    name: &str,
    state: &mut S,
    mut prepare: impl FnMut(&mut S),
    mut run: impl FnMut(&mut S),
) -> Option<f64> {
    let mut seconds = Vec::new();
    c.bench_function(name, |b| {
        b.iter_custom(|calls| {
            let mut total = Duration::ZERO;
            for _ in 0..calls {
                prepare(state);
                let start = Instant::now();
                run(black_box(&mut *state));
                let elapsed = start.elapsed();
                seconds.push(elapsed.as_secs_f64());
                total += elapsed;
            }
            total
        });
    });
    seconds.sort_by(f64::total_cmp);
    (!seconds.is_empty()).then(|| seconds[seconds.len() / 2])
}

/// Prints the figures that were taken as one JSON object on one line; nothing when none was.
pub fn print_figures(figures: &[(&str, Option<f64>)]) {
    let taken: Vec<String> =
        figures.iter().filter_map(|(name, value)| value.map(|v| format!("\"{name}\": {v:.6e}"))).collect();
    if !taken.is_empty() {
        println!("{{{}}}", taken.join(", "));
    }
}
