//! Symbolic sizes.

use std::fmt;
use std::sync::Arc;

/// The name of the symbolic batch size.
pub const BATCH: &str = "batch";
/// The name of the symbolic sequence length.
pub const SEQ: &str = "seq";
/// The name of the symbolic length of a prefix whose keys and values are given.
pub const PAST: &str = "past";

/// A size that is a number times a product of symbols, such as `4*batch*seq`.
///
/// Every reshape in a transformer keeps to such monomials, so shapes stay known while a graph is built although batch
/// and length are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    factor: u64,
    /// Sorted, so that equal sizes compare equal.
    symbols: Vec<Arc<str>>,
}

/// The sizes of a tensor's axes, outermost first.
pub type Shape = Vec<Dim>;

impl Dim {
    pub fn known(size: usize) -> Self {
        Dim { factor: size as u64, symbols: Vec::new() }
    }

    pub fn symbol(name: &str) -> Self {
        Dim { factor: 1, symbols: vec![Arc::from(name)] }
    }

    /// The number, where no symbol is involved.
    pub fn value(&self) -> Option<usize> {
        self.symbols.is_empty().then_some(self.factor as usize)
    }

    pub fn is_one(&self) -> bool {
        self.value() == Some(1)
    }

    pub fn factor(&self) -> u64 {
        self.factor
    }

    pub fn symbols(&self) -> &[Arc<str>] {
        &self.symbols
    }

    /// `None` when the number overflows.
    pub fn checked_mul(&self, other: &Dim) -> Option<Dim> {
        let factor = self.factor.checked_mul(other.factor)?;
        if factor == 0 {
            return Some(Dim::known(0));
        }
        let mut symbols = self.symbols.clone();
        symbols.extend(other.symbols.iter().cloned());
        symbols.sort();
        Some(Dim { factor, symbols })
    }

    /// The exact quotient; `None` where there is none among monomials.
    pub fn checked_div(&self, other: &Dim) -> Option<Dim> {
        if other.factor == 0 || !self.factor.is_multiple_of(other.factor) {
            return None;
        }
        let mut symbols = self.symbols.clone();
        for symbol in &other.symbols {
            let at = symbols.iter().position(|s| s == symbol)?;
            symbols.remove(at);
        }
        Some(Dim { factor: self.factor / other.factor, symbols })
    }

    /// The product of a shape's sizes; `None` when the number overflows.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<Dim> {
        dims.into_iter().try_fold(Dim::known(1), |product, dim| product.checked_mul(dim))
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::known(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbols.is_empty() {
            return write!(f, "{}", self.factor);
        }
        if let ([symbol], 1) = (&self.symbols[..], self.factor) {
            return f.write_str(symbol);
        }
        // A symbol may be a sum.
        let named = |symbol: &Arc<str>| if symbol.contains('+') { format!("({symbol})") } else { symbol.to_string() };
        let known = (self.factor != 1).then(|| self.factor.to_string());
        f.write_str(&known.into_iter().chain(self.symbols.iter().map(named)).collect::<Vec<_>>().join("*"))
    }
}

/// `[batch, seq, 64]`, for messages.
pub fn show(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_quotients_of_monomials() {
        let batch = Dim::symbol("batch");
        let seq = Dim::symbol("seq");
        let product = Dim::product([&batch, &Dim::known(8), &seq]).unwrap();
        assert_eq!(product.to_string(), "8*batch*seq");
        assert_eq!(product, Dim::product([&seq, &batch, &Dim::known(8)]).unwrap());
        assert_eq!(product.checked_div(&Dim::product([&seq, &Dim::known(2)]).unwrap()).unwrap().to_string(), "4*batch");
        assert_eq!(product.checked_div(&Dim::known(3)), None);
        let sum = Dim::symbol("past+seq");
        assert_eq!(
            (sum.to_string(), sum.checked_mul(&batch).unwrap().to_string()),
            ("past+seq".into(), "batch*(past+seq)".into())
        );
        assert_eq!(batch.checked_div(&seq), None);
    }

    #[test]
    fn overflow_is_none() {
        assert_eq!(Dim::known(usize::MAX).checked_mul(&Dim::known(2)), None);
    }

    #[test]
    fn zero_swallows_everything() {
        let none = Dim::known(0).checked_mul(&Dim::symbol("batch")).unwrap();
        assert_eq!(none, Dim::known(0));
        assert_eq!(none.to_string(), "0");
        assert_eq!(Dim::known(4).checked_div(&none), None);
    }

    #[test]
    fn symbols_may_repeat() {
        let seq = Dim::symbol("seq");
        let square = seq.checked_mul(&seq).unwrap();
        assert_eq!(square.to_string(), "seq*seq");
        assert_eq!(square.value(), None);
        assert_eq!(square.checked_div(&seq), Some(seq.clone()));
        assert!(seq.checked_div(&seq).unwrap().is_one());
        assert_eq!(show(&[square, 3.into()]), "[seq*seq, 3]");
    }
}
