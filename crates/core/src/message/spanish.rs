//! Spanish, in the words of Spanish-speaking SREs: the English sentence and its translation.

/// Every sentence.
pub(super) const TEXTS: &[(&str, &str)] = &[];
