"""Rules of queues."""

from __future__ import annotations

from infra.config.rules.base import Rule

QUEUES: tuple[Rule, ...] = ()
