"""Sessions that lead to sessions: tags, source identities and limits along a chain of roles, and roles of another account.

    chains.py ENDPOINT...
"""

import itertools
import re
import sys
import time
import uuid

import common
from common import ACCOUNT, fails, policy, statement, user

ENDPOINTS = itertools.cycle(sys.argv[1:])


def client(service, keys=None):
    """Each client at the next node: a session of one is good at all."""
    return common.client(next(ENDPOINTS), service, keys)


IAM = client("iam")


def trust(principal, *actions, **condition):
    made = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["sts:AssumeRole", *actions]}
    return policy(made | ({"Condition": condition} if condition else {}))


def role(iam, name, trusted, *statements, **more):
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted, **more)["Role"]["Arn"]
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
    return arn


def settle():
    # A change of identities is known on every node within a second.
    time.sleep(1)


def tag(key, value):
    return {"Key": key, "Value": value}


def tags_along_a_chain():
    key = user(IAM, "tagger", statement("Allow", "sts:*"))
    both = ("sts:TagSession", "sts:SetSourceIdentity")
    first = role(IAM, "first", trust(f"arn:aws:iam::{ACCOUNT}:user/tagger", *both), statement("Allow", "sts:*"))
    second = role(
        IAM, "second", trust(first, *both, StringEquals={"aws:PrincipalTag/team": "blue"}),
        statement("Allow", "s3:ListAllMyBuckets", StringEquals={"aws:PrincipalTag/team": "blue", "aws:PrincipalTag/own": "x"}),
        Tags=[tag("own", "x"), tag("team", "of-the-role")])
    no_tags = role(IAM, "no-tags", trust(f"arn:aws:iam::{ACCOUNT}:user/tagger"))
    settle()
    sts = client("sts", key)
    fails("AccessDenied", sts.assume_role, RoleArn=no_tags, RoleSessionName="ss", Tags=[tag("a", "b")])
    fails("AccessDenied", sts.assume_role, RoleArn=no_tags, RoleSessionName="ss", SourceIdentity="me")
    sts.assume_role(RoleArn=no_tags, RoleSessionName="ss")
    take = {"RoleArn": first, "RoleSessionName": "shift"}
    fails("InvalidParameterValue", sts.assume_role, **take, Tags=[tag("a", "1"), tag("A", "2")])
    fails("InvalidParameterValue", sts.assume_role, **take, Tags=[tag("aws:x", "1")])
    fails("InvalidParameterValue", sts.assume_role, **take, Tags=[tag("a", "1")], TransitiveTagKeys=["b"])
    plain = sts.assume_role(**take, Tags=[tag("team", "blue")])["Credentials"]
    passing = sts.assume_role(**take, Tags=[tag("team", "blue"), tag("stays", "here")], TransitiveTagKeys=["team"])
    assert passing["PackedPolicySize"] >= 1, passing
    chain = client("sts", passing["Credentials"])
    next_one = {"RoleArn": second, "RoleSessionName": "later"}
    # A transitive tag cannot be changed on the way, and a chain is an hour long.
    fails("InvalidParameterValue", chain.assume_role, **next_one, Tags=[tag("TEAM", "red")])
    fails("ValidationError", chain.assume_role, **next_one, DurationSeconds=3601)
    end = chain.assume_role(**next_one)["Credentials"]
    client("s3", end).list_buckets()
    # A tag that is not passed on is lost: the role's own is there instead.
    lost = client("sts", plain).assume_role(**next_one)["Credentials"]
    fails("AccessDenied", client("s3", lost).list_buckets)
    untagged = sts.assume_role(**take)["Credentials"]
    fails("AccessDenied", client("sts", untagged).assume_role, **next_one)


def source_identities():
    key = user(IAM, "named", statement("Allow", "sts:*"))
    both = ("sts:TagSession", "sts:SetSourceIdentity")
    start = role(IAM, "start", trust(f"arn:aws:iam::{ACCOUNT}:user/named", *both, StringLike={"sts:SourceIdentity": "*"}),
                 statement("Allow", "sts:*"))
    end = role(IAM, "end", trust(start, *both),
               statement("Allow", "s3:ListAllMyBuckets", StringEquals={"aws:SourceIdentity": "ada"}))
    settle()
    sts = client("sts", key)
    fails("AccessDenied", sts.assume_role, RoleArn=start, RoleSessionName="ss")
    for name, works in [("ada", True), ("eve", False)]:
        made = sts.assume_role(RoleArn=start, RoleSessionName="ss", SourceIdentity=name)
        assert made["SourceIdentity"] == name
        chain = client("sts", made["Credentials"])
        fails("AccessDenied", chain.assume_role, RoleArn=end, RoleSessionName="ss", SourceIdentity="other")
        session = client("s3", chain.assume_role(RoleArn=end, RoleSessionName="ss")["Credentials"])
        if works:
            session.list_buckets()
        else:
            fails("AccessDenied", session.list_buckets)


def limits():
    """A session's policies and its role's boundary take away and give nothing."""
    key = user(IAM, "limited", statement("Allow", "sts:AssumeRole"))
    bound = IAM.create_policy(PolicyName="role-bound", PolicyDocument=policy(statement("Allow", "s3:*")))["Policy"]["Arn"]
    lists = IAM.create_policy(PolicyName="lists", PolicyDocument=policy(statement("Allow", "s3:ListAllMyBuckets")))["Policy"]["Arn"]
    arn = role(IAM, "bounded", trust(ACCOUNT, StringLike={"sts:RoleSessionName": "night-*"}),
               statement("Allow", ["s3:ListAllMyBuckets", "iam:ListUsers"]), PermissionsBoundary=bound)
    settle()
    sts = client("sts", key)
    fails("AccessDenied", sts.assume_role, RoleArn=arn, RoleSessionName="day")

    def session(**more):
        return sts.assume_role(RoleArn=arn, RoleSessionName="night-1", **more)["Credentials"]

    whole = session()
    client("s3", whole).list_buckets()
    fails("AccessDenied", client("iam", whole).list_users)
    fails("AccessDenied", client("s3", whole).create_bucket, Bucket="never")
    for more in ({"Policy": policy(statement("Allow", "*"))}, {"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]}):
        wide = session(**more)
        client("s3", wide).list_buckets()
        fails("AccessDenied", client("iam", wide).list_users)
        fails("AccessDenied", client("s3", wide).create_bucket, Bucket="never")
    # Several policies of a session add up, a deny in one counts.
    fails("AccessDenied", client("s3", session(Policy=policy(statement("Allow", "iam:*")))).list_buckets)
    client("s3", session(Policy=policy(statement("Allow", "iam:*")), PolicyArns=[{"arn": lists}])).list_buckets()
    fails("AccessDenied", client("s3", session(
        Policy=policy(statement("Deny", "s3:*")), PolicyArns=[{"arn": lists}])).list_buckets)
    fails("InvalidParameterValue", session, PolicyArns=[{"arn": lists + "x"}])
    error = fails("MalformedPolicyDocument", session, Policy='{"Version": "2012-10-17",\n "Statement": [{"Effect": "Maybe"}]}')
    assert "line 2" in error, error
    error = fails("PackedPolicyTooLarge", session, Policy=policy(
        *[statement("Allow", "s3:*", f"arn:aws:s3:::{'b' * 60}{n}") for n in range(70)]))
    assert "%" in error, error
    # A bucket's policy that names the role is limited by both, one that names the session by neither.
    bucket = f"chains-{uuid.uuid4().hex[:8]}"
    root = client("s3")
    root.create_bucket(Bucket=bucket)
    root.put_object(Bucket=bucket, Key="k", Body=b"x")

    def let_in(principal):
        named = statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*") | {"Principal": {"AWS": principal}}
        root.put_bucket_policy(Bucket=bucket, Policy=policy(named))
        settle()

    narrow = client("s3", session(Policy=policy(statement("Allow", "s3:ListAllMyBuckets"))))
    wide = client("s3", whole)
    fails("AccessDenied", wide.get_object, Bucket=bucket, Key="k")
    let_in(arn)
    wide.get_object(Bucket=bucket, Key="k")
    fails("AccessDenied", narrow.get_object, Bucket=bucket, Key="k")
    let_in(f"arn:aws:sts::{ACCOUNT}:assumed-role/bounded/night-1")
    narrow.get_object(Bucket=bucket, Key="k")
    let_in(f"arn:aws:sts::{ACCOUNT}:assumed-role/bounded/night-2")
    fails("AccessDenied", wide.get_object, Bucket=bucket, Key="k")


def other_accounts():
    """A role of another account needs both: its trust, and the permission of the caller's own account."""
    tenant = re.search("<AccountId>(.*?)<", common.query(next(ENDPOINTS), "CreateAccount", AccountName="chains")[1]).group(1)
    text = common.query(next(ENDPOINTS), "CreateAccessKey", DelegateAccount="chains")[1]
    root = {name: re.search(f"<{name}>(.*?)<", text).group(1) for name in ("AccessKeyId", "SecretAccessKey")}
    settle()
    theirs = client("iam", root)
    with_policy = user(theirs, "may", statement("Allow", "sts:AssumeRole"))
    without = user(theirs, "may-not")
    settle()
    by_name = role(IAM, "by-name", trust([f"arn:aws:iam::{tenant}:user/may", f"arn:aws:iam::{tenant}:user/may-not"]),
                   statement("Allow", "s3:ListAllMyBuckets"))
    by_account = role(IAM, "by-account", trust(tenant), statement("Allow", "s3:ListAllMyBuckets"))
    by_id = role(IAM, "by-id", trust(tenant, StringEquals={"sts:ExternalId": "e-1"}))
    not_theirs = role(IAM, "not-theirs", trust(ACCOUNT))
    settle()
    for arn in (by_name, by_account):
        fails("AccessDenied", client("sts", without).assume_role, RoleArn=arn, RoleSessionName="ss")
        session = client("sts", with_policy).assume_role(RoleArn=arn, RoleSessionName="ss")["Credentials"]
        client("s3", session).list_buckets()
        assert client("sts", session).get_caller_identity()["Account"] == ACCOUNT
    fails("AccessDenied", client("sts", with_policy).assume_role, RoleArn=not_theirs, RoleSessionName="ss")
    # The confused deputy: the account is right, the external id is what tells its customers apart.
    fails("AccessDenied", client("sts", with_policy).assume_role, RoleArn=by_id, RoleSessionName="ss")
    fails("AccessDenied", client("sts", with_policy).assume_role, RoleArn=by_id, RoleSessionName="ss", ExternalId="e-2")
    client("sts", with_policy).assume_role(RoleArn=by_id, RoleSessionName="ss", ExternalId="e-1")
    # A bucket of another account wants both sides as well.
    bucket = f"theirs-{uuid.uuid4().hex[:8]}"
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    named = statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*")
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(named | {"Principal": {"AWS": [f"arn:aws:iam::{tenant}:user/may", tenant]}}))
    settle()
    fails("AccessDenied", client("s3", with_policy).get_object, Bucket=bucket, Key="k")
    client("s3", root).get_object(Bucket=bucket, Key="k")
    theirs.put_user_policy(UserName="may", PolicyName="s3", PolicyDocument=policy(statement("Allow", "s3:GetObject")))
    settle()
    client("s3", with_policy).get_object(Bucket=bucket, Key="k")
    fails("AccessDenied", client("s3", without).get_object, Bucket=bucket, Key="k")


tags_along_a_chain()
source_identities()
limits()
other_accounts()
print("chains: all passed")
