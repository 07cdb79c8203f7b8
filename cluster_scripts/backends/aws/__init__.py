"""A cluster that this toolkit deployed on AWS. Only here is boto3 imported."""
