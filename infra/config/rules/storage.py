"""Rules of storage."""

from __future__ import annotations

from infra.config.rules.base import Rule

STORAGE: tuple[Rule, ...] = ()
