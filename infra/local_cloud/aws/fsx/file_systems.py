"""The API of file systems: CREATING for a moment, then AVAILABLE; a folder of this host that machines mount."""

from __future__ import annotations

import secrets
import string
import threading
import uuid
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2 import interfaces, security
from infra.local_cloud.aws.ec2.table import Ec2State, backend
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.fsx import rules
from infra.local_cloud.aws.fsx.state import OPERATIONS, FileSystem, FsxState, now
from infra.local_cloud.aws.operations import Answer, Call

CREATE_SECONDS = 0.3  # AWS takes minutes; long enough here for a caller who does not wait to be caught
_ALPHABET = string.ascii_lowercase + string.digits


@OPERATIONS.add("CreateFileSystem")
def create_file_system(cloud: Cloud, call: Call) -> Answer:
    state, params = cloud.store(FsxState, call.region), call.params
    rules.check_file_system(params)
    _check_groups(call)
    with state.lock:
        token = params.get("ClientRequestToken")
        if token in state.tokens and state.tokens[token] in state.file_systems:
            return {"FileSystem": state.file_systems[state.tokens[token]].view}
        identity = f"fs-{uuid.uuid4().hex[:17]}"
        with cloud.store(Ec2State, call.region).lock:
            interface = _interface(call, identity)
            security.refresh(cloud)
        view = _view(cloud, call, identity, interface)
        folder = cloud.machines.add_file_system(
            identity, dns_name=view["DNSName"], mount_name=view["LustreConfiguration"]["MountName"]
        )
        folder.chmod(0o755)  # as a new Lustre file system: root's, readable by all
        made = state.file_systems[identity] = FileSystem(view, folder, interface.id)
        if token:
            state.tokens[token] = identity
    timer = threading.Timer(CREATE_SECONDS, _become_available, (cloud, made))
    timer.daemon = True
    timer.start()
    return {"FileSystem": dict(view)}


def _check_groups(call: Call) -> None:
    """As FSx does: servers that could not reach each other are not made."""
    groups = call.params.get("SecurityGroupIds", [])
    if groups and not security.lustre_among(call.region, groups):
        raise AwsError(
            "InvalidNetworkSettings",
            "The Amazon FSx file system cannot be created because the default security group in the subnet provided or"
            " the provided security groups do not permit Lustre LNET network traffic on port 988",
        )


def _interface(call: Call, identity: str) -> Any:
    spec = {
        "SubnetId": call.params["SubnetIds"][0],
        "Groups": call.params.get("SecurityGroupIds", []),
        "Description": f"Network interface for fs {identity}",
        "DeleteOnTermination": False,
    }
    made = interfaces.make(call.region, spec, {})
    made.requester_managed, made.file_system_id = True, identity
    return made


def _view(cloud: Cloud, call: Call, identity: str, interface: Any) -> dict[str, Any]:
    params = call.params
    configuration = dict(params.get("LustreConfiguration", {}))
    kind = configuration.setdefault("DeploymentType", "SCRATCH_1")
    mount = "fsx" if kind == "SCRATCH_1" else "".join(secrets.choice(_ALPHABET) for _ in range(8))
    configuration |= {"MountName": mount}
    configuration.setdefault("DataCompressionType", "NONE")
    return {
        "OwnerId": cloud.account,
        "CreationTime": now(),
        "FileSystemId": identity,
        "FileSystemType": "LUSTRE",
        "Lifecycle": "CREATING",
        "StorageCapacity": params["StorageCapacity"],
        "StorageType": params.get("StorageType", "SSD"),
        "VpcId": interface.vpc_id,
        "SubnetIds": list(params["SubnetIds"]),
        "NetworkInterfaceIds": [interface.id],
        "DNSName": f"{identity}.fsx.{call.region}.amazonaws.com",
        "KmsKeyId": params.get("KmsKeyId", cloud.arn("kms", call.region, "alias/aws/fsx")),
        "ResourceARN": cloud.arn("fsx", call.region, f"file-system/{identity}"),
        "Tags": list(params.get("Tags", [])),
        "FileSystemTypeVersion": params.get("FileSystemTypeVersion", "2.15" if kind == "PERSISTENT_2" else "2.10"),
        "LustreConfiguration": configuration,
    }


def _become_available(cloud: Cloud, file_system: FileSystem) -> None:
    if file_system.view["Lifecycle"] == "CREATING":
        cloud.machines.set_file_system_available(file_system.id, True)
        file_system.view["Lifecycle"] = "AVAILABLE"


@OPERATIONS.add("DescribeFileSystems")
def describe_file_systems(cloud: Cloud, call: Call) -> Answer:
    state = cloud.store(FsxState, call.region)
    wanted = call.params.get("FileSystemIds")
    found = [state.file_system(identity) for identity in wanted] if wanted else list(state.file_systems.values())
    return {"FileSystems": [item.view for item in found]}


@OPERATIONS.add("UpdateFileSystem")
def update_file_system(cloud: Cloud, call: Call) -> Answer:
    found = cloud.store(FsxState, call.region).file_system(call.params["FileSystemId"])
    if found.view["Lifecycle"] != "AVAILABLE":
        raise rules.bad(f"{found.id} is {found.view['Lifecycle']}, not AVAILABLE")
    capacity, changes = call.params.get("StorageCapacity"), call.params.get("LustreConfiguration", {})
    if capacity is not None:
        rules.check_capacity(found.deployment, capacity)
        if capacity <= found.view["StorageCapacity"]:
            raise rules.bad(f"StorageCapacity can only grow: {found.view['StorageCapacity']} to {capacity} GiB")
        found.view["StorageCapacity"] = capacity
    throughput = changes.get("PerUnitStorageThroughput")
    if throughput is not None and throughput not in rules.THROUGHPUT[found.deployment]:
        raise rules.bad(f"Invalid PerUnitStorageThroughput {throughput} for {found.deployment}")
    if changes.get("DeploymentType", found.deployment) != found.deployment:
        raise rules.bad("DeploymentType of a file system cannot be changed")
    found.view["LustreConfiguration"] |= changes
    return {"FileSystem": found.view}


@OPERATIONS.add("DeleteFileSystem")
def delete_file_system(cloud: Cloud, call: Call) -> Answer:
    state = cloud.store(FsxState, call.region)
    with state.lock:
        found = state.file_system(call.params["FileSystemId"])
        if found.view["Lifecycle"] == "DELETING":
            raise rules.bad(f"{found.id} is being deleted")
        found.view["Lifecycle"] = "DELETING"
        for association in state.of(found.id):
            del state.associations[association.view["AssociationId"]]
    threading.Thread(target=_delete, args=(cloud, call.region, found), daemon=True).start()
    return {"FileSystemId": found.id, "Lifecycle": "DELETING"}


def _delete(cloud: Cloud, region: str, found: FileSystem) -> None:
    state = cloud.store(FsxState, region)
    cloud.machines.set_file_system_available(found.id, False)
    cloud.machines.remove_file_system(found.id)
    with state.lock, cloud.store(Ec2State, region).lock:
        interfaces.release(region, backend(region).get_network_interface(found.interface_id))
        del state.file_systems[found.id]


def _by_arn(cloud: Cloud, call: Call) -> dict[str, Any]:
    state, arn = cloud.store(FsxState, call.region), call.params["ResourceARN"]
    views: list[dict[str, Any]] = [item.view for item in state.file_systems.values()]
    views += [item.view for item in state.associations.values()]
    for view in views:
        if view["ResourceARN"] == arn:
            return view
    raise AwsError("ResourceNotFound", f"{arn} does not exist")


@OPERATIONS.add("TagResource")
def tag_resource(cloud: Cloud, call: Call) -> Answer:
    view = _by_arn(cloud, call)
    tags = {tag["Key"]: tag["Value"] for tag in view["Tags"]} | {
        tag["Key"]: tag["Value"] for tag in call.params["Tags"]
    }
    view["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {}


@OPERATIONS.add("UntagResource")
def untag_resource(cloud: Cloud, call: Call) -> Answer:
    view = _by_arn(cloud, call)
    view["Tags"] = [tag for tag in view["Tags"] if tag["Key"] not in call.params["TagKeys"]]
    return {}


@OPERATIONS.add("ListTagsForResource")
def list_tags_for_resource(cloud: Cloud, call: Call) -> Answer:
    return {"Tags": _by_arn(cloud, call)["Tags"]}
