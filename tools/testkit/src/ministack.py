"""Serves ministack to the test that started this, and ends with it.

The test hands over a pipe as standard input and never writes to it: when it ends, however it does, so
do we. We take a free port of the loopback and say which, in one line. From then on whoever connects
waits until ministack is ready.

As AWS to deploy to (ministack_aws.py) there is a second port, for TLS, which is said second.
"""

import asyncio
import json
import os
import socket
import sys
import threading


def end_with_the_test():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end_with_the_test, daemon=True).start()


def listen():
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


listener, port = listen()
# By a second one, an API has an address that begins with https.
secure_listener, secure_port = listen() if "CERTIFICATE" in os.environ else (None, None)
# Read when ministack is imported.
os.environ["GATEWAY_PORT"] = str(secure_port or port)

from hypercorn.asyncio import serve
from hypercorn.config import Config

from ministack.app import app
from ministack.services import secretsmanager

# What the API reference says, and ministack does not do.

put = secretsmanager._put_secret_value
create = secretsmanager._create_secret


def create_secret(request):
    """A secret that is made without a value has no version."""
    answer = create(request)
    if answer[0] == 200 and not {"SecretString", "SecretBinary"} & request.keys():
        _, secret = secretsmanager._resolve(request["Name"])
        secret["Versions"].clear()
    return answer


def put_secret_value(request):
    """A version is never changed: the same request again does nothing, and another value is refused.
    The first version is in use at once. A label is on one version: it leaves the one that had it."""
    _, secret = secretsmanager._resolve(request["SecretId"])
    token, labels = request["ClientRequestToken"], request["VersionStages"]
    if secret and token in secret["Versions"]:
        version = secret["Versions"][token]
        if version["SecretString"] != request["SecretString"]:
            return secretsmanager.error_response_json(
                "ResourceExistsException", "There is a version with another value.", 400
            )
        names = {"ARN": secret["ARN"], "Name": secret["Name"]}
        return secretsmanager.json_response(
            {**names, "VersionId": token, "VersionStages": version["Stages"]}
        )
    first = bool(secret) and not secret["Versions"]
    answer = put(request)
    if answer[0] == 200:
        for label in labels:
            secretsmanager._remove_stage_everywhere(secret, label, except_version_id=token)
        if first:
            secretsmanager._add_stage(secret, token, "AWSCURRENT")
    return answer


secretsmanager._create_secret = create_secret
secretsmanager._put_secret_value = put_secret_value

# PATCHES

config = Config()
# The listener itself, so that nobody can take the port in between.
config.bind = [f"fd://{listener.fileno()}"]
if secure_listener:
    config.insecure_bind = config.bind
    config.bind = [f"fd://{secure_listener.fileno()}"]
    config.certfile, config.keyfile = make_certificate(os.environ["CERTIFICATE"])
config.loglevel = "ERROR"
print(port, secure_port or "", flush=True)
asyncio.run(serve(app, config))
