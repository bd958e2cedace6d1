//! The rules of the agreement, one by one.
