"""Carries revisions out: creates, updates, replaces and removes resources in dependency order; rolls back.

One thread per running operation, started by `start`. A stack's status tells callers how far it is.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError, ParamValidationError

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.cloudformation import planner
from infra.local_cloud.aws.cloudformation.model import GONE, Resource, Revision, Stack, Stacks, now
from infra.local_cloud.aws.cloudformation.registry import Context, Made, Registry
from infra.local_cloud.aws.cloudformation.template import Evaluator, dependencies, in_order, invalid
from infra.local_cloud.aws.errors import AwsError

_KEPT = "Retain"


class Failed(Exception):
    """A resource could not be made, changed or removed; the message is the reason that users read."""


@dataclass(frozen=True)
class _Done:
    """One step taken, so that it can be taken back. `before` is None for a creation."""

    after: Resource
    before: Resource | None
    replaced: bool = False


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        found = error.response["Error"]
        return f"{found['Message']} (Service: {error.operation_name}, Code: {found['Code']})"
    if isinstance(error, AwsError):
        return error.message
    if isinstance(error, (ParamValidationError, Failed)):
        return str(error)
    return f"{type(error).__name__}: {error}"


class Engine:
    """The engine of one region."""

    def __init__(self, cloud: Cloud, registry: Registry, stacks: Stacks, region: str) -> None:
        self.cloud, self.registry, self.stacks, self.region = cloud, registry, stacks, region

    def start(self, stack: Stack, work: Callable[[], None]) -> None:
        """Run an operation on its own thread. Whatever escapes it is a bug: the stack then says so."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.cloud.record("stack broken", stack=stack.name, error=traceback.format_exc())
                verb = stack.status.removesuffix("_IN_PROGRESS")
                stack.log(None, f"{verb}_FAILED", f"The local cloud failed: {_reason(error)}")

        threading.Thread(target=guarded, name=f"stack-{stack.name}", daemon=True).start()

    def evaluation(self, stack: Stack, revision: Revision, *, planning: bool = False) -> Evaluator:
        """An evaluator of a revision over a stack as it stands."""
        return planner.evaluator(self.cloud, self.stacks, stack, revision, self.region, planning=planning)

    # ---- create and update

    def create(self, stack: Stack, revision: Revision, *, on_failure: str = "ROLLBACK") -> None:
        """Make a stack's resources. On failure: ROLLBACK, DELETE or DO_NOTHING."""
        done: list[_Done] = []
        try:
            evaluation = self.evaluation(stack, revision)
            self._apply(stack, evaluation, done)
            self._outputs(stack, evaluation)
        except (Failed, AwsError) as error:
            self.cloud.record("stack failed", stack=stack.name, reason=_reason(error))
            stack.outputs, stack.exports = [], {}
            if on_failure == "DO_NOTHING" or stack.disable_rollback:
                stack.log(None, "CREATE_FAILED", _reason(error))
            elif on_failure == "DELETE":
                stack.log(None, "CREATE_FAILED", _reason(error))
                self.delete(stack)
            else:
                stack.log(None, "ROLLBACK_IN_PROGRESS", f"{_reason(error)} Rollback requested by user.")
                failed = self._remove(stack, list(stack.resources.values()))
                stack.log(None, "ROLLBACK_FAILED" if failed else "ROLLBACK_COMPLETE", _summary(failed))
                stack.imports = set()
            return
        stack.revision = revision
        stack.log(None, "CREATE_COMPLETE")

    def update(self, stack: Stack, revision: Revision) -> None:
        """Change a stack into a revision, or back if that fails."""
        done: list[_Done] = []
        before = (list(stack.outputs), dict(stack.exports), set(stack.imports))
        stack.updated = now()
        try:
            stack.imports = set()
            evaluation = self.evaluation(stack, revision)
            self._apply(stack, evaluation, done)
            self._outputs(stack, evaluation)
        except (Failed, AwsError) as error:
            self.cloud.record("stack failed", stack=stack.name, reason=_reason(error))
            stack.outputs, stack.exports, stack.imports = before
            stack.log(None, "UPDATE_ROLLBACK_IN_PROGRESS", _reason(error))
            failed = self._undo(stack, done)
            stack.log(None, "UPDATE_ROLLBACK_FAILED" if failed else "UPDATE_ROLLBACK_COMPLETE", _summary(failed))
            return
        stack.revision = revision
        stack.log(None, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        wanted = evaluation.active()
        old = [step.before for step in done if step.replaced and step.before]
        old += [resource for name, resource in stack.resources.items() if name not in wanted]
        self._remove(stack, old)  # as on AWS, what can't be removed stays behind, said in the events
        stack.log(None, "UPDATE_COMPLETE")

    def _apply(self, stack: Stack, evaluation: Evaluator, done: list[_Done]) -> None:
        for name in in_order(evaluation):
            self._apply_one(stack, evaluation, name, done)
        stack.resources = {  # creation order, which is the order of dependence
            **{name: stack.resources[name] for name in in_order(evaluation)},
            **stack.resources,
        }

    def _apply_one(self, stack: Stack, evaluation: Evaluator, name: str, done: list[_Done]) -> None:
        declared = evaluation.template["Resources"][name]
        old = stack.resources.get(name)
        fresh = Resource(
            logical_id=name,
            type=declared["Type"],
            physical_id=old.physical_id if old else "",
            properties={},
            attributes=old.attributes if old else {},
            metadata=declared.get("Metadata"),
            deletion_policy=declared.get("DeletionPolicy", "Delete"),
        )
        verb, context = "UPDATE" if old else "CREATE", None
        try:
            kind = self.registry.get(fresh.type)
            evaluated = evaluation.value(declared.get("Properties", {}))
            fresh.properties = kind.check(evaluated) if kind else dict(evaluated)
            changed = planner.changed_properties(old, fresh.properties) if old else frozenset()
            if old and not changed:
                old.metadata, old.deletion_policy = fresh.metadata, fresh.deletion_policy
                return
            stack.log(fresh, f"{verb}_IN_PROGRESS")
            replaced = bool(old and kind and kind.replaced_by(old.properties, fresh.properties))
            context = self._context(stack, fresh, suffix="-new" if replaced else "")
            made = self._make(context, stack, fresh, None if replaced else old)
        except Exception as error:
            if context is not None and context.existing:  # half made: roll-back has to delete it
                fresh.physical_id, fresh.attributes = context.existing[0].physical_id, context.existing[0].attributes
                stack.resources[name] = fresh
                done.append(_Done(fresh, old, replaced=old is not None))
            stack.log(fresh, f"{verb}_FAILED", _reason(error))
            if not isinstance(error, (ClientError, AwsError, ParamValidationError, Failed)):
                self.cloud.record("resource failed", stack=stack.name, resource=name, error=traceback.format_exc())
            raise Failed(f"The following resource(s) failed to {verb.lower()}: [{name}]. {_reason(error)}") from error
        fresh.physical_id, fresh.attributes = made.physical_id, made.attributes
        stack.resources[name] = fresh
        done.append(_Done(fresh, old, replaced))
        stack.log(fresh, f"{verb}_COMPLETE")

    def _make(self, context: Context, stack: Stack, fresh: Resource, old: Resource | None) -> Made:
        kind = self.registry.get(fresh.type)
        if kind is None:
            if fresh.type not in planner.INERT:
                raise Failed(f"{fresh.type} is not modelled by the local cloud")
            return Made(f"{stack.name}-{fresh.logical_id}")
        if old is None:
            return kind.create(context, fresh.properties)
        assert kind.update is not None
        return kind.update(context, Made(old.physical_id, old.attributes), old.properties, fresh.properties)

    def _context(self, stack: Stack, resource: Resource, *, suffix: str = "") -> Context:
        salt = f"{stack.id}/{len(stack.events)}" if suffix else stack.id  # a replacement needs a name of its own
        return Context(
            cloud=self.cloud,
            region=self.region,
            stack_name=stack.name,
            stack_id=salt if suffix else stack.id,
            logical_id=resource.logical_id,
            stack_tags=stack.revision.tags,
            access_key=stack.access_key,
        )

    def _outputs(self, stack: Stack, evaluation: Evaluator) -> None:
        outputs: list[dict[str, str]] = []
        exports: dict[str, str] = {}
        for key, spec in evaluation.template.get("Outputs", {}).items():
            if "Condition" in spec and not evaluation.condition(spec["Condition"]):
                continue
            value = str(evaluation.value(spec["Value"]))
            output = {"OutputKey": key, "OutputValue": value}
            if "Description" in spec:
                output["Description"] = spec["Description"]
            if "Export" in spec:
                name = output["ExportName"] = str(evaluation.value(spec["Export"]["Name"]))
                if any(name in other.exports for other in self.stacks.living() if other is not stack):
                    raise invalid(f"Export with name {name} is already exported by another stack")
                exports[name] = value
            outputs.append(output)
        for name, value in stack.exports.items():
            users = self.stacks.importers(name)
            if users and exports.get(name) != value:
                raise invalid(f"Cannot update export {name} as it is in use by {', '.join(users)}")
        stack.outputs, stack.exports = outputs, exports

    def _undo(self, stack: Stack, done: list[_Done]) -> list[str]:
        failed: list[str] = []
        for step in reversed(done):
            after, before = step.after, step.before
            if before is None or step.replaced:
                failed += self._remove(stack, [after])
            else:
                kind = self.registry.get(before.type)
                try:
                    if kind is not None and kind.update is not None:
                        made = Made(after.physical_id, after.attributes)
                        back = kind.update(self._context(stack, before), made, after.properties, before.properties)
                        before.physical_id, before.attributes = back.physical_id, back.attributes
                except Exception as error:
                    stack.log(before, "UPDATE_FAILED", _reason(error))
                    failed.append(before.logical_id)
                    continue
            if before is not None:
                stack.resources[before.logical_id] = before
                stack.log(before, "UPDATE_COMPLETE")
        return failed

    # ---- delete

    def delete(self, stack: Stack) -> None:
        """Remove everything; the stack is gone, or DELETE_FAILED with what would not go."""
        failed = self._remove(stack, list(stack.resources.values()))
        if failed:
            stack.log(None, "DELETE_FAILED", _summary(failed))
            return
        stack.exports, stack.imports, stack.deleted = {}, set(), now()
        stack.log(None, GONE)

    def _remove(self, stack: Stack, resources: list[Resource]) -> list[str]:
        """Remove in reverse order of creation; what a stuck resource depends on is left alone. Returns the stuck."""
        failed: list[str] = []
        needed: set[str] = set()
        for resource in reversed(resources):
            if resource.logical_id in needed:
                needed |= self._dependencies(stack, resource)
                failed.append(resource.logical_id)
                continue
            if resource.deletion_policy.startswith(_KEPT):
                stack.log(resource, "DELETE_SKIPPED")
            else:
                reason = self._remove_one(stack, resource)
                if reason:
                    failed.append(resource.logical_id)
                    needed |= self._dependencies(stack, resource)
                    continue
            if stack.resources.get(resource.logical_id) is resource:
                del stack.resources[resource.logical_id]
        return failed

    def _remove_one(self, stack: Stack, resource: Resource) -> str:
        kind = self.registry.get(resource.type)
        stack.log(resource, "DELETE_IN_PROGRESS")
        if kind is not None:
            made = Made(resource.physical_id, resource.attributes)
            try:
                kind.delete(self._context(stack, resource), made, resource.properties)
            except Exception as error:
                if not _is_gone(error):
                    stack.log(resource, "DELETE_FAILED", _reason(error))
                    return _reason(error)
        stack.log(resource, "DELETE_COMPLETE")
        return ""

    def _dependencies(self, stack: Stack, resource: Resource) -> set[str]:
        with contextlib.suppress(AwsError):
            evaluation = self.evaluation(stack, stack.revision, planning=True)
            if resource.logical_id in stack.revision.template["Resources"]:
                return dependencies(evaluation, resource.logical_id)
        return set()


_GONE_WORDS = ("NotFound", "NoSuch", "DoesNotExist", "Unknown", "404")


def _is_gone(error: Exception) -> bool:
    """Whether AWS said that the thing to delete is not there: then the deletion is done."""
    return isinstance(error, ClientError) and any(word in error.response["Error"]["Code"] for word in _GONE_WORDS)


def _summary(failed: list[str]) -> str:
    return f"The following resource(s) failed to delete: [{', '.join(sorted(failed))}]." if failed else ""
