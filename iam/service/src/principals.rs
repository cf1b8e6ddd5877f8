//! Whether somebody whom a policy names is there: a principal that is not would come alive when somebody makes one of its
//! name.

use karri_iam_policy::Arn;

use crate::state::Account;
use crate::view::View;
use crate::{ids, names};

/// Digits of an account's id.
const ACCOUNT_ID_LENGTH: usize = 12;

impl View {
    /// Whether a principal (account id, ARN, unique id) of a policy exists. What cannot be known is taken to be there.
    pub fn principal_exists(&self, principal: &str) -> bool {
        match principal.parse::<Arn>() {
            Ok(arn) if is_account_id(&arn.account_id) => {
                self.account(&arn.account_id).is_some_and(|account| is_there(&account, &arn, principal))
            }
            // Accounts by name come from Eucalyptus; whom such an ARN names is not known here, and it names nobody.
            Ok(_) => true,
            Err(_) if is_account_id(principal) => self.account(principal).is_some(),
            // A unique id is kept by AWS for a principal that is gone; it names nobody then.
            Err(_) => true,
        }
    }
}

fn is_account_id(text: &str) -> bool {
    text.len() == ACCOUNT_ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the user or role of an ARN, or the role of its session, is there, with this path and in these letters.
fn is_there(account: &Account, arn: &Arn, text: &str) -> bool {
    let Some((kind, path)) = arn.resource_kind() else { return true };
    let name = path.rsplit('/').next().unwrap_or(path);
    match kind {
        "user" => {
            let user = account.users.get(&names::key(name));
            user.is_some_and(|user| ids::arn(&account.id, kind, &user.path, &user.name) == text)
        }
        "role" => {
            let role = account.roles.get(&names::key(name));
            role.is_some_and(|role| ids::arn(&account.id, kind, &role.path, &role.name) == text)
        }
        "assumed-role" => {
            let name = path.split('/').next().unwrap_or(path);
            account.roles.get(&names::key(name)).is_some_and(|role| role.name == name)
        }
        _ => true,
    }
}
