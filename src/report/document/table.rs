//! Tables.

use super::text::Text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: Vec<(String, Align)>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Text>>,
}

impl Table {
    pub fn new(columns: &[(&str, Align)]) -> Table {
        Table { columns: columns.iter().map(|(name, align)| (name.to_string(), *align)).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Text>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Leaves a column out, e.g. one that says the same in every row.
    pub fn without(mut self, column: &str) -> Table {
        if let Some(i) = self.columns.iter().position(|(name, _)| name == column) {
            self.columns.remove(i);
            self.rows.iter_mut().for_each(|row| drop(row.remove(i)));
        }
        self
    }

    /// Leaves a column out where no row has anything in it.
    pub fn without_empty(self, column: &str) -> Table {
        let place = self.columns.iter().position(|(name, _)| name == column);
        let says = |i: usize| self.rows.iter().any(|row| !row[i].words().is_empty());
        if place.is_some_and(says) { self } else { self.without(column) }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
