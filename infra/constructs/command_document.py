"""The SSM document through which every command reaches the cluster."""

from __future__ import annotations

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.constructs.naming import tags

VERBS = ("submit", "jobs", "show", "cancel", "nodes")
# A key in the bucket or a job id: nothing that a shell could make more of
ARGUMENT = r"^[A-Za-z0-9._/=+-]{0,512}$"


def document_name(cluster: str) -> str:
    """The name of a cluster's document."""
    return f"Dure-{cluster}"


class CommandDocument(Construct):
    """A document whose parameters arrive as environment variables (SSM_Verb, SSM_Argument), never pasted into a script.

    Agents before version 3.3.2746.0 do not know that and set none: the program then refuses, as it has no verb.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: str) -> None:
        super().__init__(scope, id)
        self.document = ssm.CfnDocument(
            self,
            "Document",
            name=document_name(cluster),
            document_type="Command",
            document_format="JSON",
            target_type="/AWS::EC2::Instance",
            update_method="NewVersion",
            content={
                "schemaVersion": "2.2",
                "description": f"Ask the head of the Dure cluster {cluster}",
                "parameters": {
                    "Verb": {
                        "type": "String",
                        "description": "What is asked",
                        "allowedValues": list(VERBS),
                        "interpolationType": "ENV_VAR",
                    },
                    "Argument": {
                        "type": "String",
                        "description": "Of what: a key in the bucket, or a job id",
                        "default": "",
                        "allowedPattern": ARGUMENT,
                        "interpolationType": "ENV_VAR",
                    },
                },
                "mainSteps": [
                    {
                        "action": "aws:runShellScript",
                        "name": "serve",
                        "precondition": {"StringEquals": ["platformType", "Linux"]},
                        "inputs": {"timeoutSeconds": "60", "runCommand": ["exec /opt/dure/bin/dure-node serve"]},
                    }
                ],
            },
            tags=tags(cluster),
        )
