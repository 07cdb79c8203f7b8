"""Rules of the image: that there is one, and that its driver knows the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config.catalog import find
from infra.config.problems import KeyPath
from infra.config.rules.base import Found, Rule, queues, rule
from infra.config.schema import ClusterFile

NVIDIA = "NVIDIA driver release notes: R580 is the last branch for Volta; open modules start with Turing"
LAST_VOLTA_BRANCH = 580
# The first branch for Blackwell, which has open kernel modules only
FIRST_BLACKWELL_BRANCH = 570
# How AWS names its images whose NVIDIA driver has open kernel modules
OPEN_IMAGE = "oss-nvidia"


@rule("image-one", why="Machines boot from one image.", source="this project")
def image_one(cluster: ClusterFile) -> Iterator[Found]:
    image = cluster.image
    if (image.ami is None) == (image.ssm_parameter is None):
        found = "neither ami nor ssm_parameter" if image.ami is None else "both ami and ssm_parameter"
        yield Found(("image",), found, "exactly one of ami and ssm_parameter")


def _gpus(cluster: ClusterFile, architecture: str) -> list[str]:
    """The types of the queues whose GPUs have an architecture."""
    names = [name for _, queue in queues(cluster) for name in (queue.instance_type, *queue.fallback_types)]
    found = {name for name in names if (known := find(name)) is not None and known.gpu_architecture == architecture}
    return sorted(found)


def _driver(cluster: ClusterFile) -> tuple[int, bool] | None:
    """Branch and openness of the image's driver, as far as the file says."""
    text = cluster.image.nvidia_driver
    if text is None:
        return None
    branch, _, kind = text.partition("-")
    return int(branch), kind == "open"


@rule("volta-driver", why="V100 needs the proprietary driver, of a branch that still has it.", source=NVIDIA)
def volta_driver(cluster: ClusterFile) -> Iterator[Found]:
    types = _gpus(cluster, "volta")
    if not types:
        return
    allowed = f"a proprietary driver of branch {LAST_VOLTA_BRANCH} at most for {', '.join(types)} (V100)"
    path: KeyPath = ("image", "nvidia_driver")
    driver = _driver(cluster)
    if driver is not None and (driver[1] or driver[0] > LAST_VOLTA_BRANCH):
        yield Found(path, f"{driver[0]}{' with open kernel modules' if driver[1] else ''}", allowed)
    if OPEN_IMAGE in (cluster.image.ssm_parameter or ""):
        fix = "take a Deep Learning Base Proprietary Nvidia Driver image"
        yield Found(("image", "ssm_parameter"), "an image with open kernel modules", allowed, fix)


@rule("blackwell-driver", why="B200 and B300 have open kernel modules only.", source=NVIDIA)
def blackwell_driver(cluster: ClusterFile) -> Iterator[Found]:
    types = _gpus(cluster, "blackwell")
    driver = _driver(cluster)
    if types and driver is not None and (not driver[1] or driver[0] < FIRST_BLACKWELL_BRANCH):
        allowed = f"an open driver from branch {FIRST_BLACKWELL_BRANCH}, such as 580-open, for {', '.join(types)}"
        yield Found(("image", "nvidia_driver"), str(cluster.image.nvidia_driver), allowed)


IMAGE: tuple[Rule, ...] = (image_one, volta_driver, blackwell_driver)
