//! Where is a server, and how does one log in? As written in jobs, for sources and sinks alike.
//! Touches nothing.

use super::{Login, Secret};
use crate::job::{Form, Setting};

/// Where the server is.
pub const ADDRESS: Setting = Setting::text(
    "address",
    "where the server is: http://host:port, or https:// for TLS",
)
.required()
.example("\"http://127.0.0.1:19530\"");
/// The login.
pub const USER: Setting = Setting::text("user", "how to log in, with password").example("root");
/// A user name and password.
pub const PASSWORD: Setting =
    Setting::secret("password", "that user's password").example("\"${MILVUS_PASSWORD}\"");
/// Or a token.
pub const TOKEN: Setting = Setting::secret("token", "how to log in, in place of user and password")
    .example("\"${MILVUS_TOKEN}\"");
/// The database.
pub const DB: Setting = Setting::text("db", "the database").or("default");
/// Reads the login.
pub fn read_login(form: &mut Form) -> Login {
    let (user, password, token) = (form.text("user"), form.text("password"), form.text("token"));
    match (user, password, token) {
        (None, None, None) => Login::None,
        (None, None, Some(token)) => Login::Token(Secret(token)),
        (Some(user), Some(password), None) => Login::User(user, Secret(password)),
        (_, _, Some(_)) => {
            form.mistake("token", "replaces user and password: give one or the other");
            Login::None
        }
        (Some(_), None, None) => {
            form.mistake("password", "is missing: a user goes with a password");
            Login::None
        }
        (None, Some(_), None) => {
            form.mistake("user", "is missing: a password goes with a user");
            Login::None
        }
    }
}
