//! A node with something to lose, those who may and those who may not, and a fingerprint of what must not change.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use karri_tests_cluster::{Answer, Cluster, ClusterOptions, S3Client};
use sha2::{Digest as _, Sha256};

use crate::request::{Request, Sent};
use crate::rows::{BUCKET, Names};
use crate::sign::{Keys, Kind, Signer, encode};

/// Bound of requests in flight.
const IN_FLIGHT: usize = 8;

/// A policy that allows everything.
pub const ALLOW_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const DENY_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
    {"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// A node under attack.
pub struct Stage {
    /// The process.
    pub cluster: Cluster,
    /// Its address.
    pub host: String,
    client: S3Client,
    /// The owner of everything.
    pub root: Keys,
    /// A user of the owner's account who may do everything.
    pub friend: Keys,
    /// A user of the owner's account with an explicit deny.
    pub denied: Keys,
    /// A user of the owner's account whom no policy allows anything.
    pub nobody: Keys,
    /// The root user of another account.
    pub stranger: Keys,
    /// A session of a role that may do everything.
    pub session: Keys,
    /// What the rows name.
    pub names: Names,
}

impl Stage {
    /// Starts a node and fills it.
    pub async fn start() -> Result<Self> {
        Self::start_in(Vec::new()).await
    }

    /// As [`Stage::start`], with variables of the node's environment.
    pub async fn start_in(environment: Vec<(String, String)>) -> Result<Self> {
        Self::start_with(environment, "").await
    }

    /// As [`Stage::start`], with more lines in the `[s3]` table of the node's configuration.
    pub async fn start_configured(s3_configuration: &str) -> Result<Self> {
        Self::start_with(Vec::new(), s3_configuration).await
    }

    async fn start_with(environment: Vec<(String, String)>, s3_configuration: &str) -> Result<Self> {
        let s3_configuration = format!("sigv2 = true\n{s3_configuration}");
        let options = ClusterOptions { s3_configuration, environment, ..ClusterOptions::default() };
        let cluster = Cluster::start_with(1, options).await?;
        let (host, client) = (cluster.host(0), cluster.client(0));
        let given = cluster.credentials();
        let root = Keys { access_key: given.access_key.clone(), secret_key: given.secret_key.clone(), token: None };
        let names = Names { upload_id: String::new(), part_etag: String::new(), version: String::new() };
        let nobody = root.clone();
        let mut stage = Self {
            cluster,
            host,
            client,
            friend: nobody.clone(),
            denied: nobody.clone(),
            stranger: nobody.clone(),
            session: nobody.clone(),
            nobody,
            root,
            names,
        };
        stage.make_people().await?;
        stage.make_bucket().await?;
        Ok(stage)
    }

    async fn make_people(&mut self) -> Result<()> {
        self.friend = self.user("friend", Some(ALLOW_ALL)).await?;
        self.denied = self.user("denied", Some(DENY_ALL)).await?;
        self.nobody = self.user("nobody", None).await?;
        self.iam(&[("Action", "CreateAccount"), ("AccountName", "stranger")]).await?;
        let made = self.iam(&[("Action", "CreateAccessKey"), ("DelegateAccount", "stranger")]).await?;
        self.stranger = keys_of(&made)?;
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{"AWS":"*"}}]}"#;
        let role = [("Action", "CreateRole"), ("RoleName", "all"), ("AssumeRolePolicyDocument", trust)];
        self.iam(&role).await?;
        self.iam(&[
            ("Action", "PutRolePolicy"),
            ("RoleName", "all"),
            ("PolicyName", "p"),
            ("PolicyDocument", ALLOW_ALL),
        ])
        .await?;
        self.session = self.assume(None).await?;
        Ok(())
    }

    /// A user with a policy and keys.
    pub async fn user(&self, name: &str, policy: Option<&str>) -> Result<Keys> {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await?;
        if let Some(policy) = policy {
            let put =
                [("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "p"), ("PolicyDocument", policy)];
            self.iam(&put).await?;
        }
        keys_of(&self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await?)
    }

    /// A session of the role that may do everything, limited by `policy`.
    pub async fn assume(&self, policy: Option<&str>) -> Result<Keys> {
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws:iam::000000000000:role/all"),
            ("RoleSessionName", "shift"),
        ];
        form.extend(policy.map(|policy| ("Policy", policy)));
        let request = form_request("2011-06-15", &form);
        let signed = Signer::new(&self.friend, Kind::Header).service("sts").sign(&request, &self.host);
        keys_of(&self.send(&signed).await?.expect(200)?)
    }

    /// A call of IAM as root, which must succeed.
    pub async fn iam(&self, form: &[(&str, &str)]) -> Result<Answer> {
        let request = form_request("2010-05-08", form);
        let signed = Signer::new(&self.root, Kind::Header).service("iam").sign(&request, &self.host);
        self.send(&signed).await?.expect(200).with_context(|| format!("{form:?}"))
    }

    async fn make_bucket(&mut self) -> Result<()> {
        let make = Request::new("PUT", &format!("/{BUCKET}")).header("x-amz-bucket-object-lock-enabled", "true");
        self.good(&make).await?;
        let first = self.good(&Request::new("PUT", "/victim/key").body("first")).await?;
        self.names.version = first.header("x-amz-version-id").to_owned();
        self.good(&Request::new("PUT", "/victim/key").header("x-amz-tagging", "a=b").body("second")).await?;
        let labelled = Request::new("PUT", "/victim/labelled").header("x-amz-tagging", "secret=project");
        self.good(&labelled.body("labelled")).await?;
        self.good(&Request::new("PUT", "/victim/large").body(&"x".repeat(100_000))).await?;
        let uploaded = self.good(&Request::new("POST", "/victim/upload?uploads")).await?;
        self.names.upload_id = uploaded.tag("UploadId");
        let part = format!("/victim/upload?partNumber=1&uploadId={}", self.names.upload_id);
        self.names.part_etag = self.good(&Request::new("PUT", &part).body("part")).await?.header("etag").to_owned();
        let tags = "<Tagging><TagSet><Tag><Key>owner</Key><Value>root</Value></Tag></TagSet></Tagging>";
        self.good(&Request::new("PUT", "/victim?tagging").document(tags)).await?;
        let own_acls =
            "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>";
        self.good(&Request::new("PUT", "/victim?ownershipControls").document(own_acls)).await?;
        let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>https://a.example</AllowedOrigin>\
            <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
        self.good(&Request::new("PUT", "/victim?cors").document(cors)).await?;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::victim/secret/*"}]}"#;
        self.good(&Request::new("PUT", "/victim?policy").document(policy)).await?;
        Ok(())
    }

    /// Puts back the object that the rows are about, which some of them delete.
    pub async fn restore(&self) -> Result<()> {
        self.good(&Request::new("PUT", "/victim/key").body("again")).await.map(drop)
    }

    /// Sends what root signed, which must succeed.
    pub async fn good(&self, request: &Request) -> Result<Answer> {
        let answer = self.send(&Signer::new(&self.root, Kind::Header).sign(request, &self.host)).await?;
        ensure!(answer.status < 300, "{request:?}: {} {}", answer.status, text(&answer));
        Ok(answer)
    }

    /// Sends a request as it is.
    pub async fn send(&self, sent: &Sent) -> Result<Answer> {
        let body = Bytes::from(sent.body.clone());
        self.client.send_raw(&sent.method, &sent.target, &sent.headers, body).await
    }

    /// Sends many, several at once; the answers are in their order.
    pub async fn send_all(&self, requests: &[Sent]) -> Result<Vec<Answer>> {
        let sent = futures::stream::iter(requests).map(|request| self.send(request)).buffered(IN_FLIGHT);
        sent.collect::<Vec<_>>().await.into_iter().collect()
    }

    /// What S3 holds: buckets, versions with their bodies, uploads, and every setting of the bucket.
    pub async fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        let settings = [
            "abac",
            "accelerate",
            "acl",
            "cors",
            "encryption",
            "lifecycle",
            "logging",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "requestPayment",
            "tagging",
            "versioning",
            "website",
            "uploads",
            "versions",
        ];
        let mut targets: Vec<String> = settings.iter().map(|setting| format!("/{BUCKET}?{setting}")).collect();
        targets.push("/".to_owned());
        targets.push(format!("/victim/upload?uploadId={}", self.names.upload_id));
        targets.push(format!("/victim/key?versionId={}", self.names.version));
        for key in ["key", "large"] {
            for sub_resource in ["", "?tagging", "?acl", "?retention", "?legal-hold"] {
                targets.push(format!("/victim/{key}{sub_resource}"));
            }
        }
        let signer = Signer::new(&self.root, Kind::Header);
        let sent: Vec<Sent> =
            targets.iter().map(|target| signer.sign(&Request::new("GET", target), &self.host)).collect();
        let answers = self.send_all(&sent).await?;
        Ok(targets.into_iter().zip(answers.iter().map(stable)).collect())
    }

    /// What IAM holds.
    pub async fn identities(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for action in [
            "GetAccountAuthorizationDetails",
            "GetAccountSummary",
            "ListAccounts",
            "ListAccountAliases",
            "ListGroups",
            "ListInstanceProfiles",
            "ListOpenIDConnectProviders",
            "ListPolicies",
            "ListRoles",
            "ListServerCertificates",
            "ListUsers",
            "ListVirtualMFADevices",
        ] {
            let form = [("Action", action), ("Scope", "Local")];
            found.insert(action.to_owned(), stable(&self.iam(&form).await?));
        }
        for user in ["friend", "denied", "nobody"] {
            for action in ["ListAccessKeys", "ListMFADevices", "ListSigningCertificates", "ListUserTags"] {
                let answer = self.iam(&[("Action", action), ("UserName", user)]).await?;
                found.insert(format!("{action} {user}"), stable(&answer));
            }
        }
        Ok(found)
    }
}

/// A query request: a form in the body.
pub fn form_request(version: &str, form: &[(&str, &str)]) -> Request {
    let pairs = [("Version", version)];
    let pairs = pairs.iter().chain(form).map(|(name, value)| format!("{name}={}", encode(value, false)));
    let body = pairs.collect::<Vec<_>>().join("&");
    Request::new("POST", "/").header("content-type", "application/x-www-form-urlencoded").body(&body)
}

fn keys_of(answer: &Answer) -> Result<Keys> {
    let secret_key = answer.tag("SecretAccessKey");
    ensure!(!secret_key.is_empty(), "no keys in {}", text(answer));
    let token = Some(answer.tag("SessionToken")).filter(|token| !token.is_empty());
    Ok(Keys { access_key: answer.tag("AccessKeyId"), secret_key, token })
}

/// The beginning of an answer's body, for people.
pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body[..answer.body.len().min(400)]).into_owned()
}

/// Status, ETag and body, without what is another in each answer.
fn stable(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let mut kept = body.into_owned();
    for tag in ["RequestId", "HostId", "PasswordLastUsed", "LastUsedDate"] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        while let (Some(from), Some(to)) = (kept.find(&open), kept.find(&close)) {
            kept.replace_range(from..to + close.len(), "");
        }
    }
    if kept.len() > 4000 {
        kept = hex::encode(Sha256::digest(kept.as_bytes()));
    }
    format!("{} {} {kept}", answer.status, answer.header("etag"))
}

/// How an answer was: status and code.
pub fn told(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.tag("Code"))
}

/// What is not as it was.
pub fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let changed = before.iter().filter(|(name, value)| after.get(*name) != Some(value));
    changed.map(|(name, value)| format!("{name}: {value} is now {:?}", after.get(name))).collect()
}
