"""The shipped roles, by IAM's own calls and from the host: listed, shown, compared, installed; and what a session of each may
and may not do on a running cluster.

    templates.py KARRI ENDPOINT

KARRI is the command line of `karri iam templates`, as JSON, with the configuration at its end.
"""

import functools
import json
import re
import subprocess
import sys
import urllib.parse

from botocore.exceptions import ClientError

import common
from common import ACCOUNT

KARRI, CONFIGURED = json.loads(sys.argv[1])
ENDPOINT = sys.argv[2]
client = functools.partial(common.client, ENDPOINT)
query = functools.partial(common.query, ENDPOINT)
NAMES = ["AccountAdministrator", "BackupOperator", "BucketOwner", "ImagePublisher", "InfrastructureAdministrator",
         "ReadOnlyAuditor", "ResourceAdministrator", "UploadOnly"]


IAM, S3 = client("iam"), client("s3")


def good(action, keys=None, **parameters):
    status, text = query(action, keys, **parameters)
    assert status == 200, text
    return text


def refused(code, status, action, keys=None, **parameters):
    got, text = query(action, keys, **parameters)
    assert got == status and f"<Code>{code}</Code>" in text, text
    return text


def values(**given):
    pairs = {}
    for number, (name, value) in enumerate(given.items(), 1):
        pairs[f"Parameters.member.{number}.ParameterName"] = name
        pairs[f"Parameters.member.{number}.ParameterValue"] = value
    return pairs


def host(*words):
    done = subprocess.run([*KARRI, *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def on_host(command, *words):
    status, output, errors = host(command, *words, *CONFIGURED)
    assert status == 0, errors
    return output


def by_calls():
    listed = re.findall("<TemplateName>(.*?)</TemplateName>", good("ListRoleTemplates"))
    assert listed == NAMES, listed
    first = good("ListRoleTemplates", MaxItems="3")
    marker = re.search("<Marker>(.*?)</Marker>", first).group(1)
    second = good("ListRoleTemplates", MaxItems="100", Marker=marker)
    assert re.findall("<TemplateName>(.*?)</TemplateName>", first + second) == NAMES

    shown = good("GetRoleTemplate", TemplateName="UploadOnly", **values(bucket="inbox", prefix="a/"))
    document = urllib.parse.unquote(re.search("<PolicyDocument>(.*?)</PolicyDocument>", shown).group(1))
    status, output, _ = host("show", "UploadOnly", "--set", "bucket=inbox", "--set", "prefix=a/")
    assert status == 0 and json.loads(output) == json.loads(document), output
    assert "arn:aws:s3:::inbox/a/*" in document and "<Kind>bucket</Kind>" in shown
    refused("NoSuchEntity", 404, "GetRoleTemplate", TemplateName="Everything")
    refused("InvalidInput", 400, "GetRoleTemplate", TemplateName="UploadOnly")
    refused("InvalidInput", 400, "GetRoleTemplate", TemplateName="UploadOnly", **values(bucket="*"))
    refused("InvalidInput", 400, "GetRoleTemplate", TemplateName="UploadOnly", **values(bucket="inbox", color="red"))
    twice = values(bucket="inbox") | {
        "Parameters.member.2.ParameterName": "bucket", "Parameters.member.2.ParameterValue": "other"}
    refused("InvalidInput", 400, "GetRoleTemplate", TemplateName="UploadOnly", **twice)

    inbox = {"TemplateName": "UploadOnly", **values(bucket="inbox")}
    assert "<IsInstalled>false</IsInstalled>" in good("CompareRoleTemplate", **inbox)
    assert "is not installed" in on_host("diff", "UploadOnly", "--set", "bucket=inbox")
    made = good("InstallRoleTemplate", **inbox)
    assert f"arn:aws:iam::{ACCOUNT}:role/UploadOnly" in made, made
    assert "<IsCurrent>true</IsCurrent>" in good("CompareRoleTemplate", **inbox)
    assert "as it is shipped" in on_host("diff", "UploadOnly", "--set", "bucket=inbox")
    # Somebody has changed it: both ways say how, and an installation puts it right and keeps all else.
    changed = IAM.get_role_policy(RoleName="UploadOnly", PolicyName="UploadOnly")["PolicyDocument"]
    changed["Statement"][0]["Action"].append("s3:DeleteObject")
    IAM.put_role_policy(RoleName="UploadOnly", PolicyName="UploadOnly", PolicyDocument=json.dumps(changed))
    IAM.put_role_policy(RoleName="UploadOnly", PolicyName="own", PolicyDocument=json.dumps(changed))
    IAM.tag_role(RoleName="UploadOnly", Tags=[{"Key": "a", "Value": "b"}])
    differs = good("CompareRoleTemplate", **inbox)
    assert "<IsCurrent>false</IsCurrent>" in differs and "s3:DeleteObject" in differs, differs
    lines = on_host("diff", "UploadOnly", "--set", "bucket=inbox").splitlines()
    assert any(line.startswith("-") and "s3:DeleteObject" in line for line in lines), lines
    assert not any(line.startswith("+") and "DeleteObject" in line for line in lines), lines
    assert "role/UploadOnly" in on_host("install", "UploadOnly", "--set", "bucket=inbox")
    assert "<IsCurrent>true</IsCurrent>" in good("CompareRoleTemplate", **inbox)
    assert IAM.list_role_policies(RoleName="UploadOnly")["PolicyNames"] == ["UploadOnly", "own"]
    assert IAM.list_role_tags(RoleName="UploadOnly")["Tags"] == [{"Key": "a", "Value": "b"}]
    good("InstallRoleTemplate", RoleName="second", **inbox)
    assert IAM.get_role(RoleName="second")["Role"]["Description"] == "Made from the template UploadOnly"
    status, _, errors = host("install", "UploadOnly", "--set", "bucket=inbox", "--account", "nobody", *CONFIGURED)
    assert status != 0 and "no account" in errors, errors


def permissions():
    """Nobody gets by a template what it could not make by itself."""
    def deputy(name, *actions):
        IAM.create_user(UserName=name)
        IAM.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": list(actions), "Resource": "*"}}))
        return IAM.create_access_key(UserName=name)["AccessKey"]

    auditor = {"TemplateName": "ReadOnlyAuditor", "RoleName": "deputy-made"}
    for number, actions in enumerate([["iam:InstallRoleTemplate"], ["iam:InstallRoleTemplate", "iam:CreateRole"],
                                      ["iam:InstallRoleTemplate", "iam:PutRolePolicy"],
                                      ["iam:CreateRole", "iam:PutRolePolicy"]]):
        refused("AccessDenied", 403, "InstallRoleTemplate", deputy(f"less-{number}", *actions), **auditor)
    refused("AccessDenied", 403, "CompareRoleTemplate", deputy("looks", "iam:CompareRoleTemplate"), **auditor)
    refused("AccessDenied", 403, "ListRoleTemplates", deputy("none", "s3:*"))
    good("InstallRoleTemplate", deputy("enough", "iam:InstallRoleTemplate", "iam:CreateRole", "iam:PutRolePolicy"), **auditor)
    # Another account has its own.
    text = good("CreateAccount", AccountName="tenant")
    tenant = re.search("<AccountId>(.*?)<", text).group(1)
    text = good("CreateAccessKey", DelegateAccount="tenant")
    keys = {name: re.search(f"<{name}>(.*?)<", text).group(1) for name in ("AccessKeyId", "SecretAccessKey")}
    assert f"arn:aws:iam::{tenant}:role/ReadOnlyAuditor" in good("InstallRoleTemplate", keys, TemplateName="ReadOnlyAuditor")
    assert f":{tenant}:" in on_host("install", "ReadOnlyAuditor", "--account", "tenant", "--role", "second")
    names = [role["RoleName"] for role in client("iam", keys).list_roles()["Roles"]]
    assert names == ["ReadOnlyAuditor", "second"], names


class Session:
    """A session of an installed role."""

    def __init__(self, sts, name, **given):
        made = good("InstallRoleTemplate", TemplateName=name, RoleName=f"of-{name}", **values(**given))
        arn = re.search("<Arn>(.*?)</Arn>", made).group(1)
        self.name = name
        self.keys = sts.assume_role(RoleArn=arn, RoleSessionName="shift")["Credentials"]

    def may(self, service, call, **arguments):
        return getattr(client(service, self.keys), call)(**arguments)

    def may_not(self, service, call, **arguments):
        try:
            self.may(service, call, **arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("AccessDenied", "AccessDeniedException", "403"), f"{self.name} {call}: {error}"
            return
        raise AssertionError(f"{self.name} may {call}")


def sessions():
    IAM.create_user(UserName="shift")
    IAM.put_user_policy(UserName="shift", PolicyName="p", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}))
    sts = client("sts", IAM.create_access_key(UserName="shift")["AccessKey"])
    for bucket in ("inbox", "other"):
        S3.create_bucket(Bucket=bucket)
        S3.put_object(Bucket=bucket, Key="photos/cat", Body=b"cat")
    S3.put_bucket_versioning(Bucket="inbox", VersioningConfiguration={"Status": "Enabled"})
    cat, other = {"Bucket": "inbox", "Key": "photos/cat"}, {"Bucket": "other", "Key": "photos/cat"}
    open_policy = json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::inbox/*"}})

    accounts = Session(sts, "AccountAdministrator")
    accounts.may("iam", "create_user", UserName="by-template")
    accounts.may("iam", "delete_user", UserName="by-template")
    assert query("ListAccounts", accounts.keys)[0] == 200
    accounts.may_not("s3", "get_object", **cat)
    accounts.may_not("s3", "list_buckets")
    accounts.may_not("kms", "list_keys")

    infrastructure = Session(sts, "InfrastructureAdministrator")
    infrastructure.may_not("s3", "get_object", **cat)
    infrastructure.may_not("s3", "put_object", Body=b"x", **cat)
    infrastructure.may_not("iam", "create_user", UserName="x")
    infrastructure.may_not("iam", "create_access_key", UserName="shift")

    resources = Session(sts, "ResourceAdministrator")
    resources.may("s3", "get_object", **other)
    resources.may("s3", "put_object", Body=b"x", Bucket="other", Key="new")
    resources.may("s3", "delete_object", Bucket="other", Key="new")
    resources.may_not("iam", "create_user", UserName="x")
    resources.may_not("iam", "put_role_policy", RoleName="ResourceAdministrator", PolicyName="x", PolicyDocument="{}")
    assert query("ListAccounts", resources.keys)[0] == 403

    auditor = Session(sts, "ReadOnlyAuditor")
    auditor.may("iam", "get_account_authorization_details")
    auditor.may("s3", "list_objects_v2", Bucket="inbox")
    auditor.may("s3", "get_bucket_acl", Bucket="inbox")
    auditor.may("s3", "get_object_tagging", **cat)
    auditor.may_not("s3", "get_object", **cat)
    auditor.may_not("s3", "put_object", Body=b"x", **cat)
    auditor.may_not("s3", "put_bucket_policy", Bucket="inbox", Policy=open_policy)
    auditor.may_not("iam", "create_access_key", UserName="shift")
    auditor.may_not("iam", "create_user", UserName="x")

    backup = Session(sts, "BackupOperator", bucket="inbox")
    version = backup.may("s3", "put_object", Body=b"backup", Bucket="inbox", Key="backup")["VersionId"]
    assert backup.may("s3", "get_object", Bucket="inbox", Key="backup")["Body"].read() == b"backup"
    backup.may("s3", "list_objects_v2", Bucket="inbox")
    backup.may_not("s3", "delete_object", Bucket="inbox", Key="backup")
    backup.may_not("s3", "delete_object", Bucket="inbox", Key="backup", VersionId=version)
    backup.may_not("s3", "put_bucket_versioning", Bucket="inbox", VersioningConfiguration={"Status": "Suspended"})
    backup.may_not("s3", "delete_bucket", Bucket="inbox")
    backup.may_not("s3", "get_object", **other)

    publisher = Session(sts, "ImagePublisher", bucket="inbox")
    publisher.may("s3", "put_object", Body=b"image", Bucket="inbox", Key="image")
    publisher.may("s3", "get_object", Bucket="inbox", Key="image")
    publisher.may_not("s3", "put_object", Body=b"x", **other)
    publisher.may_not("s3", "put_bucket_policy", Bucket="inbox", Policy=open_policy)
    publisher.may_not("iam", "list_users")

    uploader = Session(sts, "UploadOnly", bucket="inbox", prefix="photos/")
    uploader.may("s3", "put_object", Body=b"x", Bucket="inbox", Key="photos/new")
    uploader.may_not("s3", "put_object", Body=b"x", Bucket="inbox", Key="music/new")
    uploader.may_not("s3", "put_object", Body=b"x", Bucket="inbox", Key="photos/open", ACL="public-read")
    uploader.may_not("s3", "put_object_acl", ACL="public-read", **cat)
    uploader.may_not("s3", "put_object", Body=b"x", **other)
    uploader.may_not("s3", "get_object", **cat)
    uploader.may_not("s3", "delete_object", **cat)
    uploader.may_not("s3", "list_objects_v2", Bucket="inbox")

    owner = Session(sts, "BucketOwner", bucket="inbox")
    owner.may("s3", "put_object", Body=b"x", Bucket="inbox", Key="mine")
    owner.may("s3", "put_bucket_policy", Bucket="inbox", Policy=open_policy)
    owner.may("s3", "delete_bucket_policy", Bucket="inbox")
    owner.may("s3", "delete_object", Bucket="inbox", Key="mine")
    owner.may_not("s3", "get_object", **other)
    owner.may_not("s3", "list_objects_v2", Bucket="other")
    owner.may_not("iam", "list_users")


by_calls()
permissions()
sessions()
print("templates: all passed")
