//! The trace context that a request brings, after [W3C Trace Context](https://www.w3.org/TR/trace-context/).
//!
//! Owns which headers are accepted. A request with a wrong header is a request without one.

use std::collections::HashMap;

pub(crate) use opentelemetry::trace::SpanContext;
use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Length of `00-<32 digits>-<16 digits>-<2 digits>`.
const TRACEPARENT_BYTES: usize = 55;
/// Longer states are left out, as the standard allows.
const MAX_TRACESTATE_BYTES: usize = 512;

/// The span of the client that sent these values of `traceparent` and `tracestate`. `None` if there is not exactly one
/// `traceparent`, or it is invalid.
pub(crate) fn parent<'a>(
    traceparent: impl IntoIterator<Item = &'a [u8]>,
    tracestate: impl IntoIterator<Item = &'a [u8]>,
) -> Option<SpanContext> {
    let mut all = traceparent.into_iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    if !is_well_formed(only) {
        return None;
    }
    // A later version may have more fields, which are not known.
    let known = std::str::from_utf8(only.get(..TRACEPARENT_BYTES)?).ok()?;
    let state = tracestate.into_iter().collect::<Vec<_>>().join(&b',');
    let mut headers = HashMap::from([("traceparent".to_owned(), known.to_owned())]);
    if let Ok(state) = String::from_utf8(state)
        && !state.is_empty()
        && state.len() <= MAX_TRACESTATE_BYTES
    {
        headers.insert("tracestate".to_owned(), state);
    }
    let context = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &headers);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Whether the fields have the lengths and the digits that the standard demands. The propagator accepts more, such as short ids.
fn is_well_formed(value: &[u8]) -> bool {
    let is_dash = |at: usize| matches!(at, 2 | 35 | 52);
    let is_right = |(at, byte): (usize, &u8)| match is_dash(at) {
        true => *byte == b'-',
        false => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    };
    let is_known_version = value.starts_with(b"00");
    value.len() >= TRACEPARENT_BYTES
        && value.iter().take(TRACEPARENT_BYTES).enumerate().all(is_right)
        && match value.get(TRACEPARENT_BYTES) {
            None => true,
            Some(next) => !is_known_version && *next == b'-',
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(traceparent: &[&str], tracestate: &[&str]) -> Option<SpanContext> {
        parent(traceparent.iter().map(|value| value.as_bytes()), tracestate.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_valid_context_is_taken() {
        let parent = parse(&[VALID], &["a=1", "b=2"]).unwrap();
        assert_eq!(
            (parent.trace_id().to_string().as_str(), parent.span_id().to_string().as_str()),
            (TRACE, "00f067aa0ba902b7")
        );
        assert!(parent.is_sampled() && parent.is_remote());
        assert_eq!(parent.trace_state().header(), "a=1,b=2");
        assert!(!parse(&[&VALID.replace("-01", "-00")], &[]).unwrap().is_sampled());
        // Flags that this version does not know.
        assert!(parse(&[&VALID.replace("-01", "-ff")], &[]).unwrap().is_sampled());
        // A later version, with more fields and without.
        for later in [VALID.replacen("00", "01", 1), VALID.replacen("00", "fe", 1) + "-more"] {
            assert_eq!(parse(&[&later], &[]).unwrap().trace_id().to_string(), TRACE, "{later}");
        }
    }

    #[test]
    fn a_wrong_context_is_no_context() {
        let zero = |digits| "0".repeat(digits);
        for wrong in [
            "",
            "00",
            "00-1-1-01",
            &VALID.to_uppercase(),
            &VALID.replace("4bf9", "4BF9"),
            &VALID.replace(TRACE, &zero(32)),
            &VALID.replace("00f067aa0ba902b7", &zero(16)),
            &VALID.replacen("00", "ff", 1),
            &VALID.replacen("00", "0", 1),
            &VALID.replace("4bf9", "+bf9"),
            &VALID.replace("4bf9", "xbf9"),
            &VALID.replace('-', "_"),
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}-more"),
            &format!("{VALID} "),
            &format!("{}more", VALID.replacen("00", "01", 1)),
            &"0".repeat(10_000),
        ] {
            assert_eq!(parse(&[wrong], &[]), None, "{wrong}");
        }
        assert_eq!(parse(&[], &["a=1"]), None);
        assert_eq!(parse(&[VALID, VALID], &[]), None, "two headers");
        assert_eq!(parent([b"\xff".repeat(55).as_slice()], []), None);
    }

    #[test]
    fn a_wrong_state_is_left_out() {
        for wrong in ["no pair", &format!("a={}", "x".repeat(600)), "ü=1"] {
            let parent = parse(&[VALID], &[wrong]).unwrap();
            assert_eq!(parent.trace_state().header(), "", "{wrong}");
        }
    }
}
