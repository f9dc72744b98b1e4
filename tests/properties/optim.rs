//! `optim`: the operator of total variation is one, and its norm is bounded.

use exitwave::op::dot_test;
use exitwave::optim::{Difference, operator_norm};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn differences_pass_the_dot_test_and_their_norm_is_bounded(
        dims in prop::collection::vec(1usize..9, 1..4), seed in any::<u64>()
    ) {
        let d = Difference::<f64>::new(&dims).unwrap();
        let t = dot_test(&d, seed);
        prop_assert!(t.error <= 1e-12, "{t:?}");
        let (norm, bound) = (operator_norm(&d, 200).unwrap(), d.norm_squared().sqrt());
        // The bound is exact, and the power method approaches it from below.
        prop_assert!(norm <= bound * (1.0 + 1e-12) && norm >= 0.95 * bound, "{norm} {bound}");
    }
}
