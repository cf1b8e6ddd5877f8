"""IAM through boto3: what AWS documents, on the nodes whose endpoints are given as arguments. The first argument is a file
to which every secret is written that was seen: the test looks for them in the logs and on the disks. The second is the
command, as JSON, that makes new root keys. Ends with
"iam: all passed" or a traceback."""

import base64
import concurrent.futures
import csv
import hashlib
import hmac
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

SECRETS = open(sys.argv[1], "w")
ROTATE = json.loads(sys.argv[2])
ENDPOINTS = sys.argv[3:]
CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
ACCOUNT = "000000000000"


def client(service, number=0, key=None):
    more = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]} if key else {}
    return boto3.client(service, endpoint_url=ENDPOINTS[number % len(ENDPOINTS)], config=CONFIG, **more)


def secret(text):
    SECRETS.write(text + "\n")
    SECRETS.flush()
    return text


def fails(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, status), f"wanted {code} {status}, got {got}: {error}"
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call} did not fail with {code}")


def new_key(iam, **arguments):
    key = iam.create_access_key(**arguments)["AccessKey"]
    secret(key["SecretAccessKey"])
    return key


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*"):
    return {"Effect": "Deny", "Action": action, "Resource": resource}


ROOT = client("iam")


def users():
    made = ROOT.create_user(UserName="Ada", Path="/engine/", Tags=[{"Key": "team", "Value": "x"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/engine/Ada" and made["UserId"].startswith("AIDA")
    # What one node has made, the others know at once.
    assert client("iam", 1).get_user(UserName="Ada")["User"] == made
    fails("EntityAlreadyExists", 409, ROOT.create_user, UserName="ADA")
    fails("ValidationError", 400, ROOT.create_user, UserName="not a name")
    fails("NoSuchEntity", 404, ROOT.get_user, UserName="nobody")
    fails("NoSuchEntity", 404, ROOT.delete_user, UserName="nobody")
    ROOT.tag_user(UserName="Ada", Tags=[{"Key": "TEAM", "Value": "y"}, {"Key": "z", "Value": ""}])
    assert ROOT.list_user_tags(UserName="Ada")["Tags"] == [{"Key": "TEAM", "Value": "y"}, {"Key": "z", "Value": ""}]
    ROOT.untag_user(UserName="Ada", TagKeys=["z"])
    fails("InvalidInput", 400, ROOT.tag_user, UserName="Ada", Tags=[{"Key": "aws:x", "Value": ""}])
    ROOT.update_user(UserName="Ada", NewUserName="ada.l", NewPath="/")
    assert ROOT.get_user(UserName="ada.l")["User"]["UserId"] == made["UserId"]
    fails("NoSuchEntity", 404, ROOT.get_user, UserName="Ada")
    for number in range(7):
        ROOT.create_user(UserName=f"many{number}", Path="/many/")
    pages = ROOT.get_paginator("list_users").paginate(PathPrefix="/many/", PaginationConfig={"PageSize": 3})
    sizes = [len(page["Users"]) for page in pages]
    assert sizes == [3, 3, 1], sizes
    for number in range(7):
        ROOT.delete_user(UserName=f"many{number}")
    assert ROOT.get_user()["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def groups():
    ROOT.create_group(GroupName="staff")
    ROOT.add_user_to_group(GroupName="staff", UserName="ada.l")
    assert [u["UserName"] for u in ROOT.get_group(GroupName="staff")["Users"]] == ["ada.l"]
    ROOT.update_group(GroupName="staff", NewGroupName="crew")
    assert [g["GroupName"] for g in ROOT.list_groups_for_user(UserName="ada.l")["Groups"]] == ["crew"]
    fails("DeleteConflict", 409, ROOT.delete_group, GroupName="crew")
    fails("DeleteConflict", 409, ROOT.delete_user, UserName="ada.l")


def keys_and_decisions():
    """Allow, deny, boundary, groups: each decision as AWS documents it, on every node."""
    key = new_key(ROOT, UserName="ada.l")
    new = [client("iam", number, key) for number in range(len(ENDPOINTS))]
    message = fails("AccessDenied", 403, new[0].list_users)
    assert f"user/ada.l is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::{ACCOUNT}:user/" in message
    ROOT.put_group_policy(GroupName="crew", PolicyName="read", PolicyDocument=policy(allow(["iam:Get*", "iam:List*"])))
    new[0].list_users()
    fails("AccessDenied", 403, new[0].create_user, UserName="x")
    ROOT.put_user_policy(UserName="ada.l", PolicyName="no", PolicyDocument=policy(deny("iam:ListRoles")))
    fails("AccessDenied", 403, new[0].list_roles)
    got = ROOT.get_user_policy(UserName="ada.l", PolicyName="no")["PolicyDocument"]
    assert got == json.loads(policy(deny("iam:ListRoles"))), got
    limit = ROOT.create_policy(PolicyName="bound", PolicyDocument=policy(allow("iam:GetUser")))["Policy"]["Arn"]
    ROOT.put_user_permissions_boundary(UserName="ada.l", PermissionsBoundary=limit)
    fails("AccessDenied", 403, new[0].list_users)
    new[0].get_user()
    fails("DeleteConflict", 409, ROOT.delete_policy, PolicyArn=limit)
    ROOT.delete_user_permissions_boundary(UserName="ada.l")
    ROOT.delete_policy(PolicyArn=limit)
    ROOT.delete_user_policy(UserName="ada.l", PolicyName="no")
    fails("MalformedPolicyDocument", 400, ROOT.put_user_policy, UserName="ada.l", PolicyName="p", PolicyDocument="{}")
    fails("LimitExceeded", 409, ROOT.put_user_policy, UserName="ada.l", PolicyName="p",
          PolicyDocument=policy(allow("s3:*", [f"arn:aws:s3:::{'b' * 60}{n}" for n in range(40)])))
    # Two keys, no more; an inactive one signs nothing, and that on every node within a second.
    second = new_key(ROOT, UserName="ada.l")
    fails("LimitExceeded", 409, ROOT.create_access_key, UserName="ada.l")
    time.sleep(1)
    for one in new:
        one.list_users()
    ROOT.update_access_key(UserName="ada.l", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    fails("InvalidClientTokenId", 403, new[0].list_users)
    changed = time.monotonic()
    for one in new:
        while True:
            try:
                one.list_users()
            except ClientError as error:
                assert error.response["Error"]["Code"] == "InvalidClientTokenId", error
                break
            assert time.monotonic() - changed < 1, "a revoked key is still good after a second"
    ROOT.delete_access_key(UserName="ada.l", AccessKeyId=key["AccessKeyId"])
    fails("NoSuchEntity", 404, ROOT.delete_access_key, UserName="ada.l", AccessKeyId=key["AccessKeyId"])
    used = ROOT.get_access_key_last_used(AccessKeyId=second["AccessKeyId"])["AccessKeyLastUsed"]
    assert used["ServiceName"] == "N/A", used
    client("iam", 1, second).get_user()
    # Its node writes it down within a minute; this one does when it is asked.
    client("iam", 0, second).get_user()
    used = ROOT.get_access_key_last_used(AccessKeyId=second["AccessKeyId"])["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("iam", "us-east-1"), used


def managed_policies():
    arn = ROOT.create_policy(PolicyName="Pol", Path="/a/", PolicyDocument=policy(allow("s3:*")))["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/a/Pol"
    fails("EntityAlreadyExists", 409, ROOT.create_policy, PolicyName="POL", PolicyDocument=policy(allow("s3:*")))
    for number in range(2, 6):
        ROOT.create_policy_version(PolicyArn=arn, PolicyDocument=policy(allow(f"s3:{number}")), SetAsDefault=number == 3)
    fails("LimitExceeded", 409, ROOT.create_policy_version, PolicyArn=arn, PolicyDocument=policy(allow("s3:*")))
    versions = ROOT.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(v["VersionId"], v["IsDefaultVersion"]) for v in versions] == [
        ("v5", False), ("v4", False), ("v3", True), ("v2", False), ("v1", False)]
    document = ROOT.get_policy_version(PolicyArn=arn, VersionId="v3")["PolicyVersion"]["Document"]
    assert document["Statement"][0]["Action"] == "s3:3"
    fails("DeleteConflict", 409, ROOT.delete_policy_version, PolicyArn=arn, VersionId="v3")
    ROOT.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    ROOT.attach_user_policy(UserName="ada.l", PolicyArn=arn)
    ROOT.attach_user_policy(UserName="ada.l", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    fails("NoSuchEntity", 404, ROOT.attach_user_policy, UserName="ada.l", PolicyArn=arn + "x")
    fails("InvalidInput", 400, ROOT.attach_user_policy, UserName="ada.l", PolicyArn="arn:aws:s3:::some-bucket-name")
    entities = ROOT.list_entities_for_policy(PolicyArn=arn)
    assert [u["UserName"] for u in entities["PolicyUsers"]] == ["ada.l"] and not entities["PolicyRoles"]
    assert ROOT.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    local = [p["Arn"] for p in ROOT.list_policies(Scope="Local")["Policies"]]
    assert local == [arn], local
    assert len(ROOT.list_policies(Scope="AWS")["Policies"]) >= 6
    fails("DeleteConflict", 409, ROOT.delete_policy, PolicyArn=arn)
    for attached in ROOT.list_attached_user_policies(UserName="ada.l")["AttachedPolicies"]:
        ROOT.detach_user_policy(UserName="ada.l", PolicyArn=attached["PolicyArn"])
    fails("DeleteConflict", 409, ROOT.delete_policy, PolicyArn=arn)
    for version in ("v2", "v3", "v4", "v5"):
        ROOT.delete_policy_version(PolicyArn=arn, VersionId=version)
    ROOT.delete_policy(PolicyArn=arn)


def roles():
    """What Terraform reads of a role."""
    trust = policy({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    fails("MalformedPolicyDocument", 400, ROOT.create_role, RoleName="r", AssumeRolePolicyDocument=policy(allow("s3:*")))
    ROOT.create_role(RoleName="worker", Path="/w/", AssumeRolePolicyDocument=trust, MaxSessionDuration=7200,
                     Description="works", Tags=[{"Key": "a", "Value": "b"}])
    role = client("iam", 2).get_role(RoleName="worker")["Role"]
    assert role["AssumeRolePolicyDocument"] == json.loads(trust) and role["MaxSessionDuration"] == 7200
    assert role["Tags"] == [{"Key": "a", "Value": "b"}] and role["RoleId"].startswith("AROA")
    assert ROOT.list_role_policies(RoleName="worker")["PolicyNames"] == []
    assert ROOT.list_attached_role_policies(RoleName="worker")["AttachedPolicies"] == []
    assert ROOT.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"] == []
    ROOT.create_instance_profile(InstanceProfileName="worker")
    ROOT.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    fails("LimitExceeded", 409, ROOT.add_role_to_instance_profile, InstanceProfileName="worker", RoleName="worker")
    found = ROOT.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"]
    assert [p["Roles"][0]["RoleName"] for p in found] == ["worker"]
    ROOT.put_role_policy(RoleName="worker", PolicyName="in", PolicyDocument=policy(allow("s3:*")))
    ROOT.update_role(RoleName="worker", Description="rests")
    ROOT.update_assume_role_policy(RoleName="worker", PolicyDocument=trust)
    for word in ("remove roles from instance profile", "delete policies"):
        assert word in fails("DeleteConflict", 409, ROOT.delete_role, RoleName="worker")
        if word.startswith("remove"):
            ROOT.remove_role_from_instance_profile(InstanceProfileName="worker", RoleName="worker")
    ROOT.delete_role_policy(RoleName="worker", PolicyName="in")
    ROOT.delete_instance_profile(InstanceProfileName="worker")
    ROOT.delete_role(RoleName="worker")


def passwords():
    first, second = secret("Canary-password-1!"), secret("Canary-password-2!")
    fails("NoSuchEntity", 404, ROOT.get_account_password_policy)
    fails("PasswordPolicyViolation", 400, ROOT.create_login_profile, UserName="ada.l", Password="short")
    ROOT.create_login_profile(UserName="ada.l", Password=first, PasswordResetRequired=True)
    fails("EntityAlreadyExists", 409, ROOT.create_login_profile, UserName="ada.l", Password=first)
    assert ROOT.get_login_profile(UserName="ada.l")["LoginProfile"]["PasswordResetRequired"]
    ROOT.update_account_password_policy(MinimumPasswordLength=12, RequireSymbols=True, PasswordReusePrevention=3,
                                        AllowUsersToChangePassword=True)
    fails("PasswordPolicyViolation", 400, ROOT.update_login_profile, UserName="ada.l", Password=first)
    ROOT.update_login_profile(UserName="ada.l", Password=second)
    ROOT.attach_user_policy(UserName="ada.l", PolicyArn="arn:aws:iam::aws:policy/IAMUserChangePassword")
    ada = client("iam", 0, new_key_instead("ada.l"))
    fails("AccessDenied", 403, ada.change_password, OldPassword=first, NewPassword=secret("Canary-password-3!"))
    ada.change_password(OldPassword=second, NewPassword="Canary-password-3!")
    ROOT.delete_login_profile(UserName="ada.l")
    ROOT.delete_account_password_policy()
    ROOT.detach_user_policy(UserName="ada.l", PolicyArn="arn:aws:iam::aws:policy/IAMUserChangePassword")


def new_key_instead(user):
    for old in ROOT.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        ROOT.delete_access_key(UserName=user, AccessKeyId=old["AccessKeyId"])
    return new_key(ROOT, UserName=user)


def totp(seed, step):
    digest = hmac.new(base64.b32decode(seed), struct.pack(">Q", step), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"


def devices():
    device = ROOT.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
    seed, serial = secret(device["Base32StringSeed"].decode()), device["SerialNumber"]
    assert serial == f"arn:aws:iam::{ACCOUNT}:mfa/phone"
    now = int(time.time()) // 30
    enable = dict(UserName="ada.l", SerialNumber=serial)
    fails("InvalidAuthenticationCode", 403, ROOT.enable_mfa_device, AuthenticationCode1="000000",
          AuthenticationCode2="000001", **enable)
    ROOT.enable_mfa_device(AuthenticationCode1=totp(seed, now - 1), AuthenticationCode2=totp(seed, now), **enable)
    assert [d["SerialNumber"] for d in ROOT.list_mfa_devices(UserName="ada.l")["MFADevices"]] == [serial]
    assert ROOT.list_virtual_mfa_devices(AssignmentStatus="Assigned")["VirtualMFADevices"][0]["User"]["UserName"] == "ada.l"
    fails("DeleteConflict", 409, ROOT.delete_virtual_mfa_device, SerialNumber=serial)
    fails("DeleteConflict", 409, ROOT.delete_user, UserName="ada.l")
    ROOT.deactivate_mfa_device(**enable)
    ROOT.delete_virtual_mfa_device(SerialNumber=serial)


def certificates():
    """Certificates for TLS, and those with which a user signs."""
    folder = tempfile.mkdtemp()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", "/CN=a.example", "-keyout", f"{folder}/key", "-out", f"{folder}/pem"], check=True, capture_output=True)
    body, private = open(f"{folder}/pem").read(), open(f"{folder}/key").read()
    secret(private.splitlines()[1])
    shutil.rmtree(folder)
    made = ROOT.upload_server_certificate(
        ServerCertificateName="web", Path="/tls/", CertificateBody=body, PrivateKey=private, CertificateChain=body,
        Tags=[{"Key": "a", "Value": "b"}])["ServerCertificateMetadata"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:server-certificate/tls/web" and made["Expiration"] > made["UploadDate"], made
    fails("EntityAlreadyExists", 409, ROOT.upload_server_certificate, ServerCertificateName="WEB", CertificateBody=body,
          PrivateKey=private)
    fails("MalformedCertificate", 400, ROOT.upload_server_certificate, ServerCertificateName="x", CertificateBody="x",
          PrivateKey=private)
    got = client("iam", 1).get_server_certificate(ServerCertificateName="web")["ServerCertificate"]
    assert (got["CertificateBody"], got["CertificateChain"]) == (body, body) and got["Tags"] == [{"Key": "a", "Value": "b"}]
    ROOT.update_server_certificate(ServerCertificateName="web", NewServerCertificateName="site", NewPath="/")
    listed = ROOT.list_server_certificates()["ServerCertificateMetadataList"]
    assert [(c["ServerCertificateName"], c["ServerCertificateId"]) for c in listed] == [("site", made["ServerCertificateId"])]
    ROOT.delete_server_certificate(ServerCertificateName="site")
    fails("NoSuchEntity", 404, ROOT.get_server_certificate, ServerCertificateName="site")
    signing = ROOT.upload_signing_certificate(UserName="ada.l", CertificateBody=body)["Certificate"]
    assert signing["Status"] == "Active" and signing["CertificateBody"] == body
    fails("DuplicateCertificate", 409, ROOT.upload_signing_certificate, UserName="ada.l", CertificateBody=body)
    fails("DeleteConflict", 409, ROOT.delete_user, UserName="ada.l")
    one = dict(UserName="ada.l", CertificateId=signing["CertificateId"])
    ROOT.update_signing_certificate(Status="Inactive", **one)
    assert [c["Status"] for c in ROOT.list_signing_certificates(UserName="ada.l")["Certificates"]] == ["Inactive"]
    ROOT.delete_signing_certificate(**one)
    fails("NoSuchEntity", 404, ROOT.delete_signing_certificate, **one)


def providers():
    arn = ROOT.create_open_id_connect_provider(
        Url="https://idp.example.com/realm", ClientIDList=["app"], ThumbprintList=["a" * 40])["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:oidc-provider/idp.example.com/realm"
    ROOT.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    ROOT.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["B" * 40])
    got = ROOT.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (got["Url"], got["ClientIDList"], got["ThumbprintList"]) == (
        "idp.example.com/realm", ["app", "other"], ["B" * 40])
    fails("EntityAlreadyExists", 409, ROOT.create_open_id_connect_provider, Url="https://idp.example.com/realm/")
    ROOT.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    fails("NoSuchEntity", 404, ROOT.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)


def reports():
    assert ROOT.get_account_summary()["SummaryMap"]["Users"] == 1
    details = ROOT.get_account_authorization_details()
    assert [u["UserName"] for u in details["UserDetailList"]] == ["ada.l"]
    assert details["GroupDetailList"][0]["GroupPolicyList"][0]["PolicyDocument"]["Statement"]
    fails("ReportNotPresent", 410, ROOT.get_credential_report)
    assert ROOT.generate_credential_report()["State"] == "COMPLETE"
    rows = list(csv.DictReader(io.StringIO(ROOT.get_credential_report()["Content"].decode())))
    assert [row["user"] for row in rows] == ["<root_account>", "ada.l"]
    assert rows[0]["access_key_1_active"] == "true" and rows[0]["mfa_active"] == "false"


def simulation():
    def decisions(answer):
        return [result["EvalDecision"] for result in answer["EvaluationResults"]]
    document = policy(allow("s3:GetObject", "arn:aws:s3:::b/*"), deny("s3:GetObject", "arn:aws:s3:::b/secret"))
    answer = ROOT.simulate_custom_policy(PolicyInputList=[document], ActionNames=["s3:GetObject", "s3:PutObject"],
                                         ResourceArns=["arn:aws:s3:::b/k", "arn:aws:s3:::b/secret"])
    assert decisions(answer) == ["allowed", "explicitDeny", "implicitDeny", "implicitDeny"]
    ada = ROOT.get_user(UserName="ada.l")["User"]["Arn"]
    answer = ROOT.simulate_principal_policy(PolicySourceArn=ada, ActionNames=["iam:ListUsers", "iam:CreateUser"])
    assert decisions(answer) == ["allowed", "implicitDeny"]
    condition = policy(allow("s3:*", Condition={"StringEquals": {"s3:prefix": "a"}}))
    assert ROOT.get_context_keys_for_custom_policy(PolicyInputList=[condition])["ContextKeyNames"] == ["s3:prefix"]
    answer = ROOT.simulate_custom_policy(
        PolicyInputList=[condition], ActionNames=["s3:ListBucket"],
        ContextEntries=[{"ContextKeyName": "s3:prefix", "ContextKeyValues": ["a"], "ContextKeyType": "string"}])
    assert decisions(answer) == ["allowed"]


def query(action, key=None, **parameters):
    """An action that AWS does not have, signed as every other: status and document."""
    session = boto3.Session()
    credentials = session.get_credentials()
    if key:
        credentials = botocore.credentials.Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    body = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **parameters})
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = botocore.awsrequest.AWSRequest("POST", ENDPOINTS[0] + "/", data=body, headers=headers)
    botocore.auth.SigV4Auth(credentials, "iam", "us-east-1").add_auth(request)
    asked = urllib.request.Request(request.url, data=body.encode(), headers=dict(request.headers))
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def accounts():
    status, text = query("CreateAccount", AccountName="tenant-one", Email="one@example.com")
    account_id = re.search(r"<AccountId>([0-9]{12})</AccountId>", text).group(1)
    assert status == 200 and account_id != ACCOUNT, text
    status, text = query("CreateAccount", AccountName="tenant-one")
    assert status == 409 and "EntityAlreadyExists" in text, text
    status, text = query("ListAccounts")
    assert status == 200 and account_id in text and ACCOUNT in text, text
    # The host's administrator hands out the tenant's first keys.
    access_key, secret_key = re.findall(r": (\S+)", subprocess.run(
        ROTATE + ["--account", "tenant-one"], check=True, capture_output=True, text=True).stdout)
    tenant = {"AccessKeyId": access_key, "SecretAccessKey": secret(secret_key)}
    iam = client("iam", 0, tenant)
    assert iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{account_id}:root"
    assert iam.list_users()["Users"] == []
    for action in ("CreateAccount", "ListAccounts", "DeleteAccount"):
        status, text = query(action, tenant, AccountName="tenant-two")
        assert status == 403 and "AccessDenied" in text, (action, text)
    status, text = query("CreateAccessKey", DelegateAccount="tenant-one")
    assert status == 200 and secret(re.search(r"<SecretAccessKey>(.*?)<", text).group(1)), text
    status, text = query("ListUsers", tenant, DelegateAccount="karri")
    assert status == 403 and "AccessDenied" in text, text
    iam.create_user(UserName="ada.l")
    fails("EntityAlreadyExists", 409, iam.create_account_alias, AccountAlias="karri")
    status, text = query("DeleteAccount", AccountName="tenant-one")
    assert status == 409 and "DeleteConflict" in text, text
    s3 = client("s3", 0, tenant)
    s3.create_bucket(Bucket="bucket-of-the-tenant")
    status, text = query("DeleteAccount", AccountName="tenant-one", Recursive="true")
    assert status == 409 and "DeleteConflict" in text, text
    s3.delete_bucket(Bucket="bucket-of-the-tenant")
    status, text = query("DeleteAccount", AccountName="tenant-one", Recursive="true")
    assert status == 200, text
    fails("InvalidClientTokenId", 403, iam.list_users)
    status, text = query("DeleteAccount", AccountName="karri")
    assert status == 409, text
    status, text = query("MakeCoffee")
    assert status == 400 and "<Code>InvalidAction</Code>" in text, text
    ROOT.create_account_alias(AccountAlias="first-cloud")
    assert ROOT.list_account_aliases()["AccountAliases"] == ["first-cloud"]
    ROOT.delete_account_alias(AccountAlias="first-cloud")
    assert ROOT.list_account_aliases()["AccountAliases"] == []


def objects():
    """The new keys are good for S3 too."""
    key = new_key_instead("ada.l")
    ROOT.attach_user_policy(UserName="ada.l", PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    time.sleep(1)
    for number in range(len(ENDPOINTS)):
        s3 = client("s3", number, key)
        bucket = f"bucket-of-ada-{number}"
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=b"v")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    ROOT.detach_user_policy(UserName="ada.l", PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")


def allowed(call):
    try:
        call()
        return True
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("AccessDenied", "InvalidAccessKeyId"), error
        return False


def within_a_second(calls, wanted, change):
    """After `change` every one of the calls, each to another node, is allowed or not, as wanted, within a second."""
    for call in calls:
        assert allowed(call) != wanted, "it was so before"
    change()
    changed = time.monotonic()
    for number, call in enumerate(calls):
        while allowed(call) != wanted:
            assert time.monotonic() - changed < 1, f"node {number} does not know after a second"
            time.sleep(0.02)
    print(f"known everywhere after {time.monotonic() - changed:.2f} s")


def freshness():
    """Whatever takes a permission away is in force on every node within a second, and so is what gives it."""
    ROOT.create_user(UserName="fresh")
    key = new_key(ROOT, UserName="fresh")
    user = dict(UserName="fresh", PolicyName="p")
    document = policy(allow("s3:ListAllMyBuckets"), allow("sts:*"))
    arn = ROOT.create_policy(PolicyName="fresh", PolicyDocument=document)["Policy"]["Arn"]
    nothing = ROOT.create_policy(PolicyName="nothing", PolicyDocument=policy(allow("s3:None")))["Policy"]["Arn"]
    calls = [client("s3", number, key).list_buckets for number in range(len(ENDPOINTS))]
    time.sleep(1)
    within_a_second(calls, True, lambda: ROOT.put_user_policy(PolicyDocument=document, **user))
    within_a_second(calls, False, lambda: ROOT.put_user_policy(PolicyDocument=policy(allow("sts:*")), **user))
    within_a_second(calls, True, lambda: ROOT.attach_user_policy(UserName="fresh", PolicyArn=arn))
    within_a_second(calls, False, lambda: ROOT.put_user_permissions_boundary(
        UserName="fresh", PermissionsBoundary=nothing))
    within_a_second(calls, True, lambda: ROOT.delete_user_permissions_boundary(UserName="fresh"))
    within_a_second(calls, False, lambda: ROOT.create_policy_version(
        PolicyArn=arn, PolicyDocument=policy(deny("s3:*"), allow("sts:*")), SetAsDefault=True))
    within_a_second(calls, True, lambda: ROOT.set_default_policy_version(PolicyArn=arn, VersionId="v1"))
    within_a_second(calls, False, lambda: ROOT.detach_user_policy(UserName="fresh", PolicyArn=arn))
    ROOT.create_group(GroupName="fresh")
    ROOT.attach_group_policy(GroupName="fresh", PolicyArn=arn)
    within_a_second(calls, True, lambda: ROOT.add_user_to_group(GroupName="fresh", UserName="fresh"))
    within_a_second(calls, False, lambda: ROOT.remove_user_from_group(GroupName="fresh", UserName="fresh"))
    within_a_second(calls, True, lambda: ROOT.add_user_to_group(GroupName="fresh", UserName="fresh"))
    # A key, and the session that was made with it.
    session = client("sts", 0, key).get_session_token()["Credentials"]
    secret(session["SecretAccessKey"])
    secret(session["SessionToken"])
    of_session = [boto3.client(
        "s3", endpoint_url=endpoint, config=CONFIG, aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"], aws_session_token=session["SessionToken"]).list_buckets
        for endpoint in ENDPOINTS]
    within_a_second(calls, False, lambda: ROOT.update_access_key(
        UserName="fresh", AccessKeyId=key["AccessKeyId"], Status="Inactive"))
    within_a_second(of_session, False, lambda: ROOT.put_user_policy(
        PolicyDocument=policy({**deny("*"), "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2999-01-01T00:00:00Z"}}}),
        **user))
    ROOT.delete_access_key(UserName="fresh", AccessKeyId=key["AccessKeyId"])
    # A bucket's policy.
    bucket, of_ada = "fresh-bucket", new_key_instead("ada.l")
    root = client("s3")
    root.create_bucket(Bucket=bucket)
    lists = [lambda s3=client("s3", number, of_ada): s3.list_objects_v2(Bucket=bucket) for number in range(len(ENDPOINTS))]
    named = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ada.l"}}
    time.sleep(1)
    within_a_second(lists, True, lambda: root.put_bucket_policy(
        Bucket=bucket, Policy=policy(allow("s3:ListBucket", f"arn:aws:s3:::{bucket}", **named))))
    within_a_second(lists, False, lambda: root.put_bucket_policy(
        Bucket=bucket, Policy=policy({**deny("s3:ListBucket", f"arn:aws:s3:::{bucket}"), **named})))
    root.delete_bucket(Bucket=bucket)
    ROOT.remove_user_from_group(GroupName="fresh", UserName="fresh")
    ROOT.delete_user_policy(**user)
    ROOT.detach_group_policy(GroupName="fresh", PolicyArn=arn)
    ROOT.delete_group(GroupName="fresh")
    ROOT.delete_user(UserName="fresh")


def races():
    """Of many who make the same user through all nodes one does; a user gets two keys, however many ask."""
    def many(call):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            results = list(pool.map(lambda number: attempt(call, number), range(12)))
        return [result for result in results if result == "made"], [result for result in results if result != "made"]

    def attempt(call, number):
        iam = client("iam", number)
        try:
            answer = call(iam)
            if "AccessKey" in answer:
                secret(answer["AccessKey"]["SecretAccessKey"])
            return "made"
        except ClientError as error:
            return error.response["Error"]["Code"]

    made, refused = many(lambda iam: iam.create_user(UserName="raced"))
    assert len(made) == 1 and set(refused) == {"EntityAlreadyExists"}, (made, refused)
    made, refused = many(lambda iam: iam.create_access_key(UserName="raced"))
    assert len(made) == 2 and set(refused) == {"LimitExceeded"}, (made, refused)
    for key in ROOT.list_access_keys(UserName="raced")["AccessKeyMetadata"]:
        ROOT.delete_access_key(UserName="raced", AccessKeyId=key["AccessKeyId"])
    ROOT.delete_user(UserName="raced")


users()
races()
groups()
keys_and_decisions()
managed_policies()
roles()
passwords()
devices()
certificates()
providers()
reports()
simulation()
accounts()
objects()
freshness()
print("iam: all passed")
