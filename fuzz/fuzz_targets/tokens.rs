//! Session and reset tokens, and session ids: what is read is written the same, and neither kind passes for the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon::model::{SessionId, Token};

fuzz_target!(|text: &str| {
    let (session, reset) = (Token::parse_session(text), Token::parse_reset(text));
    assert!(session.is_none() || reset.is_none(), "one text is both kinds of token");
    if let Some(token) = session.or(reset) {
        assert_eq!(token.reveal(), text, "a token has one text");
        assert!(!format!("{token:?}").contains(&text[5..]), "Debug shows the secret");
        let id = token.digest().session_id();
        assert_eq!(id.to_string().parse::<SessionId>().ok(), Some(id));
    }
    if let Ok(id) = text.parse::<SessionId>() {
        assert_eq!(id.to_string(), text);
    }
});
