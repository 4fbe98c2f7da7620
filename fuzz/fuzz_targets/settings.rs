//! Settings: every type reads any text or says what is wrong with it, and no secret is in what it says.
#![no_main]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use libfuzzer_sys::fuzz_target;
use symbolon::{
    config::{
        List, Networks, OperatorTokens, Pairs, PgUrl, PublicOrigin, RedisUrl, Registration, SettingValue, ShardUrls,
    },
    log::{self, LogFormat},
    throttle::Limit,
};
use symbolon_partitioner::Strategy;

/// Stands for a password; no id, host or name of a variable may have its colon.
const SECRET: &str = "hunter2:hunter2";

fuzz_target!(|text: &str| {
    read::<String>(text);
    read::<PathBuf>(text);
    read::<Option<SocketAddr>>(text);
    read::<u32>(text);
    read::<bool>(text);
    read::<Duration>(text);
    read::<Strategy>(text);
    read::<LogFormat>(text);
    read::<Registration>(text);
    read::<List>(text);
    read::<Pairs>(text);
    read::<Networks>(text);
    read::<PublicOrigin>(text);
    if let Some(limit) = read::<Limit>(text) {
        assert_eq!(Limit::from_text(&limit.to_string()), Ok(limit));
    }
    log::check(text).ok();

    // § is where a password may be.
    let text = &text.replace('§', SECRET);
    if let Some(url) = read::<PgUrl>(text) {
        url.is_unprotected();
    }
    if let Some(url) = read::<RedisUrl>(text) {
        url.has_tls();
    }
    read::<ShardUrls>(text);
    read::<OperatorTokens>(text);
});

fn read<T: SettingValue + std::fmt::Debug>(text: &str) -> Option<T> {
    match T::from_text(text) {
        Ok(value) => {
            assert!(!T::SECRET || !format!("{value:?}").contains(SECRET), "Debug shows a secret");
            Some(value)
        }
        Err(message) => {
            assert!(!T::SECRET || !message.contains(SECRET), "a message shows a secret: {message}");
            None
        }
    }
}
