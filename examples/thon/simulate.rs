//! Specimens of the simulated case: an amorphous film and crystals of a metal-organic framework, and their images.

use exitwave::detect::count;
use exitwave::fft::Fft2;
use exitwave::hrtem::FocusReflection;
use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::num_complex::Complex;
use exitwave::optics::{Aberrations, CtfParams, FocalSpread, Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::specimen::{AmorphousParams, Atoms, PotentialParams, PotentialPlan, Slicing, Species, amorphous};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Dose, Energy, Length};

use crate::support::Failure;

/// 300 kV.
pub const KEV: f64 = 300.0;
/// Thickness of film and crystal, Å.
pub const THICKNESS: f64 = 100.0;

/// A wave behind a specimen, and the specimen's projected potential, V Å.
#[derive(Clone)]
pub struct Exit {
    pub grid: Grid,
    pub wave: Tensor<Complex<f32>>,
    pub potential: Vec<f32>,
    pub thickness: Length,
}

/// The wave behind atoms, whose cell is periodic across the beam.
pub fn exit(atoms: &Atoms, dims: [usize; 2], par: &Par) -> Result<Exit, Failure> {
    let edges = atoms.edges()?;
    let grid = Grid { dims, sampling: [edges[1] / dims[0] as f64, edges[2] / dims[1] as f64] };
    let slices = (edges[0].to_angstrom() / 10.0).round().max(1.0);
    let slicing = Slicing::Thickness(edges[0] / slices);
    let v =
        PotentialPlan::<f32>::new(atoms, &PotentialParams { grid, slicing, par: par.clone(), ..Default::default() })?
            .build()?;
    let params = MultisliceParams {
        energy: Energy::kev(KEV),
        grid,
        thickness: v.thickness.clone(),
        par: par.clone(),
        ..Default::default()
    };
    let multislice = Multislice::new(&params)?;
    let t = multislice.transmission(&v)?;
    let wave = multislice.exit_waves(&t, &multislice.plane_waves(1)?)?;
    Ok(Exit { grid, wave, potential: v.projected().into_vec(), thickness: edges[0] })
}

/// A periodic film of amorphous carbon of 2 g/cm³, `side` Å wide, as thick as the crystals.
pub fn film(side: f64, pixels: usize, seed: u64, par: &Par) -> Result<Exit, Failure> {
    let edges = [THICKNESS, side, side].map(Length::angstrom);
    let atoms = amorphous(&AmorphousParams { edges, seed, ..Default::default() })?;
    let carbon = Species::from_symbol("C")?;
    exit(&atoms.with_sigma(carbon, Length::angstrom(0.08)), [pixels; 2], par)
}

/// The lens of a study: focus of the middle of the specimen, Cs, a focal spread of 3 nm and a semi-angle of 0.1 mrad (standard deviations).
pub fn lens(defocus: Length, cs: Length, thickness: Length) -> CtfParams {
    // The wave leaves the specimen half a thickness below its middle, and underfocus looks at what is above.
    let mut aberrations = Aberrations::from_defocus(defocus + thickness * 0.5);
    aberrations.set_cs(cs);
    CtfParams {
        energy: Energy::kev(KEV),
        aberrations,
        focal_spread: FocalSpread::rms(Length::nm(3.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.1)),
        ..Default::default()
    }
}

/// A crystal of about a thickness (Å) along a zone axis, with the thermal motion that is published for UiO-66.
pub fn crystal(
    cell: &Atoms,
    zone: [i32; 3],
    up: [i32; 3],
    pixel: f64,
    thickness: f64,
    par: &Par,
) -> Result<Exit, Failure> {
    let cell = cell.oriented(zone, up)?;
    let edges = cell.edges()?.map(|e| e.to_angstrom());
    let mut atoms = cell.repeated([1, 1, (thickness / edges[0]).round().max(1.0) as usize])?;
    for (symbol, sigma) in [("Zr", 0.039), ("Cr", 0.05), ("O", 0.0872), ("C", 0.1007), ("H", 0.12), ("F", 0.0872)] {
        atoms = atoms.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    exit(&atoms, [1, 2].map(|i| ((edges[i] / pixel).round() as usize).next_multiple_of(2)), par)
}

/// A square of `parts`² images of different films, each as if periodic, in an order that the seed decides.
pub fn mosaic(films: &[Tensor<f32>], parts: usize, seed: u64) -> Tensor<f32> {
    let [n, _] = *films[0].dims() else { unreachable!("films are images") };
    let order = rng::permutation(&mut rng::stream(seed, 1), films.len());
    Tensor::from_fn(&[parts * n, parts * n], |i| {
        let which = order[(i[0] / n * parts + i[1] / n) % films.len()];
        films[which].as_slice()[i[0] % n * n + i[1] % n]
    })
}

/// The mean cell of an image of whole cells, with a mean of 1.
pub fn averaged(counts: &Tensor<f32>, [ny, nx]: [usize; 2]) -> Result<Tensor<f64>, Failure> {
    let width = counts.dims()[1];
    let mut out = vec![0.0; ny * nx];
    for (i, v) in counts.as_slice().iter().enumerate() {
        out[i / width % ny * nx + i % width % nx] += f64::from(*v);
    }
    let mean = out.iter().sum::<f64>() / out.len() as f64;
    Ok(Tensor::from_vec(&[ny, nx], out.iter().map(|v| v / mean).collect())?)
}

/// An image without what is above a spatial frequency (1/Å) and without its mean.
pub fn limited(image: &[f64], grid: &Grid, band: f64) -> Result<Tensor<f64>, Failure> {
    let fft = Fft2::<f64>::new(grid.dims)?;
    let mut z: Vec<Complex<f64>> = image.iter().map(|v| Complex::new(*v, 0.0)).collect();
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(&mut z, &mut scratch);
    let [ky, kx] = grid.frequencies();
    for (i, z) in z.iter_mut().enumerate() {
        let k = ky[i / grid.dims[1]].hypot(kx[i % grid.dims[1]]);
        if k > band || k == 0.0 {
            *z = Complex::default();
        }
    }
    fft.inverse(&mut z, &mut scratch);
    Ok(Tensor::from_vec(&grid.dims, z.iter().map(|z| z.re).collect())?)
}

/// Foci and beam directions whose images are added up: right to any order, where an envelope is to the first.
pub const ALL_ORDERS: Averaging = Averaging::Explicit { focus: 15, directions: 7 };

/// The expected image of a wave, 1 where there is no specimen.
pub fn image(exit: &Exit, ctf: &CtfParams, averaging: Averaging, par: &Par) -> Result<Tensor<f32>, Failure> {
    let lens = HrtemImage::<f32>::new(ctf, exit.grid, averaging, par.clone())?;
    Ok(lens.images(&exit.wave)?.reshape(&exit.grid.dims)?)
}

/// The counts of an expected image, as many times side by side as `tiles` says, with `dose` electrons per Å².
pub fn counts(
    expected: &Tensor<f32>,
    grid: &Grid,
    tiles: usize,
    dose: f64,
    seed: u64,
    par: &Par,
) -> Result<Tensor<f32>, Failure> {
    let [ny, nx] = [expected.dims()[0], expected.dims()[1]];
    let mut out = Tensor::from_fn(&[tiles * ny, tiles * nx], |i| expected.as_slice()[i[0] % ny * nx + i[1] % nx]);
    count(&mut out, Dose::per_angstrom2(dose) * (grid.sampling[0] * grid.sampling[1]), seed, par)?;
    Ok(out)
}

/// The coefficients of a crystal's contrast at the points of a lattice, `basis` its reciprocal vectors `[[ky, kx]; 2]`, 1/Å, below `k_max`; with
/// them the standard deviation of counting noise. The image holds whole cells, so that no window is needed.
pub fn coefficients(counts: &Tensor<f32>, pixel: [f64; 2], basis: [[f64; 2]; 2], k_max: f64) -> Vec<FocusReflection> {
    let (ny, nx) = (counts.dims()[0], counts.dims()[1]);
    let total: f64 = counts.as_slice().iter().map(|&v| f64::from(v)).sum();
    let mut out = Vec::new();
    for h in -60i32..=60 {
        for l in -60i32..=60 {
            let k = [0, 1].map(|i| f64::from(h) * basis[0][i] + f64::from(l) * basis[1][i]);
            // One of each Friedel pair.
            if k[0].hypot(k[1]) > k_max || h < 0 || (h == 0 && l <= 0) {
                continue;
            }
            let phases = |n: usize, k: f64, d: f64| -> Vec<Complex<f64>> {
                (0..n).map(|i| Complex::from_polar(1.0, -std::f64::consts::TAU * k * d * i as f64)).collect()
            };
            let (py, px) = (phases(ny, k[0], pixel[0]), phases(nx, k[1], pixel[1]));
            let mut sum = Complex::new(0.0, 0.0);
            for (row, p) in counts.as_slice().chunks(nx).zip(&py) {
                sum += row.iter().zip(&px).map(|(v, p)| p * f64::from(*v)).sum::<Complex<f64>>() * p;
            }
            out.push(FocusReflection { hk: [h, l], k, f: vec![sum / total], sigma: 1.0 / total.sqrt() });
        }
    }
    out
}
