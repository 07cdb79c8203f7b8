"""Reads YAML into plain values and remembers the line of every key.

It refuses what a cluster file never needs and an attacker likes: large files, deep nesting, aliases that multiply,
aliases that contain themselves, duplicate keys, keys that are not text, and tags.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from infra.config.problems import KeyPath, Problem, key_of, shown

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 30


@dataclass
class Document:
    """A file's plain value, and the line of each path in it; `problems` is empty when all of it could be read."""

    file: str
    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of a path, or of the nearest thing that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, *, found: str, allowed: str, rule: str, fix: str = "") -> Problem:
        """A problem at a path, with file and line filled in."""
        return Problem(
            file=self.file, line=self.line(path), key=key_of(path), found=found, allowed=allowed, rule=rule, fix=fix
        )


def read(path: Path) -> Document:
    """Read a YAML file. It never raises for what is in the file or for a file that can't be read: see `problems`."""
    document = Document(file=str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        _refuse(document, found=f"a file that cannot be read ({reason})", allowed="a readable YAML file", rule="file")
        return document
    if len(content) > MAX_BYTES:
        allowed = f"at most {MAX_BYTES // 1024} KiB"
        _refuse(document, found="a larger file", allowed=allowed, rule="file-size")
        return document
    return parse(content, file=str(path))


def parse(content: bytes, *, file: str) -> Document:
    """Read YAML from bytes; `file` is the name that problems carry."""
    document = Document(file=file)
    try:
        root = yaml.compose(content.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _refuse(document, found="bytes that are not UTF-8", allowed="UTF-8 text", rule="yaml", line=line)
    except yaml.YAMLError as error:
        _refuse_yaml(document, error)
    except _TooDeep as error:
        _refuse(
            document,
            found="very deep nesting",
            allowed=f"at most {MAX_DEPTH} levels",
            rule="yaml-depth",
            line=error.line,
        )
    else:
        if root is not None:
            document.value = _Builder(document).value(root, ())
    return document


class _TooDeep(Exception):
    """Nesting that no cluster file has; `line` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Stops at deep nesting while it reads: PyYAML's time grows with the square of the depth, and Python's stack ends.

    A little deeper than what the builder takes, which can say at which key it is.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self._depth > MAX_DEPTH + 5:
            raise _TooDeep(self.line + 1)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _refuse(document: Document, *, found: str, allowed: str, rule: str, line: int = 1) -> None:
    document.problems.append(Problem(file=document.file, line=line, key="", found=found, allowed=allowed, rule=rule))


def _refuse_yaml(document: Document, error: yaml.YAMLError) -> None:
    """Note broken YAML at its line, in the parser's words."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or "text that is not YAML"
    line = mark.line + 1 if mark is not None else 1
    _refuse(document, found=f"broken YAML ({' '.join(str(words).split())})", allowed="YAML", rule="yaml", line=line)


class _TooMuch(Exception):
    """The limits are passed: stop building."""


class _Builder:
    """Turns nodes into plain values; each alias is built anew, so that counting nodes stops a bomb."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._constructor = yaml.SafeLoader("")
        self._nodes = 0

    def value(self, root: Node, path: KeyPath) -> Any:
        self._document.lines[path] = root.start_mark.line + 1
        try:
            return self._build(root, path, ())
        except _TooMuch:
            return None

    def _build(self, node: Node, path: KeyPath, parents: tuple[int, ...]) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(path, f"more than {MAX_NODES} values (aliases counted)", f"at most {MAX_NODES}", "yaml-bomb")
        if len(parents) > MAX_DEPTH:
            self._stop(path, "very deep nesting", f"at most {MAX_DEPTH} levels", "yaml-depth")
        if id(node) in parents:
            self._stop(path, "an alias that contains itself", "values", "yaml-bomb")
        inner = (*parents, id(node))
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, inner)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return self._sequence(node, path, inner)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._note(path, f"the tag {shown(node.tag)}", "no tags", "yaml-tag")
        return None

    def _mapping(self, node: MappingNode, path: KeyPath, parents: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                found = shown(key_node.value) if isinstance(key_node, ScalarNode) else "a list or mapping"
                self._note(path, f"the key {found}", "keys that are plain text (quote it)", "yaml-key", key_node)
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key in result:
                self._note(inner, "the same key again", "each key once", "duplicate-key", key_node)
                continue
            self._document.lines[inner] = key_node.start_mark.line + 1
            result[key] = self._build(value_node, inner, parents)
        return result

    def _sequence(self, node: SequenceNode, path: KeyPath, parents: tuple[int, ...]) -> list[Any]:
        result = []
        for index, item in enumerate(node.value):
            self._document.lines[(*path, index)] = item.start_mark.line + 1
            result.append(self._build(item, (*path, index), parents))
        return result

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        try:
            return self._constructor.construct_object(node)
        except yaml.constructor.ConstructorError:
            self._note(path, f"the tag {shown(node.tag)}", "no tags", "yaml-tag")
            return None
        except (ValueError, ArithmeticError):
            self._note(path, shown(node.value), "a plain text, number, true or false", "yaml-value")
            return None

    def _note(self, path: KeyPath, found: str, allowed: str, rule: str, node: Node | None = None) -> None:
        line = self._document.line(path) if node is None else node.start_mark.line + 1
        self._document.problems.append(
            Problem(file=self._document.file, line=line, key=key_of(path), found=found, allowed=allowed, rule=rule)
        )

    def _stop(self, path: KeyPath, found: str, allowed: str, rule: str) -> None:
        self._note(path, found, allowed, rule)
        raise _TooMuch
