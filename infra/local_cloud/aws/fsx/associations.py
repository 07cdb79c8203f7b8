"""The API of data repository associations and tasks."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.fsx import rules, sync
from infra.local_cloud.aws.fsx.state import OPERATIONS, Association, FsxState, now
from infra.local_cloud.aws.operations import Answer, Call


@OPERATIONS.add("CreateDataRepositoryAssociation")
def create_association(cloud: Cloud, call: Call) -> Answer:
    state, params = cloud.store(FsxState, call.region), call.params
    with state.lock:
        owner = state.file_system(params["FileSystemId"])
        if owner.view["Lifecycle"] != "AVAILABLE":
            raise rules.bad(f"{owner.id} is {owner.view['Lifecycle']}, not AVAILABLE")
        token = params.get("ClientRequestToken")
        if token in state.tokens and state.tokens[token] in state.associations:
            return {"Association": state.associations[state.tokens[token]].view}
        rules.check_association(params, owner.deployment, owner.version, [item.view for item in state.of(owner.id)])
        bucket, prefix = rules.split_repository(params["DataRepositoryPath"])
        if not any(item["Name"] == bucket for item in cloud.client("s3", call.region).list_buckets()["Buckets"]):
            raise rules.bad(f"The bucket {bucket} does not exist or cannot be reached")
        identity = f"dra-{uuid.uuid4().hex[:17]}"
        folder = owner.folder / params["FileSystemPath"].strip("/")
        sync.make_folders(owner.folder, folder)
        made = Association(_view(cloud, call, identity), folder, bucket, prefix)
        state.associations[identity] = made
        if token:
            state.tokens[token] = identity
    batch = bool(params.get("BatchImportMetaDataOnCreate"))
    threading.Thread(target=_bring_up, args=(cloud, call.region, made, batch), daemon=True).start()
    return {"Association": dict(made.view)}


def _view(cloud: Cloud, call: Call, identity: str) -> dict[str, Any]:
    params = call.params
    return {
        "AssociationId": identity,
        "ResourceARN": cloud.arn("fsx", call.region, f"association/{params['FileSystemId']}/{identity}"),
        "FileSystemId": params["FileSystemId"],
        "Lifecycle": "CREATING",
        "FileSystemPath": params["FileSystemPath"],
        "DataRepositoryPath": params["DataRepositoryPath"],
        "BatchImportMetaDataOnCreate": bool(params.get("BatchImportMetaDataOnCreate")),
        "ImportedFileChunkSize": params.get("ImportedFileChunkSize", 1024),
        "S3": params.get("S3", {}),
        "Tags": list(params.get("Tags", [])),
        "CreationTime": now(),
    }


def _bring_up(cloud: Cloud, region: str, association: Association, batch: bool) -> None:
    try:
        if batch:
            sync.import_all(cloud, region, association)
        association.view["Lifecycle"] = "AVAILABLE"
        sync.watch(cloud, region)
    except Exception as error:
        association.view["Lifecycle"] = "MISCONFIGURED"
        association.view["FailureDetails"] = {"Message": f"{type(error).__name__}: {error}"}
        cloud.record("association failed", association=association.view["AssociationId"], error=str(error))


@OPERATIONS.add("DescribeDataRepositoryAssociations")
def describe_associations(cloud: Cloud, call: Call) -> Answer:
    state = cloud.store(FsxState, call.region)
    wanted = call.params.get("AssociationIds")
    found = [state.association(identity) for identity in wanted] if wanted else list(state.associations.values())
    for item in call.params.get("Filters", []):
        key = {"file-system-id": "FileSystemId"}.get(item["Name"])
        if key is None:
            raise AwsError("NotImplemented", f"the local cloud does not model the filter {item['Name']}", status=501)
        found = [association for association in found if association.view[key] in item["Values"]]
    return {"Associations": [association.view for association in found]}


@OPERATIONS.add("UpdateDataRepositoryAssociation")
def update_association(cloud: Cloud, call: Call) -> Answer:
    found = cloud.store(FsxState, call.region).association(call.params["AssociationId"])
    if "S3" in call.params:
        found.view["S3"] = {**found.view.get("S3", {}), **call.params["S3"]}
    if "ImportedFileChunkSize" in call.params:
        found.view["ImportedFileChunkSize"] = call.params["ImportedFileChunkSize"]
    return {"Association": found.view}


@OPERATIONS.add("DeleteDataRepositoryAssociation")
def delete_association(cloud: Cloud, call: Call) -> Answer:
    state = cloud.store(FsxState, call.region)
    with state.lock:
        found = state.association(call.params["AssociationId"])
        delete = bool(call.params.get("DeleteDataInFileSystem"))
        del state.associations[call.params["AssociationId"]]
        if delete:
            for relative in list(found.known):
                (found.folder / relative).unlink(missing_ok=True)
    return {"AssociationId": call.params["AssociationId"], "Lifecycle": "DELETING", "DeleteDataInFileSystem": delete}


# ---- tasks


@OPERATIONS.add("CreateDataRepositoryTask")
def create_task(cloud: Cloud, call: Call) -> Answer:
    state, params = cloud.store(FsxState, call.region), call.params
    work = _WORK.get(params["Type"])
    if work is None:
        raise AwsError("NotImplemented", f"the local cloud does not model tasks of type {params['Type']}", status=501)
    owner = state.file_system(params["FileSystemId"])
    associations = state.of(owner.id)
    if not associations:
        raise rules.bad(f"{owner.id} has no data repository association")
    identity = f"task-{uuid.uuid4().hex[:17]}"
    task = state.tasks[identity] = {
        "TaskId": identity,
        "Lifecycle": "PENDING",
        "Type": params["Type"],
        "CreationTime": now(),
        "ResourceARN": cloud.arn("fsx", call.region, f"task/{identity}"),
        "FileSystemId": owner.id,
        "Paths": list(params.get("Paths", [])),
        "Report": params.get("Report", {"Enabled": False}),
        "Tags": list(params.get("Tags", [])),
        "Status": {"TotalCount": 0, "SucceededCount": 0, "FailedCount": 0},
    }
    threading.Thread(target=_run_task, args=(cloud, call.region, task, associations, work), daemon=True).start()
    return {"DataRepositoryTask": dict(task)}


Work = Callable[[Cloud, str, Association], tuple[int, int]]


def _run_task(cloud: Cloud, region: str, task: dict[str, Any], associations: list[Association], work: Work) -> None:
    task |= {"Lifecycle": "EXECUTING", "StartTime": now()}
    done = failed = 0
    try:
        for association in associations:
            good, bad = work(cloud, region, association)
            done, failed = done + good, failed + bad
        task["Lifecycle"] = "FAILED" if failed else "SUCCEEDED"
    except Exception as error:
        task |= {"Lifecycle": "FAILED", "FailureDetails": {"Message": str(error)}}
    task |= {
        "EndTime": now(),
        "Status": {
            "TotalCount": done + failed,
            "SucceededCount": done,
            "FailedCount": failed,
            "LastUpdatedTime": now(),
        },
    }


def _export(cloud: Cloud, region: str, association: Association) -> tuple[int, int]:
    return sync.export_changes(cloud, region, association, settled=False, everything=True), 0


_WORK: dict[str, Work] = {
    "EXPORT_TO_REPOSITORY": _export,
    "IMPORT_METADATA_FROM_REPOSITORY": sync.import_all,
}


@OPERATIONS.add("DescribeDataRepositoryTasks")
def describe_tasks(cloud: Cloud, call: Call) -> Answer:
    tasks = cloud.store(FsxState, call.region).tasks
    wanted = call.params.get("TaskIds")
    if wanted and (missing := [identity for identity in wanted if identity not in tasks]):
        raise AwsError("DataRepositoryTaskNotFound", f"Data repository task '{missing[0]}' does not exist.")
    found = [tasks[identity] for identity in wanted] if wanted else list(tasks.values())
    for item in call.params.get("Filters", []):
        keys = {"file-system-id": "FileSystemId", "task-lifecycle": "Lifecycle"}
        if item["Name"] not in keys:
            raise AwsError("NotImplemented", f"the local cloud does not model the filter {item['Name']}", status=501)
        found = [task for task in found if task[keys[item["Name"]]] in item["Values"]]
    return {"DataRepositoryTasks": found}
