//! Correction for the lens by the gradient of a non-linear image model: strong and thick objects.

use std::sync::Arc;

use num_complex::Complex;

use crate::autodiff::{Graph, Mode, NodeId, PlanOptions, Session};
use crate::error::Error;
use crate::fft::Dft;
use crate::multislice::{MultisliceFunction, MultisliceParams};
use crate::observe::{Observer, Stop};
use crate::op::{Adjoint, Diagonal, LinearOp};
use crate::optics::{Aberration, Ctf, CtfParams, Grid, interaction_parameter};
use crate::optim::{Method, Minimize, MinimizeParams, Wolfe};
use crate::par::Par;
use crate::shape::{Limits, Space, try_zeroed};
use crate::tensor::Tensor;
use crate::units::{Length, SpatialFrequency};

/// What a correction by gradient depends on.
#[derive(Clone, Debug)]
pub struct CtfGradientParams {
    /// The lens of each image; their defocus is that of the specimen's middle.
    pub lenses: Vec<CtfParams>,
    /// The pixels of the images, which are periodic.
    pub grid: Grid,
    /// Thickness of the specimen.
    pub thickness: Length,
    /// Equal slices that it is cut into; 1: a phase grating.
    pub slices: usize,
    /// The phase has no frequencies above this.
    pub band: SpatialFrequency,
    /// Weight of the mean square of the phase against that of the contrast.
    pub weight: f64,
    /// The most iterations.
    pub iterations: usize,
    /// Converged when the loss changes by less than this share.
    pub tolerance: f64,
    /// Threads.
    pub par: Par,
    /// Largest number of bytes to allocate.
    pub limits: Limits,
}

/// One ideal lens, a phase grating, a band of 0.5 1/Å, a weight of 10⁻³, 100 iterations, 10⁻⁴.
impl Default for CtfGradientParams {
    fn default() -> Self {
        CtfGradientParams {
            lenses: vec![CtfParams::default()],
            grid: Grid::default(),
            thickness: Length::angstrom(1.0),
            slices: 1,
            band: SpatialFrequency::per_angstrom(0.5),
            weight: 1e-3,
            iterations: 100,
            tolerance: 1e-4,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// The phase that explains images.
#[derive(Clone, Debug)]
pub struct CtfGradientResult {
    /// Phase of the whole thickness, rad, `[y, x]`: σ ∫V dz. Its mean is that of the start.
    pub phase: Tensor<f64>,
    /// The loss, iteration by iteration.
    pub loss: Vec<f64>,
    /// Iterations made.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// Minimises, over the phase φ of an object that is the same all along the beam,
///
/// ```text
/// L = 1/(JN) Σ_j Σ_r (|F⁻¹{T_j F ψ}|² − I_j)² + w/N Σ_r φ²,   ψ = multislice of n slices of V = φ/(nσ),   φ limited to a band
/// ```
///
/// by L-BFGS, its gradient that of the multislice plan. With one slice ψ = e^{iφ}.
///
/// # Shapes
/// Images `[n, y, x]` of the grid, 1 where there is no specimen; phases `[y, x]`.
///
/// # References
/// W. Van den Broek, C. T. Koch, *Phys. Rev. Lett.* 109, 245502 (2012), equations 1 to 6; here all slices are one unknown.
#[derive(Debug)]
pub struct CtfGradient {
    params: CtfGradientParams,
    plan: Arc<crate::autodiff::Plan<f64>>,
    phase: NodeId,
    used: NodeId,
    images: Vec<NodeId>,
}

impl CtfGradient {
    /// Records the model.
    ///
    /// # Errors
    /// [`Error::Param`] for a parameter outside its range, [`Error::OverBudget`], [`Error::OutOfMemory`].
    pub fn new(params: CtfGradientParams) -> Result<Self, Error> {
        let p = &params;
        p.grid.check()?;
        let energy = match p.lenses.first() {
            Some(lens) if p.lenses.iter().all(|l| l.energy == lens.energy) => lens.energy,
            _ => return Err(Error::param("lenses", p.lenses.len(), "at least one, all of one energy")),
        };
        if !(p.thickness > Length::ZERO && p.thickness <= Length::um(10.0)) {
            return Err(Error::param("thickness", p.thickness, "between 0 and 10 µm"));
        }
        if !(1..=10_000).contains(&p.slices) {
            return Err(Error::param("slices", p.slices, "1 to 10000"));
        }
        if !(p.band > SpatialFrequency::ZERO && p.band.is_finite()) {
            return Err(Error::param("band", p.band, "a positive spatial frequency"));
        }
        for (name, value) in [("weight", p.weight), ("tolerance", p.tolerance)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::param(name, value, "not negative"));
            }
        }
        let [ny, nx] = p.grid.dims;
        let n = (ny * nx) as f64;
        let mut g = Graph::<f64>::new();
        let plane = Space::complex(&[ny, nx]);
        let transform: Arc<dyn LinearOp<f64>> = Arc::new(Dft::new(&[ny, nx], 2)?);
        let back: Arc<dyn LinearOp<f64>> = Arc::new(Adjoint::new(transform.clone()));

        // The phase, limited to its band.
        let phase = g.param("phase", Space::real(&[ny, nx]));
        let [ky, kx] = p.grid.frequencies();
        let band = p.band.to_per_angstrom();
        let mut pass = try_zeroed::<f64>(ny * nx)?;
        for (row, y) in pass.chunks_mut(nx).zip(&ky) {
            row.iter_mut().zip(&kx).for_each(|(m, x)| *m = if y.hypot(*x) <= band { 1.0 } else { 0.0 });
        }
        let z = g.to_complex(phase)?;
        let z = g.linear(transform.clone(), z)?;
        let z = g.linear(Arc::new(Diagonal::real(&plane, pass)?), z)?;
        let z = g.linear(back.clone(), z)?;
        let used = g.re(z)?;
        g.output(used);

        // The wave behind the specimen.
        let sigma = interaction_parameter(energy);
        let v = g.scale(used, 1.0 / (sigma * p.slices as f64))?;
        let v = g.stack(&vec![v; p.slices])?;
        let one = g.data("wave", Space::complex(&[1, ny, nx]));
        let multislice = MultisliceParams {
            energy,
            grid: p.grid,
            thickness: vec![p.thickness / p.slices as f64; p.slices],
            par: p.par.clone(),
            limits: p.limits,
            ..MultisliceParams::default()
        };
        let psi = g.call(Arc::new(MultisliceFunction::<f64>::new(&multislice)?), &[v, one])?;
        let psi = g.reshape(psi, &[ny, nx])?;
        let spectrum = g.linear(transform, psi)?;

        // Its images. The wave leaves half a thickness below the middle that the defocus is given for.
        let mut losses = Vec::new();
        let mut images = Vec::new();
        for (j, lens) in p.lenses.iter().enumerate() {
            let mut lens = lens.clone();
            lens.aberrations[Aberration::C10].c += p.thickness * -0.5;
            let t = Ctf::new(&lens)?.spectrum::<f64>(&p.grid)?.into_vec();
            let wave = g.linear(Arc::new(Diagonal::complex(&plane, t)?), spectrum)?;
            let wave = g.linear(back.clone(), wave)?;
            let model = g.abs2(wave)?;
            let image = g.data(&format!("image {j}"), Space::real(&[ny, nx]));
            let difference = g.sub(model, image)?;
            let square = g.abs2(difference)?;
            let sum = g.sum(square)?;
            losses.push(g.scale(sum, 1.0 / (n * p.lenses.len() as f64))?);
            images.push(image);
        }
        let square = g.abs2(used)?;
        let sum = g.sum(square)?;
        losses.push(g.scale(sum, p.weight / n)?);
        let options = PlanOptions { limits: p.limits, par: p.par.clone() };
        let plan = g.plan(&losses, options)?;
        Ok(CtfGradient { params, plan, phase, used, images })
    }

    /// The phase that explains the images, from a first guess: that of a Wiener filter.
    ///
    /// # Errors
    /// [`Error::Shape`] for images or a start of another size, [`Error::OutOfMemory`].
    pub fn run(
        &self,
        images: &Tensor<f64>,
        start: &Tensor<f64>,
        observe: Observer<'_>,
    ) -> Result<CtfGradientResult, Error> {
        let p = &self.params;
        let [ny, nx] = p.grid.dims;
        let all = [p.lenses.len(), ny, nx];
        if *images.dims() != all {
            return Err(Error::shape("CtfGradient images", &all, images.dims()));
        }
        if *start.dims() != p.grid.dims {
            return Err(Error::shape("CtfGradient start", &p.grid.dims, start.dims()));
        }
        let mut session = Session::new(&self.plan)?;
        for (id, image) in self.images.iter().zip(images.as_slice().chunks(ny * nx)) {
            session.set(*id, image);
        }
        if let Some(wave) = self.plan.find("wave") {
            session.set_complex(wave, &vec![Complex::new(1.0, 0.0); ny * nx]);
        }
        let method = Method::Lbfgs { pairs: 10, wolfe: Wolfe::default() };
        let minimize = Minimize::new(
            ny * nx,
            MinimizeParams { method, change_tolerance: p.tolerance, limits: p.limits, ..MinimizeParams::default() },
        )?;
        let found = minimize.run(
            minimize.start(start.as_slice())?,
            p.iterations,
            &mut |x, _, gradient| session.evaluate(x, Mode::Eval, gradient),
            observe,
        )?;
        session.set(self.phase, &found.state.best);
        session.forward(Mode::Eval)?;
        let phase = Tensor::from_vec(&[ny, nx], session.value(self.used).to_vec())?;
        Ok(CtfGradientResult { phase, loss: found.state.loss, iterations: found.iterations, stop: found.stop })
    }
}
