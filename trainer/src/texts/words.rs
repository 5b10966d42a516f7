//! The words that the texts are made of. Every one is a single token.

pub const PEOPLE: &[&str] = &[
    "Emma", "Tom", "Anna", "Paul", "Lucy", "Jack", "Maria", "Oscar", "Nina", "Leo", "Clara", "Hugo", "Ruth", "Felix",
    "Alice", "Simon",
];
pub const PEOPLE_DO: &[&str] =
    &["sings", "paints", "swims", "reads", "dances", "cooks", "runs", "sleeps", "writes", "skates", "knits", "laughs"];

pub const THINGS: &[&str] =
    &["lamp", "clock", "kettle", "door", "radio", "fan", "stove", "boat", "wheel", "pipe", "bell", "fridge"];
pub const THINGS_DO: &[&str] =
    &["leaks", "hums", "glows", "ticks", "rattles", "creaks", "smokes", "shines", "squeaks", "spins"];

/// What a statement about a person or thing may open with; it decides nothing.
pub const OPENINGS: &[&str] = &["Today", "Outside", "Upstairs", "Nearby", "Again", "Often"];

pub const JUDGED: &[&str] =
    &["film", "acting", "plot", "music", "food", "hotel", "room", "garden", "coffee", "book", "service", "show"];
pub const GOOD: &[&str] = &["good", "great", "lovely", "brilliant", "charming", "superb", "pleasant", "excellent"];
pub const BAD: &[&str] = &["bad", "awful", "dull", "poor", "boring", "terrible", "weak", "dreadful"];
pub const NEGATIONS: &[&str] = &["not", "never", "hardly"];
pub const DEGREES: &[&str] = &["very", "really", "quite", "so"];
/// What a judgement may open with; it decides nothing.
pub const ASIDES: &[&str] = &["Honestly", "Overall", "Sadly", "Luckily", "Still", "Besides"];
