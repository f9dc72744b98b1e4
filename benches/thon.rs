//! Defocus and astigmatism of 4096 × 4096 pixels, 2 threads: reading excluded. The noise has rings in it, so that the fit goes its whole way.

#[path = "support/timing.rs"]
mod timing;

use exitwave::Error;
use exitwave::fft::{RealFft2, frequencies};
use exitwave::hrtem::{Thon, ThonParams, contrast_transfer};
use exitwave::num_complex::Complex;
use exitwave::optics::{Aberrations, Ctf, CtfParams};
use exitwave::par::Par;
use exitwave::rng;
use exitwave::tensor::Tensor;
use exitwave::units::Length;

const SIDE: usize = 4096;
const PIXEL: f64 = 0.66655;

fn main() -> Result<(), Error> {
    let mut c = timing::criterion();
    let image = rings()?;
    let params = ThonParams { pixel: Length::angstrom(PIXEL), par: Par::threads(2)?, ..ThonParams::default() };
    let plan = Thon::new(params)?;
    let seconds = timing::measure(
        &mut c,
        "thon 4096",
        &mut (),
        |()| (),
        |()| {
            plan.fit(&image).expect("the image is finite");
        },
    );
    c.final_summary();
    timing::print_figures(&[("thon_4096_s", seconds)]);
    Ok(())
}

/// White noise, and white noise through a lens 2.7 µm under focus.
fn rings() -> Result<Tensor<f32>, Error> {
    let mut r = rng::stream(0, 0);
    let fft = RealFft2::<f32>::new([SIDE; 2])?;
    let mut image: Vec<f32> = (0..SIDE * SIDE).map(|_| rng::normal(&mut r) as f32).collect();
    let [ny, half] = fft.spectrum_dims();
    let mut spectrum = vec![Complex::default(); ny * half];
    let mut scratch = vec![Complex::default(); fft.scratch_len()];
    fft.forward(&mut image, &mut spectrum, &mut scratch);
    let mut aberrations = Aberrations::from_defocus(Length::um(2.7));
    aberrations.set_cs(Length::mm(2.7));
    let ctf = Ctf::new(&CtfParams { aberrations, ..CtfParams::default() })?;
    let k = frequencies(SIDE, PIXEL);
    for (i, z) in spectrum.iter_mut().enumerate() {
        let k = [k[i / half], k[i % half].abs()];
        *z *= contrast_transfer(ctf.at(k, [1e-4; 2]), 0.07) as f32;
    }
    fft.inverse(&mut spectrum, &mut image, &mut scratch);
    image.iter_mut().for_each(|v| *v = 10.0 + *v + rng::normal(&mut r) as f32);
    Tensor::from_vec(&[SIDE; 2], image)
}
