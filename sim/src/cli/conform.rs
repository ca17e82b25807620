//! `framesim conform`.
