//! `optics`.

use exitwave::fft::Fft2;
use exitwave::op::{LinearOp, Write, dot_test};
use exitwave::optics::conventions::{Haider, Program, PyLorentz};
use exitwave::optics::{
    Aberration, Aberrations, Aperture, CartesianAberrations, Chi, ChiOp, Coefficients, Coherence, Ctf, CtfParams,
    FocalSpread, Grid, Probe, ProbeParams, SourceAngle, UnitIntensity, chi_basis_gradient, wavelength,
};
use exitwave::par::Par;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use num_complex::Complex;
use proptest::prelude::*;
use std::f64::consts::{PI, TAU};

const COUNT: usize = Aberration::COUNT;

/// Aberrations of which each contributes up to `rad` to χ at the angle `alpha`, and whose angles are arbitrary.
fn lenses(lambda: f64, alpha: f64, rad: f64) -> impl Strategy<Value = Aberrations> {
    (prop::array::uniform14(-1.0..1.0f64), prop::array::uniform14(-PI..PI)).prop_map(move |(c, phi)| {
        let mut lens = Aberrations::default();
        for which in Aberration::ALL {
            let n = which.n() as i32;
            let unit = rad * lambda / TAU * f64::from(n + 1) / alpha.powi(n + 1);
            lens[which].c = Length::angstrom(c[which.index()] * unit);
            lens[which].phi = Angle::rad(phi[which.index()]);
        }
        lens
    })
}

fn lambda(energy: Energy) -> f64 {
    wavelength(energy).to_angstrom()
}

const E: Energy = Energy::kev(200.0);
const ALPHA: f64 = 0.03;

fn lens() -> impl Strategy<Value = Aberrations> {
    lenses(lambda(E), ALPHA, 3.0)
}

/// A spatial frequency up to `ALPHA`.
fn k() -> impl Strategy<Value = [f64; 2]> {
    let k = ALPHA / lambda(E);
    [-k..k, -k..k]
}

fn chi(lens: &Aberrations) -> Chi {
    Chi::new(wavelength(E), lens).unwrap()
}

fn grids() -> impl Strategy<Value = Grid> {
    ([8usize..40, 8usize..40], [0.15..0.3f64, 0.15..0.3f64])
        .prop_map(|(dims, d)| Grid { dims, sampling: d.map(Length::angstrom) })
}

/// Relative to the larger, or to 1 where both are small.
fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn chi_slope_equals_finite_differences(lens in lens(), k in k()) {
        let chi = chi(&lens);
        let g = chi.gradient(k);
        // Central differences: error h² χ'''/6, χ''' of the order of 14 terms × 6³ rad over (1.2 1/Å)³.
        let h = 1e-5;
        for axis in 0..2 {
            let at = |s: f64| { let mut k = k; k[axis] += s * h; chi.value(k) };
            let numeric = (at(1.0) - at(-1.0)) / (2.0 * h);
            prop_assert!(close(g[axis], numeric, 1e-6), "{} {numeric}", g[axis]);
        }
    }

    #[test]
    fn chi_gradient_with_respect_to_every_polar_coefficient_equals_finite_differences(lens in lens(), k in k()) {
        let analytic = chi(&lens).polar_gradient(k);
        for which in Aberration::ALL {
            let unit = lambda(E) / TAU * (which.n() + 1) as f64 / ALPHA.powi(which.n() as i32 + 1);
            // χ is linear in C (any step serves) and sinusoidal in φ.
            let h_c = unit;
            let mut at = [0.0; 2];
            for (at, s) in at.iter_mut().zip([1.0, -1.0]) {
                let mut moved = lens;
                moved[which].c += Length::angstrom(s * h_c);
                *at = chi(&moved).value(k);
            }
            let numeric = (at[0] - at[1]) / 2.0;
            // In units in which the coefficient contributes 1 rad.
            prop_assert!(close(analytic[which.index()][0] * unit, numeric, 1e-6), "{which} C");

            let h_phi = 1e-5;
            for (at, s) in at.iter_mut().zip([1.0, -1.0]) {
                let mut moved = lens;
                moved[which].phi += Angle::rad(s * h_phi);
                *at = chi(&moved).value(k);
            }
            let numeric = (at[0] - at[1]) / (2.0 * h_phi);
            prop_assert!(close(analytic[which.index()][1], numeric, 1e-6), "{which} phi");
        }
    }

    #[test]
    fn chi_gradient_with_respect_to_every_cartesian_coefficient_equals_finite_differences(lens in lens(), k in k()) {
        let analytic = chi(&lens).cartesian_gradient(k);
        let slopes = chi_basis_gradient(lambda(E), k);
        let c = lens.to_cartesian().to_angstrom();
        for (i, which) in Aberration::ALL.into_iter().enumerate() {
            let unit = lambda(E) / TAU * (which.n() + 1) as f64 / ALPHA.powi(which.n() as i32 + 1);
            for part in 0..2 {
                let moved = |s: f64| {
                    let mut c = c;
                    c[i][part] += s * unit;
                    chi(&CartesianAberrations::from_angstrom(&c).to_polar())
                };
                let (plus, minus) = (moved(1.0), moved(-1.0));
                let numeric = (plus.value(k) - minus.value(k)) / 2.0;
                prop_assert!(close(analytic[i][part] * unit, numeric, 1e-6), "{which} {part}");
                for axis in 0..2 {
                    let numeric = (plus.gradient(k)[axis] - minus.gradient(k)[axis]) / 2.0;
                    prop_assert!(close(slopes[i][part][axis] * unit, numeric, 1e-6), "{which} {part} slope");
                }
            }
        }
    }

    #[test]
    fn chi_operator_satisfies_the_dot_test(grid in grids(), seed in any::<u64>()) {
        let op = ChiOp::new(&grid, wavelength(E), Par::seq()).unwrap();
        let test = dot_test::<f64>(&op, seed);
        prop_assert!(test.error <= 1e-12, "{test:?}");
    }

    #[test]
    fn chi_operator_evaluates_chi(grid in grids(), lens in lens()) {
        let op = ChiOp::new(&grid, wavelength(E), Par::seq()).unwrap();
        let c = lens.to_cartesian().to_angstrom();
        let mut y = vec![f64::NAN; grid.len()];
        let n = LinearOp::<f64>::scratch_len(&op);
        op.apply(c.as_flattened(), &mut y, Write::Set, &mut vec![f64::NAN; n]);
        let [ky, kx] = grid.frequencies();
        let chi = chi(&lens);
        for (i, y) in y.iter().enumerate() {
            let k = [ky[i / kx.len()], kx[i % kx.len()]];
            prop_assert!(close(*y, chi.value(k), 1e-12));
        }
    }

    #[test]
    fn chi_operator_gives_the_same_bits_for_any_number_of_threads(grid in grids(), seed in any::<u64>()) {
        let mut rng = exitwave::rng::stream(seed, 0);
        let y: Vec<f32> = (0..grid.len()).map(|_| exitwave::rng::normal(&mut rng) as f32).collect();
        let c: Vec<f32> = (0..2 * COUNT).map(|_| exitwave::rng::normal(&mut rng) as f32).collect();
        let run = |par: Par| {
            let op = ChiOp::new(&grid, wavelength(E), par).unwrap();
            let mut scratch = vec![0.0; LinearOp::<f32>::scratch_len(&op)];
            let (mut chi, mut g) = (vec![0.0; y.len()], vec![0.0; c.len()]);
            op.apply(&c, &mut chi, Write::Set, &mut scratch);
            op.apply_adjoint(&y, &mut g, Write::Set, &mut scratch);
            (chi, g)
        };
        prop_assert_eq!(run(Par::seq()), run(Par::threads(3).unwrap()));
    }

    #[test]
    fn polar_and_cartesian_coefficients_round_trip(lens in lens(), k in k()) {
        let canonical = lens.canonical();
        let (a, b) = (chi(&lens).value(k), chi(&canonical).value(k));
        prop_assert!(close(a, b, 1e-12 * COUNT as f64), "{a} {b}");
        let again = canonical.canonical();
        for which in Aberration::ALL {
            let (p, q) = (canonical[which], again[which]);
            prop_assert!(which.m() == 0 || (p.c >= Length::ZERO && p.phi.to_rad().abs() <= PI / which.m() as f64));
            prop_assert!(close(p.c.to_angstrom(), q.c.to_angstrom(), 1e-14));
            prop_assert!((p.phi - q.phi).to_rad().abs() < 1e-13, "{which}: {p:?} {q:?}");
        }
    }

    #[test]
    fn turning_and_transposing_the_lens_turns_and_transposes_chi(lens in lens(), k in k(), turn in -PI..PI) {
        let (sin, cos) = turn.sin_cos();
        let [y, x] = k;
        let turned = [y * cos + x * sin, x * cos - y * sin];
        let (a, b) = (chi(&lens).value(k), chi(&lens.rotated(Angle::rad(turn))).value(turned));
        prop_assert!(close(a, b, 1e-12 * COUNT as f64), "{a} {b}");
        let b = chi(&lens.transposed()).value([x, y]);
        prop_assert!(close(a, b, 1e-12 * COUNT as f64), "{a} {b}");
    }

    #[test]
    fn haider_coefficients_give_the_same_chi_by_their_own_formula(lens in lens(), k in k()) {
        let h = Haider::from(&lens);
        // The formula of Uhlemann and Haider, term by term in complex numbers.
        let w = Complex::new(lambda(E) * k[1], lambda(E) * k[0]);
        let v = w.conj();
        let z = |p: exitwave::optics::Polar| Complex::from_polar(p.c.to_angstrom(), p.phi.to_rad());
        let r = |c: Length| Complex::new(c.to_angstrom(), 0.0);
        let sum = r(h.c1) * w * v / 2.0 + z(h.a1) * v.powi(2) / 2.0
            + z(h.b2) * w.powi(2) * v + z(h.a2) * v.powi(3) / 3.0
            + r(h.c3) * (w * v).powi(2) / 4.0 + z(h.s3) * w.powi(3) * v + z(h.a3) * v.powi(4) / 4.0
            + z(h.b4) * w.powi(3) * v.powi(2) + z(h.d4) * w.powi(4) * v + z(h.a4) * v.powi(5) / 5.0
            + r(h.c5) * (w * v).powi(3) / 6.0 + z(h.s5) * w.powi(4) * v.powi(2) + z(h.r5) * w.powi(5) * v
            + z(h.a5) * v.powi(6) / 6.0;
        let (a, b) = (chi(&lens).value(k), TAU / lambda(E) * sum.re);
        prop_assert!(close(a, b, 1e-12 * COUNT as f64), "{a} {b}");
        // And back.
        let c = chi(&h.aberrations()).value(k);
        prop_assert!(close(a, c, 1e-12 * COUNT as f64), "{a} {c}");
    }

    #[test]
    fn the_focus_of_every_program_round_trips(c10 in -1e4..1e4f64) {
        let c10 = Length::angstrom(c10);
        use Program::*;
        for program in [AbTem, Py4dStem, FoldSlice, PtyRad, Phaser, Kirkland, PyLorentz] {
            prop_assert_eq!(program.c10(program.focus(c10)), c10);
        }
        let lens = Aberrations::from_defocus(AbTem.focus(c10));
        prop_assert_eq!(lens[Aberration::C10].c, c10);
    }

    #[test]
    fn pylorentz_parameters_give_its_transfer_function(
        df in -1e7..1e7f64, ca in 0.0..1e5f64, phi_a in -PI..PI, q in 1e-4..8e-4f64, phi in -PI..PI,
    ) {
        let (cs, theta, spread) = (Length::mm(1.0), Angle::mrad(0.01), Length::nm(500.0));
        let described = PyLorentz {
            defocus: Length::angstrom(df), ca: Length::angstrom(ca), phi_a: Angle::rad(phi_a), cs, theta_c: theta, def_spr: spread,
        };
        let ctf = |ca: f64| {
            let described = PyLorentz { ca: Length::angstrom(ca), ..described };
            Ctf::new(&CtfParams {
                energy: E,
                aberrations: described.aberrations(),
                focal_spread: described.focal_spread(),
                source_angle: described.source_angle(),
                coherence: Coherence::Coupled,
                ..Default::default()
            })
            .unwrap()
        };
        let k = [q * phi.sin(), q * phi.cos()];
        let l = lambda(E);
        let (cs, theta, delta) = (cs.to_angstrom(), theta.to_rad(), spread.to_angstrom());
        let expected = -PI * l * (df + ca * (2.0 * (phi - phi_a)).cos()) * q * q + 0.5 * PI * cs * l.powi(3) * q.powi(4);
        prop_assert!(close(ctf(ca).chi().value(k), expected, 1e-11), "{} {expected}", ctf(ca).chi().value(k));

        // Its envelope, which is for round lenses, is the modulus of ours but for u^{−1/2}.
        let u = 1.0 + 2.0 * (PI * theta * delta * q).powi(2);
        let e = ((PI * l * delta * q * q).powi(2) / 2.0
            + (PI * theta / l * (cs * l.powi(3) * q.powi(3) - df * l * q)).powi(2)) / u;
        let ours = ctf(0.0).envelope(k).norm();
        prop_assert!((ours - (-e).exp() / u.sqrt()).abs() < 1e-12);

        let lens = described.aberrations();
        let back = PyLorentz::new(&lens, described.source_angle(), described.focal_spread()).unwrap();
        prop_assert!(close(back.phi_a.to_rad(), phi_a, 1e-14) && back.ca == described.ca && back.defocus == described.defocus);
        let mut coma = lens;
        coma.set_coma(Length::nm(1.0), Angle::ZERO);
        prop_assert!(PyLorentz::new(&coma, described.source_angle(), described.focal_spread()).is_err());
    }

    #[test]
    fn envelopes_lie_between_0_and_1_and_decrease_with_the_spread(
        lens in lens(), k in k(), spread in 0.0..20.0f64, source in 0.0..0.2f64,
    ) {
        let envelope = |coherence, factor: f64| {
            let params = CtfParams {
                energy: E,
                aberrations: lens,
                focal_spread: FocalSpread::rms(Length::angstrom(factor * spread)),
                source_angle: SourceAngle::rms(Angle::mrad(factor * source)),
                coherence,
                ..Default::default()
            };
            Ctf::new(&params).unwrap().envelope(k).norm()
        };
        for coherence in [Coherence::Separable, Coherence::Coupled] {
            let e = envelope(coherence, 1.0);
            prop_assert!(e > 0.0 && e <= 1.0, "{e}");
            prop_assert_eq!(envelope(coherence, 0.0), 1.0);
        }
        prop_assert!(envelope(Coherence::Separable, 1.1) <= envelope(Coherence::Separable, 1.0));
    }

    #[test]
    fn the_radial_ctf_is_the_cut_of_the_2d_ctf(lens in lens(), n in 8usize..40, d in 0.2..0.4f64) {
        let semi_angle = Angle::mrad(22.0);
        for aperture in [
            Aperture::Open, Aperture::Hard { semi_angle }, Aperture::Soft { semi_angle },
            Aperture::Cosine { semi_angle, width: Angle::mrad(4.0) },
        ] {
            let ctf = Ctf::new(&CtfParams {
                energy: E,
                aberrations: lens,
                aperture,
                focal_spread: FocalSpread::one_over_e(Length::angstrom(20.0)),
                source_angle: SourceAngle::one_over_e(Angle::mrad(0.1)),
                ..Default::default()
            })
            .unwrap();
            let grid = Grid { dims: [n, n + 3], sampling: [Length::angstrom(d), Length::angstrom(1.1 * d)] };
            let t = ctf.spectrum::<f64>(&grid).unwrap();
            let [dky, dkx] = grid.frequency_step();
            let x = ctf.radial::<f64>((n + 3).div_ceil(2), dkx, Angle::ZERO).unwrap();
            for (i, x) in x.iter().enumerate() {
                prop_assert!((x - t[[0, i]]).norm() < 1e-10, "x {i}");
            }
            let y = ctf.radial::<f64>(n.div_ceil(2), dky, Angle::deg(90.0)).unwrap();
            for (i, y) in y.iter().enumerate() {
                prop_assert!((y - t[[i, 0]]).norm() < 1e-10, "y {i}");
            }
        }
    }

    #[test]
    fn a_probe_has_unit_intensity_wherever_it_stands(
        lens in lens(), grid in grids(), y in -9.0..9.0f64, x in -9.0..9.0f64,
    ) {
        for unit_intensity in [UnitIntensity::Reciprocal, UnitIntensity::Real] {
            let params = ProbeParams { energy: E, aberrations: lens, grid, unit_intensity, ..Default::default() };
            let probe = Probe::<f64>::new(&params).unwrap();
            let position = [Length::angstrom(y), Length::angstrom(x)];
            let sum = |t: exitwave::tensor::Tensor<Complex<f64>>| t.as_slice().iter().map(|z| z.norm_sqr()).sum::<f64>();
            let (k, r) = (sum(probe.reciprocal(position).unwrap()), sum(probe.real(position).unwrap()));
            let n = grid.len() as f64;
            let (expect_k, expect_r) = match unit_intensity {
                UnitIntensity::Reciprocal => (1.0, 1.0 / n),
                UnitIntensity::Real => (n, 1.0),
            };
            prop_assert!((k / expect_k - 1.0).abs() < 1e-13 * n.sqrt());
            prop_assert!((r / expect_r - 1.0).abs() < 1e-13 * n.sqrt());
        }
    }

    #[test]
    fn a_probe_moved_by_whole_pixels_is_the_same_probe_rolled(
        lens in lens(), grid in grids(), sy in -50isize..50, sx in -50isize..50, y in 0.0..1.0f64, x in 0.0..1.0f64,
    ) {
        let params = ProbeParams { energy: E, aberrations: lens, grid, unit_intensity: UnitIntensity::Real, ..Default::default() };
        let probe = Probe::<f64>::new(&params).unwrap();
        let [dy, dx] = grid.sampling;
        let a = probe.real([dy * y, dx * x]).unwrap();
        let b = probe.real([dy * (y + sy as f64), dx * (x + sx as f64)]).unwrap();
        let [ny, nx] = grid.dims;
        for iy in 0..ny {
            for ix in 0..nx {
                let at = [(iy as isize + sy).rem_euclid(ny as isize) as usize, (ix as isize + sx).rem_euclid(nx as isize) as usize];
                // Phases up to 2π · 20 · 50 are rounded.
                prop_assert!((a[[iy, ix]] - b[at]).norm() < 1e-11);
            }
        }
    }

    #[test]
    fn free_space_propagation_by_dz_adds_dz_to_c10(lens in lens(), grid in grids(), dz in -300.0..300.0f64) {
        let params = ProbeParams { energy: E, aberrations: lens, grid, unit_intensity: UnitIntensity::Real, ..Default::default() };
        let mut moved = params.clone();
        moved.aberrations[Aberration::C10].c = lens[Aberration::C10].c + Length::angstrom(dz);
        let position = [grid.extent()[0] / 2.0, grid.extent()[1] / 3.0];
        let mut psi = Probe::<f64>::new(&params).unwrap().real(position).unwrap();

        let fft = Fft2::<f64>::new(grid.dims).unwrap();
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        fft.forward(psi.as_mut_slice(), &mut scratch);
        let [ky, kx] = grid.frequencies();
        for (i, z) in psi.as_mut_slice().iter_mut().enumerate() {
            let k2 = ky[i / kx.len()].powi(2) + kx[i % kx.len()].powi(2);
            *z *= Complex::new(0.0, -PI * lambda(E) * dz * k2).exp();
        }
        fft.inverse(psi.as_mut_slice(), &mut scratch);

        let expected = Probe::<f64>::new(&moved).unwrap().real(position).unwrap();
        for (a, b) in psi.as_slice().iter().zip(expected.as_slice()) {
            prop_assert!((a - b).norm() < 1e-11);
        }
    }

    #[test]
    fn single_precision_arrays_are_the_double_precision_ones_rounded(lens in lens(), grid in grids()) {
        let params = CtfParams { energy: E, aberrations: lens, ..Default::default() };
        let ctf = Ctf::new(&params).unwrap();
        let (a, b) = (ctf.spectrum::<f64>(&grid).unwrap(), ctf.spectrum::<f32>(&grid).unwrap());
        for (a, b) in a.as_slice().iter().zip(b.as_slice()) {
            prop_assert_eq!(Complex::new(a.re as f32, a.im as f32), *b);
        }
        let params = ProbeParams { energy: E, aberrations: lens, grid, unit_intensity: UnitIntensity::Real, ..Default::default() };
        let position = [Length::angstrom(1.234), Length::angstrom(2.345)];
        let a = Probe::<f64>::new(&params).unwrap().real(position).unwrap();
        let b = Probe::<f32>::new(&params).unwrap().real(position).unwrap();
        for (a, b) in a.as_slice().iter().zip(b.as_slice()) {
            // A transform in f32 of a vector of norm 1 after the normalisation 1/√N: a few ε.
            prop_assert!((a - Complex::new(f64::from(b.re), f64::from(b.im))).norm() < 8.0 * f64::from(f32::EPSILON));
        }
    }
}

#[test]
fn the_polar_gradient_of_a_loss_equals_finite_differences() {
    // L = ½ Σ (χ(k) − target)², through the adjoint of the operator and the chain rule.
    let grid = Grid { dims: [9, 12], sampling: [Length::angstrom(0.35); 2] };
    let op = ChiOp::new(&grid, wavelength(E), Par::seq()).unwrap();
    let mut lens = Aberrations::default();
    let unit = |which: Aberration| lambda(E) / TAU * (which.n() + 1) as f64 / ALPHA.powi(which.n() as i32 + 1);
    for which in Aberration::ALL {
        lens[which].c = Length::angstrom(unit(which) * (0.5 + 0.1 * which.index() as f64));
        lens[which].phi = Angle::rad(0.3 * which.index() as f64);
    }
    let target: Vec<f64> = (0..grid.len()).map(|i| (0.9 * i as f64).sin()).collect();
    let residual = |lens: &Aberrations| -> Vec<f64> {
        let c = lens.to_cartesian().to_angstrom();
        let mut chi = vec![0.0; grid.len()];
        let n = LinearOp::<f64>::scratch_len(&op);
        op.apply(c.as_flattened(), &mut chi, Write::Set, &mut vec![0.0; n]);
        chi.iter().zip(&target).map(|(c, t)| c - t).collect()
    };
    let loss = |lens: &Aberrations| residual(lens).iter().map(|r| 0.5 * r * r).sum::<f64>();
    let mut g: Coefficients = [[0.0; 2]; COUNT];
    let n = LinearOp::<f64>::scratch_len(&op);
    op.apply_adjoint(&residual(&lens), g.as_flattened_mut(), Write::Set, &mut vec![0.0; n]);
    let polar = lens.polar_gradient(&g);
    for which in Aberration::ALL {
        let h = 1e-5;
        let moved = |dc: f64, dphi: f64| {
            let mut moved = lens;
            moved[which].c += Length::angstrom(dc);
            moved[which].phi += Angle::rad(dphi);
            loss(&moved)
        };
        let c = (moved(h * unit(which), 0.0) - moved(-h * unit(which), 0.0)) / (2.0 * h);
        assert!(
            close(polar[which.index()][0] * unit(which), c, 1e-6),
            "{which}: {} {c}",
            polar[which.index()][0] * unit(which)
        );
        let phi = (moved(0.0, h) - moved(0.0, -h)) / (2.0 * h);
        assert!(close(polar[which.index()][1], phi, 1e-6), "{which}: {} {phi}", polar[which.index()][1]);
    }
}

#[test]
fn the_derivative_of_a_probe_with_respect_to_a_coefficient_is_minus_i_dchi_times_the_probe() {
    let params =
        ProbeParams { grid: Grid { dims: [24, 31], sampling: [Length::angstrom(0.3); 2] }, ..Default::default() };
    let position = [Length::angstrom(3.0), Length::angstrom(4.5)];
    let psi = |c23: f64| {
        let mut params = params.clone();
        params.aberrations[Aberration::C23].c = Length::angstrom(2000.0 + c23);
        params.aberrations[Aberration::C23].phi = Angle::rad(0.4);
        (Probe::<f64>::new(&params).unwrap().reciprocal(position).unwrap(), params)
    };
    let (at, params) = psi(0.0);
    // A step that changes χ by about 1e-4 rad.
    let h = 0.1;
    let (plus, minus) = (psi(h).0, psi(-h).0);
    let chi = Chi::new(wavelength(params.energy), &params.aberrations).unwrap();
    let [ky, kx] = params.grid.frequencies();
    let (mut largest, mut error) = (0.0f64, 0.0f64);
    for iy in 0..ky.len() {
        for ix in 0..kx.len() {
            let d = chi.polar_gradient([ky[iy], kx[ix]])[Aberration::C23.index()][0];
            let analytic = Complex::new(0.0, -d) * at[[iy, ix]];
            let numeric = (plus[[iy, ix]] - minus[[iy, ix]]) / (2.0 * h);
            largest = largest.max(analytic.norm());
            error = error.max((analytic - numeric).norm());
        }
    }
    assert!(error < 1e-6 * largest, "{error} of {largest}");
}

#[test]
fn bad_parameters_are_errors() {
    let ok = ProbeParams { grid: Grid { dims: [16, 16], sampling: [Length::angstrom(0.3); 2] }, ..Default::default() };
    let fails = |change: &dyn Fn(&mut ProbeParams)| {
        let mut params = ok.clone();
        change(&mut params);
        Probe::<f32>::new(&params).is_err()
    };
    assert!(!fails(&|_| ()));
    assert!(fails(&|p| p.energy = Energy::ev(f64::NAN)));
    assert!(fails(&|p| p.energy = Energy::kev(-300.0)));
    assert!(fails(&|p| p.grid.dims = [0, 16]));
    assert!(fails(&|p| p.grid.dims = [usize::MAX, 2]));
    assert!(fails(&|p| p.grid.sampling[1] = Length::angstrom(f64::NAN)));
    assert!(fails(&|p| p.aberrations[Aberration::C12].phi = Angle::rad(f64::INFINITY)));
    assert!(fails(&|p| p.aberrations[Aberration::C50].c = Length::angstrom(f64::NAN)));
    assert!(fails(&|p| p.aperture = Aperture::Hard { semi_angle: Angle::mrad(-1.0) }));
    // 0.3 Å pixels hold λ/0.6 Å = 32.8 mrad.
    assert!(fails(&|p| p.aperture = Aperture::Hard { semi_angle: Angle::mrad(33.0) }));
    assert!(!fails(&|p| p.aperture = Aperture::Hard { semi_angle: Angle::mrad(32.0) }));
    assert!(fails(&|p| p.limits.bytes = 4000));
    let probe = Probe::<f32>::new(&ok).unwrap();
    assert!(probe.real([Length::angstrom(f64::NAN), Length::ZERO]).is_err());

    let ctf = Ctf::new(&CtfParams::default()).unwrap();
    assert!(ctf.radial::<f32>(4, SpatialFrequency::per_angstrom(0.0), Angle::ZERO).is_err());
    assert!(ctf.radial::<f32>(4, SpatialFrequency::per_angstrom(0.1), Angle::rad(f64::NAN)).is_err());
    let wide = CtfParams { source_angle: SourceAngle::rms(Angle::rad(f64::NAN)), ..Default::default() };
    assert!(Ctf::new(&wide).is_err());
}
