"""Translates a template into the policies of its functions, as SAM and CloudFormation would.

The argument is the path of the template. Standard input contains the values of the template's parameters as
JSON. Prints JSON: the policies of each function, and the ARN of each resource.
"""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from ministack.services.cloudformation import engine
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# The account id that the resolver of intrinsic functions uses.
ACCOUNT = engine.get_account_id()
ARN = f"arn:aws:%s:us-east-1:{ACCOUNT}:%s"

# For each type of resource: the value of `Ref`, and the attributes that policies may use.
NAMES = {
    "AWS::DynamoDB::Table": lambda name: (
        name,
        {
            "Arn": ARN % ("dynamodb", f"table/{name}"),
            "StreamArn": ARN % ("dynamodb", f"table/{name}/stream/2026-01-01T00:00:00.000"),
        },
    ),
    "AWS::IAM::ManagedPolicy": lambda name: (f"arn:aws:iam::{ACCOUNT}:policy/{name}", {}),
    "AWS::Logs::LogGroup": lambda name: (name, {"Arn": ARN % ("logs", f"log-group:{name}:*")}),
    "AWS::SecretsManager::Secret": lambda name: (
        ARN % ("secretsmanager", f"secret:{name}-AbCdEf"),
        {},
    ),
    "AWS::SNS::Topic": lambda name: (ARN % ("sns", name), {}),
    "AWS::SQS::Queue": lambda name: (
        f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}",
        {"Arn": ARN % ("sqs", name)},
    ),
}


class NoManagedPolicies:
    """Provides SAM with no ARNs of AWS policies, because the template names none."""

    def load(self):
        return {}


def listed(value):
    return value if isinstance(value, list) else [value]


def main():
    with open(sys.argv[1]) as file:
        template = yaml_parse(file.read())
    values = json.load(sys.stdin)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # SAM accepts only uploaded code.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    parameters = engine._resolve_parameters(
        template, [{"Key": name, "Value": value} for name, value in values.items()]
    )
    conditions = engine._evaluate_conditions(template, parameters)
    template = transform(template, dict(values), NoManagedPolicies())
    resources = {
        name: resource
        for name, resource in template["Resources"].items()
        if conditions.get(resource.get("Condition"), True)
    }
    physical = {}
    arns = {}
    for name, resource in resources.items():
        reference, attributes = NAMES.get(resource["Type"], lambda name: (name, {}))(name)
        physical[name] = {"PhysicalResourceId": reference, "Attributes": attributes}
        for attribute, arn in {"Ref": reference, **attributes}.items():
            if arn.startswith("arn:"):
                arns[name if attribute in ("Ref", "Arn") else f"{name}.{attribute}"] = arn

    def resolved(value):
        return engine._resolve_refs(
            value, physical, parameters, conditions, {}, "latchkey", "latchkey"
        )

    # The managed policies that the template defines, by the ARNs that roles use to attach them.
    managed = {
        arns[name]: resolved(resource["Properties"]["PolicyDocument"])
        for name, resource in resources.items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy"
    }
    roles, foreign = {}, {}
    for name, resource in resources.items():
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::RolePolicy"):
            sys.exit(f"{name}: a policy outside its role is not supported")
        if resource["Type"] != "AWS::IAM::Role":
            continue
        properties = resource["Properties"]
        if "PermissionsBoundary" in properties:
            sys.exit(f"{name}: a permissions boundary is not supported")
        policies = [resolved(policy["PolicyDocument"]) for policy in properties.get("Policies", [])]
        attached = [resolved(arn) for arn in properties.get("ManagedPolicyArns", [])]
        policies += [managed[arn] for arn in attached if arn in managed]
        roles[name] = policies
        foreign[name] = [arn for arn in attached if arn not in managed]
    functions = {}
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function":
            role, _ = listed(resource["Properties"]["Role"]["Fn::GetAtt"])
            functions[name] = {"policies": roles[role], "foreign": foreign[role]}
    json.dump({"functions": functions, "arns": arns}, sys.stdout)


main()
