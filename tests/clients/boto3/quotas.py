"""Quotas hold exactly while 32 writers race through every node.

    quotas.py ENDPOINT...
"""

import concurrent.futures
import re
import sys
import time
import uuid

from botocore.exceptions import ClientError

import common
from common import query

WRITERS = 32
MIB = 1 << 20
# A change of identities is known on every node within a second.
SETTLE_SECONDS = 1.0


def client(service, endpoint, keys=None):
    return common.client(endpoint, service, keys, max_pool_connections=WRITERS)


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


def total(s3, prefix=""):
    """Bytes in the buckets of whoever asks."""
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"].startswith(prefix)]
    listed = [s3.list_objects_v2(Bucket=bucket).get("Contents", []) for bucket in names]
    return sum(item["Size"] for items in listed for item in items)


def of_all_buckets(nodes, root, policy, name):
    """The size of all buckets of the account, which are in different ranges."""
    buckets = [f"{name}-all-{number}" for number in range(8)]
    for bucket in buckets[:7]:
        root.create_bucket(Bucket=bucket)
    before = total(root)
    # Room for ten of 128 KiB; the sizes of quotas are MiB.
    body = bytes(128 * 1024)
    room = before // MIB + 2
    filler = room * MIB - before - 10 * len(body)
    root.put_object(Bucket=buckets[0], Key="filler", Body=bytes(filler))
    policy(limit("s3:PutObject", "s3:quota-buckettotalsize", room))
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=buckets[n % 7], Key=f"{n}", Body=body)), 10)
    assert total(root) == room * MIB
    # A bucket that is made later counts; whoever has no quota may, and is counted; what is less is never refused.
    root.create_bucket(Bucket=buckets[7])
    root.put_object(Bucket=buckets[7], Key="over", Body=body)
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=buckets[n % 8], Key=f"over-{n}", Body=b"x")), 0)
    nodes[0].put_object(Bucket=buckets[0], Key="filler", Body=bytes(filler - len(body)))
    # A deletion in one bucket makes room in another, at once and through any node.
    nodes[1].delete_object(Bucket=buckets[7], Key="over")
    expect(race(nodes, lambda s3, n: s3.put_object(Bucket=buckets[n % 8], Key=f"again-{n}", Body=body)), 1)
    assert total(root) == room * MIB
    # Writers, deleters and writers over what is there, all at once: what is there never exceeds the quota.
    def mixed(s3, n):
        if n % 3 == 0:
            s3.delete_object(Bucket=buckets[n % 7], Key=f"{n}")
        s3.put_object(Bucket=buckets[(n + 1) % 8], Key=f"mixed-{n % 16}", Body=body[: 1024 * (n + 1)])

    race(nodes, mixed)
    assert total(root) <= room * MIB, (total(root), room)


def of_an_account(endpoints, name):
    """The cloud's administrator limits an account: its root user and its users alike."""
    tenant = f"tenant-{name}"
    assert query(endpoints[0], "CreateAccount", AccountName=tenant)[0] == 200
    text = query(endpoints[0], "CreateAccessKey", DelegateAccount=tenant)[1]
    key = {field: re.search(f"<{field}>(.*?)<", text).group(1) for field in ("AccessKeyId", "SecretAccessKey")}
    time.sleep(SETTLE_SECONDS)
    roots = [client("s3", endpoint, key) for endpoint in endpoints]
    iam = client("iam", endpoints[0], key)
    iam.create_user(UserName="member")
    iam.attach_user_policy(UserName="member", PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    of_member = iam.create_access_key(UserName="member")["AccessKey"]
    members = [client("s3", endpoint, of_member) for endpoint in endpoints]

    def put(policy_name, *statements):
        document = common.policy(*statements)
        words = {"AccountName": tenant, "PolicyName": policy_name, "PolicyDocument": document}
        return query(endpoints[1], "PutAccountPolicy", **words)

    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    for statements in [[allow], [allow, limit("s3:PutObject", "s3:quota-bucketsize", 1)], []]:
        status, text = put("wrong", *statements)
        assert status == 400 and "MalformedPolicyDocument" in text, text
    status, text = query(endpoints[0], "PutAccountPolicy", AccountName="nobody", PolicyName="q", PolicyDocument="{}")
    assert status == 404 and "NoSuchEntity" in text, text
    status, text = query(endpoints[0], "ListAccountPolicies", key, AccountName=tenant)
    assert status == 403 and "AccessDenied" in text, text
    status, text = put("size", limit("s3:PutObject", "s3:quota-buckettotalsize", 1))
    assert status == 200, text
    status, text = put("buckets", limit("s3:CreateBucket", "s3:quota-bucketnumber", 6))
    assert status == 200, text
    time.sleep(SETTLE_SECONDS)
    both = [*roots, *members]
    expect(race(both, lambda s3, n: s3.create_bucket(Bucket=f"{tenant}-{n}")), 6)
    buckets = [bucket["Name"] for bucket in roots[0].list_buckets()["Buckets"]]
    body = bytes(128 * 1024)
    expect(race(both, lambda s3, n: s3.put_object(Bucket=buckets[n % 6], Key=f"{n}", Body=body)), 8)
    assert total(roots[0]) == MIB
    status, text = query(endpoints[2], "ListAccountPolicies", AccountName=tenant)
    assert status == 200 and re.findall("<member>(.*?)</member>", text) == ["buckets", "size"], text
    status, text = query(endpoints[2], "GetAccountPolicy", AccountName=tenant, PolicyName="size")
    assert status == 200 and "buckettotalsize" in text, text
    assert query(endpoints[2], "DeleteAccountPolicy", AccountName=tenant, PolicyName="size")[0] == 200
    status, text = query(endpoints[2], "DeleteAccountPolicy", AccountName=tenant, PolicyName="size")
    assert status == 404 and "NoSuchEntity" in text, text
    time.sleep(SETTLE_SECONDS)
    members[0].put_object(Bucket=buckets[0], Key="more", Body=body)


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
        document = common.policy(allow, *limits)
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

    of_all_buckets(nodes, root, policy, name)
    of_an_account(endpoints, name)

    for refused in [
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
