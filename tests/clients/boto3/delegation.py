"""Who administers others may do no more than was delegated: condition keys of IAM's own actions, sessions at IAM's door, and
ways around them.

    delegation.py ENDPOINT
"""

import functools
import sys
import time
import uuid

import common
from common import ACCOUNT, fails, policy, statement, totp

ENDPOINT = sys.argv[1]
client = functools.partial(common.client, ENDPOINT)
IAM = client("iam")
user = functools.partial(common.user, IAM)


def boundaries():
    """Delegation as AWS's guide has it: users may be made and given policies only inside a boundary."""
    bound = IAM.create_policy(PolicyName="bound", PolicyDocument=policy(statement("Allow", "s3:*")))["Policy"]["Arn"]
    wide = IAM.create_policy(PolicyName="wide", PolicyDocument=policy(statement("Allow", "*")))["Policy"]["Arn"]
    actions = ["CreateUser", "AttachUserPolicy", "DetachUserPolicy", "PutUserPolicy", "DeleteUserPolicy",
               "PutUserPermissionsBoundary", "CreateRole", "AttachRolePolicy", "DetachRolePolicy", "PutRolePolicy",
               "DeleteRolePolicy", "PutRolePermissionsBoundary"]
    inside = {"StringEquals": {"iam:PermissionsBoundary": bound}}
    deputy = client("iam", user(
        "deputy",
        statement("Allow", [f"iam:{action}" for action in actions], **inside),
        statement("Allow", ["iam:CreateAccessKey", "iam:UpdateAssumeRolePolicy"]),
        statement("Deny", ["iam:DeleteUserPermissionsBoundary", "iam:DeleteRolePermissionsBoundary"])))
    trust = policy({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    IAM.create_user(UserName="unbound")
    IAM.create_user(UserName="otherwise", PermissionsBoundary=wide)
    IAM.create_role(RoleName="unbound", AssumeRolePolicyDocument=trust)
    everything = policy(statement("Allow", "*"))

    fails("AccessDenied", deputy.create_user, UserName="free")
    fails("AccessDenied", deputy.create_user, UserName="free", PermissionsBoundary=wide)
    fails("AccessDenied", deputy.create_role, RoleName="free", AssumeRolePolicyDocument=trust)
    deputy.create_user(UserName="kept", PermissionsBoundary=bound)
    deputy.create_role(RoleName="kept", AssumeRolePolicyDocument=trust, PermissionsBoundary=bound)
    for name in ("unbound", "otherwise"):
        fails("AccessDenied", deputy.attach_user_policy, UserName=name, PolicyArn=wide)
        fails("AccessDenied", deputy.put_user_policy, UserName=name, PolicyName="p", PolicyDocument=everything)
    fails("AccessDenied", deputy.attach_role_policy, RoleName="unbound", PolicyArn=wide)
    fails("AccessDenied", deputy.put_role_policy, RoleName="unbound", PolicyName="p", PolicyDocument=everything)
    fails("AccessDenied", deputy.put_user_policy, UserName="deputy", PolicyName="p", PolicyDocument=everything)
    deputy.attach_user_policy(UserName="kept", PolicyArn=wide)
    deputy.detach_user_policy(UserName="kept", PolicyArn=wide)
    deputy.put_user_policy(UserName="kept", PolicyName="p", PolicyDocument=everything)
    deputy.put_role_policy(RoleName="kept", PolicyName="p", PolicyDocument=everything)
    deputy.delete_role_policy(RoleName="kept", PolicyName="p")
    deputy.attach_role_policy(RoleName="kept", PolicyArn=wide)
    for call, name in [("delete_user_permissions_boundary", "UserName"), ("delete_role_permissions_boundary", "RoleName")]:
        fails("AccessDenied", getattr(deputy, call), **{name: "kept"})
    fails("AccessDenied", deputy.put_user_permissions_boundary, UserName="kept", PermissionsBoundary=wide)
    # What was given has its bound.
    kept = client("iam", deputy.create_access_key(UserName="kept")["AccessKey"])
    fails("AccessDenied", kept.list_users)
    fails("AccessDenied", kept.put_user_policy, UserName="kept", PolicyName="q", PolicyDocument=everything)


def tags():
    """Access by tags: those of the thing that is asked for, and nobody gives itself the tag that opens the door."""
    mine = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    also = {"StringEquals": {"iam:ResourceTag/team": "blue"}}
    blue = client("iam", user(
        "blue", statement("Allow", ["iam:UpdateUser", "iam:DeleteUser", "iam:DeletePolicy", "iam:DeleteRole"], **mine),
        statement("Allow", ["iam:CreateAccessKey", "iam:DeleteAccessKey"], **also),
        statement("Allow", ["iam:CreateUser", "iam:CreateRole", "iam:CreatePolicy", "iam:CreateInstanceProfile",
                            "iam:CreateVirtualMFADevice", "iam:CreateOpenIDConnectProvider"])))
    for name, team in [("of-blue", "blue"), ("of-red", "red")]:
        IAM.create_user(UserName=name, Tags=[{"Key": "team", "Value": team}])
    document = policy(statement("Allow", "s3:*"))
    theirs = IAM.create_policy(PolicyName="of-red", PolicyDocument=document, Tags=[{"Key": "team", "Value": "red"}])
    ours = IAM.create_policy(PolicyName="of-blue", PolicyDocument=document, Tags=[{"Key": "team", "Value": "blue"}])
    fails("AccessDenied", blue.create_access_key, UserName="of-red")
    fails("AccessDenied", blue.delete_user, UserName="of-red")
    fails("AccessDenied", blue.delete_user, UserName="nobody-there")
    fails("AccessDenied", blue.delete_policy, PolicyArn=theirs["Policy"]["Arn"])
    blue.delete_policy(PolicyArn=ours["Policy"]["Arn"])
    key = blue.create_access_key(UserName="of-blue")["AccessKey"]
    blue.delete_access_key(UserName="of-blue", AccessKeyId=key["AccessKeyId"])
    blue.delete_user(UserName="of-blue")
    # To make a thing is one permission, to tag it another.
    label = {"Tags": [{"Key": "team", "Value": "blue"}]}
    trust = policy({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    makes = [
        (blue.create_user, {"UserName": "t"}),
        (blue.create_role, {"RoleName": "t", "AssumeRolePolicyDocument": trust}),
        (blue.create_policy, {"PolicyName": "t", "PolicyDocument": document}),
        (blue.create_instance_profile, {"InstanceProfileName": "t"}),
        (blue.create_virtual_mfa_device, {"VirtualMFADeviceName": "t"}),
        (blue.create_open_id_connect_provider, {"Url": "https://idp.example/t", "ClientIDList": ["c"]}),
    ]
    for call, arguments in makes:
        fails("AccessDenied", call, **arguments, **label)
    IAM.put_user_policy(UserName="blue", PolicyName="tag", PolicyDocument=policy(statement(
        "Allow", ["iam:TagUser", "iam:TagRole", "iam:TagPolicy", "iam:TagInstanceProfile", "iam:TagMFADevice",
                  "iam:TagOpenIDConnectProvider"], **{"StringEquals": {"aws:RequestTag/team": "blue"}})))
    for call, arguments in makes:
        fails("AccessDenied", call, **arguments, Tags=[{"Key": "team", "Value": "red"}])
        call(**arguments, **label)


def requests():
    """What is known of a request: where from, over what, for which region."""
    elsewhere = statement("Deny", "*", **{"StringNotEquals": {"aws:RequestedRegion": ["us-east-1"]}})
    key = user("here", statement("Allow", "*"), elsewhere)
    client("iam", key).list_users()
    client("sts", key).get_access_key_info(AccessKeyId=key["AccessKeyId"])
    key = user("there", statement("Allow", "*"),
               statement("Deny", "*", **{"StringEquals": {"aws:RequestedRegion": "us-east-1"}}))
    fails("AccessDenied", client("iam", key).list_users)
    fails("AccessDenied", client("sts", key).get_access_key_info, AccessKeyId=key["AccessKeyId"])
    key = user("direct", statement("Allow", "iam:*", **{"Bool": {"aws:ViaAWSService": "false"}}))
    client("iam", key).list_users()
    key = user("plain", statement("Allow", "*"), statement("Deny", "*", **{"Bool": {"aws:SecureTransport": "false"}}))
    fails("AccessDenied", client("iam", key).list_users)
    key = user("near", statement("Allow", "iam:*", **{"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1"]}}))
    client("iam", key).list_users()


def sessions():
    """Sessions of GetSessionToken call IAM with a second factor only, those of GetFederationToken never."""
    key = user("sara", statement("Allow", "*"))
    sts = client("sts", key)
    plain = sts.get_session_token()["Credentials"]
    fails("InvalidClientTokenId", client("iam", plain).list_users)
    fails("InvalidClientTokenId", client("iam", plain).create_access_key)
    assert client("sts", plain).get_caller_identity()["Arn"].endswith("user/sara")
    fails("AccessDenied", client("sts", plain).get_access_key_info, AccessKeyId=key["AccessKeyId"])
    of_root = client("sts").get_session_token()["Credentials"]
    fails("InvalidClientTokenId", client("iam", of_root).list_users)
    federated = sts.get_federation_token(Name="fed", Policy=policy(statement("Allow", "*")))["Credentials"]
    fails("InvalidClientTokenId", client("iam", federated).list_users)
    fails("AccessDenied", client("sts", federated).get_access_key_info, AccessKeyId=key["AccessKeyId"])
    fails("AccessDenied", client("sts", federated).get_federation_token, Name="ged")
    made = IAM.create_virtual_mfa_device(VirtualMFADeviceName="sara")["VirtualMFADevice"]
    seed, serial = made["Base32StringSeed"].decode(), made["SerialNumber"]
    now = int(time.time()) // 30
    IAM.enable_mfa_device(UserName="sara", SerialNumber=serial, AuthenticationCode1=totp(seed, now - 1),
                          AuthenticationCode2=totp(seed, now))
    proved = sts.get_session_token(SerialNumber=serial, TokenCode=totp(seed, now + 1))["Credentials"]
    client("iam", proved).list_users()
    # Codes cannot be tried one after the other: after a few wrong ones not even the right one is taken, for a while.
    for number in range(6):
        fails("AccessDenied", sts.get_session_token, SerialNumber=serial, TokenCode=f"{number:06}")
    later = int(time.time()) // 30
    for step in (later + 1, later + 2):
        fails("AccessDenied", sts.get_session_token, SerialNumber=serial, TokenCode=totp(seed, step))
    # Only the one who tries waits.
    other = client("sts", user("olga", statement("Allow", "*")))
    fails("AccessDenied", other.get_session_token, SerialNumber=serial, TokenCode="000000")


def other_letters():
    """A thing that is denied is denied however its name is written."""
    IAM.create_virtual_mfa_device(VirtualMFADeviceName="Guarded")
    IAM.create_user(UserName="Guarded")
    serial = f"arn:aws:iam::{ACCOUNT}:mfa/Guarded"
    target = f"arn:aws:iam::{ACCOUNT}:user/Guarded"
    iam = client("iam", user("twister", statement("Allow", "iam:*"), statement("Deny", "iam:*", [serial, target])))
    for written in (serial, serial.replace("Guarded", "GUARDED"), serial.replace("Guarded", "guarded")):
        fails("AccessDenied" if written == serial else "NoSuchEntity", iam.delete_virtual_mfa_device, SerialNumber=written)
    for written in ("Guarded", "GUARDED", "guarded"):
        fails("AccessDenied", iam.delete_user, UserName=written)
        fails("AccessDenied", iam.create_access_key, UserName=written)
    for written in (target, target.replace("Guarded", "guarded"), target.replace("user/", "user/x/")):
        fails("AccessDenied" if written == target else "NoSuchEntity", iam.simulate_principal_policy,
              PolicySourceArn=written, ActionNames=["s3:GetObject"])
    assert IAM.list_virtual_mfa_devices(AssignmentStatus="Unassigned")["VirtualMFADevices"]


def absent():
    """Nobody is trusted before it is there: whoever makes a user of that name later would have the role."""
    def trust(principal):
        return policy({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"})

    IAM.create_user(UserName="present", Path="/p/")
    arn = f"arn:aws:iam::{ACCOUNT}:user/p/present"
    absent = [f"arn:aws:iam::{ACCOUNT}:user/ghost", arn.replace("/p/", "/"), arn.replace("present", "Present"), "999999999999",
              f"arn:aws:iam::{ACCOUNT}:role/ghost", "arn:aws:iam::999999999999:root",
              f"arn:aws:sts::{ACCOUNT}:assumed-role/ghost/session"]
    IAM.create_role(RoleName="trusting", AssumeRolePolicyDocument=trust([arn, ACCOUNT, "*"]))
    s3 = client("s3")
    bucket = f"absent-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    for principal in absent:
        fails("MalformedPolicyDocument", IAM.create_role, RoleName="t2", AssumeRolePolicyDocument=trust([arn, principal]))
        fails("MalformedPolicyDocument", IAM.update_assume_role_policy, RoleName="trusting",
              PolicyDocument=trust(principal))
        named = statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*") | {"Principal": {"AWS": principal}}
        fails("MalformedPolicy", s3.put_bucket_policy, Bucket=bucket, Policy=policy(named))


def copies():
    """A copy takes the tags of its source along: whoever may not read those gets no copy with them."""
    s3 = client("s3")
    bucket = f"copies-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="labelled", Body=b"x", Tagging="project=secret")
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    key = user("copyist", statement("Allow", ["s3:GetObject", "s3:PutObject"]))
    copyist = client("s3", key)
    time.sleep(1)
    fails("AccessDenied", copyist.get_object_tagging, Bucket=bucket, Key="labelled")
    fails("AccessDenied", copyist.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/labelled")
    copyist.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/plain")
    copyist.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/labelled", TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == []
    IAM.put_user_policy(UserName="copyist", PolicyName="t", PolicyDocument=policy(statement("Allow", "s3:GetObjectTagging")))
    time.sleep(1)
    fails("AccessDenied", copyist.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/labelled")
    IAM.put_user_policy(UserName="copyist", PolicyName="t", PolicyDocument=policy(
        statement("Allow", ["s3:GetObjectTagging", "s3:PutObjectTagging"])))
    time.sleep(1)
    copyist.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/labelled")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == [{"Key": "project", "Value": "secret"}]


boundaries()
tags()
requests()
sessions()
other_letters()
absent()
copies()
print("delegation: all passed")
