//! Multislice at the sizes of the peers' scripts: SrTiO₃ \[001\], 200 kV, 50 slices of half a cell, `f32`, 2 threads.

#[path = "support/timing.rs"]
mod timing;

use exitwave::Error;
use exitwave::autodiff::{Function, Mode};
use exitwave::fft::{Direction, Fft2};
use exitwave::multislice::{Multislice, MultisliceFunction, MultisliceParams, Prism, raster};
use exitwave::num_complex::Complex;
use exitwave::op::Write;
use exitwave::optics::{Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::shape::Space;
use exitwave::specimen::{Potential, PotentialParams, PotentialPlan, Slicing, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};

/// The same number of threads as the peers' scripts.
const THREADS: usize = 2;
const A: f64 = 3.905;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let par = Par::threads(THREADS)?;

    // A plane wave, 512²: with the transmissions made anew in each run, as the peer does, and with those of the plan.
    let (v, params) = specimen(512, &par)?;
    let multislice = Multislice::<f32>::new(&params)?;
    let mut t = multislice.transmission(&v)?;
    let mut scratch = multislice.scratch()?;
    let psi = multislice.plane_waves(1)?;
    let mut exit = psi.clone();
    let anew = time(&mut c, "plane wave 512 with transmissions", || {
        multislice.transmission_into(v.values.as_slice(), &mut t, &mut scratch);
        multislice.exit_waves_into(&t, psi.as_slice(), exit.as_mut_slice(), &mut scratch);
    });
    let plane = time(&mut c, "plane wave 512", || {
        multislice.exit_waves_into(&t, psi.as_slice(), exit.as_mut_slice(), &mut scratch);
    });
    let plane_fft = transforms(&mut c, "fft only 512", 512, 50, &par)?;
    let gradient = adjoint(&mut c, "forward and adjoint 512", &params, &v, &psi)?;
    let forward = function(&mut c, "forward 512", &params, &v, &psi)?;

    // 64 probes, 256², to diffraction patterns.
    let (v, params) = specimen(256, &par)?;
    let multislice = Multislice::<f32>::new(&params)?;
    let t = multislice.transmission(&v)?;
    let aperture = Aperture::Soft { semi_angle: Angle::mrad(21.4) };
    let probe = ProbeParams { energy: params.energy, aperture, grid: params.grid, ..Default::default() };
    let lens = Probe::<f32>::new(&probe)?;
    let step = Length::angstrom(A / 8.0);
    let positions = raster([Length::angstrom(A); 2], [step; 2], [8, 8]);
    let many = time(&mut c, "64 probes 256", || {
        assert!(multislice.patterns(&t, &lens, &positions).is_ok());
    });
    let many_fft = transforms(&mut c, "fft only 64 x 256", 256, 64 * 50, &par)?;
    let mut prism = |f: usize| {
        time(&mut c, &format!("prism {f}"), || {
            let s = Prism::new(&multislice, &t, &probe, [f; 2]).and_then(|s| s.patterns(&positions));
            assert!(s.is_ok());
        })
    };
    let (prism2, prism4) = (prism(2), prism(4));

    c.final_summary();
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    timing::print_figures(&[
        ("plane_wave_512_with_transmissions_s", anew),
        ("plane_wave_512_s", plane),
        ("plane_wave_512_fft_only_s", plane_fft),
        ("plane_wave_over_fft", ratio(plane, plane_fft)),
        ("forward_512_s", forward),
        ("forward_and_adjoint_512_s", gradient),
        ("adjoint_ratio", ratio(gradient, forward)),
        ("probes_64_s", many),
        ("probes_64_fft_only_s", many_fft),
        ("probes_over_fft", ratio(many, many_fft)),
        ("prism_2_s", prism2),
        ("prism_4_s", prism4),
    ]);
    Ok(())
}

/// The median of a run without a state of its own.
fn time(c: &mut criterion::Criterion, name: &str, mut run: impl FnMut()) -> Option<f64> {
    timing::measure(c, name, &mut (), |()| {}, |()| run())
}

/// SrTiO₃ on n × n pixels of 3.905/128 Å (n = 512) or 3.905/64 Å.
fn specimen(n: usize, par: &Par) -> Result<(Potential<f32>, MultisliceParams), Error> {
    let cells = 4;
    let crystal = crystals::strontium_titanate().repeated([cells, cells, 25])?;
    let grid = Grid { dims: [n, n], sampling: [Length::angstrom(cells as f64 * A / n as f64); 2] };
    let slicing = Slicing::Thickness(Length::angstrom(A / 2.0));
    let v = PotentialPlan::new(&crystal, &PotentialParams { grid, slicing, par: par.clone(), ..Default::default() })?
        .build()?;
    let thickness = v.thickness.clone();
    let params =
        MultisliceParams { energy: Energy::kev(200.0), grid, thickness, par: par.clone(), ..Default::default() };
    Ok((v, params))
}

/// `count` forward and inverse transforms of n × n and nothing else.
fn transforms(
    c: &mut criterion::Criterion,
    name: &str,
    n: usize,
    count: usize,
    par: &Par,
) -> Result<Option<f64>, Error> {
    let fft = Fft2::<f32>::new([n, n])?;
    let mut frames = vec![Complex::new(1.0f32, 0.5); 8 * n * n];
    let mut scratch = vec![Complex::default(); fft.batch_scratch_len(par)];
    let rounds = count.div_ceil(8);
    Ok(time(c, name, || {
        for _ in 0..rounds {
            fft.batch(&mut frames, Direction::Forward, par, &mut scratch);
            fft.batch(&mut frames, Direction::Inverse, par, &mut scratch);
        }
    })
    .map(|s| s * count as f64 / (8 * rounds) as f64))
}

struct Buffers {
    f: MultisliceFunction<f32>,
    y: Vec<f32>,
    tape: Vec<f32>,
    scratch: Vec<f32>,
}

fn buffers(params: &MultisliceParams, psi: &Tensor<Complex<f32>>) -> Result<Buffers, Error> {
    let f = MultisliceFunction::<f32>::new(params)?;
    let [ny, nx] = params.grid.dims;
    let spaces = [Space::real(&[params.thickness.len(), ny, nx]), Space::complex(psi.dims())];
    let spaces = [&spaces[0], &spaces[1]];
    let (tape, scratch) = (vec![0.0; f.needs(&spaces).tape_len], vec![0.0; f.scratch_len(&spaces)]);
    Ok(Buffers { f, y: vec![0.0; 2 * psi.len()], tape, scratch })
}

fn function(
    c: &mut criterion::Criterion,
    name: &str,
    params: &MultisliceParams,
    v: &Potential<f32>,
    psi: &Tensor<Complex<f32>>,
) -> Result<Option<f64>, Error> {
    let mut b = buffers(params, psi)?;
    let words: Vec<f32> = psi.as_slice().iter().flat_map(|z| [z.re, z.im]).collect();
    Ok(time(c, name, || {
        b.f.forward(&[v.values.as_slice(), &words], &mut b.y, &mut b.tape, &mut b.scratch, Mode::Eval);
    }))
}

/// Forward, then the gradient with respect to potential and wave.
fn adjoint(
    c: &mut criterion::Criterion,
    name: &str,
    params: &MultisliceParams,
    v: &Potential<f32>,
    psi: &Tensor<Complex<f32>>,
) -> Result<Option<f64>, Error> {
    let mut b = buffers(params, psi)?;
    let words: Vec<f32> = psi.as_slice().iter().flat_map(|z| [z.re, z.im]).collect();
    let (mut dv, mut dpsi) = (vec![0.0; v.values.len()], vec![0.0; words.len()]);
    Ok(time(c, name, || {
        let x = [v.values.as_slice(), &words];
        b.f.forward(&x, &mut b.y, &mut b.tape, &mut b.scratch, Mode::Eval);
        let dy = b.y.clone();
        let mut dx = [Some((dv.as_mut_slice(), Write::Set)), Some((dpsi.as_mut_slice(), Write::Set))];
        b.f.backward(&x, &b.y, &b.tape, &dy, &mut dx, &mut b.scratch);
    }))
}
