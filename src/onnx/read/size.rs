//! Whole numbers that are known as expressions of the input's sizes, such as `seq + 1` or `4*batch*seq`.
//!
//! Shape arithmetic in exported files works on these. Unlike a [`Dim`] such a number may be negative or a sum while it
//! is computed with; it must be a monomial only where it becomes the size of an axis.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::onnx::Dim;

/// Terms, and symbols a term, of the longest expression that is followed.
const MAX_TERMS: usize = 8;
const MAX_DEGREE: usize = 6;

/// The largest number that a symbol stands for: exporters write the largest numbers of 32 and 64 bits for "to the end", and
/// no batch or text is as long.
const LARGEST_SYMBOL: i128 = i32::MAX as i128 - 2;

/// A polynomial in the symbols, all of which stand for numbers of 1 to some two thousand millions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Size(BTreeMap<Vec<Arc<str>>, i64>);

impl Size {
    pub fn number(value: i64) -> Self {
        Size((value != 0).then(|| (Vec::new(), value)).into_iter().collect())
    }

    /// `None` for a number beyond i64.
    pub fn from_dim(dim: &Dim) -> Option<Self> {
        let factor = i64::try_from(dim.factor()).ok()?;
        dim.symbols().iter().try_fold(Size::number(factor), |product, symbol| {
            let sum = symbol.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            match sum {
                Some(sum) => product.mul(&Size::parse(sum)?),
                None => product.mul(&Size([(vec![symbol.clone()], 1)].into_iter().collect())),
            }
        })
    }

    /// What was written by `Display`.
    fn parse(text: &str) -> Option<Self> {
        text.split(" + ").try_fold(Size::default(), |sum, term| {
            let mut factor = 1;
            let mut symbols = Vec::new();
            for part in term.split('*') {
                match part.parse::<i64>() {
                    Ok(number) => factor = number,
                    Err(_) => symbols.push(Arc::from(part)),
                }
            }
            sum.add(&Size([(symbols, factor)].into_iter().collect()))
        })
    }

    /// The size of an axis that is a sum, such as `seq + 1`: as one symbol, which [`Size::from_dim`] understands. No
    /// graph can be asked for such a size when it runs, but it may be cut down to one that is known.
    pub fn to_sum(&self) -> Option<Dim> {
        match self.to_dim() {
            Some(dim) => Some(dim),
            None => self.at_least(&Size::number(1)).then(|| Dim::symbol(&format!("({self})"))),
        }
    }

    /// The number, where no symbol is involved.
    pub fn value(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The size of an axis; `None` for negative numbers and sums.
    pub fn to_dim(&self) -> Option<Dim> {
        let mut terms = self.0.iter();
        let Some((symbols, &factor)) = terms.next() else { return Some(Dim::known(0)) };
        if terms.next().is_some() {
            return None;
        }
        let mut dim = Dim::known(usize::try_from(factor).ok()?);
        for symbol in symbols {
            dim = dim.checked_mul(&Dim::symbol(symbol))?;
        }
        Some(dim)
    }

    /// The terms: a factor, and the monomial it multiplies.
    pub fn terms(&self) -> impl Iterator<Item = (i64, Dim)> {
        self.0.iter().filter_map(|(symbols, &factor)| {
            let monomial = symbols.iter().try_fold(Dim::known(1), |dim, s| dim.checked_mul(&Dim::symbol(s)))?;
            Some((factor, monomial))
        })
    }

    pub fn add(&self, other: &Size) -> Option<Size> {
        let mut terms = self.0.clone();
        for (symbols, &factor) in &other.0 {
            let sum = terms.get(symbols).copied().unwrap_or(0).checked_add(factor)?;
            match sum {
                0 => drop(terms.remove(symbols)),
                _ => drop(terms.insert(symbols.clone(), sum)),
            }
        }
        (terms.len() <= MAX_TERMS).then_some(Size(terms))
    }

    pub fn sub(&self, other: &Size) -> Option<Size> {
        self.add(&other.mul(&Size::number(-1))?)
    }

    pub fn mul(&self, other: &Size) -> Option<Size> {
        let mut product = Size::default();
        for (a, &x) in &self.0 {
            for (b, &y) in &other.0 {
                let mut symbols: Vec<Arc<str>> = a.iter().chain(b).cloned().collect();
                symbols.sort();
                if symbols.len() > MAX_DEGREE {
                    return None;
                }
                let factor = x.checked_mul(y)?;
                product = product.add(&Size([(symbols, factor)].into_iter().collect()))?;
            }
        }
        Some(product)
    }

    /// The quotient, rounded towards zero for numbers; `None` where it is none for every size.
    pub fn div(&self, other: &Size) -> Option<Size> {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return a.checked_div(b).map(Size::number);
        }
        let mut divisor = other.0.iter();
        let (symbols, &factor) = divisor.next()?;
        if divisor.next().is_some() {
            return None;
        }
        let mut terms = BTreeMap::new();
        for (term, &x) in &self.0 {
            if x.checked_rem(factor)? != 0 {
                return None;
            }
            let mut rest = term.clone();
            for symbol in symbols {
                rest.remove(rest.iter().position(|s| s == symbol)?);
            }
            terms.insert(rest, x / factor);
        }
        Some(Size(terms))
    }

    /// How two sizes compare, where that is the same whatever the symbols are.
    pub fn compare(&self, other: &Size) -> Option<Ordering> {
        match self.difference(other) {
            (0, 0) => Some(Ordering::Equal),
            (least, _) if least > 0 => Some(Ordering::Greater),
            (_, most) if most < 0 => Some(Ordering::Less),
            _ => None,
        }
    }

    /// Whether `self >= other` whatever the symbols are.
    pub fn at_least(&self, other: &Size) -> bool {
        self.difference(other).0 >= 0
    }

    /// What `self - other` is at least and at most.
    fn difference(&self, other: &Size) -> (i128, i128) {
        let factor = |size: &Size, symbols: &[Arc<str>]| i128::from(size.0.get(symbols).copied().unwrap_or(0));
        let terms: BTreeSet<&Vec<Arc<str>>> = self.0.keys().chain(other.0.keys()).collect();
        terms.into_iter().fold((0i128, 0i128), |(least, most), symbols| {
            let factor = factor(self, symbols) - factor(other, symbols);
            let largest = symbols.iter().fold(factor, |product, _| product.saturating_mul(LARGEST_SYMBOL));
            (least.saturating_add(factor.min(largest)), most.saturating_add(factor.max(largest)))
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (i, (symbols, factor)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" + ")?;
            }
            match (symbols.is_empty(), factor) {
                (true, _) => write!(f, "{factor}")?,
                (false, 1) => f.write_str(&symbols.join("*"))?,
                (false, _) => write!(f, "{factor}*{}", symbols.join("*"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Size {
        Size::from_dim(&Dim::symbol(name)).unwrap()
    }

    #[test]
    fn sums_cancel() {
        let (seq, past) = (symbol("seq"), symbol("past"));
        let total = seq.add(&past).unwrap();
        assert_eq!(total.to_dim(), None);
        assert_eq!(total.sub(&past).unwrap().to_dim(), Some(Dim::symbol("seq")));
        assert_eq!(total.sub(&total).unwrap().value(), Some(0));
        assert_eq!(total.to_string(), "past + seq");
    }

    #[test]
    fn sums_as_axes_are_cut_down_again() {
        let longer = symbol("seq").add(&Size::number(1)).unwrap();
        let axis = longer.to_sum().unwrap();
        assert_eq!(axis.to_string(), "(1 + seq)");
        assert_eq!(Size::from_dim(&axis).unwrap(), longer);
        assert_eq!(Size::from_dim(&axis).unwrap().sub(&Size::number(1)).unwrap().to_dim(), Some(Dim::symbol("seq")));
        let product = symbol("batch").mul(&longer).unwrap();
        assert_eq!(Size::from_dim(&product.to_sum().unwrap()).unwrap(), product);
        assert_eq!(symbol("seq").to_sum(), Some(Dim::symbol("seq")));
        assert_eq!(symbol("seq").sub(&Size::number(1)).unwrap().to_sum(), None);
    }

    #[test]
    fn quotients_are_exact_or_none() {
        let product = symbol("batch").mul(&symbol("seq")).unwrap().mul(&Size::number(12)).unwrap();
        assert_eq!(product.div(&symbol("seq")).unwrap().to_dim().unwrap().to_string(), "12*batch");
        assert_eq!(product.div(&Size::number(5)), None);
        assert_eq!(Size::number(-7).div(&Size::number(2)).unwrap().value(), Some(-3));
        assert_eq!(Size::number(1).div(&Size::number(0)), None);
    }

    #[test]
    fn comparisons_hold_for_every_size_or_are_none() {
        let seq = symbol("seq");
        assert_eq!(seq.compare(&Size::number(-1)), Some(Ordering::Greater));
        assert_eq!(seq.compare(&Size::number(0)), Some(Ordering::Greater));
        assert_eq!(seq.compare(&Size::number(1)), None);
        assert!(seq.at_least(&Size::number(1)));
        assert!(!seq.at_least(&Size::number(2)));
        assert_eq!(Size::number(i64::MIN).sub(&Size::number(1)), None);
    }

    #[test]
    fn no_length_reaches_the_numbers_that_mean_to_the_end() {
        let (batch, seq) = (symbol("batch"), symbol("seq"));
        for end in [i64::MAX, i64::from(i32::MAX)] {
            assert_eq!(Size::number(end).compare(&seq), Some(Ordering::Greater));
            assert!(!seq.at_least(&Size::number(end)));
        }
        assert_eq!(Size::number(i64::MIN).compare(&seq), Some(Ordering::Less));
        assert_eq!(seq.compare(&batch), None);
        assert_eq!(seq.compare(&seq), Some(Ordering::Equal));
        let minus = Size::number(0).sub(&seq).unwrap();
        assert!(Size::number(-1).at_least(&minus));
        // A product of six lengths does not overflow on the way.
        let power = (0..5).try_fold(seq.clone(), |product, _| product.mul(&seq)).unwrap();
        assert_eq!(power.compare(&Size::number(0)), Some(Ordering::Greater));
        assert_eq!(power.compare(&Size::number(i64::MAX)), None);
    }
}
