//! `optics`: numbers of abTEM (CODATA 2014). Its axis 0 is x; ours is y, so its angles are transposed.

use exitwave::io::npy;
use exitwave::optics::{
    Aberration, Aberrations, Aperture, CODATA_2014, CODATA_2018, Constants, Ctf, CtfParams, FocalSpread, Grid, Probe,
    ProbeParams, SourceAngle,
};
use exitwave::units::{Angle, Energy, Length};
use num_complex::Complex;
use serde_json::Value;

use crate::support::data;

fn sidecar(relative: &str) -> Option<Value> {
    let text = std::fs::read(data(relative)?).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("a number, not {v}"))
}

/// `C10`, `phi12`, … of a sidecar, with its first axis taken as our y.
fn aberrations(v: &Value) -> Aberrations {
    let mut lens = Aberrations::default();
    for which in Aberration::ALL {
        if let Some(c) = v.get(which.name()) {
            lens[which].c = Length::angstrom(number(c));
        }
        if let Some(phi) = v.get(which.name().replace('C', "phi")) {
            lens[which].phi = Angle::rad(number(phi));
        }
    }
    lens.transposed()
}

fn grid(v: &Value) -> Grid {
    let pair = |key: &str| [number(&v[key][0]), number(&v[key][1])];
    Grid { dims: pair("gpts").map(|n| n as usize), sampling: pair("sampling_A").map(Length::angstrom) }
}

#[test]
fn wavelength_mass_velocity_and_sigma_equal_the_oracle() {
    let Some(oracle) = sidecar("oracle/electron/electron_constants.json") else { return };
    let c = &oracle["constants"];
    let theirs = Constants { h: number(&c["h"]), c: number(&c["c"]), e: number(&c["e"]), m0: number(&c["me"]) };
    assert_eq!(theirs, CODATA_2014);
    let table = oracle["table"].as_array().unwrap();
    assert!(table.len() >= 6);
    for row in table {
        let energy = Energy::kev(number(&row["energy_keV"]));
        let check = |what: &str, formula: &dyn Fn(&Constants) -> f64| {
            let expected = number(&row[what]);
            let with_theirs = formula(&theirs) / expected - 1.0;
            assert!(with_theirs.abs() < 1e-9, "{what} at {energy}: {with_theirs:e}");
            // The crate's own constants are the 2018 ones; h, e and m₀ moved by up to 1.7e-8.
            let with_ours = formula(&CODATA_2018) / expected - 1.0;
            assert!(with_ours.abs() < 2e-8, "{what} at {energy}: {with_ours:e}");
        };
        check("wavelength_A", &|c| c.wavelength(energy).to_angstrom());
        check("sigma_rad_per_V_A", &|c| c.interaction_parameter(energy));
        check("mass_correction_gamma", &|c| c.gamma(energy));
        check("mass_kg", &|c| c.gamma(energy) * c.m0);
        check("v_over_c", &|c| c.beta(energy));
    }
}

#[test]
fn ctf_arrays_equal_the_oracle() {
    let Some(oracle) = sidecar("oracle/ctf/ctf_2d.json") else { return };
    let grid = grid(&oracle);
    let cases = oracle["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 5);
    for (name, case) in cases {
        let length = |key: &str| Length::angstrom(case.get(key).map_or(0.0, number));
        let angle = |key: &str| Angle::mrad(case.get(key).map_or(0.0, number));
        let semi_angle = angle("semiangle_cutoff");
        let aperture = match case.get("soft").and_then(Value::as_bool) {
            None => Aperture::Open,
            Some(true) => Aperture::Soft { semi_angle },
            Some(false) => Aperture::Hard { semi_angle },
        };
        let params = CtfParams {
            energy: Energy::ev(number(&oracle["energy_eV"])),
            aberrations: aberrations(case),
            aperture,
            focal_spread: FocalSpread::one_over_e(length("focal_spread")),
            source_angle: SourceAngle::one_over_e(angle("angular_spread")),
            ..Default::default()
        };
        let expected = npy::read(data(&format!("oracle/ctf/ctf_2d__{name}.npy")).unwrap()).unwrap();
        assert_eq!(expected.dims(), grid.dims);
        let expected = expected.into_complex::<f64>().unwrap();
        let error = |constants| {
            let ctf = Ctf::new(&CtfParams { constants, ..params.clone() }).unwrap();
            let t = ctf.spectrum::<f64>(&grid).unwrap();
            let d = t.as_slice().iter().zip(expected.as_slice()).map(|(a, b)| (a - b).norm());
            (d.fold(0.0, f64::max), t)
        };
        let (theirs, t) = error(CODATA_2014);
        let (ours, _) = error(CODATA_2018);
        let chi = Ctf::new(&params).unwrap();
        let [ky, kx] = grid.frequencies();
        let largest = ky.iter().flat_map(|&y| kx.iter().map(move |&x| [y, x]));
        let largest = largest.map(|k| chi.chi().value(k).abs()).fold(1.0, f64::max);
        eprintln!(
            "{name}: {theirs:.1e} with the constants of 2014, {ours:.1e} with those of 2018, χ up to {largest:.0} rad"
        );
        // χ reaches 4e4 rad in the corners of the grid, rounded to 1e-16 of that a few times.
        assert!(theirs < 1e-9, "{name}: {theirs:e}");
        // The wavelength of 2018 differs by up to 6e-9, and χ, at most ∝ λ⁵, by 3e-8 of its value.
        assert!(ours < 5.0 * 6e-9 * largest, "{name}: {ours:e}, χ up to {largest}");
        // A hard aperture passes some, not all.
        assert!(t.as_slice().iter().any(|z| z.norm() > 0.1));
    }
}

#[test]
fn the_probe_equals_the_oracle() {
    let Some(oracle) = sidecar("oracle/probe/sto_cbed.json") else { return };
    let params = ProbeParams {
        energy: Energy::ev(number(&oracle["energy_eV"])),
        aperture: Aperture::Soft { semi_angle: Angle::mrad(number(&oracle["semiangle_mrad"])) },
        aberrations: aberrations(&oracle["aberrations"]),
        grid: grid(&oracle),
        constants: CODATA_2014,
        ..Default::default()
    };
    let r0 = &oracle["positions_A"][2];
    let position = [Length::angstrom(number(&r0[0])), Length::angstrom(number(&r0[1]))];
    let expected = npy::read(data("oracle/probe/sto_cbed__probe0_real.npy").unwrap()).unwrap();
    assert_eq!(expected.dims(), [256, 256]);
    let expected = expected.into_complex::<f64>().unwrap();

    let error = |constants| {
        let psi = Probe::<f64>::new(&ProbeParams { constants, ..params.clone() }).unwrap().real(position).unwrap();
        let largest = psi.as_slice().iter().map(|z| z.norm()).fold(0.0, f64::max);
        // The oracle is stored in single precision: each component may be half a unit in the last place away. What is
        // left beyond that is the difference.
        let (mut beyond, mut total) = (0.0f64, 0.0f64);
        for iy in 0..256 {
            for ix in 0..256 {
                let (a, b): (Complex<f64>, Complex<f64>) = (psi[[2 * iy, 2 * ix]], expected[[iy, ix]]);
                for (a, b) in [(a.re, b.re), (a.im, b.im)] {
                    let rounding = 0.5 * f64::from(f32::EPSILON) * a.abs().max(b.abs());
                    beyond = beyond.max((a - b).abs() - rounding);
                    total = total.max((a - b).abs());
                }
            }
        }
        (beyond / largest, total / largest)
    };
    let (theirs, total) = error(CODATA_2014);
    let (ours, _) = error(CODATA_2018);
    eprintln!(
        "probe: {theirs:.1e} of the peak beyond single-precision rounding ({total:.1e} in all); {ours:.1e} with 2018"
    );
    assert!(theirs < 1e-9, "{theirs:e}");
    // χ of 50 rad at 25 mrad, λ different by 1e-8.
    assert!(ours < 1e-6, "{ours:e}");
}
