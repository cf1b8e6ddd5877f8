//! What each role may do, and what it may not.

use std::sync::Arc;

use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, PrincipalKind, Request, evaluate};
use karri_iam_templates::{TemplateError, all, find};

const ACCOUNT: &str = "123456789012";
const BUCKET: &str = "arn:aws:s3:::inbox";
const OBJECT: &str = "arn:aws:s3:::inbox/photos/cat.jpg";
const OTHER: &str = "arn:aws:s3:::other/photos/cat.jpg";

struct Role(Policies);

impl Role {
    fn of(name: &str, values: &[(&str, &str)]) -> Self {
        let text = find(name).expect(name).render(values).expect("it renders");
        let policy = Policy::parse(&text, PolicyKind::Identity).expect("it parses");
        Self(Policies { identity: vec![Arc::new(policy)], ..Policies::default() })
    }

    fn decide(&self, action: &str, resource: &str, is_encrypted: bool) -> bool {
        let mut principal = Principal::account_root(ACCOUNT, "");
        principal.kind = PrincipalKind::User;
        let mut context = Context::new(0);
        context.set("aws:SecureTransport", if is_encrypted { "true" } else { "false" });
        let request = Request { principal: &principal, action, resource, resource_account: ACCOUNT, context: &context };
        evaluate(&request, &self.0, None).is_allowed()
    }

    #[track_caller]
    fn may(&self, actions: &[&str], resource: &str) {
        for action in actions {
            assert!(self.decide(action, resource, true), "{action} on {resource} is not allowed");
        }
    }

    #[track_caller]
    fn may_not(&self, actions: &[&str], resource: &str) {
        for action in actions {
            assert!(!self.decide(action, resource, true), "{action} on {resource} is allowed");
        }
    }
}

#[test]
fn all_are_shipped_and_described() {
    let names: Vec<String> = all().into_iter().map(|template| template.name).collect();
    let expected = [
        "AccountAdministrator",
        "InfrastructureAdministrator",
        "ResourceAdministrator",
        "ReadOnlyAuditor",
        "BackupOperator",
        "ImagePublisher",
        "BucketOwner",
        "UploadOnly",
    ];
    assert_eq!(names, expected);
    assert!(all().iter().all(|template| template.description.ends_with('.')));
    assert!(find("uploadonly").is_some() && find("Everything").is_none());
}

#[test]
fn administrators_share_out_the_cloud() {
    let accounts = Role::of("AccountAdministrator", &[]);
    accounts.may(&["iam:CreateAccount", "iam:CreateUser", "iam:PutUserPolicy"], "*");
    accounts.may_not(&["s3:GetObject", "ec2:RunInstances", "euprop:ModifyPropertyValue", "sts:AssumeRole"], "*");
    let infrastructure = Role::of("InfrastructureAdministrator", &[]);
    infrastructure.may(&["euprop:ModifyPropertyValue", "euserv:DescribeServices", "ec2:DescribeInstances"], "*");
    infrastructure.may_not(&["iam:CreateUser", "ec2:RunInstances", "ec2:TerminateInstances"], "*");
    infrastructure.may_not(&["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], OBJECT);
    let resources = Role::of("ResourceAdministrator", &[]);
    resources.may(&["ec2:RunInstances", "ec2:CreateVolume", "s3:CreateBucket"], "*");
    resources.may(&["s3:GetObject", "s3:DeleteObject"], OBJECT);
    resources.may_not(&["iam:CreateUser", "iam:PassRole", "iam:CreateAccount", "euprop:ModifyPropertyValue"], "*");
}

#[test]
fn an_auditor_sees_set_up_and_no_content() {
    let role = Role::of("ReadOnlyAuditor", &[]);
    role.may(&["iam:GetAccountAuthorizationDetails", "iam:ListUsers", "ec2:DescribeInstances"], "*");
    role.may(&["s3:GetBucketPolicy", "s3:ListBucket", "s3:GetEncryptionConfiguration"], BUCKET);
    role.may(&["s3:GetObjectAcl", "s3:GetObjectTagging"], OBJECT);
    role.may_not(&["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"], OBJECT);
    role.may_not(&["iam:CreateAccessKey", "iam:PutRolePolicy", "sts:AssumeRole", "ec2:GetPasswordData"], "*");
    role.may_not(&["s3:PutBucketPolicy", "s3:DeleteBucket"], BUCKET);
}

#[test]
fn a_backup_operator_adds_and_restores_and_loses_nothing() {
    let role = Role::of("BackupOperator", &[("bucket", "inbox")]);
    role.may(&["s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObjectRetention"], OBJECT);
    role.may(&["s3:ListBucket"], BUCKET);
    role.may(&["ec2:CreateSnapshot"], "*");
    role.may_not(&["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"], OBJECT);
    role.may_not(&["s3:PutLifecycleConfiguration", "s3:PutBucketVersioning", "s3:DeleteBucket"], BUCKET);
    role.may_not(&["s3:PutObject", "s3:GetObject"], OTHER);
    role.may_not(&["ec2:DeleteSnapshot", "iam:CreateUser"], "*");
}

#[test]
fn an_image_publisher_registers_from_its_bucket() {
    let role = Role::of("ImagePublisher", &[("bucket", "inbox")]);
    role.may(&["s3:PutObject", "s3:GetObject"], OBJECT);
    role.may(&["ec2:RegisterImage", "ec2:ModifyImageAttribute"], "*");
    role.may_not(&["s3:PutObject", "s3:GetObject"], OTHER);
    role.may_not(&["s3:PutBucketPolicy", "s3:DeleteBucket"], BUCKET);
    role.may_not(&["ec2:RunInstances", "iam:PassRole"], "*");
}

#[test]
fn a_bucket_owner_has_one_bucket() {
    let role = Role::of("BucketOwner", &[("bucket", "inbox")]);
    role.may(&["s3:PutBucketPolicy", "s3:ListBucket", "s3:DeleteBucket"], BUCKET);
    role.may(&["s3:GetObject", "s3:DeleteObjectVersion"], OBJECT);
    role.may_not(&["s3:GetObject", "s3:PutObject"], OTHER);
    role.may_not(&["s3:ListBucket", "s3:PutBucketPolicy"], "arn:aws:s3:::inbox-2");
    role.may_not(&["s3:GetObject"], "arn:aws:s3:::inbox-2/k");
    role.may_not(&["iam:ListUsers"], "*");
}

#[test]
fn an_uploader_only_uploads() {
    let role = Role::of("UploadOnly", &[("bucket", "inbox"), ("prefix", "photos/")]);
    role.may(&["s3:PutObject", "s3:AbortMultipartUpload"], OBJECT);
    role.may_not(&["s3:GetObject", "s3:DeleteObject", "s3:PutObjectAcl", "s3:PutObjectTagging"], OBJECT);
    role.may_not(&["s3:PutObject"], "arn:aws:s3:::inbox/music/a");
    role.may_not(&["s3:PutObject"], OTHER);
    role.may_not(&["s3:ListBucket"], BUCKET);
    assert!(!role.decide("s3:PutObject", OBJECT, false), "an open connection");
    Role::of("UploadOnly", &[("bucket", "inbox")]).may(&["s3:PutObject"], "arn:aws:s3:::inbox/music/a");
}

#[test]
fn no_value_widens_a_template() {
    let template = find("UploadOnly").expect("it is shipped");
    assert!(matches!(template.render(&[]), Err(TemplateError::Missing(name)) if name == "bucket"));
    let unknown = template.render(&[("bucket", "inbox"), ("buckets", "x")]);
    assert!(matches!(unknown, Err(TemplateError::Unknown(name)) if name == "buckets"));
    for bucket in ["*", "in*", "a", "Inbox", "inbox/", "${aws:username}", "in\",\"*", ""] {
        let refused = template.render(&[("bucket", bucket)]);
        assert!(matches!(refused, Err(TemplateError::Value { .. })), "{bucket}");
    }
    for prefix in ["*", "a?", "${aws:username}", "{{bucket}}", "\n"] {
        let refused = template.render(&[("bucket", "inbox"), ("prefix", prefix)]);
        assert!(matches!(refused, Err(TemplateError::Value { .. })), "{prefix}");
    }
    let quoted = template.render(&[("bucket", "inbox"), ("prefix", "a\"b")]).expect("quotes are text");
    assert!(quoted.contains("a\\\"b"));
}
