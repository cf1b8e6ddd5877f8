"""Secrets of every kind in calls that succeed and in calls that fail. The first argument is a file to which every secret is
written: the test looks for them in logs, metrics and on the disks. No refusal may show one. Ends with "canary: all passed".

    canary.py SECRETS ENDPOINT...
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SECRETS = open(sys.argv[1], "w")
ENDPOINTS = sys.argv[2:]
CONFIG = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
SESSION = boto3.Session()
KNOWN = []
REFUSALS = []
NODE = iter(range(1_000_000))


def canary(value):
    """Notes a secret; of bytes, the forms in which they may be written too."""
    forms = [value] if isinstance(value, str) else [base64.b64encode(value).decode(), value.hex()]
    for form in forms:
        assert len(form) >= 12, form
        KNOWN.append(form)
        SECRETS.write(form + "\n")
    SECRETS.flush()
    return value


def see(response_dict, operation_name=None, **_):
    if response_dict["status_code"] >= 400:
        REFUSALS.append((operation_name, response_dict["body"].decode(errors="replace")))


SESSION.events.register("before-parse", see)


def client(service, key=None, token=None, **config):
    more = {}
    if key:
        more = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        more["aws_session_token"] = token or key.get("SessionToken")
    settings = CONFIG.merge(Config(**config))
    endpoint = ENDPOINTS[next(NODE) % len(ENDPOINTS)]
    return SESSION.client(service, endpoint_url=endpoint, region_name="us-east-1", config=settings, **more)


def refused(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError(f"{call} was not refused: {arguments}")


def identities(iam):
    iam.create_user(UserName="canary")
    key = iam.create_access_key(UserName="canary")["AccessKey"]
    canary(key["SecretAccessKey"])
    password = canary("Canary-Passw0rd-" + uuid.uuid4().hex)
    iam.create_login_profile(UserName="canary", Password=password)
    refused(iam.create_login_profile, UserName="canary", Password=password)
    iam.update_account_password_policy(MinimumPasswordLength=60, PasswordReusePrevention=3)
    refused(iam.update_login_profile, UserName="canary", Password=password)
    refused(iam.create_login_profile, UserName="nobody", Password=password)
    iam.delete_account_password_policy()
    refused(client("iam", key).change_password, OldPassword=password, NewPassword=canary("n" + uuid.uuid4().hex))
    iam.put_user_policy(UserName="canary", PolicyName="own", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:ChangePassword", "Resource": "*"}}))
    new = canary("Changed-Passw0rd-" + uuid.uuid4().hex)
    client("iam", key).change_password(OldPassword=password, NewPassword=new)
    refused(client("iam", key).change_password, OldPassword=password, NewPassword=canary("o" + uuid.uuid4().hex))
    iam.update_login_profile(UserName="canary", Password=canary("Updated-Passw0rd-" + uuid.uuid4().hex))
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="canary")["VirtualMFADevice"]
    seed = device["Base32StringSeed"].decode()
    canary(seed)
    canary(base64.b32decode(seed + "=" * (-len(seed) % 8)))
    refused(iam.enable_mfa_device, UserName="canary", SerialNumber=device["SerialNumber"],
            AuthenticationCode1="000000", AuthenticationCode2="000001")
    private = "-----BEGIN PRIVATE KEY-----\n" + canary(base64.b64encode(os.urandom(45)).decode())
    refused(iam.upload_server_certificate, ServerCertificateName="c", CertificateBody="x", PrivateKey=private)
    certificates(iam)
    iam.put_user_policy(UserName="canary", PolicyName="s3", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}))
    time.sleep(1)
    # The right secret with a wrong key, the right key with a wrong secret, a secret where a name belongs.
    for service, call in [("s3", "list_buckets"), ("iam", "list_users"), ("sts", "get_caller_identity"), ("kms", "list_keys")]:
        wrong = {"AccessKeyId": "AKIANOSUCHKEY", "SecretAccessKey": key["SecretAccessKey"]}
        refused(getattr(client(service, wrong), call))
        wrong = {"AccessKeyId": key["AccessKeyId"], "SecretAccessKey": "x" + key["SecretAccessKey"]}
        refused(getattr(client(service, wrong), call))
    return key


def certificates(iam):
    """Private keys: one that is kept, and those that are refused."""
    def made(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-keyout", f"{name}.key", "-out", f"{name}.pem"], check=True, capture_output=True)
        private = open(f"{name}.key").read()
        for line in private.splitlines()[1:-2]:
            canary(line)
        # The test looks for it in every file but those of the client.
        os.remove(f"{name}.key")
        return {"CertificateBody": open(f"{name}.pem").read(), "PrivateKey": private}

    one, other = made("one"), made("other")
    iam.upload_server_certificate(ServerCertificateName="one", **one)
    refused(iam.upload_server_certificate, ServerCertificateName="one", **one)
    refused(iam.upload_server_certificate, ServerCertificateName="mixed", **(one | {"PrivateKey": other["PrivateKey"]}))
    shown = json.dumps(iam.get_server_certificate(ServerCertificateName="one"), default=str)
    assert not any(line in shown for line in one["PrivateKey"].splitlines()[1:-1]), "a private key is told"
    refused(iam.upload_signing_certificate, UserName="canary", CertificateBody=other["PrivateKey"])


def roles(iam, key):
    """Tokens of roles, of federated users and of identity providers."""
    trust = {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:user/canary"}}}
    role = iam.create_role(RoleName="canary", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_user_policy(UserName="canary", PolicyName="sts", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}}))
    time.sleep(1)
    sts = client("sts", key)
    for made in (sts.assume_role(RoleArn=role, RoleSessionName="canary"), sts.get_federation_token(Name="canary")):
        session = made["Credentials"]
        canary(session["SecretAccessKey"])
        canary(session["SessionToken"])
        for service, call in [("s3", "list_buckets"), ("iam", "list_users"), ("kms", "list_keys")]:
            refused(getattr(client(service, session), call))
            refused(getattr(client(service, dict(session, SecretAccessKey="wrong" * 8)), call))
        client("sts", session).get_caller_identity()
    token = canary(".".join(base64.urlsafe_b64encode(os.urandom(30)).decode() for _ in range(3)))
    anonymous = client("sts")
    refused(anonymous.assume_role_with_web_identity, RoleArn=role, RoleSessionName="canary", WebIdentityToken=token)
    refused(anonymous.assume_role_with_web_identity, RoleArn=role + "x", RoleSessionName="canary", WebIdentityToken=token)
    refused(anonymous.assume_role_with_web_identity, RoleArn=role, RoleSessionName="canary", WebIdentityToken=token,
            DurationSeconds=900, Policy="{")


def sessions(key):
    session = client("sts", key).get_session_token()["Credentials"]
    canary(session["SecretAccessKey"])
    canary(session["SessionToken"])
    forged = dict(session, SessionToken=session["SessionToken"][:-9] + "AAAAAAAAA")
    for service, call in [("s3", "list_buckets"), ("iam", "list_users"), ("sts", "get_caller_identity"), ("kms", "list_keys")]:
        refused(getattr(client(service, dict(session, SecretAccessKey="wrong" * 8)), call))
        refused(getattr(client(service, forged), call))
        refused(getattr(client(service, dict(key, SessionToken=session["SessionToken"])), call))
        if service not in ("s3", "sts"):
            refused(getattr(client(service, session), call))
    s3 = client("s3", session)
    s3.create_bucket(Bucket="canary")
    s3.put_object(Bucket="canary", Key="of-a-session", Body=b"x")
    for version in ("s3v4", "s3"):
        presigner = client("s3", session, signature_version=version)
        ask(presigner.generate_presigned_url("get_object", {"Bucket": "canary", "Key": "of-a-session"}), 200)
        ask(presigner.generate_presigned_url("get_object", {"Bucket": "canary", "Key": "missing"}), 404)
        ask(presigner.generate_presigned_url("get_object", {"Bucket": "canary", "Key": "k"}).replace("/k?", "/l?"), 403)


def ask(url, status):
    try:
        with urllib.request.urlopen(url) as answer:
            got, body = answer.status, ""
    except urllib.error.HTTPError as error:
        got, body = error.code, error.read().decode()
        REFUSALS.append((url.split("?")[0], body))
    assert got == status, (got, body)


def customer_keys(key):
    s3 = client("s3", key)
    # The SDK takes text of 32 bytes and sends it in base64.
    own, other = canary(os.urandom(16).hex()), canary(os.urandom(16).hex())
    canary(own.encode())
    canary(other.encode())

    def given(secret, prefix=""):
        return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": secret}

    there = {"Bucket": "canary", "Key": "encrypted"}
    s3.put_object(Body=b"y" * 100_000, **there, **given(own))
    assert s3.get_object(**there, **given(own))["Body"].read() == b"y" * 100_000
    refused(s3.get_object, **there, **given(other))
    refused(s3.head_object, **there, **given(other))
    refused(s3.get_object, Bucket="canary", Key="missing", **given(own))
    refused(s3.put_object, Body=b"x", **there, SSECustomerAlgorithm="AES512", SSECustomerKey=own)
    refused(s3.put_object, Body=b"x", **there, SSECustomerAlgorithm="AES256", SSECustomerKey=own,
            SSECustomerKeyMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    copy = {"Bucket": "canary", "Key": "copy", "CopySource": there}
    refused(s3.copy_object, **copy, **given(other), **given(other, "CopySource"))
    s3.copy_object(**copy, **given(other), **given(own, "CopySource"))
    for version in ("s3v4", "s3"):
        wrong = client("s3", dict(key, SecretAccessKey="wrong" * 8), signature_version=version)
        refused(wrong.get_object, **there, **given(own))
        refused(wrong.copy_object, **copy, **given(other), **given(own, "CopySource"))
    upload = s3.create_multipart_upload(Bucket="canary", Key="parts", **given(own))["UploadId"]
    part = {"Bucket": "canary", "Key": "parts", "UploadId": upload, "PartNumber": 1}
    s3.upload_part(Body=b"z" * 10, **part, **given(own))
    refused(s3.upload_part, Body=b"z" * 10, **part, **given(other))


def key_service(key):
    kms = client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    data = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext={"a": "b"})
    canary(data["Plaintext"])
    plain = canary(b"canary-" + os.urandom(24))
    sealed = kms.encrypt(KeyId=key_id, Plaintext=plain)["CiphertextBlob"]
    assert client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == plain
    refused(kms.decrypt, CiphertextBlob=sealed[:-1] + bytes([sealed[-1] ^ 1]))
    refused(kms.decrypt, CiphertextBlob=data["CiphertextBlob"], EncryptionContext={"a": "c"})
    refused(kms.encrypt, KeyId="11111111-2222-3333-4444-555555555555", Plaintext=plain)
    refused(client("kms", key).encrypt, KeyId=key_id, Plaintext=plain)
    kms.disable_key(KeyId=key_id)
    refused(kms.encrypt, KeyId=key_id, Plaintext=plain)
    refused(kms.decrypt, CiphertextBlob=sealed)
    random = canary(kms.generate_random(NumberOfBytes=32)["Plaintext"])
    assert len(random) == 32


def main():
    key = identities(client("iam"))
    roles(client("iam"), key)
    sessions(key)
    customer_keys(key)
    key_service(key)
    assert len(REFUSALS) > 40, len(REFUSALS)
    for operation, body in REFUSALS:
        spaced = body.replace(" ", "")
        for secret in KNOWN:
            assert secret not in body, f"{operation} shows a secret: {body}"
            assert secret.encode().hex() not in spaced, f"{operation} shows a secret in digits: {body}"
    print(f"{len(KNOWN)} secrets, {len(REFUSALS)} refusals")
    print("canary: all passed")


main()
