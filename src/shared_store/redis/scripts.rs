//! The scripts: whatever needs a condition together with a write.

use fred::{error::Error, types::Value, util::sha1_hash};

use super::connection::Command;

/// A script, called by its digest; its text is sent only to a server that does not know it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: sha1_hash(text) }
    }

    /// Calls it by its digest.
    pub(super) fn call(&self, keys: &[String], arguments: &[Value]) -> Command {
        command("EVALSHA", &self.digest, keys, arguments)
    }

    /// Calls it by its text, which the server keeps.
    pub(super) fn teach(&self, keys: &[String], arguments: &[Value]) -> Command {
        command("EVAL", self.text, keys, arguments)
    }
}

fn command(name: &'static str, script: &str, keys: &[String], arguments: &[Value]) -> Command {
    let head = [Value::from(script), Value::from(keys.len() as i64)];
    let keys = keys.iter().map(|key| Value::from(key.as_str()));
    Command::new(name, head.into_iter().chain(keys).chain(arguments.iter().cloned()))
}

/// Whether a server does not know a script.
pub(super) fn is_unknown(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}

macro_rules! scripts {
    ($($name:ident)*) => {
        /// All of them.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self { $($name: Script::new(include_str!(concat!("lua/", stringify!($name), ".lua"))),)* }
            }
        }
    };
}

scripts! {
    create_session
    use_session
    list_sessions
    end_session
    raise_generation
    forget_user
    put_snapshot
    charge
    refund
    acquire_lock
    release_lock
    remove_node
    write_note
    readmit_node
}
