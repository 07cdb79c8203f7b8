"""Which files of a folder are sent with a job: what git tracks or does not ignore."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster_scripts.cli.work_folder.problems import FolderProblem

# in a folder that git does not know, these are never somebody's code
NEVER_CODE = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".pytest_cache"})


def list_files(folder: Path) -> list[str]:
    """Paths below the folder, with "/" and in a fixed order; files and symbolic links only.

    In a git work tree: what is tracked or not ignored, submodules included. Else every file but what stands
    in folders that are never code (caches, virtual environments).

    Raises FolderProblem if the folder is not there, or if git knows it but fails.
    """
    if not folder.is_dir():
        raise FolderProblem(f"there is no folder {str(folder)!r} to send; name one with --folder, or use --no-code")
    found = _listed_by_git(folder) if _in_git(folder) else _walked(folder)
    return sorted(found)


def _in_git(folder: Path) -> bool:
    resolved = folder.resolve()
    return any((place / ".git").exists() for place in (resolved, *resolved.parents))


def _listed_by_git(folder: Path) -> list[str]:
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        result = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise FolderProblem(
            f"{str(folder)!r} is a git work tree, but there is no git here to ask what it ignores; "
            "install git, or use --no-code"
        ) from error
    if result.returncode:
        raise FolderProblem(
            f"git could not list the files of {str(folder)!r}: {result.stderr.decode(errors='replace').strip()}"
        )
    names = {os.fsdecode(name) for name in result.stdout.split(b"\0") if name}
    found: list[str] = []
    for name in names:
        path = folder / name
        if path.is_symlink() or path.is_file():
            found.append(name)
        elif path.is_dir():  # a submodule or a nested work tree: git names its folder only
            inside = _listed_by_git(path) if (path / ".git").exists() else []
            found += [f"{name.rstrip('/')}/{child}" for child in inside]
        # else: tracked, but deleted here
    return found


def _walked(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in NEVER_CODE and name not in links]
        below = Path(place).relative_to(folder)
        for name in [*files, *links]:
            path = Path(place) / name
            if path.is_symlink() or path.is_file():  # no sockets, no pipes
                found.append((below / name).as_posix())
    return found
