"""Rules of network."""

from __future__ import annotations

from infra.config.rules.base import Rule

NETWORK: tuple[Rule, ...] = ()
