"""CloudFormation: an engine of our own, because moto's skips what it does not know and never rolls back.

template.py     parse a template; evaluate conditions and intrinsic functions
schema.py       check (and coerce) properties against the provider schemas that cfn-lint ships
registry.py     what a resource type is; the table of all that we model
model.py        stacks, resources, events, change sets
planner.py      which resources a template would add, change, replace or remove
engine.py       carry a plan out, with roll-back
api.py          the API's operations
resources/      the resource types, a file a service
"""
