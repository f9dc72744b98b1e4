//! Study.
#![allow(dead_code)]
mod support;
#[path = "support/focal.rs"]
mod focal;
use exitwave::hrtem::*;
use exitwave::par::Par;
use exitwave::units::Length;
use support::{Failure, Options, progress};
fn main() -> Result<(), Failure> {
    let names = ["deep", "seed", "dose", "step", "error", "shift", "cells", "pixels", "sweeps", "starts"];
    let o = Options::read("", &names, &["defect","linear"])?;
    let s = focal::Scene { deep: o.get("deep", 8)?, seed: o.get("seed", 1)?, dose: o.get("dose", 200.0)?, step: o.get("step", 50.0)?,
       focus_error: o.get("error", 25.0)?, shift: o.get("shift", 3.0)?, defect: o.flag("defect"), ..Default::default() };
    let par = Par::threads(1)?;
    let t0 = std::time::Instant::now();
    let c = s.series(&par)?;
    let ph: Vec<f64> = c.wave.iter().map(|z| z.arg()).collect();
    println!("sim {:?} mean counts {:.2}  contrast {:.3} phase range {:.2}", t0.elapsed(), c.counts.as_slice().iter().sum::<f64>() / c.counts.len() as f64,
        { let f=&c.counts.as_slice()[..20736]; let m=f.iter().sum::<f64>()/20736.0; (f.iter().map(|v| (v-m)*(v-m)).sum::<f64>()/20736.0).sqrt()/m },
        ph.iter().cloned().fold(f64::MIN, f64::max) - ph.iter().cloned().fold(f64::MAX, f64::min));
    let pixel = c.nominal.grid.sampling[1];
    let report = |name: &str, images: &[FocalImage], wave: Option<&[exitwave::num_complex::Complex<f64>]>| -> Result<(), Failure> {
        let e = focal_errors(images, &c.truth, Some(focal::lattice()))?;
        let mut line = format!("{name}: focus rms {:.2} max {:.2} A, shift rms {:.4} max {:.4} px", e.focus_rms().to_angstrom(), e.focus_max().to_angstrom(), e.shift_rms()/pixel, e.shift_max()/pixel);
        if let Some(w) = wave {
            let q = compare_exit_waves(w, &c.wave, &c.nominal.grid, focal::ENERGY, Length::nm(20.0), focal::cutoff())?;
            line += &format!(" phase {:.4} modulus {:.4} focus {:.1}", q.phase, q.modulus, q.focus.to_angstrom());
        }
        println!("{line}");
        for (f, s) in e.focus.iter().zip(&e.shift) { print!("{:.1}({:.2},{:.2}) ", f.to_angstrom(), s[0]/pixel, s[1]/pixel); }
        println!();
        Ok(())
    };
    report("nominal", &c.nominal.images, None)?;
    let lin = restore_linear(&FocalSeriesParams { images: c.truth.clone(), ..c.nominal.clone() }, &c.counts, 0.3)?;
    report("linear at truth", &c.truth, Some(lin.as_slice()))?;
    let known = ExitWave::new(ExitWaveParams { series: FocalSeriesParams { images: c.truth.clone(), ..c.nominal.clone() }, registration: Registration::Known, ..Default::default() })?;
    let st = known.start(&c.counts, None, &mut exitwave::observe::silent)?;
    for it in [15, 30, 30] {
    let _ = it; }
    let r = known.run(&c.counts, None, st, usize::MAX, &mut exitwave::observe::silent)?;
    let a_wave = r.wave.clone();
    report("ML from truth", &r.images, Some(r.wave.as_slice()))?;
    let show = |r: &ExitWaveResult<f64>| {
    for k in 0..12 {
        let n = 144 * 144;
        let one = |dy: f64, dx: f64| -> f64 {
            let mut im = r.images[k];
            im.shift[0] += pixel * dy;
            im.shift[1] += pixel * dx;
            let i = FocalSeries::new(&FocalSeriesParams { images: vec![im], ..c.nominal.clone() }).unwrap().images(r.wave.as_slice()).unwrap();
            let d = &c.counts.as_slice()[k * n..][..n];
            let m = d.iter().sum::<f64>() / n as f64;
            i.as_slice().iter().zip(d).map(|(i, d)| { let y = m * i + 0.02; y - d - if *d > 0.0 { d * (y / d).ln() } else { 0.0 } }).sum::<f64>() / n as f64
        };
        println!("{k}: {:.4} {:.4} {:.4} {:.4}", one(0.0, 0.0), one(9.0, 0.0), one(0.0, 9.0), one(9.0, 9.0));
    }
    };
    show(&r);
    println!("loss {:?}", &r.loss[r.loss.len()-1..]);
    let t0 = std::time::Instant::now();
    let search = FocalSearch { sweeps: o.get("sweeps", 6)?, starts: o.get("starts", 3)?, ..Default::default() };
    let plan = ExitWave::new(ExitWaveParams { series: c.nominal.clone(), registration: Registration::Search(search), ..Default::default() })?;
    let mut obs = progress("x");
    let st = plan.start(&c.counts, None, &mut obs)?;
    let t1 = t0.elapsed();
    let found: Vec<FocalImage> = st.words.iter().map(FocalImage::from_words).collect();
    report("search", &found, None)?;
    let r = plan.run(&c.counts, None, st, usize::MAX, &mut exitwave::observe::silent)?;
    println!("search {t1:?} all {:?} iterations {} loss {:.5} stop {:?}", t0.elapsed(), r.iterations, r.loss[r.loss.len() - 1], r.stop);
    show(&r);
    let dump = |name: &str, w: &[exitwave::num_complex::Complex<f64>]| {
        let q = compare_exit_waves(w, &c.wave, &c.nominal.grid, focal::ENERGY, Length::nm(20.0), focal::cutoff()).unwrap();
        let fft = exitwave::fft::Fft2::<f64>::new([144, 144]).unwrap();
        let mut z = q.wave.clone();
        let mut sc = vec![Default::default(); fft.scratch_len()];
        fft.forward(&mut z, &mut sc);
        print!("{name}: ");
        for (h, k) in [(1, 0), (0, 1), (1, 1), (2, 0), (2, 1), (1, 2), (3, 0), (2,2)] { let v = z[h * 8 * 144 + k * 8] / 20736.0; print!("{h}{k}: {:.3} {:.2}  ", v.norm(), v.arg()); }
        println!();
    };
    dump("truth", &c.wave);
    dump("A", a_wave.as_slice());
    dump("B", r.wave.as_slice());
    for k in 0..12 { let (a,b)=(&r.images[k],&c.truth[k]); println!("{k}: f {:.1} true {:.1}; shift {:.2} {:.2} true {:.2} {:.2}", a.defocus().to_angstrom(), b.defocus().to_angstrom(), a.shift[0]/pixel,a.shift[1]/pixel,b.shift[0]/pixel,b.shift[1]/pixel); }
    report("ML", &r.images, Some(r.wave.as_slice()))?;
    Ok(())
}
