//! Convergent-beam electron diffraction of SrTiO₃ \[001\] with frozen phonons, at several thicknesses.

mod support;

use exitwave::fft::fft_shift;
use exitwave::io::npy;
use exitwave::multislice::{Multislice, MultisliceParams, diffraction};
use exitwave::optics::{Aperture, Grid, Probe, ProbeParams};
use exitwave::par::Par;
use exitwave::render::{Cell, ColorMap, Image, Panel};
use exitwave::specimen::{Atoms, PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length};
use support::{Failure, Options};

const HELP: &str = "\
cbed: convergent-beam patterns of SrTiO3 [001], probe on a Sr column

  --semi-angle-mrad A  probe-forming aperture (default 8)
  --kev E              beam energy (default 200)
  --phonons N          configurations of frozen phonons (default 8)
  --cells N            thickness in cells (default 100); patterns at 1/4, 1/2, 3/4 and 1 of it
  --seed S             seed of the phonons (default 1)
  --threads N          threads (default: all cores)
  --out DIR            where the PNG and the arrays (.npy) go (default out/cbed)

The last line printed is one JSON object.";

fn main() -> Result<(), Failure> {
    let names = ["semi-angle-mrad", "kev", "phonons", "cells", "seed", "threads", "out"];
    let options = Options::read(HELP, &names, &[])?;
    let out = options.out("out/cbed")?;
    let (phonons, cells): (u64, usize) = (options.get("phonons", 8)?, options.get("cells", 100)?);
    let (seed, threads): (u64, usize) = (options.get("seed", 1)?, options.get("threads", 0)?);
    let energy = Energy::kev(options.get("kev", 200.0)?);
    let semi_angle = Angle::mrad(options.get("semi-angle-mrad", 8.0)?);
    let par = if threads == 0 { Par::default() } else { Par::threads(threads)? };
    if phonons == 0 || cells < 4 {
        return Err("at least one configuration of phonons and four cells".into());
    }

    // 8 × 8 cells, half a cell a slice. Root mean square displacements at room temperature, Å.
    const A: f64 = 3.905;
    let mut crystal: Atoms = crystals::strontium_titanate().repeated([8, 8, cells])?;
    for (symbol, sigma) in [("Sr", 0.0887), ("Ti", 0.0746), ("O", 0.0947)] {
        crystal = crystal.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    let grid = Grid { dims: [512, 512], sampling: [Length::angstrom(8.0 * A / 512.0); 2] };
    let slicing = Slicing::Thickness(Length::angstrom(A / 2.0));
    let potential = PotentialParams { grid, slicing, par: par.clone(), ..Default::default() };
    let aperture = Aperture::Soft { semi_angle };
    let probe = Probe::<f32>::new(&ProbeParams { energy, aperture, grid, ..Default::default() })?;
    let middle = Length::angstrom(4.0 * A);
    let psi = probe.real([middle; 2])?.reshape(&[1, 512, 512])?;

    // Intensities of the configurations add up.
    let after: Vec<usize> = (1..=4).map(|i| i * cells / 4 * 2).collect();
    let mut mean = vec![Tensor::<f32>::zeros(&[512, 512]); after.len()];
    let bar = indicatif::ProgressBar::new(phonons);
    for i in 0..phonons {
        let v = PotentialPlan::<f32>::new(&crystal.displaced(seed, i), &potential)?.build()?;
        let params =
            MultisliceParams { energy, grid, thickness: v.thickness.clone(), par: par.clone(), ..Default::default() };
        let multislice = Multislice::new(&params)?;
        let series = multislice.thickness_series(&multislice.transmission(&v)?, &psi, &after)?;
        for (sum, waves) in mean.iter_mut().zip(&series) {
            let pattern = diffraction(waves, &par)?;
            sum.as_mut_slice().iter_mut().zip(pattern.as_slice()).for_each(|(s, p)| *s += p / phonons as f32);
        }
        bar.inc(1);
    }
    bar.finish();

    // Drawn on a logarithmic scale, the inner 100 mrad.
    let alpha = probe.wavelength().to_angstrom() / (8.0 * A);
    let half = ((0.1 / alpha) as usize).min(170);
    let mut panel = Panel::new(2);
    let mut caught = Vec::new();
    for (n, pattern) in after.iter().zip(&mean) {
        let nm = *n as f64 * 0.5 * A / 10.0;
        let mut shifted = vec![0.0f32; 512 * 512];
        fft_shift(&[512, 512], pattern.as_slice(), &mut shifted);
        let largest = shifted.iter().fold(0.0f32, |m, &v| m.max(v));
        let side = 2 * half + 1;
        let at = |i: usize| (256 - half + i / side) * 512 + 256 - half + i % side;
        let shown: Vec<f32> = (0..side * side).map(|i| (shifted[at(i)] / largest).max(1e-6).log10()).collect();
        let mut image = Image::real(&[side, side], &shown)?;
        (image.title, image.map) = (format!("{nm:.1} nm"), ColorMap::Grey);
        image.color_bar = Some("log10 of the intensity".into());
        panel.add(Cell::Image(image));
        caught.push(shifted.iter().sum::<f32>());
        npy::write(out.join(format!("cbed_{nm:.1}_nm.npy")), &Tensor::from_vec(&[512, 512], shifted)?)?;
    }
    let png = out.join("cbed.png");
    panel.render()?.write_png(&png)?;
    let line = serde_json::json!({
        "thickness_nm": after.iter().map(|n| *n as f64 * 0.05 * A).collect::<Vec<_>>(),
        "intensity_inside_the_band_limit": caught,
        "phonons": phonons,
        "mrad_per_pixel": alpha * 1e3,
        "png": png.display().to_string(),
    });
    println!("{line}");
    Ok(())
}
