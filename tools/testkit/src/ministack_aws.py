# Adds the features of AWS that a deployment needs and ministack lacks. Replaces the line PATCHES of ministack.py.

import datetime
import re
import threading
import uuid

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ministack.core import lambda_runtime
from ministack.services import apigateway, lambda_svc
from ministack.services.cloudformation import changesets, engine, provisioners
from ministack.services.cloudformation import handlers as handlers_of_stacks
from samtranslator.translator import transform

handlers = provisioners._RESOURCE_HANDLERS


def make_certificate(path):
    """Creates a certificate for the addresses of APIs and writes it to `path`, where clients find it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "execute-api.localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.execute-api.localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(path, "wb") as file:
        file.write(certificate.public_bytes(encoding))
    with open(f"{path}.key", "wb") as file:
        file.write(private)
    return path, f"{path}.key"


# API Gateway serves its endpoints over https.
apigateway._api_endpoint_scheme = lambda protocol: "https"


def import_routes(api_id, body):
    """Creates the routes and the CORS settings of an HTTP API from its OpenAPI body, as SAM writes it."""
    apigateway._routes[api_id] = {}
    apigateway._integrations[api_id] = {}
    apigateway._apis[api_id]["corsConfiguration"] = body.get("x-amazon-apigateway-cors")
    for path, methods in body["paths"].items():
        for method, operation in methods.items():
            described = operation["x-amazon-apigateway-integration"]
            integration = {
                "ApiId": api_id,
                "IntegrationUri": described["uri"],
                "PayloadFormatVersion": described["payloadFormatVersion"],
            }
            integration_id, _ = provisioners._apigw_v2_integration_create("", integration, "")
            route = {
                "ApiId": api_id,
                "RouteKey": f"{method.upper()} {path}",
                "Target": f"integrations/{integration_id}",
            }
            provisioners._apigw_v2_route_create("", route, "")


api = handlers["AWS::ApiGatewayV2::Api"]
create_api, update_api = api["create"], api["update"]


def create_http_api(logical_id, props, stack_name):
    created = create_api(logical_id, props, stack_name)
    import_routes(created[0], props["Body"])
    return created


def update_http_api(physical_id, old, new, stack_name, logical_id=None):
    created = update_api(physical_id, old, new, stack_name, logical_id)
    import_routes(created[0], new["Body"])
    return created


api["create"], api["update"] = create_http_api, update_http_api


apply_transforms, sam_transform = engine._apply_transforms, transform.transform


def apply_transforms_to(template, provided=None, previous=None):
    """Passes the parameters of the deployment to SAM, which would otherwise insert their defaults."""
    values = engine._transform_parameters(template, provided, previous)
    transform.transform = lambda template, _, loader: sam_transform(template, values, loader)
    return apply_transforms(template, provided, previous)


changesets._apply_transforms = handlers_of_stacks._apply_transforms = apply_transforms_to


# The address at which functions find AWS.
os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"


def execution_credentials(config):
    """Gives each function its own credentials, so that the recorder can identify the caller."""
    return {
        "AWS_ACCESS_KEY_ID": config["FunctionName"],
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": "local",
    }


for module in (lambda_runtime, lambda_svc):
    module.execution_credentials = execution_credentials

run = apigateway.run_reentrant


async def run_from(function, record, event, **options):
    """Runs a function. A header gives the client's address, because all requests come from this machine."""
    address = event["headers"].pop("x-source-ip", None)
    if address:
        event["requestContext"]["http"]["sourceIp"] = address
    return await run(function, record, event, **options)


apigateway.run_reentrant = run_from


def rotate(secret_id, function, token):
    """Runs the steps of a rotation, as Secrets Manager does. A failed step ends the rotation."""
    invoker = boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=function.split(":")[3],
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        event = {"Step": step, "SecretId": secret_id, "ClientRequestToken": token}
        answer = invoker.invoke(FunctionName=function, Payload=json.dumps(event))
        if "FunctionError" in answer:
            print(step, answer["Payload"].read().decode(), file=sys.stderr)
            return


def rotate_secret(request):
    """Begins a rotation, which continues after this function has answered."""
    _, secret = secretsmanager._resolve(request["SecretId"])
    for name in ("RotationLambdaARN", "RotationRules"):
        secret[name] = request.get(name, secret.get(name))
    secret["RotationEnabled"] = True
    token = request.get("ClientRequestToken", str(uuid.uuid4()))
    arguments = (secret["ARN"], secret["RotationLambdaARN"], token)
    threading.Thread(target=rotate, args=arguments, daemon=True).start()
    names = {"ARN": secret["ARN"], "Name": secret["Name"]}
    return secretsmanager.json_response({**names, "VersionId": token})


secretsmanager._rotate_secret = rotate_secret


def create_rotation(logical_id, props, stack_name):
    # CloudFormation passes parameters as strings.
    rules = {"AutomaticallyAfterDays": int(props["RotationRules"]["AutomaticallyAfterDays"])}
    names = ("SecretId", "RotationLambdaARN")
    rotate_secret({"RotationRules": rules, **{name: props[name] for name in names}})
    return props["SecretId"], {}


alarm = handlers["AWS::CloudWatch::Alarm"]


def create_alarm(logical_id, props, stack_name, create=alarm["create"]):
    """Skips alarms on expressions, which ministack does not support. It evaluates no alarms anyway."""
    return (logical_id, {}) if "Metrics" in props else create(logical_id, props, stack_name)


def update_alarm(physical_id, old, new, *others, update=alarm["update"], **named):
    return (physical_id, {}) if "Metrics" in new else update(physical_id, old, new, *others, **named)


def delete_alarm(physical_id, props, *others, delete=alarm["delete"]):
    return None if "Metrics" in props else delete(physical_id, props, *others)


alarm.update(create=create_alarm, update=update_alarm, delete=delete_alarm)

handlers["AWS::SecretsManager::RotationSchedule"] = {
    "create": create_rotation,
    "update": lambda physical_id, old, new, stack_name: (physical_id, {}),
    "delete": lambda physical_id, props: None,
}


def recorded(serve_http, calls, faults):
    """Records each signed request as a line of JSON, with the caller that its credentials identify.
    The services that are listed in the file `faults` answer every function with an error."""

    def is_broken(service):
        if not os.path.exists(faults):
            return False
        with open(faults) as names:
            return service in names.read().split()

    async def serve_and_record(scope, receive, send):
        headers = dict(scope.get("headers", []))
        authorization = headers.get(b"authorization", b"").decode()
        signed = re.search(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/", authorization)
        if not signed:
            return await serve_http(scope, receive, send)
        body = bytearray()

        async def receive_and_keep():
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        if signed[1] != "local" and is_broken(signed[2]):
            await send({"type": "http.response.start", "status": 500, "headers": []})
            return await send({"type": "http.response.body", "body": b"{}"})
        await serve_http(scope, receive_and_keep, send)
        call = {
            "caller": signed[1],
            "service": signed[2],
            "operation": headers.get(b"x-amz-target", b"").decode() or scope["path"],
            "body": body.decode(errors="replace"),
        }
        calls.write(json.dumps(call) + "\n")
        calls.flush()

    return serve_and_record


app = recorded(app, open(os.environ["CALLS"], "w"), os.environ["FAULTS"])
