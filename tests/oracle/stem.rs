//! `stem`: centre of mass, iCOM and orientation of a simulated MoS₂ monolayer, against another program's numbers.

use std::f64::consts::PI;
use std::path::PathBuf;
use std::sync::Arc;

use exitwave::fft::{Fft2, fourier_resample};
use exitwave::io::npy;
use exitwave::observe::silent;
use exitwave::par::Par;
use exitwave::source::FrameSource;
use exitwave::stem::{
    Boundary, Calibration, Com, DataSet, Detector, DiskParams, Dpc, DpcParams, Edge, Icom, IcomParams, Orientation,
    Pass, PassParams, Pixel, Transposition, bright_field_disk,
};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use num_complex::Complex;

use crate::support::data;

const STEP: Length = Length::angstrom(0.4);

fn calibration() -> Calibration {
    let dk = SpatialFrequency::per_angstrom(0.045207956600361664);
    Calibration::new([STEP; 2], Pixel::Frequency([dk; 2]), Energy::kev(80.0))
}

/// The oracle's arrays are `[scan_x, scan_y, kx, ky]`; its x is our y throughout.
fn mos2() -> Option<Tensor<f32>> {
    let path = data("oracle/stem4d/mos2_C10_p50__data.npy")?;
    Some(npy::read(path).unwrap().into_real::<f32>().unwrap())
}

fn array(path: PathBuf) -> Tensor<f64> {
    npy::read(path).unwrap().into_real::<f64>().unwrap()
}

fn com_of(set: &DataSet) -> Com {
    Pass::new(set, PassParams::default()).unwrap().run(&mut silent).unwrap().com
}

fn icom(com: &Com, boundary: Boundary) -> Tensor<f64> {
    Icom::new(com.scan(), IcomParams { step: [STEP; 2], boundary, ..Default::default() })
        .unwrap()
        .run(com)
        .unwrap()
        .phase
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let dot = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let ab = dot(&|i| (a[i] - ma) * (b[i] - mb));
    ab / (dot(&|i| (a[i] - ma).powi(2)) * dot(&|i| (b[i] - mb).powi(2))).sqrt()
}

fn relative(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let (a, b) = (a.as_slice(), b.as_slice());
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn centre_of_mass_maps_are_the_oracles() {
    let (Some(frames), Some(cx)) = (mos2(), data("oracle/py4dstem/dpc_C10_p50__com_x.npy")) else { return };
    let (cy, com) =
        (cx.with_file_name("dpc_C10_p50__com_y.npy"), com_of(&DataSet::new(Arc::new(frames), calibration()).unwrap()));
    // The oracle computes in single precision: its own check against double precision finds 2e-5.
    let (first, second) = (relative(&com.y, &array(cx)), relative(&com.x, &array(cy)));
    assert!(first <= 5e-5 && second <= 5e-5, "{first:e}, {second:e}");
}

#[test]
fn icom_is_the_oracles_object_with_mirrored_boundaries() {
    let (Some(frames), Some(object)) = (mos2(), data("oracle/py4dstem/dpc_C10_p50__object.npy")) else { return };
    let (com, object) = (com_of(&DataSet::new(Arc::new(frames), calibration()).unwrap()), array(object));
    let mirror = correlation(icom(&com, Boundary::Mirror).as_slice(), object.as_slice());
    let periodic = correlation(icom(&com, Boundary::Periodic).as_slice(), object.as_slice());
    println!("mirror {mirror}, periodic {periodic}");
    assert!(mirror >= 0.98, "mirror {mirror}");
    // The window is no whole number of cells: repeating it is wrong at its border.
    assert!(periodic > 0.85 && periodic < mirror, "periodic {periodic}, mirror {mirror}");
}

/// The frames with both scan axes kept and the patterns brought into another orientation: p'[q] = p[M q], about pixel
/// (48, 48).
fn reoriented(frames: &Tensor<f32>, quarter_turns: usize, transposed: bool) -> Tensor<f32> {
    let n = 96i64;
    let mut out = frames.clone();
    for f in 0..24 * 24 {
        let at = f * 96 * 96;
        for y in 0..n {
            for x in 0..n {
                let (mut v, mut u) = (y - 48, x - 48);
                for _ in 0..quarter_turns {
                    (v, u) = (-u, v);
                }
                if transposed {
                    (v, u) = (u, v);
                }
                let (v, u) = ((v + 48).rem_euclid(n) as usize, (u + 48).rem_euclid(n) as usize);
                out.as_mut_slice()[at + (y * n + x) as usize] = frames.as_slice()[at + v * 96 + u];
            }
        }
    }
    out
}

#[test]
fn sign_rotation_and_transposition_are_found_for_all_eight_orientations() {
    let Some(frames) = mos2() else { return };
    let reference = com_of(&DataSet::new(Arc::new(frames.clone()), calibration()).unwrap());
    let phase = icom(&reference, Boundary::Mirror);
    for quarter_turns in 0..4 {
        for transposed in [false, true] {
            let turned = DataSet::new(Arc::new(reoriented(&frames, quarter_turns, transposed)), calibration()).unwrap();
            let com = com_of(&turned);
            let fit = Orientation::find(&com, [STEP; 2], Boundary::Mirror).unwrap();
            let found = icom(&com.turned(&fit.orientation), Boundary::Mirror);
            let same = correlation(found.as_slice(), phase.as_slice());
            // Undoing M: rotated frames need the same number of turns in return, and a mirror stays a mirror.
            assert_eq!(fit.orientation.transposition == Transposition::Swapped, transposed);
            assert!(same > 0.999, "{quarter_turns} turns, transposed {transposed}: {fit:?}, correlation {same}");
            // A whole number of quarter turns; 1/100 degree is what the window's border does to the fit.
            let quarters = fit.orientation.rotation / Angle::deg(90.0);
            assert!((quarters - quarters.round()).abs() * 90.0 < 0.01, "{fit:?}");
            assert!(fit.residual < 0.01 * fit.other_residual, "{fit:?}");
        }
    }
}

#[test]
fn icom_is_positive_where_the_atoms_are_and_measures_the_phase_in_radians() {
    let (Some(frames), Some(potential)) = (mos2(), data("oracle/stem4d/mos2_projected_potential.npy")) else { return };
    let set = DataSet::new(Arc::new(frames), calibration()).unwrap();
    let phase = icom(&com_of(&set), Boundary::Mirror);
    // |P|² ⋆ σV on the 128² grid of the potential: the probe's intensity from its aperture (21.4 mrad) and C10 = +50 Å.
    let (sigma, n, d, lambda) = (0.001008706604626261, 128, 22.12 / 128.0, 0.04175716056489365);
    let k = exitwave::fft::frequencies(n, d);
    let fft = Fft2::<f64>::new([n, n]).unwrap();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    let mut probe: Vec<Complex<f64>> = (0..n * n)
        .map(|i| {
            let k2 = k[i / n].powi(2) + k[i % n].powi(2);
            // The aperture's edge is linear and one detector pixel wide.
            let a = ((0.0214 / lambda - k2.sqrt()) / 0.045207956600361664 + 0.5).clamp(0.0, 1.0);
            Complex::from_polar(a, -PI * lambda * 50.0 * k2)
        })
        .collect();
    fft.inverse(&mut probe, &mut scratch);
    let norm: f64 = probe.iter().map(|p| p.norm_sqr()).sum();
    probe.iter_mut().for_each(|p| *p = Complex::new(p.norm_sqr() / norm, 0.0));
    let mut v: Vec<Complex<f64>> = array(potential).as_slice().iter().map(|v| Complex::new(sigma * v, 0.0)).collect();
    fft.forward(&mut probe, &mut scratch);
    fft.forward(&mut v, &mut scratch);
    v.iter_mut().zip(&probe).for_each(|(v, p)| *v *= p.conj());
    fft.inverse(&mut v, &mut scratch);
    // Eight times finer, the nearest sample is close enough (0.01 Å).
    let fine = fourier_resample(&v.iter().map(|v| v.re).collect::<Vec<_>>(), [n, n], [8 * n, 8 * n]).unwrap();
    let at = |i: usize| ((6.46 + 0.4 * i as f64) / d * 8.0).round() as usize % (8 * n);
    let truth = Tensor::from_fn(&[24, 24], |i| fine[at(i[0]) * 8 * n + at(i[1])]);

    let c = correlation(phase.as_slice(), truth.as_slice());
    let std = |t: &Tensor<f64>| {
        let m = t.as_slice().iter().sum::<f64>() / 576.0;
        (t.as_slice().iter().map(|v| (v - m).powi(2)).sum::<f64>() / 576.0).sqrt()
    };
    let ratio = std(&phase) / std(&truth);
    println!("correlation {c}, contrast {ratio}");
    // What is missing is the border of the window, the thickness, and the simulator's band limit and bilinear atoms.
    assert!(c > 0.97, "correlation with |P|² ⋆ σV {c}");
    assert!((ratio - 1.0).abs() < 0.1, "contrast {ratio} of |P|² ⋆ σV");
}

#[test]
fn the_disk_gives_the_semi_angle_and_the_centre() {
    let Some(frames) = mos2() else { return };
    let set = DataSet::new(Arc::new(frames), calibration()).unwrap();
    let mean = Pass::new(&set, PassParams::default()).unwrap().run(&mut silent).unwrap().mean;
    let disk = bright_field_disk(&set, &mean, DiskParams::default()).unwrap();
    println!("{disk:?}");
    // 21.4 mrad, a radius of 11.3 pixels whose soft edge is one pixel wide: a quarter pixel is 0.5 mrad.
    assert!((disk.semi_angle.to_mrad() - 21.4).abs() < 0.5, "{disk:?}");
    assert!((disk.centre[0] - 48.0).abs() < 0.1 && (disk.centre[1] - 48.0).abs() < 0.1, "{disk:?}");
}

#[test]
fn idpc_of_quadrants_resembles_icom() {
    let Some(frames) = mos2() else { return };
    let set = DataSet::new(Arc::new(frames), calibration()).unwrap();
    let quadrants =
        Detector::Segments { inner: Angle::ZERO, outer: Angle::mrad(80.0), segments: 4, rotation: Angle::deg(45.0) };
    let params = PassParams { detectors: vec![quadrants.clone()], edge: Edge::Soft, ..Default::default() };
    let a = Pass::new(&set, params).unwrap().run(&mut silent).unwrap();
    let dpc =
        Dpc::new(&set, &a.mean, &DpcParams { detectors: vec![quadrants], edge: Edge::Soft, ..Default::default() });
    let com = dpc.unwrap().run(&a.images, &a.sums).unwrap();
    let (idpc, icom) = (icom(&com, Boundary::Mirror), icom(&a.com, Boundary::Mirror));
    // Four segments transfer high frequencies less evenly than the centre of mass; sign and structure are the same.
    let c = correlation(idpc.as_slice(), icom.as_slice());
    println!("iDPC and iCOM: {c}");
    assert!(c > 0.9, "{c}");
}

#[test]
fn a_streamed_file_under_a_tight_budget_gives_the_bits_of_memory() {
    let (Some(frames), Some(path)) = (mos2(), data("oracle/stem4d/mos2_C10_p50__data.npy")) else { return };
    let detectors = vec![Detector::Annulus { inner: Angle::mrad(10.0), outer: Angle::mrad(60.0) }];
    let run = |source: Arc<dyn FrameSource>, par: Par, bytes: u64| {
        let set = DataSet::new(source, calibration()).unwrap();
        let limits = exitwave::shape::Limits { bytes };
        let pass =
            Pass::new(&set, PassParams { detectors: detectors.clone(), par, limits, ..Default::default() }).unwrap();
        assert!(pass.workspace_bytes() <= bytes);
        pass.run(&mut silent).unwrap()
    };
    let memory = run(Arc::new(frames), Par::threads(2).unwrap(), u64::MAX);
    // 21 MB of data through less than 1 MB.
    let file = run(Arc::new(npy::NpyFrames::open(path).unwrap()), Par::seq(), 400_000);
    assert_eq!(memory.images, file.images);
    assert_eq!(memory.mean, file.mean);
    assert_eq!(memory.com, file.com);
}
