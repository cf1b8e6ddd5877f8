//! Who may do what with a key: the key's policy, its grants and the caller's own policies, by the one evaluator.

use std::net::IpAddr;
use std::sync::Arc;

use karri_iam_policy::{
    Context, Decision, Grant, Policy, PolicySource, Principal, PrincipalKind, Request, evaluate_with,
};
use karri_iam_service::kms_model::{KmsConstraint, KmsGrant};
use karri_iam_wire::WireError;
use karri_iam_wire::kms::ErrorCode;

use crate::ciphertext::EncryptionContext;
use crate::find::Found;
use crate::{Answer, Kms};

/// Who asks, and what is known of the request beside its parameters.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Where from.
    pub source_ip: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The service that asks in the principal's name, as `s3.us-east-1.amazonaws.com`.
    pub via_service: Option<String>,
}

/// One use of a key, or of nothing but the service.
pub(crate) struct Use<'a> {
    /// `kms:Decrypt`.
    pub(crate) action: &'a str,
    /// The encryption context, of operations that have one.
    pub(crate) encryption_context: Option<&'a EncryptionContext>,
    /// Condition keys of this operation.
    pub(crate) keys: Vec<(String, Vec<String>)>,
}

impl<'a> Use<'a> {
    pub(crate) fn of(action: &'a str) -> Self {
        Self { action, encryption_context: None, keys: Vec::new() }
    }

    pub(crate) fn with_context(self, context: &'a EncryptionContext) -> Self {
        Self { encryption_context: Some(context), ..self }
    }

    pub(crate) fn with(mut self, key: impl Into<String>, values: Vec<String>) -> Self {
        self.keys.push((key.into(), values));
        self
    }
}

impl Kms {
    /// Refuses the caller unless it may use the key so.
    pub(crate) fn authorize(&self, asker: &Asker, found: &Found, wanted: &Use<'_>) -> Answer<()> {
        let policy = self.store.view().key_policy(&found.key.policy);
        // A policy that cannot be read allows nobody anything.
        let policy = policy.ok_or_else(|| denied(asker, wanted.action, &self.arn_of(found), None))?;
        self.authorize_by(asker, found, wanted, &policy)
    }

    /// As [`Kms::authorize`], by another policy than the key's own.
    pub(crate) fn authorize_by(&self, asker: &Asker, found: &Found, wanted: &Use<'_>, policy: &Policy) -> Answer<()> {
        let arn = self.arn_of(found);
        let mut context = self.context(asker, wanted);
        context.set("kms:KeySpec", "SYMMETRIC_DEFAULT");
        context.set("kms:KeyUsage", "ENCRYPT_DECRYPT");
        context.set("kms:KeyOrigin", "AWS_KMS");
        context.set("kms:MultiRegion", "false");
        context.set("aws:ResourceAccount", found.account.id.clone());
        if let Some(alias) = &found.alias {
            context.set("kms:RequestAlias", alias.clone());
        }
        let aliases = found.account.kms_aliases.values().filter(|alias| alias.key_id == found.key.id);
        context.set_all("kms:ResourceAliases", aliases.map(|alias| alias.name.clone()));
        for (key, value) in &found.key.tags {
            context.set(format!("aws:ResourceTag/{key}"), value.clone());
        }
        let request = Request {
            principal: &asker.principal,
            action: wanted.action,
            resource: &arn,
            resource_account: &found.account.id,
            context: &context,
        };
        let granted = found.key.grants.iter().any(|grant| is_granted(grant, asker, wanted));
        let grant = if granted { Grant::Direct } else { Grant::None };
        let own = self.store.view().policies(&asker.principal);
        match evaluate_with(&request, &own, Some(policy), grant) {
            Decision::Allow(_) => Ok(()),
            refused => Err(denied(asker, wanted.action, &arn, Some(refused))),
        }
    }

    /// Refuses the caller unless its own policies allow this, of what is no key.
    pub(crate) fn authorize_own(&self, asker: &Asker, resource: &str, wanted: &Use<'_>) -> Answer<()> {
        let context = self.context(asker, wanted);
        let account = &asker.principal.account_id;
        let request = Request {
            principal: &asker.principal,
            action: wanted.action,
            resource,
            resource_account: account,
            context: &context,
        };
        match evaluate_with(&request, &self.store.view().policies(&asker.principal), None, Grant::None) {
            Decision::Allow(_) => Ok(()),
            refused => Err(denied(asker, wanted.action, resource, Some(refused))),
        }
    }

    fn context(&self, asker: &Asker, wanted: &Use<'_>) -> Context<'static> {
        let mut context = Context::new(i64::try_from(self.now().as_secs()).unwrap_or(i64::MAX));
        context.set("aws:SourceIp", asker.source_ip.to_string());
        context.set("aws:SecureTransport", asker.secure.to_string());
        context.set("aws:RequestedRegion", self.region.clone());
        if let Some(agent) = &asker.user_agent {
            context.offer("aws:UserAgent", agent.clone());
        }
        context.set("kms:CallerAccount", asker.principal.account_id.clone());
        if let Some(service) = &asker.via_service {
            context.set("kms:ViaService", service.clone());
        }
        for (name, value) in wanted.encryption_context.unwrap_or_default() {
            context.set(format!("kms:EncryptionContext:{name}"), value.clone());
        }
        let names = wanted.encryption_context.unwrap_or_default().iter().map(|(name, _)| name.clone());
        context.set_all("kms:EncryptionContextKeys", names);
        for (key, values) in &wanted.keys {
            context.set_all(key.clone(), values.clone());
        }
        context
    }
}

fn is_granted(grant: &KmsGrant, asker: &Asker, wanted: &Use<'_>) -> bool {
    let operation = wanted.action.strip_prefix("kms:").unwrap_or_default();
    let is_grantee = grant.grantee == asker.principal.arn
        || grant.grantee == asker.principal.principal_arn()
        || (asker.principal.kind == PrincipalKind::AccountRoot && grant.grantee == asker.principal.account_id);
    let context = wanted.encryption_context.unwrap_or_default();
    let fits = match &grant.constraint {
        None => true,
        // Operations without a context are not bound by what is asked of it.
        Some(_) if wanted.encryption_context.is_none() => true,
        Some(KmsConstraint::Subset(pairs)) => pairs.iter().all(|pair| context.contains(pair)),
        Some(KmsConstraint::Equals(pairs)) => {
            pairs.len() == context.len() && pairs.iter().all(|pair| context.contains(pair))
        }
    };
    is_grantee && fits && grant.operations.iter().any(|granted| granted == operation)
}

/// The refusal of what no policy allows, as AWS tells it.
pub(crate) fn denied(asker: &Asker, action: &str, resource: &str, why: Option<Decision>) -> WireError {
    let why = match why {
        Some(Decision::ExplicitDeny(_)) => "with an explicit deny in a policy".to_owned(),
        Some(Decision::ImplicitDeny(PolicySource::Resource)) | None => {
            format!("because no resource-based policy allows the {action} action")
        }
        Some(_) => format!("because no identity-based policy allows the {action} action"),
    };
    let who = &asker.principal.arn;
    let message = format!("User: {who} is not authorized to perform: {action} on resource: {resource} {why}");
    ErrorCode::AccessDeniedException.with(message)
}

/// The policy of a key whose maker gave none: the account's own policies decide.
pub(crate) fn default_policy(account_id: &str) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account_id}:root"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#
    )
}

/// The policy of the key that S3 uses where an account names none: whoever of the account may use S3 may use it there.
pub(crate) fn policy_of_s3(account_id: &str, region: &str) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "auto-s3-2",
  "Statement" : [ {{
    "Sid" : "Allow access through S3 for all principals in the account that are authorized to use S3",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "*"
    }},
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {{
      "StringEquals" : {{
        "kms:CallerAccount" : "{account_id}",
        "kms:ViaService" : "s3.{region}.amazonaws.com"
      }}
    }}
  }}, {{
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account_id}:root"
    }},
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*" ],
    "Resource" : "*"
  }} ]
}}"#
    )
}
