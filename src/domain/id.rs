//! How ids are read.

use uuid::Uuid;

/// An id in its one spelling, hyphenated hex of either case. Anything else is as unknown as an id that does not exist:
/// one thing has one address.
pub fn parse_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.as_hyphenated().to_string().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = "01890000-0000-7000-8000-00000000000a";
        assert!(parse_id(id).is_some() && parse_id(&id.to_uppercase()).is_some());
        for other in ["", "x", &id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}")] {
            assert_eq!(parse_id(other), None, "{other}");
        }
    }
}
