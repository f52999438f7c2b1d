//! Provider, account or local? Pure: the fault's default attribution, revised by what else is known.

use crate::model::{Attribution, Fault};

/// What is known besides the fault itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    /// Whether any control answered, if they were asked.
    pub controls_reachable: Option<bool>,
    /// Whether other names were resolved in the same minutes; `None` when no other endpoint has a name to resolve.
    pub other_names_resolve: Option<bool>,
}

/// Whose fault is `fault` in this context?
///
/// - A failure below HTTP while no control answers either is this machine's.
/// - A name that does not resolve while others do is its owner's: the provider's zone is broken.
/// - Otherwise the fault's own default holds.
pub fn attribute(fault: Fault, context: Context) -> Attribution {
    match context.controls_reachable {
        Some(false) if fault.is_transport() => Attribution::Local,
        Some(true) if fault == Fault::LocalDns && context.other_names_resolve == Some(true) => Attribution::Provider,
        _ => fault.attribution(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_the_providers_unless_nothing_else_answers() {
        let asked = |reachable| Context { controls_reachable: reachable, ..Context::default() };
        assert_eq!(attribute(Fault::TcpTimeout, asked(None)), Attribution::Provider);
        assert_eq!(attribute(Fault::TcpTimeout, asked(Some(true))), Attribution::Provider);
        assert_eq!(attribute(Fault::TcpTimeout, asked(Some(false))), Attribution::Local);
        assert_eq!(attribute(Fault::Http5xx, asked(Some(false))), Attribution::Provider, "an answer came through");
    }

    #[test]
    fn a_dead_resolver_is_ours_and_a_dead_zone_is_theirs() {
        let world = |others| Context { controls_reachable: Some(true), other_names_resolve: others };
        assert_eq!(attribute(Fault::LocalDns, world(Some(true))), Attribution::Provider);
        assert_eq!(attribute(Fault::LocalDns, world(Some(false))), Attribution::Local);
        assert_eq!(attribute(Fault::LocalDns, world(None)), Attribution::Local);
    }
}
