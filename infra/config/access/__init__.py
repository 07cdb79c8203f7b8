"""Who needs what in AWS: the policies of people, as plain data. No CDK, no boto3.

statements.py  one statement of a policy, and a policy's document
cluster.py     names and ARNs of one cluster
people.py      who submits to a cluster, and who only watches it
deployer.py    who deploys a cluster and takes it away
execution.py   what CloudFormation needs to carry that out
"""
