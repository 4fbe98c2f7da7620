//! Lua scripts, for writes with a condition.

use std::time::Instant;

use fred::{error::Error, types::Value, util::sha1_hash};

use super::{command::Command, node::WriteConcern, nodes::Nodes};

/// A script. It is called by its digest; the text is sent only to a server that does not have it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: sha1_hash(text) }
    }

    /// Runs the script on the server that holds its first key.
    pub(super) async fn run(
        &self,
        nodes: &Nodes,
        keys: Vec<String>,
        arguments: Vec<Value>,
        concern: WriteConcern,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let key = keys.first().cloned().unwrap_or_default();
        let count = Value::from(keys.len() as i64);
        let rest: Vec<Value> = keys.into_iter().map(Value::from).chain(arguments).collect();
        let command = |name, script: &str| {
            Command::new(name, [Value::from(script), count.clone()].into_iter().chain(rest.iter().cloned()))
        };
        match nodes.send(&key, command("EVALSHA", &self.digest), concern, deadline).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                nodes.send(&key, command("EVAL", self.text), concern, deadline).await
            }
            answer => answer,
        }
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {
        /// All scripts.
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
    begin_login
    create_session
    slide_session
    list_sessions
    end_session
    raise_generation
    forget_user
    put_snapshot
    replace_snapshot
    charge
    refund
    acquire_lock
    lock_holder
    heartbeat
    list_instances
    reap_fleet
    release_lock
    remove_node
    write_note
    readmit_node
}
