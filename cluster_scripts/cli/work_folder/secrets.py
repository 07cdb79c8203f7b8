"""Files that look like keys: by name, and by what stands in them. Pure; what is found is never quoted."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

# only so much of a file is looked at: keys are small, and so are files with keys
LOOKED_AT_BYTES = 1 << 20

KEY_NAMES: tuple[tuple[str, str], ...] = (
    ("id_rsa", "an ssh private key by its name"),
    ("id_dsa", "an ssh private key by its name"),
    ("id_ecdsa", "an ssh private key by its name"),
    ("id_ed25519", "an ssh private key by its name"),
    ("*.pem", "a key by its name"),
    ("*.ppk", "a PuTTY private key by its name"),
    ("*.p12", "a key store by its name"),
    ("*.pfx", "a key store by its name"),
    ("*.jks", "a key store by its name"),
    ("*.key", "a key by its name"),
    (".env", "an environment file, where passwords live"),
    (".env.*", "an environment file, where passwords live"),
    (".netrc", "a file of passwords by its name"),
    (".pgpass", "a file of passwords by its name"),
    (".npmrc", "a file with registry tokens by its name"),
    (".pypirc", "a file of passwords by its name"),
    (".git-credentials", "a file of passwords by its name"),
    ("kubeconfig", "cluster credentials by its name"),
)
HARMLESS_NAMES = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist"})

# a folder's own file: (folder, name)
KEY_PLACES: frozenset[tuple[str, str]] = frozenset({(".aws", "credentials"), (".docker", "config.json")})

_PRIVATE_KEY = rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=:\s-]{64}"
# AWS's own documentation uses keys that end in EXAMPLE
_ACCESS_KEY_ID = rb"(?<![A-Z0-9])(?:AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}(?![A-Z0-9])"
_SECRET_KEY = (
    rb"(?i)aws_?(?:secret_?access_?key|session_?token)[\"']?\s*[:=]\s*[\"']?"
    rb"(?![A-Za-z0-9/+=]*EXAMPLE)[A-Za-z0-9/+=]{40}"
)

KEY_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(_PRIVATE_KEY), "has a private key in it"),
    (re.compile(_ACCESS_KEY_ID), "has an AWS access key id in it"),
    (re.compile(_SECRET_KEY), "has an AWS secret key in it"),
    (re.compile(rb"(?<![A-Za-z0-9_])gh[opsu]_[A-Za-z0-9]{36}(?![A-Za-z0-9])"), "has a GitHub token in it"),
    (re.compile(rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])"), "has a Hugging Face token in it"),
)


def suspicion(path: str, content: bytes) -> str | None:
    """Why the file looks like a secret, or None. `content` may be just its first LOOKED_AT_BYTES."""
    return _by_name(path) or _by_content(content)


def _by_name(path: str) -> str | None:
    place = PurePosixPath(path)
    name = place.name.lower()
    if name in HARMLESS_NAMES:
        return None
    if (place.parent.name.lower(), name) in KEY_PLACES:
        return "a file of credentials by its place"
    return next((why for pattern, why in KEY_NAMES if fnmatchcase(name, pattern)), None)


def _by_content(content: bytes) -> str | None:
    head = content[:LOOKED_AT_BYTES]
    return next((why for pattern, why in KEY_TEXTS if pattern.search(head)), None)
