"""Makes the suite's users and writes its configuration, one file per worker.

    prepare.py ENDPOINTS ACCESS_KEY SECRET_KEY WORKERS FOLDER KARRI CONFIG

FOLDER has `provider.json`, which `provider.py` wrote, and gets `0.conf`, `1.conf`... and the same in `iam/` for the
cases of IAM and STS: they want `[s3 alt]` to be a user of the account that `[iam]` administers.

The keys are those of the cloud's administrator. Worker k talks to the endpoint k modulo their number and has accounts
of its own, so that no worker lists or deletes what another one made. KARRI and CONFIG are the program and a node's
configuration file, with which the root users of the accounts get their keys.
"""

import configparser
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import boto3
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

# Section of the suite's file to the name of its account.
SECTIONS = {
    "s3 main": "main",
    "s3 alt": "alt",
    "s3 tenant": "tenant",
    "iam": "iam",
    "iam root": "root",
    "iam alt root": "altroot",
}


ALLOW_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
)


class Cloud:
    """What the administrator can do."""

    def __init__(self, endpoint, access_key, secret_key, karri, config):
        self.endpoint = endpoint
        self.credentials = Credentials(access_key, secret_key)
        self.karri = karri
        self.config = config

    def create_account(self, name, email):
        """Makes an account; it is no action of AWS, so botocore does not know it."""
        form = {"Action": "CreateAccount", "Version": "2010-05-08", "AccountName": name, "Email": email}
        request = AWSRequest("POST", self.endpoint + "/", data=form)
        SigV4Auth(self.credentials, "iam", "us-east-1").add_auth(request)
        prepared = request.prepare()
        answer = requests.post(prepared.url, data=prepared.body, headers=dict(prepared.headers), timeout=60)
        if answer.status_code != 200:
            raise SystemExit(f"CreateAccount: {answer.status_code} {answer.text}")
        found = {element.tag.rpartition("}")[2]: element.text for element in ElementTree.fromstring(answer.text).iter()}
        return found["AccountId"]

    def root_keys(self, account):
        command = [self.karri, "iam", "root", "rotate", "--config", self.config, "--account", account]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines = dict(line.split(": ", 1) for line in printed.splitlines())
        return lines["access key"], lines["secret key"]

    def user(self, name):
        """An account's root user, as the suite wants to know it."""
        email = f"{name}@example.com"
        account = self.create_account(name, email)
        access_key, secret_key = self.root_keys(account)
        user = {"access_key": access_key, "secret_key": secret_key, "email": email, "account_id": account}
        owner = self.client("s3", user).list_buckets()["Owner"]
        kms = self.client("kms", user)
        first, second = (kms.create_key(Description=name)["KeyMetadata"]["Arn"] for _ in range(2))
        user |= {"kms_keyid": first, "kms_keyid2": second}
        return user | {"user_id": owner["ID"], "display_name": owner.get("DisplayName", "")}

    def client(self, service, user):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=user["access_key"],
            aws_secret_access_key=user["secret_key"],
            config=Config(retries={"max_attempts": 3}),
        )

    def member(self, root, name):
        """A user of an account that may do everything, as the suite wants to know it."""
        iam = self.client("iam", root)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=ALLOW_ALL)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        keys = {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
        return root | keys | {"user_id": name, "display_name": name}


def configuration(endpoint, users):
    """The suite's file for users by section."""
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    conf = configparser.RawConfigParser()
    conf["DEFAULT"] = {"host": host, "port": port, "is_secure": "False", "ssl_verify": "False"}
    conf["fixtures"] = {
        "bucket prefix": "karri-{random}-",
        "iam name prefix": "karri-{random}-",
        "iam path prefix": "/karri/",
    }
    for section in SECTIONS:
        conf[section] = dict(users[section])
    # AWS moves nothing to an infrequent access class before it is 30 days old, which the cases of rules do not wait for.
    conf["s3 main"]["storage_classes"] = "INTELLIGENT_TIERING, GLACIER_IR"
    conf["s3 tenant"]["tenant"] = ""
    return conf


def iam_configuration(cloud, endpoint, users, provider):
    """The file for the cases of IAM and STS."""
    # STS's cases know this one by its account's number, and IAM's know the other root user by its canonical id.
    root = users["iam root"] | {"user_id": users["iam root"]["account_id"]}
    conf = configuration(endpoint, users | {"iam root": root, "s3 alt": cloud.member(users["iam"], "alt")})
    conf["webidentity"] = provider
    return conf


def main():
    endpoints, access_key, secret_key, workers, folder, karri, config = sys.argv[1:]
    endpoints, folder = endpoints.split(","), pathlib.Path(folder)
    provider = json.loads((folder / "provider.json").read_text(encoding="utf-8"))
    cloud = Cloud(endpoints[0], access_key, secret_key, karri, config)
    (folder / "iam").mkdir()
    for worker in range(int(workers)):
        users = {section: cloud.user(f"{name}-{worker}") for section, name in SECTIONS.items()}
        endpoint = endpoints[worker % len(endpoints)]
        for path, conf in [
            (folder / f"{worker}.conf", configuration(endpoint, users)),
            (folder / "iam" / f"{worker}.conf", iam_configuration(cloud, endpoint, users, provider)),
        ]:
            with open(path, "w", encoding="utf-8") as file:
                conf.write(file)


main()
