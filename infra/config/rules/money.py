"""Rules of money."""

from __future__ import annotations

from infra.config.rules.base import Rule

MONEY: tuple[Rule, ...] = ()
