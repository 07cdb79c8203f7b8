"""The moto code that we replace or lean on beyond its API, pinned by a hash of its source.

moto is pinned exactly, so a change means that somebody moved the pin: then read the new source of what is named here,
adapt our side, and write the new hash down. `check` runs at every start; a test runs it too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect

MOTO_VERSION = "5.2.5"

REPLACED = {
    # FakeBucket.get_permission: moto ignores Condition, so a "deny without TLS" would deny everything
    "moto.s3.models:FakeBucket.get_permission": "7571412a3495a0e3",
}
LEANED_ON = {
    # run_instances makes instances on interfaces that we made: RunInstances builds on how it takes its arguments
    "moto.ec2.models.instances:InstanceBackend.run_instances": "4f521b284b7e1a6a",
    "moto.ec2.models.instances:Instance.__init__": "4b6a3d3c0bf602a0",
    "moto.ec2.models.instances:Instance.prep_nics": "c2288c1e5e70bd5b",
    "moto.ec2.models.instances:Instance.attach_eni": "543df3c0712ee523",
    # terminate: we take the interfaces away from it first
    "moto.ec2.models.instances:Instance.terminate": "b5e4ee68c4147215",
    "moto.ec2.models.launch_templates:LaunchTemplate.create_version": "a96461830b000b73",
    "moto.ec2.models.launch_templates:LaunchTemplate.get_version": "a90d77ea05a9d6ca",
    # a subclass of ours adds the network card
    "moto.ec2.models.elastic_network_interfaces:NetworkInterface.__init__": "3b1247efa31c3fda",
    "moto.ec2.models.elastic_network_interfaces:NetworkInterface.attachment": "69f57edc187a489f",
    "moto.ec2.models.elastic_network_interfaces:Attachment": "ba7e795480376174",
    "moto.ec2.models.subnets:Subnet.get_available_subnet_ip": "9d5b47095a216d11",
    "moto.ec2.models.iam_instance_profile:IamInstanceProfileAssociationBackend": "43f96a0037aa9a8a",
    "moto.ec2.utils:filter_iam_instance_profiles": "f9739541a60be6f2",
    "moto.ec2.models.amis:AmiBackend.register_image": "8867543cb050a9de",
    # AWS's own policies, one by one
    "moto.iam.models:AWSManagedPolicy.from_data": "9474574f120edc4e",
    # who asks and what that role may do is read from these
    "moto.sts.models:AssumedRole": "34cceb24be9fa68c",
    "moto.sts.models:STSBackend.get_assumed_role_from_access_key": "349bd002b7f7768f",
    "moto.iam.models:Role.put_policy": "0a110d8da90e6400",
    "moto.iam.models:PolicyVersion": "0805a27a2b10b953",
    "moto.secretsmanager.models:SecretsStore.get": "62bdd2d662289238",
    # documents are read from its dictionaries
    "moto.ssm.models:Documents": "86914859566a73e6",
    # the wire: our gateway parses and serializes with these
    "moto.core.routing:get_service_router": "ef6852a781f3b84d",
    "moto.core.parse:RequestParser": "fd89167146d042a1",
    "moto.core.serialize:ResponseSerializer.serialize": "a559a5e148b262c7",
    "moto.core.serialize:get_serializer_class": "198a4094b5031323",
    "moto.moto_server.werkzeug_app:DomainDispatcherApplication": "f85a1ab23d03b841",
}


def fingerprint(name: str) -> str:
    """The hash of the source of `module:qualified.name`. Raises AttributeError or ImportError when it is gone."""
    module, _, path = name.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    source = inspect.getsource(found)  # type: ignore[arg-type]
    return hashlib.sha256(source.encode()).hexdigest()[:16]


@functools.cache
def check() -> list[str]:
    """What differs from the pins, one line each; empty when all is as we know it."""
    problems = []
    for name, pinned in {**REPLACED, **LEANED_ON}.items():
        try:
            found = fingerprint(name)
        except (ImportError, AttributeError, OSError) as error:
            problems.append(f"{name} is gone: {error}")
            continue
        if found != pinned:
            problems.append(f"{name} has changed: its source hashes to {found}, pinned is {pinned}")
    return problems
