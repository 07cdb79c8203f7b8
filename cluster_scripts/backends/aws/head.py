"""Which EC2 instance is the head of a cluster."""

from __future__ import annotations

from cluster_scripts.backends.aws.errors import translating
from cluster_scripts.backends.aws.machines import instances
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.jobs.errors import NoSuchCluster, Unreachable

# states in which an instance still says something about the cluster; a terminated one stays listed for an hour
_LIVE = ["pending", "running", "stopping", "stopped"]


def head_instance(aws: Aws, cluster: str) -> str:
    """The id of the running head.

    Raises NoSuchCluster (there is no head), Unreachable (it is there but does not run), and any OtherSide.
    """
    with translating(f"looking for the head of cluster {cluster!r}"):
        found = sorted(
            (instance["LaunchTime"], instance["InstanceId"], str(instance["State"]["Name"]))
            for instance in instances(aws, cluster, role="head", states=_LIVE)
        )
    running = [instance_id for _, instance_id, state in found if state == "running"]
    if running:
        return running[-1]  # while CloudFormation replaces a head there are two: the newer one
    if found:
        _, instance_id, state = found[-1]
        start = f"start it: aws ec2 start-instances --instance-ids {instance_id}"
        remedy = "try again in a minute" if state == "pending" else start
        raise Unreachable(f"the head of cluster {cluster!r} ({instance_id}) is {state}, not running; {remedy}")
    raise NoSuchCluster(
        f"cluster {cluster!r} has facts but no head instance in {aws.region}; was it ended by hand? Deploy it again"
    )
