"""The machine image that stands for this computer's installed software. No other image exists here."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloud import ACCOUNT

LOCAL_IMAGE = "ami-0000000000000d07e"  # clusters/local.yaml names it


def know_local_image(backend: Any) -> None:
    """Make the image known to a region's EC2 backend."""
    if LOCAL_IMAGE in backend.amis:
        return
    made = backend.register_image(name="dure-local", description="This computer's installed software")
    del backend.amis[made.id]
    made.id = LOCAL_IMAGE
    made.owner_id = ACCOUNT
    made.root_device_name = "/dev/xvda"  # as the cluster file expects of an image
    backend.amis[LOCAL_IMAGE] = made
