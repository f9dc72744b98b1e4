//! `specimen` and `multislice`: numbers of abTEM (CODATA 2014). Its axis 0 is x; the atoms' x is taken as our y, so that arrays keep their shape.

use exitwave::io::npy;
use exitwave::multislice::{BandLimit, Multislice, MultisliceParams, Prism, diffraction};
use exitwave::optics::{
    Aberration, Aberrations, Aperture, CODATA_2014, Ctf, CtfParams, FocalSpread, Grid, Probe, ProbeParams, SourceAngle,
};
use exitwave::par::Par;
use exitwave::real::Real;
use exitwave::specimen::{
    Atom, Atoms, Cell, Parametrization, Potential, PotentialParams, PotentialPlan, Projection, ScatteringFactor,
    Slicing, Species,
};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
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

fn par() -> Par {
    Par::threads(2).unwrap()
}

fn parametrization(v: &Value) -> Parametrization {
    match v.as_str().unwrap() {
        "kirkland" => Parametrization::Kirkland,
        "lobato" => Parametrization::Lobato,
        other => panic!("{other}"),
    }
}

/// Their (x, y, z) as our [z, y, x] = [z, x, y].
fn atoms(v: &Value) -> Atoms {
    let z = v["Z"].as_array().unwrap();
    let positions = v["positions_A_xyz"].as_array().unwrap();
    let atoms = z.iter().zip(positions).map(|(z, r)| {
        let species = Species::neutral(z.as_u64().unwrap() as u8).unwrap();
        Atom::new(species, [number(&r[2]), number(&r[0]), number(&r[1])])
    });
    let cell = [2, 0, 1].map(|i| Length::angstrom(number(&v["cell_A"][i])));
    Atoms { atoms: atoms.collect(), cell: Cell::orthorhombic(cell) }
}

fn grid(v: &Value) -> Grid {
    let pair = |key: &str| [number(&v[key][0]), number(&v[key][1])];
    Grid { dims: pair("gpts").map(|n| n as usize), sampling: pair("sampling_A").map(Length::angstrom) }
}

struct Case {
    atoms: Atoms,
    grid: Grid,
    slice: Length,
    energy: Energy,
    parametrization: Parametrization,
}

fn case(name: &str) -> Option<Case> {
    let v = sidecar(&format!("oracle/multislice/{name}.json"))?;
    Some(Case {
        atoms: atoms(&v["atoms"]),
        grid: grid(&v),
        slice: Length::angstrom(number(&v["slice_thickness_A"])),
        energy: Energy::ev(number(&v["energy_eV"])),
        parametrization: parametrization(&v["parametrization"]),
    })
}

/// Theirs: a cosine taper of 0.01/max(dx, dy) inside 0.6666666 of Nyquist.
const TAPER: BandLimit = BandLimit::Cosine { fraction: 0.6666666, width: 0.01 };

impl Case {
    fn potential<T: Real>(&self) -> Potential<T> {
        let params = PotentialParams {
            grid: self.grid,
            slicing: Slicing::Thickness(self.slice),
            parametrization: self.parametrization,
            constants: CODATA_2014,
            par: par(),
            ..Default::default()
        };
        PotentialPlan::new(&self.atoms, &params).unwrap().build().unwrap()
    }

    /// A slice with the oracle's value at the one frequency that is Nyquist on both axes: with the phases a and b there, theirs is the
    /// real part of e^{−i(a + b)}, cos a cos b − sin a sin b; ours the mean over all four signs, cos a cos b.
    fn with_their_corner(&self, slice: &[f64], index: usize) -> Vec<f64> {
        let ([ny, nx], edges) = (self.grid.dims, self.atoms.edges().unwrap().map(|l| l.to_angstrom()));
        let [ky, kx] = [ny as f64 / 2.0 / edges[1], nx as f64 / 2.0 / edges[2]];
        let slices = (edges[0] / self.slice.to_angstrom()).round();
        let mut corner = 0.0;
        for a in &self.atoms.atoms {
            if ((a.position[0] + 1e-9) / edges[0] * slices).floor().min(slices - 1.0) as usize == index {
                let f = ScatteringFactor::with_constants(a.species, self.parametrization, &CODATA_2014).unwrap();
                let phases = [ky * a.position[1], kx * a.position[2]].map(|x| (std::f64::consts::TAU * x).sin());
                corner -= f.projected_fourier(ky * ky + kx * kx, 0.0) * phases[0] * phases[1] / (edges[1] * edges[2]);
            }
        }
        let sign = |i: usize| if (i / nx + i % nx).is_multiple_of(2) { 1.0 } else { -1.0 };
        slice.iter().enumerate().map(|(i, v)| v + corner * sign(i)).collect()
    }

    /// Their own potential: every atom split bilinearly over four pixels, divided by sin(q)/q with q in cycles a pixel without π.
    fn bilinear(&self) -> Potential<f64> {
        let exact = PotentialParams { grid: self.grid, slicing: Slicing::Thickness(self.slice), ..Default::default() };
        let plan = PotentialPlan::<f64>::new(&self.atoms, &exact).unwrap();
        let thickness = plan.thickness();
        let [ny, nx] = self.grid.dims;
        let [dy, dx] = self.grid.sampling.map(|d| d.to_angstrom());
        let (n, dz) = (thickness.len(), thickness[0].to_angstrom());
        let fft = exitwave::fft::Fft2::<f64>::new([ny, nx]).unwrap();
        let mut scratch = vec![Complex::default(); fft.scratch_len()];
        let [ky, kx] = self.grid.frequencies();
        let mut values = Tensor::<f64>::zeros(&[n, ny, nx]);
        for s in 0..n {
            let mut total = vec![Complex::new(0.0, 0.0); ny * nx];
            for species in self.atoms.species() {
                let mut delta = vec![Complex::new(0.0, 0.0); ny * nx];
                let mut any = false;
                for a in self.atoms.atoms.iter().filter(|a| a.species == species) {
                    if ((a.position[0] + 1e-9) / dz).floor().min((n - 1) as f64) as usize != s {
                        continue;
                    }
                    any = true;
                    let (y, x) = (a.position[1] / dy, a.position[2] / dx);
                    let (y0, x0) = (y.floor(), x.floor());
                    for (iy, wy) in [(y0, 1.0 - (y - y0)), (y0 + 1.0, y - y0)] {
                        for (ix, wx) in [(x0, 1.0 - (x - x0)), (x0 + 1.0, x - x0)] {
                            let at = (iy as i64).rem_euclid(ny as i64) as usize * nx
                                + (ix as i64).rem_euclid(nx as i64) as usize;
                            delta[at].re += wy * wx;
                        }
                    }
                }
                if !any {
                    continue;
                }
                let f = ScatteringFactor::with_constants(species, self.parametrization, &CODATA_2014).unwrap();
                fft.forward(&mut delta, &mut scratch);
                for iy in 0..ny {
                    for ix in 0..nx {
                        let q = (ky[iy] * dy).hypot(kx[ix] * dx);
                        let sinc = if q == 0.0 { 1.0 } else { q.sin() / q };
                        let v = f.projected_fourier(ky[iy] * ky[iy] + kx[ix] * kx[ix], 0.0) / (dy * dx) / sinc;
                        total[iy * nx + ix] += delta[iy * nx + ix] * v;
                    }
                }
            }
            fft.inverse(&mut total, &mut scratch);
            values.as_mut_slice()[s * ny * nx..][..ny * nx].iter_mut().zip(&total).for_each(|(v, z)| *v = z.re);
        }
        Potential { grid: self.grid, thickness, values }
    }

    fn plan<T: Real>(&self, potential: &Potential<T>) -> Multislice<T> {
        let params = MultisliceParams {
            energy: self.energy,
            grid: self.grid,
            thickness: potential.thickness.clone(),
            band_limit: TAPER,
            constants: CODATA_2014,
            par: par(),
            ..Default::default()
        };
        Multislice::new(&params).unwrap()
    }

    fn exit<T: Real>(&self, potential: &Potential<T>) -> Tensor<Complex<T>> {
        let plan = self.plan(potential);
        let t = plan.transmission(potential).unwrap();
        plan.exit_waves(&t, &plan.plane_waves(1).unwrap()).unwrap()
    }
}

fn complex(relative: &str) -> Tensor<Complex<f64>> {
    npy::read(data(relative).unwrap()).unwrap().into_complex::<f64>().unwrap()
}

fn real(relative: &str) -> Tensor<f64> {
    npy::read(data(relative).unwrap()).unwrap().into_real::<f64>().unwrap()
}

/// ‖a − b‖/‖b‖ where b holds every `step`-th sample of a.
fn distance<T: Real>(a: &[Complex<T>], dims: [usize; 2], b: &Tensor<Complex<f64>>) -> f64 {
    let n = b.dims();
    let step = dims[0] / n[0];
    let (mut d, mut norm) = (0.0, 0.0);
    for iy in 0..n[0] {
        for ix in 0..n[1] {
            let z = a[iy * step * dims[1] + ix * step];
            let (z, want) = (Complex::new(z.re.f64(), z.im.f64()), b[[iy, ix]]);
            d += (z - want).norm_sqr();
            norm += want.norm_sqr();
        }
    }
    (d / norm).sqrt()
}

#[test]
fn scattering_factors_equal_the_table() {
    let Some(path) = data("data/tables/scattering_oracle.csv") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = 0;
    for line in text.lines().skip(1).filter(|l| !l.is_empty()) {
        let fields: Vec<&str> = line.split(',').collect();
        let species = Species::from_symbol(fields[0]).unwrap();
        let q = SpatialFrequency::per_angstrom(fields[2].parse().unwrap());
        let tables = [(3, Parametrization::Kirkland), (4, Parametrization::Lobato), (5, Parametrization::Peng)];
        for (column, parametrization) in tables {
            let want: f64 = fields[column].parse().unwrap();
            let got = ScatteringFactor::new(species, parametrization).unwrap().fe(q).to_angstrom();
            // The table is printed with seven digits.
            assert!((got / want - 1.0).abs() < 1e-6, "{parametrization:?} {line}: {got}");
            rows += 1;
        }
    }
    assert!(rows > 400);
}

#[test]
fn potentials_of_atoms_equal_the_oracle() {
    for (name, which) in [("kirkland", Parametrization::Kirkland), ("lobato", Parametrization::Lobato)] {
        let Some(v) = sidecar(&format!("oracle/scattering/scattering_{name}.json")) else { return };
        let list = |v: &Value| v.as_array().unwrap().iter().map(number).collect::<Vec<_>>();
        let (k, r) = (list(&v["k_inv_A"]), list(&v["r_A"]));
        let table = v["table"].as_object().unwrap();
        assert!(table.len() >= 5);
        for (symbol, columns) in table {
            let f =
                ScatteringFactor::with_constants(Species::from_symbol(symbol).unwrap(), which, &CODATA_2014).unwrap();
            let check = |key: &str, x: &[f64], tolerance: f64, formula: &dyn Fn(f64) -> f64| {
                let want = list(&columns[key]);
                for (x, want) in x.iter().zip(&want) {
                    let got = formula(*x);
                    assert!((got / want - 1.0).abs() < tolerance, "{name} {symbol} {key} at {x}: {got} {want}");
                }
            };
            check("fe_A", &k, 1e-12, &|k| f.fe_q2(k * k));
            // Theirs rounds π to single precision here, and Lobato's projected potential too.
            check("projected_scattering_factor_V_A3", &k, 1e-7, &|k| f.projected_fourier(k * k, 0.0));
            check("potential_V", &r, 1e-9, &|r| f.potential(Length::angstrom(r)));
            check("projected_potential_infinite_V_A", &r, 1e-6, &|r| f.projected(Length::angstrom(r)));
        }
    }
}

#[test]
fn exit_waves_equal_the_exact_oracle_in_both_precisions() {
    for name in [
        "sto001_kirkland_planewave",
        "sto001_lobato_planewave",
        "si110_kirkland_planewave",
        "mos2_kirkland_planewave",
        "mos2_lobato_planewave",
        "uio66_lobato_planewave",
    ] {
        let Some(case) = case(name) else { return };
        let potential = case.potential::<f64>();
        let dims = case.grid.dims;

        // The first slice that holds atoms.
        let want = real(&format!("oracle/multislice/{name}__slice0_exact.npy"));
        let pixels = dims[0] * dims[1];
        let mut slices = potential.values.as_slice().chunks(pixels);
        let first = slices.position(|v| v.iter().any(|v| v.abs() > 1.0)).unwrap();
        let slice = &potential.values.as_slice()[first * pixels..][..pixels];
        let complex_of = |v: &[f64]| v.iter().map(|&v| Complex::new(v, 0.0)).collect::<Vec<_>>();
        let want = want.map(|&v| Complex::new(v, 0.0));
        let plain = distance(&complex_of(slice), dims, &want);
        let v = distance(&complex_of(&case.with_their_corner(slice, first)), dims, &want);

        let want = complex(&format!("oracle/multislice/{name}__exit_exact.npy"));
        let double = distance(case.exit(&potential).as_slice(), dims, &want);
        let single = distance(case.exit(&case.potential::<f32>()).as_slice(), dims, &want);
        eprintln!(
            "{name}: potential {v:.1e} ({plain:.1e} with our corner), exit wave {double:.1e} in f64, {single:.1e} in f32"
        );
        // One of the spectrum's frequencies is another convention; the band limit removes it from the wave.
        assert!(v < 1e-9, "{name}: potential {v:e}");
        assert!(double < 1e-4, "{name}: {double:e}");
        assert!(single < 1e-3, "{name}: {single:e}");
    }
}

#[test]
fn exit_waves_with_the_oracles_own_potential_equal_its_own() {
    for name in ["sto001_kirkland_planewave", "mos2_lobato_planewave"] {
        let Some(case) = case(name) else { return };
        let want = complex(&format!("oracle/multislice/{name}__exit.npy"));
        let theirs = distance(case.exit(&case.bilinear()).as_slice(), case.grid.dims, &want);
        let ours = distance(case.exit(&case.potential::<f64>()).as_slice(), case.grid.dims, &want);
        eprintln!("{name}: {theirs:.1e} with their potential, {ours:.1e} with the exact one");
        assert!(theirs < 1e-5, "{name}: {theirs:e}");
        assert!(ours < 2e-2 && ours > 1e-4, "{name}: {ours:e}");
    }
}

#[test]
fn finite_slices_equal_the_quadrature_of_the_oracle() {
    let Some(v) = sidecar("oracle/multislice/mos2_lobato_finite.json") else { return };
    let (atoms, grid) = (atoms(&v["atoms"]), grid(&v));
    let want = real("oracle/multislice/mos2_lobato_finite__slices_exact_sub8.npy");
    let build = |sigma: f64| {
        // A little thermal motion hides the truncation of the Fourier series, which the oracle's values in real space do not have.
        let mut moving = atoms.clone();
        moving.atoms.iter_mut().for_each(|a| a.sigma = [sigma; 3]);
        let params = PotentialParams {
            grid,
            slicing: Slicing::Thickness(Length::angstrom(1.0)),
            parametrization: Parametrization::Lobato,
            projection: Projection::Finite,
            constants: CODATA_2014,
            par: par(),
            ..Default::default()
        };
        PotentialPlan::<f64>::new(&moving, &params).unwrap().build().unwrap()
    };
    let ours = build(0.05);
    let largest = want.as_slice().iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let [dy, dx] = grid.sampling.map(|d| d.to_angstrom());
    let [ly, lx] = grid.extent().map(|l| l.to_angstrom());
    let (mut worst, mut compared) = (0.0f64, 0);
    for s in 0..8 {
        for iy in 0..16 {
            for ix in 0..16 {
                // Away from the nuclei, where neither matters.
                let (y, x) = (8.0 * iy as f64 * dy, 8.0 * ix as f64 * dx);
                let near = atoms.atoms.iter().any(|a| {
                    let (u, v) = (a.position[1] - y, a.position[2] - x);
                    (u - ly * (u / ly).round()).hypot(v - lx * (v / lx).round()) < 0.5
                });
                if !near {
                    worst = worst.max((ours.values[[s, 8 * iy, 8 * ix]] - want[[s, iy, ix]]).abs());
                    compared += 1;
                }
            }
        }
    }
    eprintln!("finite slices: {worst:.3} of {largest:.0} V Å at {compared} points");
    assert!(compared > 500);
    // σ²/2 ∇²V at 0.5 Å from molybdenum, where V falls off with 0.2 Å: 0.05²/2 · 25 = 3 % of 30 V Å there.
    assert!(worst < 1.0, "{worst} of {largest}");
}

#[test]
fn convergent_beam_patterns_equal_the_oracle() {
    let (Some(v), Some(case)) = (sidecar("oracle/probe/sto_cbed.json"), case("sto001_kirkland_planewave")) else {
        return;
    };
    let mut aberrations = Aberrations::default();
    aberrations[Aberration::C10].c = Length::angstrom(20.0);
    aberrations[Aberration::C30].c = Length::angstrom(1e5);
    let want = real("oracle/probe/sto_cbed__dp.npy");
    let positions: Vec<[Length; 2]> = v["positions_A"].as_array().unwrap().iter().map(pair).collect();
    let probes = probes(&case, 25.0, aberrations, &positions);
    let error = |potential: &Potential<f64>| {
        let plan = case.plan(potential);
        let t = plan.transmission(potential).unwrap();
        let patterns = diffraction(&plan.exit_waves(&t, &probes).unwrap(), &par()).unwrap();
        compare(&patterns, &want)
    };
    let (theirs, ours) = (error(&case.bilinear()), error(&case.potential()));
    eprintln!("CBED: {theirs:.1e} with their potential, {ours:.1e} with the exact one");
    assert!(theirs < 1e-5, "{theirs:e}");
    assert!(ours < 2e-2, "{ours:e}");
}

fn pair(v: &Value) -> [Length; 2] {
    [Length::angstrom(number(&v[0])), Length::angstrom(number(&v[1]))]
}

fn probes(case: &Case, mrad: f64, aberrations: Aberrations, positions: &[[Length; 2]]) -> Tensor<Complex<f64>> {
    let params = ProbeParams {
        energy: case.energy,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(mrad) },
        aberrations,
        grid: case.grid,
        constants: CODATA_2014,
        ..Default::default()
    };
    let probe = Probe::<f64>::new(&params).unwrap();
    let [ny, nx] = case.grid.dims;
    let mut all = Vec::new();
    for &r in positions {
        all.extend(probe.real(r).unwrap().into_vec());
    }
    Tensor::from_vec(&[positions.len(), ny, nx], all).unwrap()
}

/// ‖a − b‖/‖b‖ of patterns, b shifted and cropped about its zero frequency in the middle.
fn compare(patterns: &Tensor<f64>, want: &Tensor<f64>) -> f64 {
    let (&[n, ny, nx], &[m, cy, cx]) = (patterns.dims(), want.dims()) else { panic!("stacks") };
    assert_eq!(n, m);
    let (mut d, mut norm) = (0.0, 0.0);
    for p in 0..n {
        for iy in 0..cy {
            for ix in 0..cx {
                let a = patterns[[p, (iy + ny - cy / 2) % ny, (ix + nx - cx / 2) % nx]];
                let b = want[[p, iy, ix]];
                d += (a - b).powi(2);
                norm += b * b;
            }
        }
    }
    (d / norm).sqrt()
}

#[test]
fn high_resolution_images_equal_the_oracle() {
    let Some(case_sto) = case("sto001_kirkland_planewave") else { return };
    let image = |case: &Case, potential: &Potential<f64>, ctf: &CtfParams| {
        let lens = exitwave::multislice::HrtemImage::<f64>::new(ctf, case.grid, Default::default(), par()).unwrap();
        lens.images(&case.exit(potential)).unwrap()
    };
    let error = |image: &Tensor<f64>, dims: [usize; 2], want: &Tensor<f64>| {
        let image: Vec<Complex<f64>> = image.as_slice().iter().map(|&v| Complex::new(v, 0.0)).collect();
        distance(&image, dims, &want.map(|&v| Complex::new(v, 0.0)))
    };
    let mut lens = Aberrations::default();
    lens[Aberration::C10].c = Length::angstrom(-650.0);
    lens[Aberration::C30].c = Length::angstrom(1.2e7);
    lens.set_astigmatism(Length::angstrom(80.0), Angle::rad(0.4));
    let sto = CtfParams {
        energy: case_sto.energy,
        aberrations: lens.transposed(),
        aperture: Aperture::Soft { semi_angle: Angle::mrad(20.0) },
        focal_spread: FocalSpread::one_over_e(Length::angstrom(40.0)),
        source_angle: SourceAngle::one_over_e(Angle::mrad(0.3)),
        constants: CODATA_2014,
        ..Default::default()
    };
    assert!(Ctf::new(&sto).is_ok());
    let want = real("oracle/hrtem/sto_hrtem__image.npy");
    let theirs = error(&image(&case_sto, &case_sto.bilinear(), &sto), case_sto.grid.dims, &want);
    let ours = error(&image(&case_sto, &case_sto.potential(), &sto), case_sto.grid.dims, &want);
    eprintln!("HRTEM SrTiO3: {theirs:.1e} with their potential, {ours:.1e} with the exact one");
    assert!(theirs < 1e-5 && ours < 2e-2, "{theirs:e} {ours:e}");

    let Some(case_mos2) = case("mos2_lobato_planewave") else { return };
    let bilinear = case_mos2.bilinear();
    for c10 in [0.0, -50.0] {
        let mut lens = Aberrations::default();
        lens[Aberration::C10].c = Length::angstrom(c10);
        lens[Aberration::C30].c = Length::angstrom(1e5);
        let ctf = CtfParams {
            energy: case_mos2.energy,
            aberrations: lens,
            aperture: Aperture::Soft { semi_angle: Angle::mrad(40.0) },
            constants: CODATA_2014,
            ..Default::default()
        };
        let want = real(&format!("oracle/hrtem/mos2_hrtem_C10_{c10:.0}.npy"));
        let theirs = error(&image(&case_mos2, &bilinear, &ctf), case_mos2.grid.dims, &want);
        eprintln!("HRTEM MoS2, C10 = {c10}: {theirs:.1e}");
        assert!(theirs < 1e-5, "{theirs:e}");
    }
}

#[test]
fn line_profiles_equal_the_oracle() {
    let (Some(v), Some(case)) = (sidecar("oracle/stem/sto_line_profile.json"), case("sto001_kirkland_planewave"))
    else {
        return;
    };
    let positions: Vec<[Length; 2]> = v["positions_A"].as_array().unwrap().iter().map(pair).collect();
    // Every fourth position: the columns and what lies between.
    let chosen: Vec<usize> = (0..33).step_by(4).collect();
    let some: Vec<_> = chosen.iter().map(|&i| positions[i]).collect();
    let potential = case.bilinear();
    let plan = case.plan(&potential);
    let t = plan.transmission(&potential).unwrap();
    let patterns =
        diffraction(&plan.exit_waves(&t, &probes(&case, 25.0, Aberrations::default(), &some)).unwrap(), &par())
            .unwrap();
    let [ky, kx] = case.grid.frequencies();
    let lambda = plan.wavelength().to_angstrom();
    for name in ["bf", "abf", "maadf", "haadf"] {
        let limits = [0, 1].map(|i| 1e-3 * number(&v["detectors_mrad"][name][i]));
        let want = real(&format!("oracle/stem/sto_line_profile__{name}.npy"));
        let mut worst = 0.0f64;
        for (p, &i) in chosen.iter().enumerate() {
            let mut sum = 0.0;
            for (iy, ky) in ky.iter().enumerate() {
                for (ix, kx) in kx.iter().enumerate() {
                    let alpha = lambda * ky.hypot(*kx);
                    if alpha >= limits[0] && alpha < limits[1] {
                        sum += patterns[[p, iy, ix]];
                    }
                }
            }
            worst = worst.max((sum / want.as_slice()[i] - 1.0).abs());
        }
        eprintln!("line profile {name}: {worst:.1e}");
        assert!(worst < 1e-5, "{name}: {worst:e}");
    }
}

#[test]
fn prism_equals_multislice_and_the_oracle() {
    let (Some(v), Some(mut case)) = (sidecar("oracle/prism/sto_prism.json"), case("sto001_kirkland_planewave")) else {
        return;
    };
    case.grid = Grid { dims: [256, 256], sampling: case.grid.sampling.map(|d| d * 2.0) };
    let positions: Vec<[Length; 2]> = v["positions_A"].as_array().unwrap().iter().map(pair).collect();
    let potential = case.bilinear();
    let plan = case.plan(&potential);
    let t = plan.transmission(&potential).unwrap();
    let probe = ProbeParams {
        energy: case.energy,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(25.0) },
        grid: case.grid,
        constants: CODATA_2014,
        ..Default::default()
    };
    let whole =
        diffraction(&plan.exit_waves(&t, &probes(&case, 25.0, Aberrations::default(), &positions)).unwrap(), &par())
            .unwrap();
    let multislice = compare(&whole, &real("oracle/prism/sto_prism__multislice_dp.npy"));
    let one = Prism::new(&plan, &t, &probe, [1, 1]).unwrap();
    assert_eq!(one.beams(), 805);
    let patterns = one.patterns(&positions).unwrap();
    let mine = {
        let (mut d, mut norm) = (0.0, 0.0);
        for (a, b) in patterns.as_slice().iter().zip(whole.as_slice()) {
            d += (a - b) * (a - b);
            norm += b * b;
        }
        f64::sqrt(d / norm)
    };
    drop(one);
    let two = Prism::new(&plan, &t, &probe, [2, 2]).unwrap();
    assert_eq!(two.beams(), 221);
    let two = compare(&two.patterns(&positions).unwrap(), &real("oracle/prism/sto_prism__prism_f2_dp.npy"));
    eprintln!("multislice {multislice:.1e}, PRISM f = 1 against ours {mine:.1e}, f = 2 against the oracle's {two:.1e}");
    assert!(multislice < 1e-5, "{multislice:e}");
    assert!(mine < 1e-10, "{mine:e}");
    // Theirs computes plane waves in single precision.
    assert!(two < 1e-5, "{two:e}");
}
