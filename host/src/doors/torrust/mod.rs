//! The API of torrust-tracker 3: which calls there are, and what they answer. Names, types and texts are
//! its own, because sites compare them.

mod answer;
mod call;
mod wish;

pub use self::answer::{Answer, Stats};
pub use self::call::{Asked, Call, Edit, List, Look, PATH};
pub use self::wish::Wish;
