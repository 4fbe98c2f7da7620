//! Rows for `COPY … FROM STDIN`, in PostgreSQL's text format.

use sqlx::PgConnection;

/// Encoded rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
}

impl Rows {
    /// Adds a row; `None` is null.
    pub(super) fn push<'a>(&mut self, fields: impl IntoIterator<Item = Option<&'a str>>) {
        for (number, field) in fields.into_iter().enumerate() {
            if number > 0 {
                self.bytes.push(b'\t');
            }
            let Some(text) = field else {
                self.bytes.extend(br"\N");
                continue;
            };
            for byte in text.bytes() {
                match byte {
                    b'\\' => self.bytes.extend(br"\\"),
                    b'\t' => self.bytes.extend(br"\t"),
                    b'\n' => self.bytes.extend(br"\n"),
                    b'\r' => self.bytes.extend(br"\r"),
                    _ => self.bytes.push(byte),
                }
            }
        }
        self.bytes.push(b'\n');
    }

    /// Sends the rows with a `COPY` statement.
    pub(super) async fn copy(self, connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
        let mut copy = connection.copy_in_raw(statement).await?;
        match copy.send(self.bytes).await {
            Ok(_) => copy.finish().await.map(drop),
            Err(error) => {
                // The connection is probably broken, in which case aborting fails too.
                let _ = copy.abort("sending rows failed").await;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_and_backslashes_are_escaped() {
        let mut rows = Rows::default();
        rows.push([Some("a\tb"), Some(r#"{"k":"x\n\\"}"#), None]);
        rows.push([Some("c\nd\r"), Some(r"\."), Some("")]);
        assert_eq!(String::from_utf8_lossy(&rows.bytes), "a\\tb\t{\"k\":\"x\\\\n\\\\\\\\\"}\t\\N\nc\\nd\\r\t\\\\.\t\n");
    }
}
