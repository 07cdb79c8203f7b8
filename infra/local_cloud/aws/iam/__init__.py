"""IAM: roles' policies, enforced on every request that is signed with an assumed role's credentials.

managed.py     AWS's own policies, from moto's data
conditions.py  pure: the Condition of a statement; what it does not know it refuses loudly
policy.py      pure: policies and a question (action, resource, context) in, a decision out
actions.py     from an API request to the questions that AWS asks for it
launching.py   the same for EC2, whose RunInstances asks many
enforcement.py who asks, which policies, and AWS's words for no
"""

from infra.local_cloud.aws.iam.enforcement import Enforcement
from infra.local_cloud.aws.iam.managed import know_managed_policy

__all__ = ["Enforcement", "know_managed_policy"]
