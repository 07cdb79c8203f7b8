"""The machine image that stands for this computer's installed software."""

from __future__ import annotations

from infra.local_cloud.aws.cloud import ACCOUNT
from moto.ec2.models import ec2_backends

LOCAL_IMAGE = "ami-0000000000000d07e"  # clusters/local.yaml names it
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-2", "ap-northeast-1")


def register() -> None:
    """Make the image known in every region that a cluster file of ours names."""
    for region in REGIONS:
        backend = ec2_backends[ACCOUNT][region]
        if LOCAL_IMAGE in backend.amis:
            continue
        made = backend.register_image(name="dure-local", description="This computer's installed software")
        del backend.amis[made.id]
        made.id = LOCAL_IMAGE
        made.owner_id = ACCOUNT
        backend.amis[LOCAL_IMAGE] = made
