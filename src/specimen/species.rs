//! Chemical elements and their ions.

use std::fmt;

use crate::error::Error;

/// The symbols, from hydrogen (index 0) to lawrencium.
const SYMBOLS: [&str; 103] = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr",
];

/// A chemical element, hydrogen to lawrencium, with a charge.
///
/// ```
/// use exitwave::specimen::Species;
/// let iron = Species::from_symbol("Fe3+")?;
/// assert_eq!((iron.atomic_number(), iron.charge()), (26, 3));
/// assert_eq!(Species::neutral(14)?.to_string(), "Si");
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Species {
    z: u8,
    charge: i8,
}

impl Species {
    /// The neutral atom of an atomic number.
    ///
    /// # Errors
    /// [`Error::Param`] outside 1 to 103.
    pub fn neutral(atomic_number: u8) -> Result<Self, Error> {
        Species::ion(atomic_number, 0)
    }

    /// An ion; the charge is in units of e, positive for cations.
    ///
    /// # Errors
    /// [`Error::Param`] for an atomic number outside 1 to 103, or a charge beyond ±8.
    pub fn ion(atomic_number: u8, charge: i8) -> Result<Self, Error> {
        if !(1..=SYMBOLS.len()).contains(&usize::from(atomic_number)) {
            return Err(Error::param("atomic_number", atomic_number, "1 (hydrogen) to 103 (lawrencium)"));
        }
        if !(-8..=8).contains(&charge) {
            return Err(Error::param("charge", charge, "−8 to 8"));
        }
        Ok(Species { z: atomic_number, charge })
    }

    /// Reads a symbol with an optional charge: `"O"`, `"O2-"`, `"Fe+++"`, `"Na+"`.
    ///
    /// # Errors
    /// [`Error::Param`] for an unknown symbol or a malformed charge.
    pub fn from_symbol(text: &str) -> Result<Self, Error> {
        let unknown =
            || Error::param("symbol", text.chars().take(16).collect::<String>(), "an element, such as Fe or Fe3+");
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (symbol, charge) = text.split_at(end);
        let z = SYMBOLS.iter().position(|s| s.eq_ignore_ascii_case(symbol)).ok_or_else(unknown)? as u8 + 1;
        let charge = match charge.as_bytes() {
            [] => 0,
            signs if signs.len() <= 8 && (signs.iter().all(|&c| c == b'+') || signs.iter().all(|&c| c == b'-')) => {
                let n = signs.len() as i8;
                if signs[0] == b'+' { n } else { -n }
            }
            [d @ b'0'..=b'8', b'+'] | [b'+', d @ b'0'..=b'8'] => (d - b'0') as i8,
            [d @ b'0'..=b'8', b'-'] | [b'-', d @ b'0'..=b'8'] => -((d - b'0') as i8),
            _ => return Err(unknown()),
        };
        Species::ion(z, charge)
    }

    /// Z.
    pub fn atomic_number(self) -> u8 {
        self.z
    }

    /// The charge in units of e.
    pub fn charge(self) -> i8 {
        self.charge
    }

    /// The element's symbol, without the charge.
    pub fn symbol(self) -> &'static str {
        SYMBOLS[usize::from(self.z) - 1]
    }
}

impl fmt::Display for Species {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.charge {
            0 => f.write_str(self.symbol()),
            c => write!(f, "{}{}{}", self.symbol(), c.abs(), if c > 0 { '+' } else { '-' }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_charges_are_read_back_as_they_print() {
        for z in 1..=103 {
            for charge in [-2, 0, 1, 4] {
                let s = Species::ion(z, charge).unwrap();
                assert_eq!(Species::from_symbol(&s.to_string()).unwrap(), s);
            }
        }
        assert_eq!(Species::from_symbol("O--").unwrap(), Species::from_symbol("o2-").unwrap());
        for bad in ["", "Xx", "Fe9+", "Fe3", "3+", "Fe+-", "H+++++++++"] {
            assert!(matches!(Species::from_symbol(bad), Err(Error::Param { .. })), "{bad}");
        }
        assert!(Species::neutral(0).is_err() && Species::neutral(104).is_err());
    }
}
