//! Password resets with a one-time token that an operator requests.
//!
//! The token's digest is on the user's row. The update that sets the password removes it, so a token works once.

use std::{net::IpAddr, time::Duration};

use super::{Precondition, UserError, Users, changes::check_new_password};
use crate::model::{PasswordReset, User, UserId};
use crate::{
    audit::{self, Actor},
    clock::Timestamp,
    model::Token,
    passwords::{HashKind, Password},
    secret,
};

/// Lifetime of a reset token.
pub const RESET_LIFETIME: Duration = Duration::from_secs(3600);

impl Users {
    /// Creates a reset token, which replaces an earlier one. Returns the token and its expiry.
    pub async fn start_reset(&self, user_id: UserId) -> Result<(Token, Timestamp), UserError> {
        let token = Token::for_reset(user_id);
        let expires_at = Timestamp::now() + RESET_LIFETIME;
        self.edit(user_id, &Precondition::None, |user| {
            user.reset = Some(PasswordReset { digest: *token.digest().as_bytes(), expires_at });
            Ok(())
        })
        .await?;
        Ok((token, expires_at))
    }

    /// Sets the password of the token's user and ends all its sessions.
    pub async fn finish_reset(
        &self,
        token: &str,
        new: &Password,
        address: Option<IpAddr>,
    ) -> Result<UserId, UserError> {
        let token = Token::parse_reset(token).ok_or(UserError::InvalidResetToken)?;
        let user_id = token.user_id();
        let slot = self.passwords.reserve(address, HashKind::New)?;
        let charged = self.charge(&user_id.to_string(), Some(user_id), address, 1).await?;
        let user = match self.find(user_id).await {
            Err(UserError::Unknown) => Err(UserError::InvalidResetToken),
            found => found.and_then(|user| check_token(&user, &token).map(|()| user)),
        };
        if matches!(user, Err(UserError::InvalidResetToken)) {
            audit::record(audit::Kind::PasswordRefused, Some(user_id), Actor::Anonymous, address);
        } else {
            self.throttle.refund(charged);
        }
        let user = user?;
        check_new_password(new, &user.login_name)?;
        let hash = self.hash_new(slot, "new_password", new, &user.login_name).await?;
        let edit = |changed: &mut User| {
            check_token(changed, &token)?;
            changed.password_hash = hash.clone();
            changed.reset = None;
            Ok(())
        };
        self.edit_and_end_sessions(user_id, None, edit).await.map(|user| user.user_id)
    }
}

fn check_token(user: &User, token: &Token) -> Result<(), UserError> {
    match &user.reset {
        Some(reset)
            if secret::constant_time_eq(&reset.digest, token.digest().as_bytes())
                && reset.expires_at > Timestamp::now() =>
        {
            Ok(())
        }
        _ => Err(UserError::InvalidResetToken),
    }
}
