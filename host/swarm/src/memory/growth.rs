//! How columns grow and shrink.

/// Grows by an eighth, because memory matters more here than a few copies.
pub fn make_room<T>(column: &mut Vec<T>) {
    if column.len() == column.capacity() {
        column.reserve_exact((column.len() / 8).max(2));
    }
}

pub fn give_back<T>(column: &mut Vec<T>) {
    if column.capacity() > 8 && column.len() < column.capacity() / 2 {
        column.shrink_to(column.len() + column.len() / 8);
    }
}
