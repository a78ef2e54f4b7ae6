# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Pods that do one thing on one node and end: to a volume's directory, or to prove an image there. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .fingerprint import ASIDE, EMPTY, FILE, MISSING, UNKNOWN
from .manifests import Manifest, meta, names_of
from .names import COMPONENT
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile

# What a preparing pod may do to the one directory it is told. Arguments, never text put into the script: $1 directory, $2 suffix of an archive.
_EACH = 'for item in "$1"/* "$1"/.[!.]* "$1"/..?*; do '
_WIPE = (
    f'{_EACH}[ "${{item##*/}}" = {ASIDE} ] || rm -rf -- "$item"; done; '
    f'rest=$(ls -A -- "$1") || exit 4; rest=$(printf "%s\\n" "$rest" | grep -vxF {ASIDE}); '
    'if [ -n "$rest" ]; then echo "not erased: $rest"; exit 4; fi; '
    'if [ -n "$2" ]; then rmdir -- "$2" 2>/dev/null || :; fi'
)
# Nobody's data: what comes with a file system, and what was put aside where the directory is a mount point.
_OTHERS = f"grep -vxF -e lost+found -e {ASIDE}"
# $there, without these. Read first: what cannot be read is not empty.
_THERE = f'$(printf "%s\\n" "$there" | {_OTHERS})'
_FULL = f'[ -n "$(ls -A -- "$1" 2>/dev/null | {_OTHERS})" ]'
# The same order again finds it done; only what came after it must never be put into the archive, nor lost.
_RENAME = (
    'if [ ! -e "$1.$2" ]; then if {what}; then mv -- "$1" "$1.$2" || exit 1; fi; '
    f'elif {_FULL}; then echo "$1 is not empty, and $1.$2 is there already"; exit 1; fi'
)
# A mount point cannot be renamed (EBUSY), so its content goes into a directory in it. Under another name until all of it is there: killed
# half-way, the same again goes on.
_WITHIN = (
    f'to="$1/{ASIDE}/$2"; part="$1/{ASIDE}/.$2"; '
    f'if {_FULL}; then if [ -e "$to" ]; then echo "$1 is not empty, and $to is there already"; exit 1; fi; '
    f'mkdir -p -- "$part" || exit 1; {_EACH}case "${{item##*/}}" in lost+found|{ASIDE}) ;; '
    '*) if [ -e "$item" ] || [ -L "$item" ]; then mv -- "$item" "$part" || exit 1; fi ;; esac; done; fi; '
    'if [ -e "$part" ]; then mv -- "$part" "$to" || exit 1; fi'
)
MOUNTS = "/proc/self/mountinfo"  # the fifth field is the mount point (man 5 proc_pid_mountinfo)
_ARCHIVE = (
    f'mounted=; while read -r a b c d at more; do [ "$at" != "$1" ] || mounted=1; done < {MOUNTS}; '
    f'if [ -n "$mounted" ]; then {_WITHIN}; else {{rename}}; fi'
)
SCRIPTS = {
    # Someone's data is never taken for a fresh directory: say what lies there and fail. The kubelet has made it, for it is what is mounted.
    "make": (
        f'there=$(ls -A -- "$1") || exit 1; if [ -n "{_THERE}" ]; then '
        f'echo "not empty:"; cat -- "$1/{FILE}" 2>/dev/null; ls -la -- "$1"; exit 3; fi'
    ),
    # What lies there, without touching it: into the pod's own status, for which nobody needs the right to read logs.
    "look": (
        '{ if [ -L "$1" ] && [ ! -e "$1" ]; then echo "$1 is a link to what lies outside of its parent, so nobody can look into it. Nothing in it '
        'was touched. Put the directory itself there, or set local_pv_prepare to none."; exit 1; '
        f'elif [ ! -e "$1" ]; then echo {MISSING}; elif ! there=$(ls -A -- "$1"); then exit 1; elif [ -z "{_THERE}" ]; then echo {EMPTY}; '
        f'elif [ -s "$1/{FILE}" ]; then cat -- "$1/{FILE}"; else echo {UNKNOWN}; fi; }} > /dev/termination-log'
    ),
    "archive": _ARCHIVE.replace("{rename}", _RENAME.replace("{what}", '[ -e "$1" ]')),
    # Through the claim, mounted at $1, and proven empty; then the empty directory, where it was made by such a pod ($2; a disk's own mount point stays).
    "wipe": _WIPE,
    # The same on the Kubernetes node, of a directory that no claim reaches any more; a second time there may be none.
    "erase": f'if [ -e "$1" ]; then {_WIPE}; fi',
    # Where an administrator has made the directory: it stays, empty, with its owner and mode. Killed half-way, the same again ends there.
    "archive_content": _ARCHIVE.replace(
        "{rename}",
        _RENAME.replace("{what}", _FULL) + '; mkdir -p -- "$1"; '
        'if [ -d "$1.$2" ]; then chown "$(stat -c %u:%g -- "$1.$2")" "$1" && chmod "$(stat -c %a -- "$1.$2")" "$1"; fi',
    ),
    "gone": 'if [ -e "$1" ]; then rmdir -- "$1"; fi',
}


def _short_lived(
    spec: Spec, name: str, node: str | None, container: Manifest, *, volumes: t.Sequence[Manifest] = ()
) -> Manifest:
    """A pod that does one thing on one node and ends. Its container's name says what for. node: None where its volume decides."""
    names = names_of(spec)
    secrets = [{"name": secret} for secret in spec.image_pull_secrets]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(names, name) | {"labels": {**names.labels, COMPONENT: container["name"]}},
        "spec": {
            # Bound to its node directly: it must run there and nowhere else, also on a node that is cordoned.
            **({"nodeName": node} if node else {}),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            **({"imagePullSecrets": secrets} if secrets else {}),
            "containers": [
                {
                    "image": spec.image,
                    "imagePullPolicy": spec.image_pull_policy,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    **container,
                }
            ],
            **({"volumes": list(volumes)} if volumes else {}),
        },
    }


def preparer(spec: Spec, ordinal: int, node: str, path: str, action: str, suffix: str = "") -> Manifest:
    """The pod that makes one volume's directory on one node, looks into it, puts it aside or erases it; from the cluster's own image.

    What it makes is mounted itself. The parent, where other volumes lie, is mounted read-only to say whether a directory is there at all, and
    writable only where the directory's own entry may be renamed or removed.
    """
    mounted = path if action == "make" else path.rsplit("/", 1)[0]
    own = spec.local_pv_prepare == "pod"  # an administrator's directory stays, empty
    script = "archive_content" if action == "archive" and not own else action
    more = (path if own else "") if action == "erase" else suffix
    container = {
        "name": "volume",
        "command": ["/bin/sh", "-c", SCRIPTS[script], "sh", path, more],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "host", "mountPath": mounted, **({"readOnly": True} if action == "look" else {})}],
    }
    host = {"name": "host", "hostPath": {"path": mounted, "type": "DirectoryOrCreate"}}
    return _short_lived(spec, names_of(spec).preparer(ordinal), node, container, volumes=[host])


def wiper(spec: Spec, ordinal: int, node: str | None, path: str | None) -> Manifest:
    """The pod that erases what one claim reaches. path: the directory on the node that goes too when it is empty; None: it stays."""
    parent = path.rsplit("/", 1)[0] if path else None
    container = {
        "name": "volume",
        "command": ["/bin/sh", "-c", SCRIPTS["wipe"], "sh", "/claim", path or ""],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [
            {"name": "claim", "mountPath": "/claim"},
            *([{"name": "host", "mountPath": parent}] if parent else []),
        ],
    }
    names = names_of(spec)
    volumes = [
        {"name": "claim", "persistentVolumeClaim": {"claimName": names.claim(ordinal)}},
        *([{"name": "host", "hostPath": {"path": parent, "type": "Directory"}}] if parent else []),
    ]
    return _short_lived(spec, names.preparer(ordinal), node, container, volumes=volumes)


def puller(spec: Spec, profile: Profile, ordinal: int, node: str) -> Manifest:
    """The pod that runs the new image's C(version) on one node: it can be pulled there, and it is what it says."""
    container = {
        "name": "pull",
        "command": [spec.binary or profile.binary, "version"],
        **({"env": [{"name": "LD_LIBRARY_PATH", "value": profile.library_path}]} if profile.library_path else {}),
    }
    return _short_lived(spec, names_of(spec).puller(ordinal), node, container)
