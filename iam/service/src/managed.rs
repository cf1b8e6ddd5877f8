//! Managed policies that every cloud has, under the names by which tools know them.

use karri_ring_types::Timestamp;

/// A policy that comes with Karri.
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its id, the same everywhere.
    pub id: &'static str,
    /// For people.
    pub description: &'static str,
    /// The document.
    pub document: &'static str,
}

/// When all of them were made.
pub const CREATED: Timestamp = Timestamp(1_767_225_600_000);
const ARN_PREFIX: &str = "arn:aws:iam::aws:policy/";

impl BuiltIn {
    /// `arn:aws:iam::aws:policy/...`.
    pub fn arn(&self) -> String {
        format!("{ARN_PREFIX}{}", self.name)
    }
}

/// The policy with this ARN.
pub fn by_arn(arn: &str) -> Option<&'static BuiltIn> {
    let name = arn.strip_prefix(ARN_PREFIX)?;
    ALL.iter().find(|policy| policy.name == name)
}

/// All of them by name.
pub const ALL: &[BuiltIn] = &[
    BuiltIn {
        name: "AdministratorAccess",
        id: "ANPAKARRIADMINISTRATO",
        description: "Everything, on everything.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "AmazonS3FullAccess",
        id: "ANPAKARRISTHREEFULLAC",
        description: "Everything on buckets and objects.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "AmazonS3ReadOnlyAccess",
        id: "ANPAKARRISTHREEREADON",
        description: "Reading buckets and objects.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*", "s3:Describe*"], "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "IAMFullAccess",
        id: "ANPAKARRIIAMFULLACCES",
        description: "Everything on identities.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "IAMReadOnlyAccess",
        id: "ANPAKARRIIAMREADONLYA",
        description: "Reading identities and simulating what they may do.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["iam:Get*", "iam:List*", "iam:Generate*", "iam:Simulate*"], "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "IAMUserChangePassword",
        id: "ANPAKARRIIAMUSERCHANG",
        description: "Changing one's own password.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ChangePassword", "Resource": "arn:aws:iam::*:user/${aws:username}"}, {"Effect": "Allow", "Action": "iam:GetAccountPasswordPolicy", "Resource": "*"}]}"#,
    },
    BuiltIn {
        name: "ReadOnlyAccess",
        id: "ANPAKARRIREADONLYACCE",
        description: "Reading everything.",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*", "s3:Describe*", "iam:Get*", "iam:List*", "iam:Generate*", "iam:Simulate*", "sts:GetCallerIdentity", "sts:GetAccessKeyInfo", "ec2:Describe*", "ec2:Get*", "ec2:Search*", "ebs:Get*", "ebs:List*"], "Resource": "*"}]}"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use karri_iam_policy::{Policy, PolicyKind};

    #[test]
    fn every_one_can_be_read_and_found() {
        for policy in ALL {
            Policy::parse(policy.document, PolicyKind::Identity).unwrap();
            assert_eq!(policy.id.len(), 21, "{}", policy.name);
            assert_eq!(by_arn(&policy.arn()).map(|found| found.name), Some(policy.name));
        }
        assert!(ALL.is_sorted_by_key(|policy| policy.name));
    }
}
