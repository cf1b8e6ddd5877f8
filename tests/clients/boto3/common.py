"""What the scripts about identities share: clients, documents, codes of second factors, and actions that AWS does not have."""

import base64
import hashlib
import hmac
import json
import struct
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
REGION = "us-east-1"


def client(endpoint, service, keys=None, **config):
    """With the keys of an answer of IAM or STS, or else the environment's. What is refused is not asked for again."""
    names = {"AccessKeyId": "aws_access_key_id", "SecretAccessKey": "aws_secret_access_key"}
    names["SessionToken"] = "aws_session_token"
    given = {name: keys[key] for key, name in names.items() if key in (keys or {})}
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config)
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, config=config, **given)


def query(endpoint, action, keys=None, **parameters):
    """An action that AWS does not have, signed as every other: status and document."""
    credentials = boto3.Session().get_credentials()
    if keys:
        credentials = botocore.credentials.Credentials(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("SessionToken"))
    body = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **parameters})
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = botocore.awsrequest.AWSRequest("POST", endpoint + "/", data=body, headers=headers)
    botocore.auth.SigV4Auth(credentials, "iam", REGION).add_auth(request)
    asked = urllib.request.Request(request.url, data=body.encode(), headers=dict(request.headers))
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def fails(code, call, **arguments):
    """The error, which must have the code."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return str(error)
    raise AssertionError(f"{call} did not fail with {code}: {arguments}")


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect, action, resource="*", **condition):
    made = {"Effect": effect, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def user(iam, name, *statements):
    """The keys of a new user with a policy of these statements."""
    iam.create_user(UserName=name)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(*statements))
    return iam.create_access_key(UserName=name)["AccessKey"]


def totp(seed, step):
    """The code of a device in a step of 30 seconds (RFC 6238)."""
    digest = hmac.new(base64.b32decode(seed), struct.pack(">Q", step), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"
