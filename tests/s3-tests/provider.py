"""A small OpenID Connect provider, in the place of the suite's Keycloak.

    provider.py FOLDER

It listens on a free port of this machine, writes `provider.json` (its host, tokens, and what the suite wants to know
of them) into FOLDER, prints its host and serves until it is ended.
"""

import base64
import hashlib
import http.server
import json
import pathlib
import secrets
import sys
import time

REALM = "karri"
AUDIENCE = "account"
SUBJECT = "8a9f3bd1-0c5c-4f26-ae52-f2ac1d0d1c2b"
PARTY = "karri-client"
# Longer than a run of the suite.
LIFETIME_SECONDS = 4 * 60 * 60


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def prime(bits):
    """A probable prime (40 rounds of Miller and Rabin) with its two highest bits set."""
    while True:
        candidate = secrets.randbits(bits) | 3 << bits - 2 | 1
        if all(candidate % small for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)) and is_prime(candidate):
            return candidate


def is_prime(candidate):
    twos = ((candidate - 1) & (1 - candidate)).bit_length() - 1
    for _ in range(40):
        power = pow(secrets.randbelow(candidate - 3) + 2, candidate - 1 >> twos, candidate)
        if power not in (1, candidate - 1):
            for _ in range(twos - 1):
                power = power * power % candidate
                if power == candidate - 1:
                    break
            else:
                return False
    return True


class Key:
    """An RSA key for this run: no library, for what the suite installs has none, and no secret that must be kept."""

    EXPONENT = 65537
    # DER of AlgorithmIdentifier SHA-256 and the head of its digest (RFC 8017, 9.2).
    SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")

    def __init__(self):
        p, q = prime(1024), prime(1024)
        self.modulus = p * q
        self.secret = pow(self.EXPONENT, -1, (p - 1) * (q - 1))

    def sign(self, message):
        digest = self.SHA256 + hashlib.sha256(message).digest()
        length = self.modulus.bit_length() // 8
        padded = b"\0\1" + b"\xff" * (length - len(digest) - 3) + b"\0" + digest
        return pow(int.from_bytes(padded), self.secret, self.modulus).to_bytes(length)


class Provider:
    def __init__(self):
        self.key = Key()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.host = f"localhost:{self.server.server_address[1]}"
        self.issuer = f"http://{self.host}/auth/realms/{REALM}"

    def documents(self):
        public = {"n": number(self.key.modulus), "e": number(self.key.EXPONENT)}
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", **public}
        return {
            f"/auth/realms/{REALM}/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/protocol/openid-connect/certs",
            },
            f"/auth/realms/{REALM}/protocol/openid-connect/certs": {"keys": [key]},
        }

    def handler(provider):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                document = provider.documents().get(self.path)
                body = json.dumps(document or {}).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler

    def token(self, **more):
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": SUBJECT,
            "aud": AUDIENCE,
            "azp": PARTY,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            **more,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"


def main():
    provider = Provider()
    tags = {"principal_tags": {"Department": ["Engineering", "Marketing"]}, "transitive_tag_keys": ["Department"]}
    facts = {
        "host": provider.host,
        "token": provider.token(),
        "user_token": provider.token(**{"https://aws.amazon.com/tags": tags}),
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "azp": PARTY,
        # Asked without TLS, so it is the thumbprint of nothing.
        "thumbprint": "0" * 40,
        "kc_realm": REALM,
    }
    pathlib.Path(sys.argv[1], "provider.json").write_text(json.dumps(facts), encoding="utf-8")
    print(provider.host, flush=True)
    provider.server.serve_forever()


main()
