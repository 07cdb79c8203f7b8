"""Systems Manager's Run Command: documents that are checked as AWS checks them, commands that really run.

documents.py  pure: parameters against a document; the steps to run
targets.py    which instances a command reaches
commands.py   the API, and the life of each invocation
"""

from infra.local_cloud.aws.ssm import commands
from infra.local_cloud.aws.ssm.commands import OPERATIONS

__all__ = ["OPERATIONS", "commands"]
