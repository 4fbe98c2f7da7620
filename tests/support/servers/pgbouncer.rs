//! A private PgBouncer in session mode, as Debian configures it.

use tempfile::TempDir;

use super::{Server, directory_of, free_port, installed, postgres::Postgres, write_private};
use crate::support::block_until;

const USER: &str = "postgres";

/// Stands before a PostgreSQL and pools connections with each of its databases.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _server: Server,
    _directory: TempDir,
}

impl PgBouncer {
    pub fn before(postgres: &Postgres) -> Self {
        let (directory, port) = (directory_of(USER), free_port());
        let path = |name: &str| directory.path().join(name);
        write_private(USER, &path("users"), "\"postgres\" \"\"\n");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = session\n",
            postgres.port(),
            path("users").display(),
        );
        write_private(USER, &path("settings"), &settings);
        let program = installed("PgBouncer", ["/usr/sbin/pgbouncer".into()]);
        let server = Server::start(USER, &program, vec![path("settings").display().to_string()], path("log"));
        block_until("PgBouncer listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _server: server, _directory: directory }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
