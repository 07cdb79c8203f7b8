"""FSx for Lustre: file systems that are folders, and associations that really carry files to and from S3.

rules.py         what AWS accepts: deployment types, throughput, capacity, association paths. Pure
file_systems.py  the API of file systems
associations.py  the API of associations and data repository tasks
sync.py          import and export between a folder and a bucket, and the watcher
"""

from infra.local_cloud.aws.fsx import associations, file_systems
from infra.local_cloud.aws.fsx.state import OPERATIONS

__all__ = ["OPERATIONS", "associations", "file_systems"]
