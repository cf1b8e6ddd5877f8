"""boto3's everyday calls through the endpoints given as arguments: transfers, paginators, presigned URLs, checksums,
conditional writes, waiters, forms. `KARRI_CLIENT_SETTING` says what the bucket is like. Ends with "boto3: all passed" or a traceback."""

import hashlib
import io
import os
import sys
import urllib.error
import urllib.request
import uuid

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, signature_version="s3v4")
CLIENTS = [boto3.client("s3", endpoint_url=url, config=CONFIG) for url in sys.argv[1:]]
BUCKET = "boto3-bucket"
SETTING = os.environ.get("KARRI_CLIENT_SETTING", "").split("+")
# Of objects under keys of the key service the ETag is no MD5.
ETAG_IS_MD5 = "sse-kms" not in SETTING


def s3(number):
    return CLIENTS[number % len(CLIENTS)]


def fails_with(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, status), f"wanted {code} {status}, got {got}"
        return
    raise AssertionError(f"{call} did not fail with {code}")


def transfers():
    body = os.urandom(26 << 20)
    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=5 << 20)
    s3(0).upload_fileobj(io.BytesIO(body), BUCKET, "transfer", Config=config, ExtraArgs={"Metadata": {"colour": "blue"}})
    out = io.BytesIO()
    s3(1).download_fileobj(BUCKET, "transfer", out, Config=config)
    assert out.getvalue() == body
    head = s3(2).head_object(Bucket=BUCKET, Key="transfer", PartNumber=2)
    assert head["Metadata"] == {"colour": "blue"} and head["PartsCount"] == 6 and head["ContentLength"] == 5 << 20
    part = s3(0).get_object(Bucket=BUCKET, Key="transfer", Range="bytes=-100")
    assert part["Body"].read() == body[-100:] and part["ResponseMetadata"]["HTTPStatusCode"] == 206
    fails_with("InvalidRange", 416, s3(1).get_object, Bucket=BUCKET, Key="transfer", Range=f"bytes={26 << 20}-")


def checksums():
    body = b"checked" * 1000
    for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
        put = s3(0).put_object(Bucket=BUCKET, Key=f"sum/{algorithm}", Body=body, ChecksumAlgorithm=algorithm)
        got = s3(1).get_object(Bucket=BUCKET, Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        name = f"Checksum{algorithm}"
        assert got["Body"].read() == body and got[name] == put[name], algorithm
        assert not ETAG_IS_MD5 or put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    fails_with("BadDigest", 400, s3(2).put_object, Bucket=BUCKET, Key="bad", Body=body, ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    fails_with("404", 404, s3(0).head_object, Bucket=BUCKET, Key="bad")


def multipart():
    upload = s3(0).create_multipart_upload(Bucket=BUCKET, Key="parts", ChecksumAlgorithm="SHA256")["UploadId"]
    bodies = [os.urandom(5 << 20), os.urandom(5 << 20), b"tail"]
    parts = []
    for number, body in enumerate(bodies, 1):
        done = s3(number).upload_part(
            Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": done["ChecksumSHA256"]})
    listed = s3(2).list_parts(Bucket=BUCKET, Key="parts", UploadId=upload, MaxParts=2)
    assert len(listed["Parts"]) == 2 and listed["IsTruncated"]
    assert [u["Key"] for u in s3(1).list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["parts"]
    address = dict(Bucket=BUCKET, Key="parts", UploadId=upload)
    fails_with("InvalidPartOrder", 400, s3(0).complete_multipart_upload, **address, MultipartUpload={"Parts": parts[::-1]})
    wrong = [dict(parts[0], ETag='"00000000000000000000000000000000"')]
    fails_with("InvalidPart", 400, s3(0).complete_multipart_upload, **address, MultipartUpload={"Parts": wrong})
    done = s3(1).complete_multipart_upload(**address, MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"' if ETAG_IS_MD5 else done["ETag"].endswith('-3"'), done["ETag"]
    assert s3(2).get_object(Bucket=BUCKET, Key="parts")["Body"].read() == b"".join(bodies)
    copy = s3(0).create_multipart_upload(Bucket=BUCKET, Key="copied")["UploadId"]
    source = {"Bucket": BUCKET, "Key": "parts"}
    part = s3(1).upload_part_copy(Bucket=BUCKET, Key="copied", UploadId=copy, PartNumber=1, CopySource=source)
    s3(2).complete_multipart_upload(Bucket=BUCKET, Key="copied", UploadId=copy, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
    assert s3(0).get_object(Bucket=BUCKET, Key="copied")["Body"].read() == b"".join(bodies)
    gone = s3(0).create_multipart_upload(Bucket=BUCKET, Key="gone")["UploadId"]
    s3(1).upload_part(Bucket=BUCKET, Key="gone", UploadId=gone, PartNumber=1, Body=b"x" * 100_000)
    s3(2).abort_multipart_upload(Bucket=BUCKET, Key="gone", UploadId=gone)
    fails_with("NoSuchUpload", 404, s3(0).list_parts, Bucket=BUCKET, Key="gone", UploadId=gone)


def conditions():
    first = s3(0).put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    fails_with("PreconditionFailed", 412, s3(1).put_object, Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*")
    second = s3(2).put_object(Bucket=BUCKET, Key="once", Body=b"2", IfMatch=first["ETag"])
    fails_with("PreconditionFailed", 412, s3(0).put_object, Bucket=BUCKET, Key="once", Body=b"3", IfMatch=first["ETag"])
    fails_with("NoSuchKey", 404, s3(0).put_object, Bucket=BUCKET, Key="never", Body=b"3", IfMatch=first["ETag"])
    fails_with("304", 304, s3(1).head_object, Bucket=BUCKET, Key="once", IfNoneMatch=second["ETag"])
    fails_with("PreconditionFailed", 412, s3(1).get_object, Bucket=BUCKET, Key="once", IfMatch=first["ETag"])


def listings():
    keys = sorted(f"list/{n % 5}/{n:03}" for n in range(130)) + ["list/~ odd & <key>"]
    for key in keys:
        s3(len(key)).put_object(Bucket=BUCKET, Key=key, Body=b"")
    for operation, size in [("list_objects_v2", 7), ("list_objects", 50)]:
        pages = s3(1).get_paginator(operation).paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": size})
        assert [o["Key"] for page in pages for o in page.get("Contents", [])] == keys, operation
    pages = s3(2).get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})
    prefixes = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
    assert prefixes == [f"list/{n}/" for n in range(5)], prefixes
    versions = s3(0).list_object_versions(Bucket=BUCKET, Prefix="list/0/")
    assert all((v["VersionId"] == "null") == ("versioned" not in SETTING) and v["IsLatest"] for v in versions["Versions"])
    deleted = s3(1).delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys + ["list/none"]]})
    assert len(deleted["Deleted"]) == len(keys) + 1 and "Errors" not in deleted


def presigned_and_waiters():
    url = s3(0).generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"by url", method="PUT")
    assert urllib.request.urlopen(request).status == 200
    s3(1).get_waiter("object_exists").wait(Bucket=BUCKET, Key="signed")
    url = s3(1).generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"by url"
    s3(2).delete_object(Bucket=BUCKET, Key="signed")
    s3(0).get_waiter("object_not_exists").wait(Bucket=BUCKET, Key="signed")


def forms():
    """What a browser sends when a page has a form with a file."""
    fields = {"Content-Type": "text/plain", "success_action_status": "201", "x-amz-meta-colour": "green"}
    conditions = [{name: value} for name, value in fields.items()] + [["content-length-range", 1, 1 << 20]]
    form = s3(0).generate_presigned_post(BUCKET, "form/${filename}", Fields=fields, Conditions=conditions, ExpiresIn=60)

    def post(size):
        boundary = f"----WebKitFormBoundary{uuid.uuid4().hex[:16]}"
        lines = []
        for name, value in form["fields"].items():
            lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{name}"', "", value]
        lines += [f"--{boundary}", 'Content-Disposition: form-data; name="file"; filename="a cat.txt"',
                  "Content-Type: text/plain", "", ""]
        body = "\r\n".join(lines).encode() + b"m" * size + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Origin": "http://localhost"}
        return urllib.request.urlopen(urllib.request.Request(form["url"], data=body, headers=headers))

    answer = post(700_000)
    assert answer.status == 201 and b"<Key>form/a cat.txt</Key>" in answer.read()
    got = s3(1).get_object(Bucket=BUCKET, Key="form/a cat.txt")
    assert got["Body"].read() == b"m" * 700_000 and got["Metadata"] == {"colour": "green"}
    try:
        post(2 << 20)
    except urllib.error.HTTPError as error:
        assert error.code == 400 and b"<Code>EntityTooLarge</Code>" in error.read()
    else:
        raise AssertionError("a file over the policy's limit was taken")


def dress():
    if "versioned" in SETTING:
        s3(0).put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    algorithm = {"sse-s3": "AES256", "sse-kms": "aws:kms"}
    for word in SETTING:
        if word in algorithm:
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm[word]}}
            s3(1).put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
            put = s3(2).put_object(Bucket=BUCKET, Key="k", Body=b"sealed")
            assert put["ServerSideEncryption"] == algorithm[word]


def main():
    assert ("tls" in SETTING) == sys.argv[1].startswith("https:")
    s3(0).create_bucket(Bucket=BUCKET)
    dress()
    s3(1).get_waiter("bucket_exists").wait(Bucket=BUCKET)
    fails_with("BucketNotEmpty", 409, lambda: (s3(1).put_object(Bucket=BUCKET, Key="k", Body=b""), s3(2).delete_bucket(Bucket=BUCKET)))
    for check in [transfers, checksums, multipart, conditions, listings, presigned_and_waiters, forms]:
        check()
        print(f"boto3: {check.__name__} passed")
    bucket = boto3.resource("s3", endpoint_url=sys.argv[1], config=CONFIG).Bucket(BUCKET)
    (bucket.object_versions if "versioned" in SETTING else bucket.objects.all()).delete()
    s3(1).delete_bucket(Bucket=BUCKET)
    s3(2).get_waiter("bucket_not_exists").wait(Bucket=BUCKET)
    print("boto3: all passed")


if __name__ == "__main__":
    main()
