"""Second factors, federated users, and condition keys that a request's body decides on, as AWS documents them.

    conditions.py ENDPOINT
"""

import functools
import sys
import time
import urllib.request
import uuid

import common
from common import ACCOUNT, fails, policy, statement, totp

ENDPOINT = sys.argv[1]
client = functools.partial(common.client, ENDPOINT)
IAM, S3 = client("iam"), client("s3")
user = functools.partial(common.user, IAM)


def device(name):
    """What to call with: a code that is good once, and one that was used."""
    made = IAM.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    seed, serial = made["Base32StringSeed"].decode(), made["SerialNumber"]
    now = int(time.time()) // 30
    codes = {"AuthenticationCode1": totp(seed, now - 1), "AuthenticationCode2": totp(seed, now)}
    IAM.enable_mfa_device(UserName=name, SerialNumber=serial, **codes)
    good, used = ({"SerialNumber": serial, "TokenCode": totp(seed, step)} for step in (now + 1, now))
    return good, used


def second_factors():
    present = {"Bool": {"aws:MultiFactorAuthPresent": "true"}, "NumericLessThan": {"aws:MultiFactorAuthAge": "60"}}
    key = user("mia", statement("Allow", "s3:ListAllMyBuckets", **present))
    good, used = device("mia")
    s3, sts = client("s3", key), client("sts", key)
    fails("AccessDenied", s3.list_buckets)
    plain = sts.get_session_token()["Credentials"]
    fails("AccessDenied", client("s3", plain).list_buckets)
    fails("AccessDenied", sts.get_session_token, **(good | {"TokenCode": "000000"}))
    fails("AccessDenied", sts.get_session_token, **used)
    session = sts.get_session_token(**good)["Credentials"]
    client("s3", session).list_buckets()
    fails("AccessDenied", sts.get_session_token, **good)

    key = user("max")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/max"}}
    role = IAM.create_role(RoleName="safe", AssumeRolePolicyDocument=policy(trust | {"Condition": present}))["Role"]
    too_old = {"NumericGreaterThan": {"aws:MultiFactorAuthAge": "60"}}
    IAM.put_role_policy(RoleName="safe", PolicyName="p", PolicyDocument=policy(
        statement("Allow", "s3:ListAllMyBuckets"), statement("Deny", "*", **too_old)))
    good, _ = device("max")
    sts, take = client("sts", key), {"RoleArn": role["Arn"], "RoleSessionName": "shift"}
    fails("AccessDenied", sts.assume_role, **take)
    session = sts.assume_role(**take, **good)["Credentials"]
    client("s3", session).list_buckets()


def federated_users():
    bucket = f"federated-{uuid.uuid4().hex[:8]}"
    S3.create_bucket(Bucket=bucket)
    S3.put_object(Bucket=bucket, Key="k", Body=b"x")
    key = user("fay", statement("Allow", ["sts:GetFederationToken", "s3:GetObject", "s3:ListBucket"]))
    sts = client("sts", key)

    def federated(name, *statements):
        more = {"Policy": policy(*statements)} if statements else {}
        return client("s3", sts.get_federation_token(Name=name, **more)["Credentials"])

    # No more than the session's policies allow, and no more than the user's own do.
    s3 = federated("few", statement("Allow", "s3:GetObject"))
    s3.get_object(Bucket=bucket, Key="k")
    fails("AccessDenied", s3.list_objects_v2, Bucket=bucket)
    s3 = federated("all", statement("Allow", "*"))
    s3.get_object(Bucket=bucket, Key="k")
    s3.list_objects_v2(Bucket=bucket)
    fails("AccessDenied", s3.put_object, Bucket=bucket, Key="n", Body=b"")
    # Without a policy of its own it has nothing but what a bucket's policy gives it by name.
    s3 = federated("nobody")
    fails("AccessDenied", s3.get_object, Bucket=bucket, Key="k")
    named = statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*")
    named["Principal"] = {"AWS": f"arn:aws:sts::{ACCOUNT}:federated-user/nobody"}
    S3.put_bucket_policy(Bucket=bucket, Policy=policy(named))
    s3.get_object(Bucket=bucket, Key="k")
    # What the user loses, its federated users lose.
    IAM.put_user_policy(UserName="fay", PolicyName="p", PolicyDocument=policy(statement("Deny", "s3:*")))
    fails("AccessDenied", s3.get_object, Bucket=bucket, Key="k")


def tags():
    bucket = f"tags-{uuid.uuid4().hex[:8]}"
    S3.create_bucket(Bucket=bucket)
    S3.put_object(Bucket=bucket, Key="k", Body=b"x")
    blue = {"StringEquals": {"s3:RequestObjectTag/team": "blue"}}
    only = {"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["team", "stage"]}}
    tagging = statement("Allow", "s3:PutObjectTagging") | {"Condition": blue | only}
    s3 = client("s3", user("tim", statement("Allow", "s3:PutObject"), tagging))

    def put(**tags):
        return {"Bucket": bucket, "Key": "k", "Tagging": {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}}

    fails("AccessDenied", s3.put_object_tagging, **put(team="red"))
    fails("AccessDenied", s3.put_object_tagging, **put(team="blue", owner="me"))
    assert S3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    s3.put_object_tagging(**put(team="blue", stage="x"))
    fails("AccessDenied", s3.put_object, Bucket=bucket, Key="n", Tagging="team=red")
    s3.put_object(Bucket=bucket, Key="n", Tagging="team=blue")


def forms():
    bucket = f"forms-{uuid.uuid4().hex[:8]}"
    S3.create_bucket(Bucket=bucket)
    key = user("pam", {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*",
                       "Condition": {"StringEquals": {"s3:authType": "POST"}}})
    s3 = client("s3", key)
    fails("AccessDenied", s3.put_object, Bucket=bucket, Key="k", Body=b"x")
    form = s3.generate_presigned_post(bucket, "k")
    boundary = uuid.uuid4().hex
    parts = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                    for name, value in (form["fields"] | {"file": "by a form"}).items())
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(form["url"], f"{parts}--{boundary}--\r\n".encode(), headers)
    assert urllib.request.urlopen(request).status == 204
    assert S3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"by a form"


def locked_out():
    """Who would take from itself the right to change a bucket's policy has to say so."""
    bucket = f"locked-{uuid.uuid4().hex[:8]}"
    S3.create_bucket(Bucket=bucket)
    keeper = client("s3", user("keeper", statement("Allow", "s3:*")))
    settle()
    arn = f"arn:aws:s3:::{bucket}"
    deny = statement("Deny", ["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"], arn) | {"Principal": "*"}
    fails("AccessDenied", keeper.put_bucket_policy, Bucket=bucket, Policy=policy(deny))
    fails("NoSuchBucketPolicy", keeper.get_bucket_policy, Bucket=bucket)
    harmless = statement("Deny", "s3:DeleteBucket", arn) | {"Principal": "*"}
    keeper.put_bucket_policy(Bucket=bucket, Policy=policy(harmless))
    keeper.put_bucket_policy(Bucket=bucket, Policy=policy(deny), ConfirmRemoveSelfBucketAccess=True)
    settle()
    fails("AccessDenied", keeper.put_bucket_policy, Bucket=bucket, Policy=policy(harmless))
    fails("AccessDenied", keeper.delete_bucket_policy, Bucket=bucket)
    # The root user of the bucket's account can always mend it, and need not say anything.
    S3.put_bucket_policy(Bucket=bucket, Policy=policy(deny))
    S3.delete_bucket_policy(Bucket=bucket)


def missing_keys():
    """Only who may list a bucket learns that a key is not there."""
    bucket = f"missing-{uuid.uuid4().hex[:8]}"
    S3.create_bucket(Bucket=bucket)
    S3.put_object(Bucket=bucket, Key="there", Body=b"x")
    reads, lists = statement("Allow", "s3:GetObject"), statement("Allow", "s3:ListBucket")
    reader, lister = client("s3", user("reader", reads)), client("s3", user("lister", lists))
    both = client("s3", user("both", reads, lists))
    settle()
    assert reader.get_object(Bucket=bucket, Key="there")["Body"].read() == b"x"
    fails("AccessDenied", reader.get_object, Bucket=bucket, Key="missing")
    fails("403", reader.head_object, Bucket=bucket, Key="missing")
    fails("NoSuchKey", both.get_object, Bucket=bucket, Key="missing")
    fails("404", both.head_object, Bucket=bucket, Key="missing")
    fails("AccessDenied", lister.get_object, Bucket=bucket, Key="there")
    fails("403", lister.head_object, Bucket=bucket, Key="there")
    # It learns nothing that the list does not tell.
    fails("NoSuchKey", lister.get_object, Bucket=bucket, Key="missing")
    fails("404", lister.head_object, Bucket=bucket, Key="missing")


def settle():
    # A change of identities is known on every node within a second.
    time.sleep(1)


second_factors()
federated_users()
tags()
forms()
locked_out()
missing_keys()
print("conditions: all passed")
