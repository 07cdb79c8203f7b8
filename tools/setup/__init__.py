"""Sets up everything that Dure needs on a fresh machine; `python3 -m tools.setup` is what every make verb calls first.

Runs on the system's own python3 (3.9 or newer) with the standard library only, since it is what brings all the rest.

Side effects, all announced before they happen: Debian packages (packages.py), virtual environments under `.venv`
and `.envs` (environments.py), the Horovod wheel in the user's cache (horovod.py), the CDK CLI in `node_modules`
(environments.py). A second run finds everything done and takes well under a second.
"""
