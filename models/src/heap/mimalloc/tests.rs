//! Rules that recordings leave open.
