//! `multislice`: published images.

use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::optics::{Aberrations, Aperture, CtfParams, Grid};
use exitwave::par::Par;
use exitwave::specimen::{Atom, Atoms, Cell, Parametrization, PotentialParams, PotentialPlan, Slicing, Species};
use exitwave::units::{Angle, Energy, Length};

#[test]
fn kirklands_line_of_five_atoms_has_its_published_contrast() {
    // E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 2nd ed. (2010), figure 5.12: Si, C, Cu, Au and U in a row, 512 pixels of
    // 50 Å/512, 200 kV, Cs = 1.3 mm, 700 Å underfocus, 10.37 mrad; intensities from 0.72 to 1.03.
    let atoms = ["Si", "C", "Cu", "Au", "U"]
        .iter()
        .enumerate()
        .map(|(i, symbol)| Atom::new(Species::from_symbol(symbol).unwrap(), [4.0, 25.0, 5.0 + 10.0 * i as f64]));
    let cell = Cell::orthorhombic([8.0, 50.0, 50.0].map(Length::angstrom));
    let atoms = Atoms { atoms: atoms.collect(), cell };
    let grid = Grid { dims: [512, 512], sampling: [Length::angstrom(50.0 / 512.0); 2] };
    let energy = Energy::kev(200.0);
    let params = PotentialParams {
        grid,
        slicing: Slicing::Count(1),
        parametrization: Parametrization::Kirkland,
        ..Default::default()
    };
    let potential = PotentialPlan::<f64>::new(&atoms, &params).unwrap().build().unwrap();
    // The image is of the plane of the atoms: nothing is propagated.
    let params = MultisliceParams { energy, grid, thickness: vec![Length::ZERO], ..Default::default() };
    let plan = Multislice::<f64>::new(&params).unwrap();
    let t = plan.transmission(&potential).unwrap();
    let exit = plan.exit_waves(&t, &plan.plane_waves(1).unwrap()).unwrap();

    let mut aberrations = Aberrations::from_defocus(Length::angstrom(700.0));
    aberrations.set_cs(Length::mm(1.3));
    let aperture = Aperture::Hard { semi_angle: Angle::mrad(10.37) };
    let ctf = CtfParams { energy, aberrations, aperture, ..Default::default() };
    let image = HrtemImage::<f64>::new(&ctf, grid, Averaging::Envelope, Par::seq()).unwrap().images(&exit).unwrap();
    let min = image.as_slice().iter().fold(f64::INFINITY, |m, v| m.min(*v));
    let max = image.as_slice().iter().fold(0.0f64, |m, v| m.max(*v));
    eprintln!("five atoms: {min:.4} to {max:.4}");
    assert!((min - 0.72).abs() < 0.005 && (max - 1.03).abs() < 0.005, "{min} {max}");
}
