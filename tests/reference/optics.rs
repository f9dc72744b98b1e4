//! `optics`.

use exitwave::optics::constants::{beta, gamma, velocity_m_per_s};
use exitwave::optics::{
    Aberrations, Aperture, CODATA_2014, CODATA_2018, Ctf, CtfParams, FocalSpread, Grid, Probe, ProbeParams,
    SourceAngle, interaction_parameter, wavelength,
};
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use num_complex::Complex;

/// D. B. Williams, C. B. Carter, *Transmission Electron Microscopy*, 2nd ed., Springer (2009), table 1.2: relativistic
/// wavelength (nm), mass (m₀), velocity (1e8 m/s). Tolerance: their last digit.
#[test]
fn wavelength_mass_and_velocity_are_those_of_the_textbook() {
    let table = [
        (100.0, 0.00370, 1.196, 1.644),
        (120.0, 0.00335, 1.235, 1.759),
        (200.0, 0.00251, 1.391, 2.086),
        (300.0, 0.00197, 1.587, 2.330),
        (400.0, 0.00164, 1.783, 2.484),
        (1000.0, 0.00087, 2.957, 2.823),
    ];
    for (kv, l, m, v) in table {
        let e = Energy::kev(kv);
        assert!((wavelength(e).to_nm() - l).abs() < 0.6e-5, "{kv} kV");
        assert!((gamma(e) - m).abs() < 0.6e-3, "{kv} kV");
        // The printed velocities are up to 2 in the last digit away from the formula.
        assert!((velocity_m_per_s(e) / 1e8 - v).abs() < 3e-3, "{kv} kV: {}", velocity_m_per_s(e));
    }
}

/// E. J. Kirkland, *Advanced Computing in Electron Microscopy*: 6.526e-4 /(V Å) at 300 kV, the interaction parameter
/// with the relativistic mass; with the rest mass it would be 4.11e-4.
#[test]
fn the_interaction_parameter_has_the_relativistic_mass() {
    for (kv, sigma) in [(80.0, 1.0087e-3), (200.0, 7.2884e-4), (300.0, 6.5262e-4)] {
        assert!((interaction_parameter(Energy::kev(kv)) / sigma - 1.0).abs() < 5e-5);
    }
    // σ = 2π/(λE) · (E₀ + E)/(2E₀ + E), Kirkland's form, is the same number.
    let (e, e0) = (2e5, CODATA_2018.rest_energy().to_ev());
    let other = std::f64::consts::TAU / (wavelength(Energy::ev(e)).to_angstrom() * e) * (e0 + e) / (2.0 * e0 + e);
    assert!((interaction_parameter(Energy::ev(e)) / other - 1.0).abs() < 1e-13);
}

/// CODATA 2018: m₀c² = 510 998.950 00(15) eV; Compton wavelength 2.426 310 238 67(73) pm.
#[test]
fn rest_energy_and_compton_wavelength_are_the_codata_ones() {
    assert!((CODATA_2018.rest_energy().to_ev() - 510998.95).abs() < 3e-5);
    let compton = CODATA_2018.h / (CODATA_2018.m0 * CODATA_2018.c);
    assert!((compton / 2.42631023867e-12 - 1.0).abs() < 1e-9);
}

/// γ = (1 − β²)^{−1/2}, and λ = h/(γ m₀ v).
#[test]
fn wavelength_mass_and_velocity_obey_special_relativity() {
    for kv in [0.1, 30.0, 80.0, 300.0, 1250.0] {
        let e = Energy::kev(kv);
        assert!((gamma(e) * (1.0 - beta(e).powi(2)).sqrt() - 1.0).abs() < 1e-13);
        let de_broglie = CODATA_2018.h / (gamma(e) * CODATA_2018.m0 * velocity_m_per_s(e));
        assert!((wavelength(e).to_m() / de_broglie - 1.0).abs() < 1e-13);
    }
}

/// h, e and m₀ moved by 1.7e-8, 0.8e-8 and 1.6e-8 between the two adjustments, λ and σ by less (5e-9 and 7e-9).
#[test]
fn the_2014_and_2018_constants_agree_to_1e_8() {
    for kv in [30.0, 60.0, 80.0, 200.0, 300.0] {
        let e = Energy::kev(kv);
        let l = CODATA_2018.wavelength(e) / CODATA_2014.wavelength(e) - 1.0;
        let s = CODATA_2018.interaction_parameter(e) / CODATA_2014.interaction_parameter(e) - 1.0;
        assert!(l.abs() < 1e-8 && s.abs() < 1e-8, "{kv} kV: {l} {s}");
        assert!(l != 0.0 && s != 0.0);
    }
}

/// χ = πλk²(½ Cs λ²k² − defocus) vanishes at k = √(2 defocus/Cs)/λ. At Scherzer's defocus √(Cs λ) the transfer of phase
/// contrast is −1 where χ = −π/2: k = (Cs λ³)^{−1/4} (O. Scherzer, *J. Appl. Phys.* 20, 20 (1949)).
#[test]
fn scherzer_defocus_puts_the_passband_where_scherzer_put_it() {
    let e = Energy::kev(200.0);
    let (l, cs) = (wavelength(e).to_angstrom(), 1.2e7);
    let mut aberrations = Aberrations::from_defocus(Length::angstrom((cs * l).sqrt()));
    aberrations.set_cs(Length::angstrom(cs));
    let ctf = Ctf::new(&CtfParams { energy: e, aberrations, ..Default::default() }).unwrap();
    let minimum = (cs * l.powi(3)).powf(-0.25);
    let zero = (2.0 * (cs * l).sqrt() / cs).sqrt() / l;
    for azimuth in [0.0, 40.0, 135.0] {
        let at = |k| ctf.radial::<f64>(2, SpatialFrequency::per_angstrom(k), Angle::deg(azimuth)).unwrap()[1];
        // T = exp(−iχ): −Im T = sin χ.
        assert!((at(minimum) - Complex::new(0.0, 1.0)).norm() < 1e-12);
        assert!((at(zero) - Complex::new(1.0, 0.0)).norm() < 1e-12);
    }
}

/// The envelopes fall to 1/e at the frequencies that follow from their widths.
#[test]
fn envelopes_fall_to_1_over_e_where_they_should() {
    let e = Energy::kev(300.0);
    let l = wavelength(e).to_angstrom();
    let e1 = (-1.0f64).exp();
    let ideal = CtfParams { energy: e, ..Default::default() };

    let spread = 40.0;
    let ctf = Ctf::new(&CtfParams { focal_spread: FocalSpread::one_over_e(Length::angstrom(spread)), ..ideal.clone() });
    let k = (2.0 / (std::f64::consts::PI * spread * l)).sqrt();
    assert!((ctf.unwrap().envelope([0.0, k]).re - e1).abs() < 1e-14);

    // (θ/2) |∂χ/∂α| = 1 with ∂χ/∂α = 2π C10 k.
    let (theta, c10) = (0.2e-3, 900.0);
    let ctf = Ctf::new(&CtfParams {
        aberrations: Aberrations::from_defocus(Length::angstrom(-c10)),
        source_angle: SourceAngle::one_over_e(Angle::rad(theta)),
        ..ideal
    });
    let k = 1.0 / (std::f64::consts::PI * theta * c10);
    assert!((ctf.unwrap().envelope([k, 0.0]).re - e1).abs() < 1e-14);
}

/// An ideal probe is an Airy disk: dark at 0.6098 λ/α, and there is a ring of 1.75 % of the peak at 0.8174 λ/α
/// (M. Born, E. Wolf, *Principles of Optics*, section 8.5.2).
#[test]
fn an_ideal_probe_is_an_airy_disk() {
    let energy = Energy::kev(300.0);
    let alpha = 0.025;
    let unit = wavelength(energy).to_angstrom() / alpha;
    // 64 units wide: the aperture has a radius of 64 pixels; 32 pixels a unit.
    let (n, d) = (2048, unit / 32.0);
    let params = ProbeParams {
        energy,
        aperture: Aperture::Soft { semi_angle: Angle::rad(alpha) },
        grid: Grid { dims: [n, n], sampling: [Length::angstrom(d); 2] },
        ..Default::default()
    };
    let probe = Probe::<f64>::new(&params).unwrap();
    // The probe is placed so that pixel 0 sees the wanted radius; the mirror images lie 64 units away.
    let at = |r: f64| {
        let psi = probe.real([Length::ZERO, Length::angstrom(r * unit)]).unwrap();
        psi[[0, 0]].norm_sqr()
    };
    let peak = at(0.0);
    // The soft disk of 64 pixels differs from the ideal one by (δ/R)²/24 = 1e-5 of the amplitude, and its mirror images
    // add 2 J₁(x)/x ≈ 2 √(2/π) x^{−3/2} at x = 2π 64: 2e-4 each, four of them.
    assert!(at(0.6098) / peak < 1e-6, "{}", at(0.6098) / peak);
    assert!((at(0.8174) / peak - 0.0175).abs() < 3e-4, "{}", at(0.8174) / peak);
}
