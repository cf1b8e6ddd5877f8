"""A plugin for pytest: the suite's IAM cases in AWS's form.

The suite knows users that belong to no account, as Ceph has them, and a Keycloak at a fixed address without TLS. Its
clients are made to say to the server what AWS's would, and the answers are turned back:

- `arn:aws:iam:::role/x` gets the number of the account that `[iam]` belongs to, and sessions are STS's, not IAM's;
- `localhost:8080` becomes the address of `provider.py`, and `http://` before the address of a provider that is
  registered `https://`, AWS's only form (it is asked without TLS because the server's configuration says so); where the
  answer tells the address, without a scheme as AWS does, `http://` stands before it again;
- a user of one account who takes a role of another is allowed it by its own account too, as AWS wants it;
- a provider that is registered without client ids gets the token's audience: AWS takes no token without one;
- clients that are made for no region sign for us-east-1: AWS's services take signatures for a region only;
- a case's groups are deleted before its users: AWS deletes no user who is in a group, and the suite's next case of that
  name would find it.

What a case asks for and what it expects stay as they are.
"""

import configparser
import json
import os
import sys

import boto3
import botocore.client

SUITE_HOST = "localhost:8080"
REGION = "us-east-1"
# The suite's name of users who take roles of another account.
ALT_USER = "AltUser"
TAKES_ROLES = json.dumps({"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}})


def pytest_collection_finish(session):
    conf = configparser.RawConfigParser()
    conf.read(os.environ.get("S3TEST_CONF", ""))
    if conf.has_option("iam", "account_id"):
        translate(conf.get("iam", "account_id"), conf.get("webidentity", "host"), conf.get("webidentity", "aud"))
        groups_first(sys.modules.get("s3tests.functional.iam"))


def groups_first(suite):
    if suite is None:
        return
    users = suite.nuke_users

    def nuke_users(client, **kwargs):
        suite.nuke_groups(client, **kwargs)
        users(client, **kwargs)

    suite.nuke_users = nuke_users


def allow_roles():
    make = botocore.client.BaseClient._make_api_call

    def call(self, operation_name, api_params):
        answer = make(self, operation_name, api_params)
        user = api_params.get("UserName") or ""
        if operation_name == "CreateAccessKey" and user.endswith(ALT_USER) and "role" in case():
            make(self, "PutUserPolicy", dict(UserName=user, PolicyName="takes-roles", PolicyDocument=TAKES_ROLES))
        return answer

    botocore.client.BaseClient._make_api_call = call


def case():
    """The name of the case that runs, as pytest tells it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1]


def sign_for_a_region():
    make = boto3.client

    def client(*args, **kwargs):
        if kwargs.get("region_name") == "":
            kwargs["region_name"] = REGION
        return make(*args, **kwargs)

    boto3.client = client


def translate(account, host, audience):
    sessions = ("arn:aws:iam:::assumed-role/", f"arn:aws:sts::{account}:assumed-role/")
    there = [sessions, ("arn:aws:iam:::", f"arn:aws:iam::{account}:")]
    back = [(mine, suites) for suites, mine in there]

    def request(params, model, **_):
        params = replaced(params, there + [(SUITE_HOST, host)])
        if model.name == "CreateOpenIDConnectProvider":
            params["Url"] = params["Url"].replace("http://", "https://")
            params["ClientIDList"] = params.get("ClientIDList") or [audience]
        return params

    def response(parsed, model, **_):
        answer = replaced({key: value for key, value in parsed.items() if key != "Body"}, back + [(host, SUITE_HOST)])
        if model.name == "GetOpenIDConnectProvider" and "Url" in answer:
            answer["Url"] = "http://" + answer["Url"]
        parsed.update(answer)

    sign_for_a_region()
    allow_roles()
    boto3.setup_default_session()
    events = boto3.DEFAULT_SESSION.events
    for service in ("iam", "sts", "s3"):
        events.register(f"provide-client-params.{service}", request)
    for service in ("iam", "sts"):
        events.register(f"after-call.{service}", response)


def replaced(value, pairs):
    """A copy of a parameter or answer with each first text of `pairs` replaced by the second."""
    if isinstance(value, str):
        for old, new in pairs:
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {replaced(key, pairs): replaced(item, pairs) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, pairs) for item in value]
    return value
