//! Session tokens: what opens them, and what a session is afterwards.

use std::sync::Arc;
use std::time::Duration;

use karri_iam_policy::{Context, PrincipalKind, Request, evaluate};
use karri_objstore_gateway::CredentialRefusal;
use karri_ring_types::{ClusterKey, ManualClock, SeededRng, Timestamp};

use super::{AuthorizationMessages, Grant, Issued, Sessions, Who};
use crate::model::{AccountRecord, Grants, Role, User};
use crate::seal::Sealer;
use crate::state::row;
use crate::view::View;

const ACCOUNT: &str = "123456789012";
const NOW: u64 = 1_700_000_000;

struct World {
    view: Arc<View>,
    clock: Arc<ManualClock>,
    key: ClusterKey,
    sessions: Arc<Sessions>,
}

fn grants(document: &str) -> Grants {
    Grants { inline: [("p".to_owned(), document.to_owned())].into(), ..Grants::default() }
}

const READS: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}"#;

fn role() -> Role {
    Role {
        name: "Reader".to_owned(),
        id: "AROAREADER".to_owned(),
        path: "/".to_owned(),
        created: Timestamp(0),
        tags: vec![("team".to_owned(), "red".to_owned()), ("stage".to_owned(), "prod".to_owned())],
        grants: grants(READS),
        trust: String::new(),
        description: None,
        session_seconds_max: 3600,
    }
}

fn user() -> User {
    User {
        name: "ada".to_owned(),
        id: "AIDAADA".to_owned(),
        path: "/".to_owned(),
        created: Timestamp(0),
        tags: Vec::new(),
        grants: grants(READS),
        groups: Vec::new(),
        secrets: crate::model::SecretsOfUser::default(),
    }
}

impl World {
    fn new() -> Self {
        let rng = SeededRng::new(7);
        let key = ClusterKey::generate(&rng);
        let view = View::new(Sealer::new(&key));
        let account = AccountRecord {
            id: ACCOUNT.to_owned(),
            canonical_id: "ab".repeat(32),
            alias: Some("blue".to_owned()),
            email: None,
            created: Timestamp(0),
            root: crate::model::SecretsOfUser::default(),
            password_policy: None,
            policies: std::collections::BTreeMap::new(),
            report: None,
        };
        let rows = [row(ACCOUNT, &account), row(ACCOUNT, &role()), row(ACCOUNT, &user())];
        let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
        view.apply(&rows, 1, true).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(NOW * 1000)));
        let sessions = Sessions::new(&key, view.clone(), clock.clone(), Arc::new(SeededRng::new(8)));
        Self { view, clock, key, sessions }
    }

    fn issue(&self, who: Who, change: impl FnOnce(&mut Grant)) -> Issued {
        let mut grant = Grant {
            account_id: ACCOUNT.to_owned(),
            who,
            issued_at_seconds: NOW,
            expires_at_seconds: NOW + 900,
            mfa_at_seconds: None,
            policies: Vec::new(),
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
            source_identity: None,
            claims: Vec::new(),
        };
        change(&mut grant);
        self.sessions.issue(grant)
    }

    fn refusal(&self, access_key: &str, token: &str) -> CredentialRefusal {
        self.sessions.open(access_key, token).expect_err("a refusal")
    }

    fn may(&self, issued: &Issued, action: &str) -> bool {
        let credential = self.sessions.open(&issued.access_key, &issued.token).expect("a session");
        let principal = &credential.principal.identity;
        let now = i64::try_from(self.clock_seconds()).unwrap();
        let context = Context::new(now);
        let (resource, resource_account) = ("arn:aws:s3:::b/k", ACCOUNT);
        let request = Request { principal, action, resource, resource_account, context: &context };
        evaluate(&request, &self.view.policies(principal), None).is_allowed()
    }

    fn clock_seconds(&self) -> u64 {
        karri_ring_types::Clock::now(&*self.clock).as_secs()
    }
}

fn as_role() -> Who {
    Who::Role { id: "AROAREADER".to_owned(), session: "me".to_owned() }
}

#[test]
fn a_token_opens_with_its_key_on_every_node_until_it_ends() {
    let world = World::new();
    let issued = world.issue(as_role(), |_| {});
    assert!(issued.access_key.starts_with("ASIA"));
    let credential = world.sessions.open(&issued.access_key, &issued.token).unwrap();
    assert_eq!(credential.secret_key.reveal(), issued.secret_key);
    assert_eq!(credential.principal.arn, "arn:aws:sts::123456789012:assumed-role/Reader/me");
    assert_eq!(credential.principal.display_name, "blue");
    let other_node = Sessions::new(&world.key, world.view.clone(), world.clock.clone(), Arc::new(SeededRng::new(9)));
    assert!(other_node.open(&issued.access_key, &issued.token).is_ok());
    let other_cluster = ClusterKey::generate(&SeededRng::new(99));
    let other = Sessions::new(&other_cluster, world.view.clone(), world.clock.clone(), Arc::new(SeededRng::new(9)));
    assert_eq!(other.open(&issued.access_key, &issued.token).unwrap_err(), CredentialRefusal::InvalidToken);
    world.clock.advance(Duration::from_secs(899));
    assert!(world.sessions.open(&issued.access_key, &issued.token).is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.refusal(&issued.access_key, &issued.token), CredentialRefusal::ExpiredToken);
    assert_eq!(other_node.open(&issued.access_key, &issued.token).unwrap_err(), CredentialRefusal::ExpiredToken);
}

#[test]
fn no_changed_token_opens_and_none_for_another_key() {
    let world = World::new();
    let issued = world.issue(as_role(), |_| {});
    let second = world.issue(as_role(), |_| {});
    assert_eq!(world.refusal(&second.access_key, &issued.token), CredentialRefusal::InvalidToken);
    assert!(world.sessions.open(&issued.access_key, &issued.token).is_ok(), "remembered now");
    assert_eq!(world.refusal(&second.access_key, &issued.token), CredentialRefusal::InvalidToken);
    for at in 0..issued.token.len() {
        let mut bytes = issued.token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(world.refusal(&issued.access_key, &changed), CredentialRefusal::InvalidToken, "byte {at}");
    }
    for token in ["", "AQ==", "%", &"A".repeat(100_000)] {
        assert_eq!(world.refusal(&issued.access_key, token), CredentialRefusal::InvalidToken);
    }
    assert!(!issued.token.contains(&issued.secret_key));
}

#[test]
fn a_session_does_what_its_role_and_its_own_policies_allow() {
    let world = World::new();
    let plain = world.issue(as_role(), |_| {});
    assert!(world.may(&plain, "s3:GetObject") && !world.may(&plain, "s3:PutObject"));
    let writes = READS.replace("s3:Get*", "s3:Put*");
    let limited = world.issue(as_role(), |grant| grant.policies = vec![writes]);
    assert!(!world.may(&limited, "s3:GetObject") && !world.may(&limited, "s3:PutObject"));
    let missing = world.issue(as_role(), |grant| grant.policy_arns = vec!["arn:aws:iam::1:policy/gone".to_owned()]);
    assert!(!world.may(&missing, "s3:GetObject"), "a policy that is gone allows nothing");

    let by = Some("AIDAADA".to_owned());
    let federated = || Who::Federated { name: "bob".to_owned(), by: by.clone() };
    let without = world.issue(federated(), |_| {});
    assert!(!world.may(&without, "s3:GetObject"));
    let with = world.issue(federated(), |grant| grant.policies = vec![READS.replace("s3:Get*", "s3:*")]);
    assert!(world.may(&with, "s3:GetObject") && !world.may(&with, "s3:PutObject"));
    let of_root = Who::Federated { name: "bob".to_owned(), by: None };
    let of_root = world.issue(of_root, |grant| grant.policies = vec![READS.replace("s3:Get*", "s3:Put*")]);
    assert!(world.may(&of_root, "s3:PutObject") && !world.may(&of_root, "s3:GetObject"));
    let of_user = world.issue(Who::User("AIDAADA".to_owned()), |_| {});
    assert!(world.may(&of_user, "s3:GetObject") && !world.may(&of_user, "s3:PutObject"));
}

#[test]
fn tags_of_the_session_stand_before_those_of_the_role() {
    let world = World::new();
    let issued = world.issue(as_role(), |grant| grant.tags = vec![("Team".to_owned(), "green".to_owned())]);
    let principal = world.sessions.open(&issued.access_key, &issued.token).unwrap().principal.identity;
    let tag = |key: &str| principal.tags.iter().filter(|(known, _)| known.eq_ignore_ascii_case(key)).count();
    assert_eq!((tag("team"), tag("stage")), (1, 1));
    assert!(principal.tags.contains(&("Team".to_owned(), "green".to_owned())));
    assert!(matches!(&principal.kind, PrincipalKind::AssumedRole { role_name, .. } if role_name == "Reader"));
}

#[test]
fn a_policy_of_the_role_revokes_sessions_and_a_deleted_role_ends_them() {
    let world = World::new();
    let issued = world.issue(as_role(), |_| {});
    assert!(world.may(&issued, "s3:GetObject"));
    let revoke = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":
        {"DateLessThan":{"aws:TokenIssueTime":"2023-11-14T22:13:21Z"}}}}"#;
    let mut revoked = role();
    revoked.grants.inline.insert("revoke".to_owned(), revoke.to_owned());
    let change = |role: Option<Role>, version: u64| {
        let (key, value) = row(ACCOUNT, &role.clone().unwrap_or_else(self::role));
        let count = crate::messages::encode(&version);
        let version_key = crate::state::row_key(ACCOUNT, crate::evaluator::VERSION_KIND, "");
        world.view.apply(&[(key, role.map(|_| value)), (version_key, Some(count))], version + 1, false).unwrap();
    };
    change(Some(revoked), 1);
    assert!(!world.may(&issued, "s3:GetObject"), "issued at {NOW}, a second before the limit");
    let later = world.issue(as_role(), |grant| grant.issued_at_seconds = NOW + 1);
    assert!(world.may(&later, "s3:GetObject"));
    change(None, 2);
    assert_eq!(world.refusal(&later.access_key, &later.token), CredentialRefusal::UnknownKey);
}

#[test]
fn messages_are_decoded_for_their_account_alone() {
    let rng = SeededRng::new(3);
    let messages = AuthorizationMessages::new(&ClusterKey::generate(&rng));
    let encoded = messages.encode(&rng, ACCOUNT, r#"{"allowed":false}"#);
    assert!(!encoded.contains("allowed"));
    assert_eq!(messages.decode(ACCOUNT, &encoded).as_deref(), Some(r#"{"allowed":false}"#));
    assert_eq!(messages.decode("000000000000", &encoded), None);
    assert_eq!(messages.decode(ACCOUNT, "garbage"), None);
}
