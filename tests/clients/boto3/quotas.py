"""Quotas hold exactly while 32 writers race through every node.

    quotas.py ENDPOINT...
"""

import concurrent.futures
import json
import sys
import time
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

WRITERS = 32
MIB = 1 << 20
# A change of identities is known on every node within a second.
SETTLE_SECONDS = 1.0


def client(service, endpoint, key=None):
    keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]} if key else {}
    # What the cluster refuses is not asked for again.
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=WRITERS, s3={"addressing_style": "path"})
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)


def limit(action, key, number):
    condition = {"NumericLessThanEquals": {key: str(number)}}
    return {"Effect": "Limit", "Action": action, "Resource": "*", "Condition": condition}


def race(nodes, work):
    """What comes of `work` with a node and the number of a writer: successes, and codes of errors."""

    def one(number):
        try:
            work(nodes[number % len(nodes)], number)
            return "ok"
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def expect(outcomes, allowed):
    got = {outcome: outcomes.count(outcome) for outcome in outcomes}
    wanted = {"ok": allowed, "403 QuotaExceeded": WRITERS - allowed}
    assert got == {outcome: count for outcome, count in wanted.items() if count}, got


def main():
    endpoints = sys.argv[1:]
    iam = client("iam", endpoints[0])
    user = "limited"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    nodes = [client("s3", endpoint, key) for endpoint in endpoints]
    root = client("s3", endpoints[0])

    def policy(*limits):
        allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow, *limits]})
        iam.put_user_policy(UserName=user, PolicyName="quota", PolicyDocument=document)
        time.sleep(SETTLE_SECONDS)

    name = uuid.uuid4().hex[:8]
    root.create_bucket(Bucket=f"{name}-objects")
    root.create_bucket(Bucket=f"{name}-bytes")
    buckets = len(root.list_buckets()["Buckets"])
    policy(
        limit("s3:CreateBucket", "s3:quota-bucketnumber", buckets + 5),
        limit("s3:PutObject", "s3:quota-bucketobjectsnumber", 10),
        limit("s3:PutObject", "s3:quota-bucketsize", 1),
    )
    expect(race(nodes, lambda s3, n: s3.create_bucket(Bucket=f"{name}-{n}")), 5)
    assert len(root.list_buckets()["Buckets"]) == buckets + 5

    root.put_object(Bucket=f"{name}-objects", Key="before", Body=b"x")
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=f"{name}-objects", Key=f"{n}", Body=b"x")), 9)
    listed = root.list_objects_v2(Bucket=f"{name}-objects")
    assert listed["KeyCount"] == 10, listed["KeyCount"]
    # A deletion makes room again, and one may always write over what is there.
    nodes[-1].delete_object(Bucket=f"{name}-objects", Key="before")
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=f"{name}-objects", Key=f"again-{n}", Body=b"x")), 1)
    taken = listed["Contents"][0]["Key"]
    nodes[0].put_object(Bucket=f"{name}-objects", Key=taken, Body=b"yy")

    # Eight of 128 KiB fill a MiB; copies and parts count as uploads do.
    body = bytes(128 * 1024)
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=f"{name}-bytes", Key=f"{n % 9}-{n}", Body=body)), 8)
    sizes = [item["Size"] for item in root.list_objects_v2(Bucket=f"{name}-bytes")["Contents"]]
    assert sum(sizes) == MIB, sizes
    source = {"Bucket": f"{name}-bytes", "Key": root.list_objects_v2(Bucket=f"{name}-bytes")["Contents"][0]["Key"]}
    expect(race(nodes, lambda s3, n: s3.copy_object(Bucket=f"{name}-bytes", Key=f"c{n}", CopySource=source)), 0)
    upload = nodes[0].create_multipart_upload(Bucket=f"{name}-bytes", Key="m")["UploadId"]
    ids = {"Bucket": f"{name}-bytes", "Key": "m", "UploadId": upload}
    part = {"PartNumber": 1, "ETag": nodes[0].upload_part(PartNumber=1, Body=b"x", **ids)["ETag"]}
    try:
        nodes[0].complete_multipart_upload(MultipartUpload={"Parts": [part]}, **ids)
        raise AssertionError("a completed upload is over the quota")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "QuotaExceeded", error
    # Whoever has no quota is not bound by another's.
    root.put_object(Bucket=f"{name}-bytes", Key="more", Body=body)
    policy()
    nodes[0].put_object(Bucket=f"{name}-bytes", Key="and more", Body=body)

    for refused in [
        limit("s3:PutObject", "s3:quota-buckettotalsize", 1),
        limit("s3:PutObject", "s3:quota-dreams", 1),
        limit("s3:PutObject", "s3:prefix", 1),
    ]:
        try:
            policy(refused)
            raise AssertionError(f"{refused} was taken")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "MalformedPolicyDocument", error
    print("quotas: all passed")


main()
