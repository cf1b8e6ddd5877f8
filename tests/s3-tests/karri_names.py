"""A plugin for pytest: the suite's IAM cases in AWS's form.

The suite knows users that belong to no account, as Ceph has them, and a Keycloak at a fixed address without TLS. Its
clients are made to say to the server what AWS's would, and the answers are turned back:

- `arn:aws:iam:::role/x` gets the number of the account that `[iam]` belongs to, and sessions are STS's, not IAM's;
- `localhost:8080` becomes the address of `provider.py`, and `http://` before the address of a provider that is
  registered `https://`, AWS's only form (it is asked without TLS because the server's configuration says so);
- a provider that is registered without client ids gets the token's audience: AWS takes no token without one.

What a case asks for and what it expects stay as they are.
"""

import configparser
import os

import boto3

SUITE_HOST = "localhost:8080"


def pytest_collection_finish(session):
    conf = configparser.RawConfigParser()
    conf.read(os.environ.get("S3TEST_CONF", ""))
    if conf.has_option("iam", "account_id"):
        translate(conf.get("iam", "account_id"), conf.get("webidentity", "host"), conf.get("webidentity", "aud"))


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

    def response(parsed, **_):
        answer = replaced({key: value for key, value in parsed.items() if key != "Body"}, back + [(host, SUITE_HOST)])
        parsed.update(answer)

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
