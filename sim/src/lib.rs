//! framesim.
