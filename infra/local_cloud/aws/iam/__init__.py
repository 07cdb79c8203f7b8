"""IAM: policies of roles and users, of keys and of trust, enforced on every request.

managed.py          AWS's own policies, from moto's data
linked.py           the names of service-linked roles
callers.py          whose access key it is, and which policies that gives
conditions.py       pure: the Condition of a statement; what it does not know it refuses loudly
policy.py           pure: policies and a question (action, resource, context) in, a decision out
resource_policy.py  pure: the same for a policy that names who may
trust.py            who may take a role on
keys.py             the policies of KMS keys
actions.py          from an API request to the questions that AWS asks for it
managing.py         the same for IAM, FSx, CloudWatch and SNS
launching.py        the same for EC2, whose RunInstances asks many
delivery.py         the role by which flow logs write
enforcement.py      the judge, and AWS's words for no
"""

from infra.local_cloud.aws.iam.delivery import judge_flow_logs
from infra.local_cloud.aws.iam.enforcement import Enforcement
from infra.local_cloud.aws.iam.linked import know_linked_role
from infra.local_cloud.aws.iam.managed import know_managed_policy

__all__ = ["Enforcement", "judge_flow_logs", "know_linked_role", "know_managed_policy"]
