//! A request for each operation of S3, with the least that makes it valid, and the permissions that AWS documents.

use karri_objstore_wire::Operation;

use crate::request::Request;

/// The bucket that must not be touched.
pub const BUCKET: &str = "victim";
/// A bucket that nobody has yet.
pub const NEW_BUCKET: &str = "not-there-yet";

/// One request of the matrix.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it asks for.
    pub operation: Operation,
    /// The request.
    pub request: Request,
    /// Every permission that it needs.
    pub actions: &'static [&'static str],
}

/// What the rows name: made by the state under attack.
#[derive(Clone, Debug)]
pub struct Names {
    /// The upload in progress of the key `upload`.
    pub upload_id: String,
    /// ETag of its part 1.
    pub part_etag: String,
    /// An older version of the key `key`.
    pub version: String,
}

/// A row for each operation, and one more for each that takes a version.
pub fn rows(names: &Names) -> Vec<Row> {
    let mut rows: Vec<Row> = Operation::ALL.iter().map(|operation| row(*operation, names)).collect();
    for (operation, actions) in VERSIONED {
        let mut row = row(*operation, names);
        row.request.query.push(("versionId".to_owned(), names.version.clone()));
        row.actions = actions;
        rows.push(row);
    }
    let mut copy = row(Operation::CopyObject, names);
    let source = format!("/{BUCKET}/key?versionId={}", names.version);
    copy.request.headers = vec![("x-amz-copy-source".to_owned(), source)];
    copy.actions = &["s3:PutObject", "s3:GetObjectVersion"];
    rows.push(copy);
    let mut labelled = row(Operation::CopyObject, names);
    labelled.request.headers = vec![("x-amz-copy-source".to_owned(), format!("/{BUCKET}/labelled"))];
    labelled.actions = &["s3:PutObject", "s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging"];
    rows.push(labelled);
    let mut delete = row(Operation::DeleteObject, names);
    delete.request.query.push(("versionId".to_owned(), names.version.clone()));
    delete.actions = &["s3:DeleteObjectVersion"];
    rows.push(Row {
        operation: Operation::PutObject,
        request: Request::new("PUT", "/victim/tagged").header("x-amz-tagging", "a=b").body("content"),
        actions: &["s3:PutObject", "s3:PutObjectTagging"],
    });
    // Behind those that need the version.
    rows.push(delete);
    rows
}

/// Operations on a named version, whose actions are others.
const VERSIONED: &[(Operation, &[&str])] = &[
    (Operation::GetObject, &["s3:GetObjectVersion"]),
    (Operation::HeadObject, &["s3:GetObjectVersion"]),
    (Operation::GetObjectAcl, &["s3:GetObjectVersionAcl"]),
    (Operation::PutObjectAcl, &["s3:PutObjectVersionAcl"]),
    (Operation::GetObjectTagging, &["s3:GetObjectVersionTagging"]),
    (Operation::PutObjectTagging, &["s3:PutObjectVersionTagging"]),
    (Operation::DeleteObjectTagging, &["s3:DeleteObjectVersionTagging"]),
    (Operation::GetObjectRetention, &["s3:GetObjectRetention"]),
    (Operation::GetObjectLegalHold, &["s3:GetObjectLegalHold"]),
];

/// An operation without an arm does not compile: a new one cannot be forgotten.
fn row(operation: Operation, names: &Names) -> Row {
    let (request, actions): (Request, &[&str]) = match bucket_row(operation) {
        Some(found) => found,
        None => object_row(operation, names),
    };
    Row { operation, request, actions }
}

fn read(sub_resource: &str) -> Request {
    Request::new("GET", &format!("/{BUCKET}?{sub_resource}"))
}

fn remove(sub_resource: &str) -> Request {
    Request::new("DELETE", &format!("/{BUCKET}?{sub_resource}"))
}

fn write(sub_resource: &str, document: &str) -> Request {
    Request::new("PUT", &format!("/{BUCKET}?{sub_resource}")).document(document)
}

/// Requests to read a setting of a bucket.
fn read_row(operation: Operation) -> Option<(Request, &'static [&'static str])> {
    use Operation as O;
    Some(match operation {
        O::GetBucketAbac => (read("abac"), &["s3:GetBucketAbac"]),
        O::GetBucketAccelerateConfiguration => (read("accelerate"), &["s3:GetAccelerateConfiguration"]),
        O::GetBucketAcl => (read("acl"), &["s3:GetBucketAcl"]),
        O::GetBucketCors => (read("cors"), &["s3:GetBucketCORS"]),
        O::GetBucketEncryption => (read("encryption"), &["s3:GetEncryptionConfiguration"]),
        O::GetBucketLifecycleConfiguration => (read("lifecycle"), &["s3:GetLifecycleConfiguration"]),
        O::GetBucketLocation => (read("location"), &["s3:GetBucketLocation"]),
        O::GetBucketLogging => (read("logging"), &["s3:GetBucketLogging"]),
        O::GetBucketNotificationConfiguration => (read("notification"), &["s3:GetBucketNotification"]),
        O::GetBucketOwnershipControls => (read("ownershipControls"), &["s3:GetBucketOwnershipControls"]),
        O::GetBucketPolicy => (read("policy"), &["s3:GetBucketPolicy"]),
        O::GetBucketPolicyStatus => (read("policyStatus"), &["s3:GetBucketPolicyStatus"]),
        O::GetBucketReplication => (read("replication"), &["s3:GetReplicationConfiguration"]),
        O::GetBucketRequestPayment => (read("requestPayment"), &["s3:GetBucketRequestPayment"]),
        O::GetBucketTagging => (read("tagging"), &["s3:GetBucketTagging"]),
        O::GetBucketVersioning => (read("versioning"), &["s3:GetBucketVersioning"]),
        O::GetBucketWebsite => (read("website"), &["s3:GetBucketWebsite"]),
        O::GetObjectLockConfiguration => (read("object-lock"), &["s3:GetBucketObjectLockConfiguration"]),
        O::GetPublicAccessBlock => (read("publicAccessBlock"), &["s3:GetBucketPublicAccessBlock"]),
        O::HeadBucket => (Request::new("HEAD", "/victim"), &["s3:ListBucket"]),
        O::ListBuckets => (Request::new("GET", "/"), &["s3:ListAllMyBuckets"]),
        O::ListMultipartUploads => (read("uploads"), &["s3:ListBucketMultipartUploads"]),
        O::ListObjectVersions => (read("versions"), &["s3:ListBucketVersions"]),
        O::ListObjects => (Request::new("GET", "/victim"), &["s3:ListBucket"]),
        O::ListObjectsV2 => (read("list-type=2"), &["s3:ListBucket"]),
        _ => return None,
    })
}

/// Requests about a bucket.
fn bucket_row(operation: Operation) -> Option<(Request, &'static [&'static str])> {
    use Operation as O;
    if let Some(found) = read_row(operation) {
        return Some(found);
    }
    Some(match operation {
        O::CreateBucket => (Request::new("PUT", &format!("/{NEW_BUCKET}")), &["s3:CreateBucket"]),
        O::DeleteBucket => (Request::new("DELETE", "/victim"), &["s3:DeleteBucket"]),
        O::DeleteBucketCors => (remove("cors"), &["s3:PutBucketCORS"]),
        O::DeleteBucketEncryption => (remove("encryption"), &["s3:PutEncryptionConfiguration"]),
        O::DeleteBucketLifecycle => (remove("lifecycle"), &["s3:PutLifecycleConfiguration"]),
        O::DeleteBucketOwnershipControls => (remove("ownershipControls"), &["s3:PutBucketOwnershipControls"]),
        O::DeleteBucketPolicy => (remove("policy"), &["s3:DeleteBucketPolicy"]),
        O::DeleteBucketTagging => (remove("tagging"), &["s3:PutBucketTagging"]),
        O::DeleteBucketWebsite => (remove("website"), &["s3:DeleteBucketWebsite"]),
        O::DeletePublicAccessBlock => (remove("publicAccessBlock"), &["s3:PutBucketPublicAccessBlock"]),
        O::DeleteObjects => (
            Request::new("POST", "/victim?delete").document("<Delete><Object><Key>key</Key></Object></Delete>"),
            &["s3:DeleteObject"],
        ),
        O::PutBucketAbac => {
            (write("abac", "<AbacStatus><Status>Disabled</Status></AbacStatus>"), &["s3:PutBucketAbac"])
        }
        O::PutBucketAccelerateConfiguration => (
            write("accelerate", "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>"),
            &["s3:PutAccelerateConfiguration"],
        ),
        O::PutBucketAcl => (Request::new("PUT", "/victim?acl").header("x-amz-acl", "private"), &["s3:PutBucketAcl"]),
        O::PutBucketCors => (write("cors", CORS), &["s3:PutBucketCORS"]),
        O::PutBucketEncryption => (write("encryption", ENCRYPTION), &["s3:PutEncryptionConfiguration"]),
        O::PutBucketLifecycleConfiguration => (write("lifecycle", LIFECYCLE), &["s3:PutLifecycleConfiguration"]),
        O::PutBucketLogging => (write("logging", "<BucketLoggingStatus/>"), &["s3:PutBucketLogging"]),
        O::PutBucketNotificationConfiguration => {
            (write("notification", "<NotificationConfiguration/>"), &["s3:PutBucketNotification"])
        }
        O::PutBucketOwnershipControls => (write("ownershipControls", OWNERSHIP), &["s3:PutBucketOwnershipControls"]),
        O::PutBucketPolicy => (write("policy", POLICY), &["s3:PutBucketPolicy"]),
        O::PutBucketRequestPayment => (
            write(
                "requestPayment",
                "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
            ),
            &["s3:PutBucketRequestPayment"],
        ),
        O::PutBucketTagging => (write("tagging", TAGGING), &["s3:PutBucketTagging"]),
        O::PutBucketVersioning => (
            write("versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
            &["s3:PutBucketVersioning"],
        ),
        O::PutBucketWebsite => (write("website", WEBSITE), &["s3:PutBucketWebsite"]),
        O::PutObjectLockConfiguration => (
            write(
                "object-lock",
                "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
            ),
            &["s3:PutBucketObjectLockConfiguration"],
        ),
        O::PutPublicAccessBlock => (
            write(
                "publicAccessBlock",
                "<PublicAccessBlockConfiguration><BlockPublicAcls>false</BlockPublicAcls></PublicAccessBlockConfiguration>",
            ),
            &["s3:PutBucketPublicAccessBlock"],
        ),
        _ => return None,
    })
}

/// Requests about an object.
fn object_row(operation: Operation, names: &Names) -> (Request, &'static [&'static str]) {
    use Operation as O;
    let key = |method: &str, sub_resource: &str| Request::new(method, &format!("/{BUCKET}/key{sub_resource}"));
    let upload = |method: &str, more: &str| {
        Request::new(method, &format!("/{BUCKET}/upload?uploadId={}{more}", names.upload_id))
    };
    let part = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        names.part_etag
    );
    match operation {
        O::AbortMultipartUpload => (upload("DELETE", ""), &["s3:AbortMultipartUpload"]),
        O::CompleteMultipartUpload => (upload("POST", "").body(&part), &["s3:PutObject"]),
        O::CopyObject => (
            Request::new("PUT", "/victim/copy").header("x-amz-copy-source", "/victim/key"),
            &["s3:PutObject", "s3:GetObject"],
        ),
        O::CreateMultipartUpload => (Request::new("POST", "/victim/another?uploads"), &["s3:PutObject"]),
        O::DeleteObject => (key("DELETE", ""), &["s3:DeleteObject"]),
        O::DeleteObjectTagging => (key("DELETE", "?tagging"), &["s3:DeleteObjectTagging"]),
        O::GetObject => (key("GET", ""), &["s3:GetObject"]),
        O::GetObjectAcl => (key("GET", "?acl"), &["s3:GetObjectAcl"]),
        O::GetObjectAttributes => {
            (key("GET", "?attributes").header("x-amz-object-attributes", "ETag"), &["s3:GetObjectAttributes"])
        }
        O::GetObjectLegalHold => (key("GET", "?legal-hold"), &["s3:GetObjectLegalHold"]),
        O::GetObjectRetention => (key("GET", "?retention"), &["s3:GetObjectRetention"]),
        O::GetObjectTagging => (key("GET", "?tagging"), &["s3:GetObjectTagging"]),
        O::HeadObject => (key("HEAD", ""), &["s3:GetObject"]),
        O::ListParts => (upload("GET", ""), &["s3:ListMultipartUploadParts"]),
        O::PutObject => (Request::new("PUT", "/victim/new").body("content"), &["s3:PutObject"]),
        O::PutObjectAcl => (key("PUT", "?acl").header("x-amz-acl", "private"), &["s3:PutObjectAcl"]),
        O::PutObjectLegalHold => (
            key("PUT", "?legal-hold").document("<LegalHold><Status>ON</Status></LegalHold>"),
            &["s3:PutObjectLegalHold"],
        ),
        O::PutObjectRetention => (
            key("PUT", "?retention").document(
                "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>",
            ),
            &["s3:PutObjectRetention"],
        ),
        O::PutObjectTagging => (key("PUT", "?tagging").document(TAGGING), &["s3:PutObjectTagging"]),
        O::RenameObject => (
            Request::new("PUT", "/victim/renamed?renameObject").header("x-amz-rename-source", "key"),
            &["s3:PutObject", "s3:GetObject", "s3:DeleteObject"],
        ),
        O::RestoreObject => {
            (key("POST", "?restore").document("<RestoreRequest><Days>1</Days></RestoreRequest>"), &["s3:RestoreObject"])
        }
        O::UploadPart => (upload("PUT", "&partNumber=2").body("another part"), &["s3:PutObject"]),
        O::UploadPartCopy => (
            upload("PUT", "&partNumber=3").header("x-amz-copy-source", "/victim/key"),
            &["s3:PutObject", "s3:GetObject"],
        ),
        other => panic!("{other:?} has no row in the matrix: add one"),
    }
}

const CORS: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>https://evil.example</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
    <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>evil</ID><Filter><Prefix>nothing/</Prefix></Filter>\
    <Status>Enabled</Status><Expiration><Days>3000</Days></Expiration></Rule></LifecycleConfiguration>";
const OWNERSHIP: &str =
    "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject",
    "Resource":"arn:aws:s3:::victim/nothing"}]}"#;
const TAGGING: &str = "<Tagging><TagSet><Tag><Key>evil</Key><Value>yes</Value></Tag></TagSet></Tagging>";
const WEBSITE: &str =
    "<WebsiteConfiguration><IndexDocument><Suffix>evil.html</Suffix></IndexDocument></WebsiteConfiguration>";
