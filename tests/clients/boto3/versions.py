"""Versions, object lock and lifecycle through boto3: versions.py ENDPOINT..."""

import datetime
import io
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

CLIENTS = [boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1") for endpoint in sys.argv[1:]]
BUCKET = "boto3-versions"
LOCKED = "boto3-locked"


def s3(number):
    return CLIENTS[number % len(CLIENTS)]


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"wanted {code}")


def versions_and_markers():
    s3(0).create_bucket(Bucket=BUCKET)
    s3(0).put_object(Bucket=BUCKET, Key="k", Body=b"before")
    s3(1).put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3(n).put_object(Bucket=BUCKET, Key="k", Body=b"%d" % n)["VersionId"] for n in range(5)]
    for number, version in enumerate(ids):
        body = s3(number + 1).get_object(Bucket=BUCKET, Key="k", VersionId=version)["Body"].read()
        assert body == b"%d" % number, body
    marker = s3(2).delete_object(Bucket=BUCKET, Key="k")
    assert marker["DeleteMarker"], marker
    refused("NoSuchKey", s3(0).get_object, Bucket=BUCKET, Key="k")
    source = {"Bucket": BUCKET, "Key": "k", "VersionId": ids[1]}
    s3(1).copy_object(Bucket=BUCKET, Key="k", CopySource=source)
    assert s3(2).get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"1"
    pages = s3(0).get_paginator("list_object_versions").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
    listed, markers = [], []
    for page in pages:
        listed += page.get("Versions", [])
        markers += page.get("DeleteMarkers", [])
    assert len(listed) == 7 and len(markers) == 1, (listed, markers)
    assert [entry["IsLatest"] for entry in listed] == [True] + [False] * 6
    assert listed[-1]["VersionId"] == "null"


def large_objects():
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    bodies = [bytes([n]) * (11 << 20) for n in range(2)]
    for number, body in enumerate(bodies):
        s3(number).upload_fileobj(io.BytesIO(body), BUCKET, "large", Config=config)
    entries = s3(2).list_object_versions(Bucket=BUCKET, Prefix="large")["Versions"]
    for entry, body in zip(entries, reversed(bodies)):
        got = s3(0).get_object(Bucket=BUCKET, Key="large", VersionId=entry["VersionId"])["Body"].read()
        assert got == body
    s3(1).delete_object(Bucket=BUCKET, Key="large", VersionId=entries[0]["VersionId"])
    assert s3(2).get_object(Bucket=BUCKET, Key="large")["Body"].read() == bodies[0]


def purge(bucket, **arguments):
    for page in s3(0).get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        answer = s3(1).delete_objects(Bucket=bucket, Delete={"Objects": objects}, **arguments)
        assert not answer.get("Errors"), answer
    s3(2).delete_bucket(Bucket=bucket)


def locks():
    s3(0).create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3(1).put_object_lock_configuration(
        Bucket=LOCKED, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    version = s3(2).put_object(Bucket=LOCKED, Key="k", Body=b"kept")["VersionId"]
    head = s3(0).head_object(Bucket=LOCKED, Key="k")
    assert head["ObjectLockMode"] == "GOVERNANCE", head
    left = head["ObjectLockRetainUntilDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(hours=23) < left < datetime.timedelta(hours=25), left
    refused("AccessDenied", s3(1).delete_object, Bucket=LOCKED, Key="k", VersionId=version)
    s3(2).put_object_legal_hold(Bucket=LOCKED, Key="k", LegalHold={"Status": "ON"})
    bypass = {"VersionId": version, "BypassGovernanceRetention": True}
    refused("AccessDenied", s3(0).delete_object, Bucket=LOCKED, Key="k", **bypass)
    s3(1).put_object_legal_hold(Bucket=LOCKED, Key="k", LegalHold={"Status": "OFF"})
    purge(LOCKED, BypassGovernanceRetention=True)


def rules():
    rule = {
        "ID": "r",
        "Filter": {"And": {"Prefix": "logs/", "ObjectSizeGreaterThan": 10}},
        "Status": "Enabled",
        "Expiration": {"Days": 7},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 3},
    }
    s3(0).put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    assert s3(1).get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"] == [rule]
    s3(0).delete_bucket_lifecycle(Bucket=BUCKET)


versions_and_markers()
large_objects()
locks()
rules()
purge(BUCKET)
print("boto3: all passed")
