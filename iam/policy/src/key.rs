//! Names of condition keys, sorted once into those that describe the principal and all others.

/// A condition key in lower case, and who knows its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConditionKey {
    pub(crate) name: Box<str>,
    pub(crate) source: KeySource,
}

/// Where a key's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    UserName,
    UserId,
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    PrincipalTag,
    PrincipalIsService,
    PrincipalServiceName,
    SourceIdentity,
    MfaPresent,
    MfaAge,
    TokenIssueTime,
    CurrentTime,
    EpochTime,
    ResourceAccount,
    /// A claim of a web identity, or else what the context says.
    Context,
}

/// What `aws:PrincipalTag/` is followed by is the tag's key.
pub(crate) const PRINCIPAL_TAG: &str = "aws:principaltag/";

impl ConditionKey {
    pub(crate) fn new(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let source = match name.as_str() {
            "aws:username" => KeySource::UserName,
            "aws:userid" => KeySource::UserId,
            "aws:principalarn" => KeySource::PrincipalArn,
            "aws:principalaccount" => KeySource::PrincipalAccount,
            "aws:principaltype" => KeySource::PrincipalType,
            "aws:principalisawsservice" => KeySource::PrincipalIsService,
            "aws:principalservicename" => KeySource::PrincipalServiceName,
            "aws:sourceidentity" => KeySource::SourceIdentity,
            "aws:multifactorauthpresent" => KeySource::MfaPresent,
            "aws:multifactorauthage" => KeySource::MfaAge,
            "aws:tokenissuetime" => KeySource::TokenIssueTime,
            "aws:currenttime" => KeySource::CurrentTime,
            "aws:epochtime" => KeySource::EpochTime,
            "aws:resourceaccount" => KeySource::ResourceAccount,
            tag if tag.starts_with(PRINCIPAL_TAG) => KeySource::PrincipalTag,
            _ => KeySource::Context,
        };
        Self { name: name.into_boxed_str(), source }
    }
}
