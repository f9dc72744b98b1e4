//! Symmetry operations as CIF writes them, and the chemical symbols.

use crate::specimen::symmetry::parse;

/// x ↦ R x + t, in fractions of the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operation {
    rotation: [[f64; 3]; 3],
    translation: [f64; 3],
}

impl Operation {
    pub(crate) const IDENTITY: Operation =
        Operation { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], translation: [0.0; 3] };

    pub(crate) fn new(rotation: [[f64; 3]; 3], translation: [f64; 3]) -> Self {
        Operation { rotation, translation }
    }

    pub(crate) fn apply(&self, x: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|i| (0..3).map(|j| self.rotation[i][j] * x[j]).sum::<f64>() + self.translation[i])
    }
}

/// An operation from its text: `-x+1/2, y, z-.25`.
pub(crate) fn operation(text: &str) -> Option<Operation> {
    let (rotation, translation) = parse(text)?;
    Some(Operation { rotation, translation })
}

/// Symbols in the order of the atomic numbers, from hydrogen; deuterium counts as hydrogen.
const SYMBOLS: &str = "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr \
    Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg \
    Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og";

/// Atomic number of a symbol.
pub(crate) fn atomic_number(symbol: &str) -> Option<u8> {
    if symbol == "D" {
        return Some(1);
    }
    SYMBOLS.split_whitespace().position(|s| s == symbol).map(|k| k as u8 + 1)
}

/// Symbol of an atomic number.
pub(crate) fn symbol(number: u8) -> Option<&'static str> {
    SYMBOLS.split_whitespace().nth(usize::from(number).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_in_every_spelling() {
        let at = |text: &str| operation(text).unwrap().apply([0.1, 0.2, 0.3]);
        let close = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(at("x,y,z"), [0.1, 0.2, 0.3]));
        assert!(close(at("-X+1/2, Y-.25 , 1/2+z"), [0.4, -0.05, 0.8]));
        assert!(close(at("x-y, 2*x, -z+0.5"), [-0.1, 0.2, 0.2]));
        assert!(close(at("1/3+x,2/3-y,+z"), [0.1 + 1.0 / 3.0, 2.0 / 3.0 - 0.2, 0.3]));
        for wrong in ["", "x,y", "x,y,z,w", "x,y,q", "x,,z", "x/0,y,z", "x,y,z+"] {
            assert!(operation(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn symbols_have_their_numbers() {
        assert_eq!((atomic_number("Au"), atomic_number("Og"), atomic_number("Xx")), (Some(79), Some(118), None));
        assert!((1..=118).all(|n| atomic_number(symbol(n).unwrap()) == Some(n)));
        assert_eq!((symbol(0), symbol(119)), (None, None));
    }
}
