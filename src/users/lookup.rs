use super::{UserError, Users};
use crate::{
    model::{User, UserId},
    shards::ShardLocation,
};

impl Users {
    pub async fn find(&self, user_id: UserId) -> Result<User, UserError> {
        Ok(self.find_placed(user_id, None).await?.0)
    }

    /// Returns the live row of a user and its location. Looks at `placed` if that is known already.
    pub async fn find_placed(
        &self,
        user_id: UserId,
        placed: Option<ShardLocation>,
    ) -> Result<(User, ShardLocation), UserError> {
        let placed = placed.map_or_else(|| self.shards.locate_user(user_id), Ok)?;
        let user = placed.store().find_user(user_id).await?.ok_or(UserError::Unknown)?;
        Ok((user, placed))
    }
}
