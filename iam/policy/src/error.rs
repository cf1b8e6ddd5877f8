//! Why a document is refused.

use thiserror::Error;

/// A refused policy document: AWS's own text, and where in the document.
///
/// `Display` is what a client is shown, as the message of `MalformedPolicy` (S3) or `MalformedPolicyDocument` (IAM).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} (line {line}, column {column})")]
pub struct PolicyError {
    /// What is wrong.
    pub kind: PolicyErrorKind,
    /// Line in the document, from 1.
    pub line: usize,
    /// Column in that line, in characters from 1.
    pub column: usize,
}

/// What may be wrong with a document. The texts are those that AWS gives.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// Not JSON.
    #[error("Policies must be valid JSON and the first byte must be '{{': {0}")]
    Json(&'static str),
    /// More bytes, statements, values or levels than are taken.
    #[error("The policy document is too large: {0}")]
    TooLarge(&'static str),
    /// A value of another JSON type than the element takes.
    #[error("Syntax errors in policy: {0}")]
    Syntax(String),
    /// An element that policies do not have, or not in this kind of policy.
    #[error("Unknown field {0}")]
    UnknownField(String),
    /// An element that this kind of policy must not have.
    #[error("Has prohibited field {0}")]
    ProhibitedField(&'static str),
    /// An element is missing.
    #[error("Missing required field {0}")]
    MissingField(&'static str),
    /// The same element twice, or an element with its negation.
    #[error("Duplicate or conflicting field {0}")]
    Conflict(String),
    /// A version other than 2008-10-17 and 2012-10-17.
    #[error("The policy must contain a valid version string")]
    Version,
    /// An effect other than Allow and Deny, and Limit where that may stand.
    #[error("Invalid effect: {0}")]
    Effect(String),
    /// Two statements have one Sid.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    SidNotUnique,
    /// A Sid of an identity policy with other characters than letters and digits.
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
    )]
    SidCharacters,
    /// Not `vendor:Action` and not `*`.
    #[error("Policy has invalid action: actions must be prefaced by a vendor, e.g., iam, s3, ec2, etc.: {0}")]
    Action(String),
    /// Neither an ARN nor `*`.
    #[error("Policy has invalid resource: resource {0} must be in ARN format or \"*\".")]
    Resource(String),
    /// An action of another service in a trust policy.
    #[error("AssumeRole policy may only specify STS AssumeRole actions: {0}")]
    TrustAction(String),
    /// Not a principal.
    #[error("Invalid principal in policy: {0}")]
    Principal(String),
    /// An Allow for all but some: AWS refuses it, because it opens a resource to everyone else.
    #[error("Allow with NotPrincipal is not allowed.")]
    AllowNotPrincipal,
    /// An operator that does not exist.
    #[error("Invalid Condition type : {0}")]
    Operator(String),
    /// A condition key without a vendor.
    #[error(
        "Policy has an invalid condition key: conditions must be prefaced by a vendor, e.g., iam, s3, ec2, etc.: {0}"
    )]
    ConditionKey(String),
    /// A quota that no service enforces.
    #[error("Unknown quota key: {0}")]
    QuotaKey(String),
    /// A value that its operator cannot read.
    #[error("Invalid value for condition operator {operator}: {value}")]
    ConditionValue {
        /// The operator as written.
        operator: String,
        /// The value as written.
        value: String,
    },
    /// A `${...}` that is not closed or names no key.
    #[error("Invalid policy variable: {0}")]
    Variable(String),
}
