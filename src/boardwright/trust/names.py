"""What roles and files are called in signed metadata (pure).

Rules:

* Every software group has a delegated role ``software-GROUP`` that may name ``software/GROUP/VERSION/VARIANT`` and
  nothing else; such a file is the version's manifest.
* The delegated role ``plans`` may name ``plans/NUMBER`` (see ``shards``) and nothing else.
"""

from boardwright.model.software import Target

ROOT, TARGETS, SNAPSHOT, TIMESTAMP, PLANS = "root", "targets", "snapshot", "timestamp", "plans"
SOFTWARE = "software-"  # + group
ROOT_FILE, TARGETS_FILE = "root.json", "targets.json"  # the first of each, in the folder of what is trusted
ONLINE_KEY = "online.pem"  # in a control board's folder, beside its certificate
PLAN_PATHS = "plans/*"


def group_role(group: str) -> str:
    """The role that signs the versions of `group`."""
    return f"{SOFTWARE}{group}"


def group_paths(group: str) -> str:
    """What that role may name."""
    return f"software/{group}/*/*"


def version_path(target: Target) -> str:
    return f"software/{target.group}/{target.version}/{target.variant}"
