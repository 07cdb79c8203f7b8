"""An S3 request's XML body as botocore's shapes say it: what it holds, and whether the shapes allow it. Pure.

S3 holds bodies to its published schema: an element that it does not know, one too few, a number that is none or a word
that is not in the list are all the same to it, MalformedXML.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime
from typing import Any

from infra.local_cloud.aws.constraints import violations

_XSI = "{http://www.w3.org/2001/XMLSchema-instance}"


class Malformed(ValueError):
    """A body that is no XML, or not what its shape says; the message names the element."""


def read(body: bytes, shape: Any, *, root: str) -> dict[str, Any]:
    """The members of a structure from its XML document, whose outermost element is `root`. Raises `Malformed`."""
    try:
        element = ET.fromstring(body)  # expat expands no external entities; the body was sent by a signed client
    except ET.ParseError as error:
        raise Malformed(f"it is no XML: {error}") from error
    if _name(element) != root:
        raise Malformed(f"the outermost element is {_name(element)}, not {root}")
    found: dict[str, Any] = _value(element, shape, root)
    if problems := violations(found, shape):
        raise Malformed("; ".join(problems))
    return found


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _value(element: ET.Element, shape: Any, path: str) -> Any:
    if shape.type_name == "structure":
        return _structure(element, shape, path)
    if shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        if strange := [_name(child) for child in element if _name(child) != item]:
            raise Malformed(f"{path} holds {strange[0]}, only {item} may be in it")
        return [_value(child, shape.member, f"{path}.{item}") for child in element]
    if len(element):
        raise Malformed(f"{path} holds {_name(element[0])}, it can only hold a text")
    return _scalar(element.text or "", shape.type_name, path)


def _structure(element: ET.Element, shape: Any, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
    for key, text in element.attrib.items():
        short = key.replace(_XSI, "xsi:")
        if short in known and known[short][1].serialization.get("xmlAttribute"):
            found[known[short][0]] = text
    for child in element:
        tag = _name(child)
        if tag not in known:
            raise Malformed(f"{path} holds {tag}, which it does not know")
        name, member = known[tag]
        if member.type_name == "list" and member.serialization.get("flattened"):
            found.setdefault(name, []).append(_value(child, member.member, f"{path}.{tag}"))
        elif name in found:
            raise Malformed(f"{path} holds {tag} twice")
        else:
            found[name] = _value(child, member, f"{path}.{tag}")
    if missing := [name for name in shape.required_members if name not in found]:
        raise Malformed(f"{path} lacks {', '.join(missing)}")
    return found


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.strip().replace("Z", "+00:00"))


_READ: dict[str, Callable[[str], Any]] = {"integer": int, "long": int, "boolean": _boolean, "timestamp": _time}


def _scalar(text: str, kind: str, path: str) -> Any:
    try:
        return _READ.get(kind, str)(text)
    except (ValueError, KeyError) as error:
        raise Malformed(f"{path} is {text!r}, which is no {kind}") from error
