use super::{UserError, Users};
use crate::{
    model::{User, UserId},
    shards::Placed,
};

impl Users {
    /// The live row of a user.
    pub async fn find(&self, user_id: UserId) -> Result<User, UserError> {
        Ok(self.find_placed(user_id).await?.0)
    }

    /// The live row of a user, and where it is.
    pub async fn find_placed(&self, user_id: UserId) -> Result<(User, Placed), UserError> {
        let placed = self.shards.place_user(user_id)?;
        let user = placed.store().find_user(user_id).await?.ok_or(UserError::Unknown)?;
        Ok((user, placed))
    }
}
