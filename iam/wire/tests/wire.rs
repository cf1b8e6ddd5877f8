//! The wire layer seen from outside: forms in, documents out. `golden/*.xml` holds the documents.

use karri_iam_wire::iam::types::{
    AccessKey, Account, CreateAccessKeyOutput, CreateUserOutput, GetAccountSummaryOutput, ListAccountsOutput,
    ListUsersOutput, StatusType, Tag, User,
};
use karri_iam_wire::sts::types::{AssumeRoleOutput, AssumedRoleUser, Credentials};
use karri_iam_wire::{Form, Sensitive, Timestamp, WireError, iam, sts};
use proptest::prelude::{Strategy, any, prop, proptest};

const AT: Timestamp = Timestamp::from_millis(1_255_369_830_123);
const ID: &str = "17A5B2F0C3D4E6F7";

fn form(text: &str) -> Form {
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let pairs: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Form::parse(&pairs).expect("a form")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, WireError>) -> (u16, String, String) {
    let error = result.expect_err("a refusal");
    (error.status, error.code.to_owned(), error.message)
}

macro_rules! golden {
    ($document:expr, $file:literal) => {
        let document = $document;
        assert_eq!(String::from_utf8_lossy(&document), include_str!(concat!("golden/", $file)).trim_end());
    };
}

fn user(tags: Vec<Tag>) -> User {
    User {
        path: "/".to_owned(),
        user_name: "ada <&>".to_owned(),
        user_id: "AIDAEXAMPLE".to_owned(),
        arn: "arn:aws:iam::000000000000:user/ada".to_owned(),
        create_date: AT,
        password_last_used: None,
        permissions_boundary: None,
        tags,
    }
}

#[test]
fn documents() {
    let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
    let output = CreateUserOutput { user: Some(user(vec![tag("team", "a"), tag("é", "")])) };
    golden!(iam::write_create_user(&output, ID), "create_user.xml");
    let output =
        ListUsersOutput { users: vec![user(Vec::new())], is_truncated: Some(true), marker: Some("m".to_owned()) };
    golden!(iam::write_list_users(&output, ID), "list_users.xml");
    golden!(iam::write_list_users(&ListUsersOutput::default(), ID), "list_users_empty.xml");
    golden!(iam::write_delete_user(&iam::types::DeleteUserOutput {}, ID), "delete_user.xml");
    let summary = GetAccountSummaryOutput {
        summary_map: vec![("Users".to_owned(), 3), ("AccessKeysPerUserQuota".to_owned(), 2)],
    };
    golden!(iam::write_get_account_summary(&summary, ID), "get_account_summary.xml");
    let key = AccessKey {
        user_name: "ada".to_owned(),
        access_key_id: "AKIAEXAMPLE".to_owned(),
        status: StatusType::Active,
        secret_access_key: Sensitive::new("s/e+c=ret".to_owned()),
        create_date: Some(AT),
    };
    golden!(iam::write_create_access_key(&CreateAccessKeyOutput { access_key: key }, ID), "create_access_key.xml");
    let account = Account {
        account_name: "blue".to_owned(),
        account_id: "000000000001".to_owned(),
        canonical_id: "75aa".to_owned(),
        arn: "arn:aws:iam::000000000001:root".to_owned(),
        email: None,
        create_date: AT,
    };
    let output = ListAccountsOutput { accounts: vec![account], ..Default::default() };
    golden!(iam::write_list_accounts(&output, ID), "list_accounts.xml");
    let output = AssumeRoleOutput {
        credentials: Some(Credentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: Sensitive::new("secret".to_owned()),
            session_token: "token".to_owned(),
            expiration: AT,
        }),
        assumed_role_user: Some(AssumedRoleUser {
            assumed_role_id: "AROAEXAMPLE:s".to_owned(),
            arn: "arn:aws:sts::000000000000:assumed-role/r/s".to_owned(),
        }),
        packed_policy_size: Some(6),
        source_identity: None,
    };
    golden!(sts::write_assume_role(&output, ID), "assume_role.xml");
    let refusal = iam::ErrorCode::NoSuchEntity.with("The user with name a<b cannot be found.");
    golden!(refusal.to_xml(iam::XMLNS, ID), "error.xml");
}

#[test]
fn an_action_of_a_version_finds_its_operation() {
    for operation in iam::Operation::ALL {
        let form = form(&format!("Action={}&Version=2010-05-08", operation.as_str()));
        assert_eq!(iam::route(&form).as_ref(), Ok(operation));
    }
    let invalid = |text: &str| refusal(iam::route(&form(text)));
    let expected = |message: &str| (400, "InvalidAction".to_owned(), message.to_owned());
    for action in ["CreateSAMLProvider", "createuser", "AssumeRole", ""] {
        let (status, code, _) = invalid(&format!("Action={action}&Version=2010-05-08"));
        assert_eq!(status, 400, "{action}");
        assert_eq!(code, if action.is_empty() { "MissingAction" } else { "InvalidAction" });
    }
    assert_eq!(
        invalid("Action=Foo&Version=2010-05-08"),
        expected("Could not find operation Foo for version 2010-05-08")
    );
    assert_eq!(
        invalid("Action=CreateUser"),
        expected("Could not find operation CreateUser for version NO_VERSION_SPECIFIED")
    );
    assert_eq!(invalid("Action=CreateUser&Version=2011-06-15").1, "InvalidAction");
    assert!(sts::route(&form("Action=GetCallerIdentity&Version=2011-06-15")).is_ok());
}

#[test]
fn inputs_are_read_from_their_parameters() {
    let input = iam::parse_create_user(&form(
        "UserName=ada&Path=/x/&Tags.member.10.Key=c&Tags.member.10.Value=3&Tags.member.2.Key=b&Tags.member.2.Value=",
    ));
    let input = input.expect("an input");
    assert_eq!((input.user_name.as_str(), input.path.as_deref()), ("ada", Some("/x/")));
    let tags: Vec<_> = input.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect();
    assert_eq!(tags, [("b", ""), ("c", "3")], "in the order of the numbers");

    let input = iam::parse_untag_user(&form("UserName=ada&TagKeys.member.1=a&TagKeys.member.2=b")).expect("an input");
    assert_eq!(input.tag_keys, ["a", "b"]);
    let input = iam::parse_update_account_password_policy(&form("RequireSymbols=true&MinimumPasswordLength=9"));
    let input = input.expect("an input");
    assert_eq!((input.require_symbols, input.minimum_password_length), (Some(true), Some(9)));
    let input = sts::parse_assume_role(&form(
        "RoleArn=arn:aws:iam::000000000000:role/r&RoleSessionName=me&DurationSeconds=900&\
         PolicyArns.member.1.arn=arn:aws:iam::aws:policy/ReadOnlyAccess&TransitiveTagKeys.member.1=k",
    ));
    let input = input.expect("an input");
    assert_eq!((input.duration_seconds, input.policy_arns.len()), (Some(900), 1));
    let input = iam::parse_simulate_custom_policy(&form(
        "PolicyInputList.member.1={}&ActionNames.member.1=s3:GetObject&ContextEntries.member.1.ContextKeyName=aws:SourceIp&\
         ContextEntries.member.1.ContextKeyValues.member.1=10.0.0.1&ContextEntries.member.1.ContextKeyType=ip",
    ));
    assert_eq!(input.expect("an input").context_entries[0].context_key_values, ["10.0.0.1"]);
    let delete = iam::parse_delete_account(&form("AccountName=blue&Recursive=true")).expect("an input");
    assert_eq!((delete.account_name.as_str(), delete.recursive), ("blue", Some(true)));
}

#[test]
fn every_fault_of_an_input_is_told() {
    let expected = |message: &str| (400, "ValidationError".to_owned(), message.to_owned());
    assert_eq!(
        refusal(iam::parse_create_user(&form("Path=/"))),
        expected(
            "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null"
        )
    );
    assert_eq!(
        refusal(iam::parse_update_access_key(&form("AccessKeyId=AKIA&Status=Gone"))),
        expected(
            "2 validation errors detected: Value 'AKIA' at 'accessKeyId' failed to satisfy constraint: Member must have \
             length greater than or equal to 16; Value 'Gone' at 'status' failed to satisfy constraint: Member must \
             satisfy enum value set: [Active, Inactive, Expired]"
        )
    );
    let cases = [
        (
            "UserName=a/b",
            r"'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+",
        ),
        ("UserName=a&Tags.member.1.Key=k", "Value null at 'tags.1.member.value'"),
        ("UserName=a&Tags.member.1.Key=&Tags.member.1.Value=", "Value '' at 'tags.1.member.key'"),
        ("UserName=a&Path=x", "Value 'x' at 'path'"),
        ("UserName=é", "regular expression"),
    ];
    for (text, part) in cases {
        let (_, code, message) = refusal(iam::parse_create_user(&form(text)));
        assert!(code == "ValidationError" && message.contains(part), "{message}");
    }
    let (_, _, message) = refusal(iam::parse_list_users(&form("MaxItems=0")));
    assert!(message.ends_with("Member must have value greater than or equal to 1"), "{message}");
    let (_, _, message) = refusal(iam::parse_list_users(&form("MaxItems=many")));
    assert!(message.ends_with("Member must be an integer"), "{message}");
    let tags: Vec<String> = (1..=51).map(|n| format!("Tags.member.{n}.Key={n}&Tags.member.{n}.Value=v")).collect();
    let (_, _, message) = refusal(iam::parse_create_user(&form(&format!("UserName=a&{}", tags.join("&")))));
    assert!(message.contains("'tags' failed to satisfy constraint: Member must have length less than or equal to 50"));
}

#[test]
fn secrets_are_neither_printed_nor_quoted() {
    let input = iam::parse_change_password(&form("OldPassword=canary-1&NewPassword=canary-2")).expect("an input");
    assert!(!format!("{input:?}").contains("canary"));
    assert_eq!(input.new_password.reveal(), "canary-2");
    let long = "canary".repeat(40);
    let (_, _, message) = refusal(iam::parse_change_password(&form(&format!("OldPassword={long}&NewPassword=x"))));
    assert!(message.starts_with("1 validation error detected: Value at 'oldPassword'"), "{message}");
    assert!(!format!("{:?}", form("OldPassword=canary")).contains("canary"));
}

#[test]
fn a_form_that_can_be_read_in_two_ways_is_refused() {
    let pairs = |name: &str| (name.to_owned(), "x".to_owned());
    let twice = Form::parse(&[pairs("Action"), pairs("Action")]).unwrap_err();
    assert_eq!((twice.status, twice.code), (400, "MalformedInput"));
    assert_eq!(Form::parse(&[pairs(&"a.".repeat(40))]).unwrap_err().code, "MalformedInput");
}

#[test]
fn the_table_of_errors_is_that_of_the_model() {
    let status = |name: &str| iam::ErrorCode::from_name(name).map(iam::ErrorCode::status);
    for (name, expected) in
        [("NoSuchEntity", 404), ("DeleteConflict", 409), ("ReportInProgress", 404), ("AccessDenied", 403)]
    {
        assert_eq!(status(name), Some(expected), "{name}");
    }
    assert_eq!(sts::ErrorCode::from_name("IDPRejectedClaim").map(sts::ErrorCode::status), Some(403));
}

proptest! {
    #[test]
    fn no_form_makes_a_parser_panic(pairs in prop::collection::vec((name(), any::<String>()), 0..12)) {
        if let Ok(form) = Form::parse(&pairs) {
            let _ = iam::route(&form);
            let _ = iam::parse_create_user(&form);
            let _ = iam::parse_simulate_custom_policy(&form);
            let _ = sts::parse_assume_role(&form);
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "UserName",
        "Tags",
        "member",
        "1",
        "2",
        "Key",
        "Value",
        "",
        "99999999999",
        "é",
        "RoleArn",
    ]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("."))
}
