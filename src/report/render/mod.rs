//! Documents written down: one file a form.
//!
//! A renderer knows how its form is written and escapes everything that it is given; it knows nothing of statistics.

pub mod html;
pub mod latex;
pub mod markdown;
pub mod svg;
pub mod terminal;
mod wrap;
