//! Spans of steps that an operator looks for in a trace.
//!
//! Owns how such a span is made, and what distinguishes it from the spans of the log. Does not export them: that is `traces`. Without a
//! collector none is enabled: making one then costs one load, and its fields are not evaluated.
//!
//! A step keeps its span until it ends, and does not enter it. So the current span, which each line of the log shows, stays that of the
//! request, and all steps are its children. Only a `root` is entered.

/// The target of these spans. The log does not show them.
pub(crate) const TARGET: &str = "partway::spans";

/// A span of a step, a child of the current one, or the `root` of a trace. Its name is stable and has no ids; its fields have only
/// what the log may have.
macro_rules! span {
    (root $name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: $crate::spans::TARGET, parent: None, $name $(, $($fields)*)?)
    };
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: $crate::spans::TARGET, $name $(, $($fields)*)?)
    };
}
pub(crate) use span;
