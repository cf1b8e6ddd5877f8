"""SSE-KMS with boto3, each call through another node. Arguments: endpoints. Days last 100 ms there."""
import base64
import json

from kms import ACCOUNT, Walking, eventually, kms, refused, settle, user

s3 = Walking("s3")
BUCKET = "kms-bucket"
CANARY = b"a canary that must be on no disk " * 4096


def put(key, body=b"x", client=s3, **more):
    return client.put_object(Bucket=BUCKET, Key=key, Body=body, ServerSideEncryption="aws:kms", **more)


def read(key, client=s3):
    return client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def names(key, arn):
    """A key by all of its names, and the account's own where there is none."""
    kms.create_alias(AliasName="alias/objects", TargetKeyId=key)
    settle()
    for name in (key, arn, "alias/objects", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/objects"):
        made = put("named", CANARY, SSEKMSKeyId=name)
        assert made["SSEKMSKeyId"] == arn and made["ServerSideEncryption"] == "aws:kms", made
        found = s3.get_object(Bucket=BUCKET, Key="named")
        assert found["SSEKMSKeyId"] == arn and found["Body"].read() == CANARY
    refused("KMS.NotFoundException", put, "bad", SSEKMSKeyId="alias/none")
    refused("KMS.NotFoundException", put, "bad", SSEKMSKeyId="00000000-0000-4000-8000-000000000000")
    own = put("own", CANARY)["SSEKMSKeyId"]
    assert put("own2")["SSEKMSKeyId"] == own
    described = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert described["Arn"] == own and described["KeyManager"] == "AWS", described
    assert read("own") == CANARY
    refused("AccessDeniedException", kms.encrypt, KeyId=own, Plaintext=b"x")
    refused("AccessDeniedException", kms.schedule_key_deletion, KeyId=own)


def contexts_and_bucket_keys(arn):
    given = base64.b64encode(json.dumps({"team": "blue"}).encode()).decode()
    made = put("context", SSEKMSKeyId=arn, SSEKMSEncryptionContext=given, BucketKeyEnabled=True)
    assert made["BucketKeyEnabled"], made
    assert s3.head_object(Bucket=BUCKET, Key="context")["BucketKeyEnabled"]
    assert read("context") == b"x"
    refused("InvalidArgument", put, "bad", SSEKMSEncryptionContext="nonsense")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn},
            "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    settle()
    made = s3.put_object(Bucket=BUCKET, Key="default", Body=b"by default")
    assert made["SSEKMSKeyId"] == arn and made["BucketKeyEnabled"], made
    assert read("default") == b"by default"
    s3.delete_bucket_encryption(Bucket=BUCKET)
    settle()


def multipart_and_copies(arn, other_arn):
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", ServerSideEncryption="aws:kms", SSEKMSKeyId=arn)
    assert upload["SSEKMSKeyId"] == arn
    where = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload["UploadId"]}
    body = CANARY * 48
    etags = [s3.upload_part(Body=part, PartNumber=number, **where)["ETag"]
             for number, part in ((1, body), (2, CANARY))]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where)
    assert read("parts") == body + CANARY
    for to in (arn, other_arn):
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/parts", ServerSideEncryption="aws:kms",
                       SSEKMSKeyId=to)
        assert read("copy") == body + CANARY
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/copy", ServerSideEncryption="aws:kms",
                       SSEKMSKeyId=arn, MetadataDirective="REPLACE", Metadata={"a": "b"})
        assert read("copy") == body + CANARY


def permissions(key, arn):
    """The caller needs the key, through S3, beside the object."""
    objects = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    allow = lambda action, **condition: {"Effect": "Allow", "Action": action, "Resource": arn, **condition}
    through_s3 = {"Condition": {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
                                "StringLike": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{BUCKET}/w*"}}}
    writer = user("writer", objects, allow("kms:GenerateDataKey", **through_s3))
    reader = user("reader", objects, allow("kms:Decrypt", **through_s3))
    none = user("none", objects)
    for client, may_write, may_read in (("writer", True, False), ("reader", False, True), ("none", False, False)):
        mine = Walking("s3", {"writer": writer, "reader": reader, "none": none}[client])
        if may_write:
            put("written", client=mine, SSEKMSKeyId=arn)
            refused("AccessDenied", put, "elsewhere", client=mine, SSEKMSKeyId=arn)
        else:
            refused("AccessDenied", put, "written", client=mine, SSEKMSKeyId=arn)
        if may_read:
            assert read("written", client=mine) == b"x"
        else:
            refused("AccessDenied", read, "written", client=mine)
        # What is known of an object is not encrypted with it; the account's own key is for all who may use S3.
        assert mine.head_object(Bucket=BUCKET, Key="written")["SSEKMSKeyId"] == arn
        # Checksums are of the plain bytes.
        asked = {"Bucket": BUCKET, "Key": "written", "ChecksumMode": "ENABLED"}
        if may_read:
            assert "ChecksumCRC32" in mine.head_object(**asked) or "ChecksumCRC64NVME" in mine.head_object(**asked)
        else:
            refused("403", mine.head_object, **asked)
        put("w-own", client=mine)
        assert read("w-own", client=mine) == b"x"
    refused("AccessDeniedException", Walking("kms", reader).decrypt,
            CiphertextBlob=kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])


def the_life_of_a_key():
    made = kms.create_key()["KeyMetadata"]
    key, arn = made["KeyId"], made["Arn"]
    put("before", CANARY, SSEKMSKeyId=arn)
    kms.rotate_key_on_demand(KeyId=key)
    put("after", CANARY, SSEKMSKeyId=arn)
    settle()
    assert read("before") == read("after") == CANARY
    kms.disable_key(KeyId=key)
    settle()
    refused("KMS.DisabledException", read, "before")
    refused("KMS.DisabledException", put, "more", SSEKMSKeyId=arn)
    kms.enable_key(KeyId=key)
    settle()
    assert read("before") == CANARY
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    settle()
    refused("KMS.KMSInvalidStateException", read, "before")
    kms.cancel_key_deletion(KeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    eventually(lambda: refused("KMS.NotFoundException", read, "before"))
    # The object itself can still be seen and deleted.
    assert s3.head_object(Bucket=BUCKET, Key="before")["ContentLength"] == len(CANARY)
    s3.delete_object(Bucket=BUCKET, Key="before")


if __name__ == "__main__":
    s3.create_bucket(Bucket=BUCKET)
    first, second = (kms.create_key()["KeyMetadata"] for _ in range(2))
    settle()
    names(first["KeyId"], first["Arn"])
    contexts_and_bucket_keys(first["Arn"])
    multipart_and_copies(first["Arn"], second["Arn"])
    permissions(first["KeyId"], first["Arn"])
    the_life_of_a_key()
    print("sse-kms: all passed")
