"""Serves ministack to the test that started this process, and ends with the test.

Standard input is a pipe to which the test never writes. The pipe closes however the test ends, and then this
process ends too. The process listens on a free loopback port and prints the port's number. Clients can connect
from then on, and wait until ministack is ready.

With ministack_aws.py, the process also prints a second port, which serves TLS.
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
# APIs have https addresses on the second port.
secure_listener, secure_port = listen() if "CERTIFICATE" in os.environ else (None, None)
# ministack reads this variable on import.
os.environ["GATEWAY_PORT"] = str(secure_port or port)

from hypercorn.asyncio import serve
from hypercorn.config import Config

from ministack.app import app
from ministack.services import secretsmanager

# Behavior that the API reference describes and ministack lacks.

put = secretsmanager._put_secret_value
create = secretsmanager._create_secret


def create_secret(request):
    """Creates a secret, which has no version if no value is given."""
    answer = create(request)
    if answer[0] == 200 and not {"SecretString", "SecretBinary"} & request.keys():
        _, secret = secretsmanager._resolve(request["Name"])
        secret["Versions"].clear()
    return answer


def put_secret_value(request):
    """Adds an immutable version: a repeated request changes nothing, and another value is refused.
    The first version becomes current. A label moves away from the version that had it."""
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
# Pass the listener itself, so that no other process can take the port.
config.bind = [f"fd://{listener.fileno()}"]
if secure_listener:
    config.insecure_bind = config.bind
    config.bind = [f"fd://{secure_listener.fileno()}"]
    config.certfile, config.keyfile = make_certificate(os.environ["CERTIFICATE"])
config.loglevel = "ERROR"
print(port, secure_port or "", flush=True)
asyncio.run(serve(app, config))
