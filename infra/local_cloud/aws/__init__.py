"""The AWS API of the local cloud: moto with plug-ins, behind one gateway that refuses what neither knows."""

from infra.local_cloud.aws.app import build_app

__all__ = ["build_app"]
