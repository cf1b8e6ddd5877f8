"""KMS with boto3, each call through another node. Arguments: endpoints. Days last 100 ms there."""
import itertools
import json
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINTS = itertools.cycle(sys.argv[1:])
ACCOUNT = "000000000000"


def client(service, keys=None, endpoint=None):
    keys = keys or {}
    config = Config(parameter_validation=False, retries={"max_attempts": 2}, s3={"addressing_style": "path"})
    return boto3.client(service, endpoint_url=endpoint or next(ENDPOINTS), config=config, **keys)


class Walking:
    """A client whose every call goes to the next node."""

    def __init__(self, service, keys=None):
        self.all = [client(service, keys, endpoint) for endpoint in sys.argv[1:]]
        self.next = itertools.cycle(self.all)

    def __getattr__(self, name):
        return getattr(next(self.next), name)


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, f"{error} is not {code}"
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call} was not refused with {code}")


def eventually(check):
    """Other nodes see a change within half a second."""
    end = time.monotonic() + 10
    while True:
        try:
            return check()
        except (AssertionError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


kms = Walking("kms")
iam = Walking("iam")


def settle():
    """Until every node has what was changed."""
    time.sleep(0.6)


def keys_and_aliases():
    made = kms.create_key(Description="first", Tags=[{"TagKey": "team", "TagValue": "blue"}])["KeyMetadata"]
    assert made["KeyState"] == "Enabled" and made["KeyManager"] == "CUSTOMER" and made["Enabled"]
    assert made["Arn"] == f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{made['KeyId']}", made
    assert made["KeySpec"] == "SYMMETRIC_DEFAULT" and made["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    key = made["KeyId"]
    refused("UnsupportedOperationException", kms.create_key, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    refused("UnsupportedOperationException", kms.create_key, MultiRegion=True)
    refused("ValidationException", kms.create_key, KeyUsage="SIGN_VERIFY")
    refused("ValidationException", kms.create_key, Tags=[{"TagKey": "", "TagValue": ""}])
    refused("TagException", kms.create_key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    refused("MalformedPolicyDocumentException", kms.create_key, Policy="{}")
    kms.create_alias(AliasName="alias/first", TargetKeyId=key)
    refused("AlreadyExistsException", kms.create_alias, AliasName="alias/first", TargetKeyId=key)
    refused("NotAuthorizedException", kms.create_alias, AliasName="alias/aws/mine", TargetKeyId=key)
    refused("ValidationException", kms.create_alias, AliasName="first", TargetKeyId=key)
    settle()
    for name in (key, made["Arn"], "alias/first", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/first"):
        assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key, name
    refused("NotFoundException", kms.describe_key, KeyId="alias/none")
    refused("NotFoundException", kms.describe_key, KeyId="00000000-0000-4000-8000-000000000000")
    refused("NotFoundException", kms.describe_key, KeyId="nonsense")
    refused("NotFoundException", kms.describe_key, KeyId=made["Arn"].replace("us-east-1", "us-west-2"))
    refused("InvalidArnException", kms.describe_key, KeyId="arn:aws:s3:::bucket")
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName="alias/first", TargetKeyId=other)
    settle()
    assert kms.describe_key(KeyId="alias/first")["KeyMetadata"]["KeyId"] == other
    listed = {entry["AliasName"]: entry["TargetKeyId"] for entry in kms.list_aliases()["Aliases"]}
    assert listed["alias/first"] == other, listed
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    kms.delete_alias(AliasName="alias/first")
    settle()
    refused("NotFoundException", kms.delete_alias, AliasName="alias/first")
    pages = list(client("kms").get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1}))
    assert {page["Keys"][0]["KeyId"] for page in pages if page["Keys"]} >= {key, other}, pages
    refused("InvalidMarkerException", kms.list_keys, Marker="*")
    kms.update_key_description(KeyId=key, Description="changed")
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "team", "TagValue": "red"}, {"TagKey": "x", "TagValue": "y"}])
    kms.untag_resource(KeyId=key, TagKeys=["x"])
    settle()
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "changed"
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "team", "TagValue": "red"}]
    return key, other


def cryptography(key, other):
    context = {"purpose": "test", "owner": "ada"}
    sealed = kms.encrypt(KeyId=key, Plaintext=b"canary", EncryptionContext=context)
    blob = sealed["CiphertextBlob"]
    assert b"canary" not in blob
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert opened["Plaintext"] == b"canary" and opened["KeyId"] == sealed["KeyId"]
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob)
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob, EncryptionContext={"purpose": "test"})
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=b"nonsense")
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob[:-1] + bytes([blob[-1] ^ 1]),
            EncryptionContext=context)
    refused("IncorrectKeyException", kms.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other)
    refused("DryRunOperationException", kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)
    refused("InvalidKeyUsageException", kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    refused("ValidationException", kms.encrypt, KeyId=key, Plaintext=b"x" * 4097)
    assert len(kms.encrypt(KeyId=key, Plaintext=b"x" * 4096)["CiphertextBlob"]) <= 6144
    moved = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"canary"
    assert moved["SourceKeyId"].endswith(key) and moved["KeyId"].endswith(other), moved
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    assert len(made["Plaintext"]) == 32
    assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == made["Plaintext"]
    refused("ValidationException", kms.generate_data_key, KeyId=key)
    refused("ValidationException", kms.generate_data_key, KeyId=key, KeySpec="AES_256", NumberOfBytes=32)
    plainless = kms.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64)
    assert "Plaintext" not in plainless
    assert len(kms.decrypt(CiphertextBlob=plainless["CiphertextBlob"])["Plaintext"]) == 64
    first, second = (kms.generate_random(NumberOfBytes=24)["Plaintext"] for _ in range(2))
    assert len(first) == 24 and first != second
    return blob, context


def rotation(key, blob, context):
    assert not kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    refused("ValidationException", kms.enable_key_rotation, KeyId=key, RotationPeriodInDays=89)
    before = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]

    # While others encrypt and decrypt, the key is rotated through all nodes.
    failures, stop = [], threading.Event()

    def work():
        mine = Walking("kms")
        while not stop.is_set():
            try:
                sealed = mine.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
                assert mine.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"x"
                assert mine.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"canary"
            except Exception as error:  # told below, by the thread that fails the test
                failures.append(error)
                return

    workers = [threading.Thread(target=work) for _ in range(4)]
    rotators = [threading.Thread(target=lambda: client("kms").rotate_key_on_demand(KeyId=key)) for _ in range(6)]
    for thread in workers + rotators:
        thread.start()
    for thread in rotators:
        thread.join()
    time.sleep(0.3)
    stop.set()
    for thread in workers:
        thread.join()
    assert not failures, failures
    settle()
    rotations = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert len(rotations) == 6 and {entry["RotationType"] for entry in rotations} == {"ON_DEMAND"}, rotations
    assert len(kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]) == 7
    current = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert current != before
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert opened["Plaintext"] == b"canary" and opened["KeyMaterialId"] == before
    for _ in range(19):
        kms.rotate_key_on_demand(KeyId=key)
    refused("LimitExceededException", kms.rotate_key_on_demand, KeyId=key)


def automatic_rotation(key):
    """90 days of 100 ms."""
    before = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    settle()
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == 90 and "NextRotationDate" in status

    def check():
        rotations = kms.list_key_rotations(KeyId=key)["Rotations"]
        assert rotations[-1]["RotationType"] == "AUTOMATIC", rotations
        time.sleep(0.5)

    time.sleep(9)
    eventually(check)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"] != before
    kms.disable_key_rotation(KeyId=key)


def states():
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    settle()
    for call, arguments in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_128"}),
        (kms.rotate_key_on_demand, {"KeyId": key}),
        (kms.enable_key_rotation, {"KeyId": key}),
    ):
        refused("DisabledException", call, **arguments)
    kms.enable_key(KeyId=key)
    settle()
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    refused("KMSInvalidStateException", kms.cancel_key_deletion, KeyId=key)
    refused("ValidationException", kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=6)
    asked = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    assert asked["KeyState"] == "PendingDeletion" and asked["PendingWindowInDays"] == 30
    settle()
    assert "DeletionDate" in kms.describe_key(KeyId=key)["KeyMetadata"]
    for call, arguments in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.enable_key, {"KeyId": key}),
        (kms.create_alias, {"AliasName": "alias/late", "TargetKeyId": key}),
        (kms.schedule_key_deletion, {"KeyId": key}),
    ):
        refused("KMSInvalidStateException", call, **arguments)
    kms.cancel_key_deletion(KeyId=key)
    settle()
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    eventually(lambda: refused("NotFoundException", kms.describe_key, KeyId=key))
    settle()
    refused("AccessDeniedException", kms.decrypt, CiphertextBlob=blob)


def user(name, *statements):
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    settle()
    return {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}


def policies_and_grants():
    key = kms.create_key()["KeyMetadata"]
    name, arn = key["KeyId"], key["Arn"]
    policy = json.loads(kms.get_key_policy(KeyId=name)["Policy"])
    assert policy["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, policy
    assert kms.list_key_policies(KeyId=name)["PolicyNames"] == ["default"]
    refused("NotFoundException", kms.get_key_policy, KeyId=name, PolicyName="other")
    # The root statement hands the decision to IAM.
    ann = Walking("kms", user("ann", {
        "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": arn,
        "Condition": {"StringEquals": {"kms:EncryptionContext:team": "blue", "kms:CallerAccount": ACCOUNT}}}))
    bob = Walking("kms", user("bob"))
    blue = {"team": "blue"}
    blob = ann.encrypt(KeyId=name, Plaintext=b"x", EncryptionContext=blue)["CiphertextBlob"]
    refused("AccessDeniedException", ann.encrypt, KeyId=name, Plaintext=b"x", EncryptionContext={"team": "red"})
    refused("AccessDeniedException", ann.encrypt, KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", ann.create_key)
    refused("AccessDeniedException", bob.decrypt, CiphertextBlob=blob, EncryptionContext=blue)
    # A grant is in force without any policy, as far as its constraint goes.
    granted = kms.create_grant(KeyId=name, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/bob", Operations=["Decrypt"],
                               Constraints={"EncryptionContextSubset": blue}, Name="for-bob")
    again = kms.create_grant(KeyId=name, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/bob", Operations=["Decrypt"],
                             Constraints={"EncryptionContextSubset": blue}, Name="for-bob")
    assert again["GrantId"] == granted["GrantId"]
    settle()
    assert bob.decrypt(CiphertextBlob=blob, EncryptionContext=blue)["Plaintext"] == b"x"
    refused("AccessDeniedException", bob.encrypt, KeyId=name, Plaintext=b"x", EncryptionContext=blue)
    listed = kms.list_grants(KeyId=name)["Grants"]
    assert [grant["Operations"] for grant in listed] == [["Decrypt"]], listed
    kms.revoke_grant(KeyId=name, GrantId=granted["GrantId"])
    settle()
    refused("AccessDeniedException", bob.decrypt, CiphertextBlob=blob, EncryptionContext=blue)
    refused("NotFoundException", kms.revoke_grant, KeyId=name, GrantId=granted["GrantId"])
    # The policy names a user itself; without the root statement, IAM's policies count for nothing.
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    for_bob = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"}, "Action": "kms:*",
               "Resource": "*"}
    put = lambda *all, **more: kms.put_key_policy(
        KeyId=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": list(all)}), **more)
    refused("MalformedPolicyDocumentException", put, for_bob)
    refused("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=name, Policy="[]")
    put(for_bob, BypassPolicyLockoutSafetyCheck=True)
    settle()
    assert bob.decrypt(CiphertextBlob=blob, EncryptionContext=blue)["Plaintext"] == b"x"
    refused("AccessDeniedException", ann.decrypt, CiphertextBlob=blob, EncryptionContext=blue)
    refused("AccessDeniedException", kms.describe_key, KeyId=name)
    bob.put_key_policy(KeyId=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [root, for_bob]}))
    settle()
    kms.describe_key(KeyId=name)
    # An explicit deny stands above everything.
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    put(root, for_bob, deny)
    settle()
    refused("AccessDeniedException", bob.decrypt, CiphertextBlob=blob, EncryptionContext=blue)
    refused("AccessDeniedException", kms.decrypt, CiphertextBlob=blob, EncryptionContext=blue)


def signatures():
    bad = {"aws_access_key_id": "AKIAXXXXXXXXXXXXXXXX", "aws_secret_access_key": "x" * 40}
    refused("UnrecognizedClientException", client("kms", bad).list_keys)
    import urllib.request
    import urllib.error
    request = urllib.request.Request(next(ENDPOINTS), data=b"{}", headers={"X-Amz-Target": "TrentService.ListKeys"})
    try:
        urllib.request.urlopen(request)
        raise AssertionError("an unsigned request was served")
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())
        assert told["__type"] == "MissingAuthenticationTokenException", told
    refused("UnknownOperationException", kms.get_public_key, KeyId="alias/x")


if __name__ == "__main__":
    key, other = keys_and_aliases()
    blob, context = cryptography(key, other)
    states()
    policies_and_grants()
    signatures()
    rotation(key, blob, context)
    automatic_rotation(other)
    print("kms: all passed")
