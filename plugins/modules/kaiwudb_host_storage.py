#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One Kubernetes node's disk, made ready for local volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_host_storage
short_description: Prepare a Kubernetes node's disk for the local volumes of KaiwuDB clusters
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Runs on the Kubernetes node itself, over SSH and as root, before the volumes are made; it is what V(ssh) of the option
    C(local_pv_prepare) of M(kaiwudb.kubernetes.kaiwudb_cluster) stands for.
  - Makes the directory under which volumes get theirs; if asked, on a block device of its own, which gets a filesystem, a line in
    C(/etc/fstab) by UUID with C(nofail), and is mounted by that line.
  - Nothing is ever erased. A device that has any signature (filesystem, partition table, LVM, RAID, swap …), a mount, a swap or another
    user is refused, unless it holds the very filesystem that C(/etc/fstab) mounts at O(path). There is no way to force it.
  - A run that was killed is continued by the next one. The UUID is noted in C(/etc/fstab), as a comment, before the filesystem is made.
extends_documentation_fragment:
  - kaiwudb.kubernetes.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - Python 3.8 or later, C(lsblk), C(blkid), C(wipefs), C(findmnt), C(findfs) and C(mount) of util-linux, C(mkfs.ext4) or C(mkfs.xfs) on the node
  - root
options:
  path:
    description:
      - Directory under which each volume gets a directory of its own; the C(local_path) of the clusters.
      - With O(device) the place where it is mounted. It must be empty then, for a mount covers what lies in it.
      - While a disk that C(/etc/fstab) mounts there, or above it, is not mounted, it is refused; lines with C(noauto) above it do not count.
    type: str
    default: /var/lib/kaiwudb
  device:
    description:
      - Block device to be mounted at O(path), best by a name that stays, below C(/dev/disk/by-id).
      - Not given, O(path) is a directory on what is mounted there already.
    type: str
  fstype:
    description:
      - Filesystem to be made on O(device); V(ext4) when not given, which the database's guide recommends.
      - A filesystem that is there is never made anew; when it is another one, that is refused.
      - Without O(device), the filesystem that O(path) must lie on.
    type: str
    choices: [ext4, xfs]
  mount_options:
    description:
      - Options of the mount. C(nofail) is always added, so that a node whose disk is missing still starts.
      - Not given, a new line in C(/etc/fstab) gets C(noatime), and the line that is there keeps its own.
      - Other options than before take effect at the next mount.
    type: list
    elements: str
  owner:
    description:
      - Owner of O(path) and O(directories), a name or a number. Not given, what is there stays, and what is new belongs to root.
    type: str
  group:
    description:
      - Group of O(path) and O(directories), a name or a number.
    type: str
  mode:
    description:
      - Permission bits of O(path) and O(directories), four octal digits in quotes, such as V('0750').
      - Not given, what is there stays, and what is new gets C(0755).
    type: str
  min_free:
    description:
      - Least free space, a Kubernetes quantity such as V(500Gi).
      - Less is refused before something new is made, and warned of afterwards, when the databases' own data fills the disk.
    type: str
  directories:
    description:
      - Names of directories to be made below O(path), one for each volume. What lies in one that is there is not looked at.
    type: list
    elements: str
    default: []
  new_directories:
    description:
      - The same for volumes that are still to be made. One that holds something is refused, for its data would reach another cluster.
      - The plan of M(kaiwudb.kubernetes.kaiwudb_local_volume) says which (C(new_volumes)); playbook C(prepare_nodes) brings the two together.
        It adds to O(directories) those of volumes that are there and wait for theirs (C(waiting_volumes)).
    type: list
    elements: str
    default: []
  transparent_hugepages:
    description:
      - What follows when transparent huge pages are C(always) on the node.
    type: str
    choices: [warn, fail, ignore]
    default: warn
  clock:
    description:
      - What follows when the node's clock is not synchronised, as the kernel says (what C(timedatectl) shows).
      - chronyd tells the kernel only with C(rtcsync), which distributions set.
    type: str
    choices: [warn, fail, ignore]
    default: warn
seealso:
  - module: kaiwudb.kubernetes.kaiwudb_local_volume
"""

EXAMPLES = r"""
- name: A disk for the volumes of this node
  kaiwudb.kubernetes.kaiwudb_host_storage:
    path: /data/kaiwudb
    device: /dev/disk/by-id/nvme-eui.0025388b71b0a1c2
    fstype: xfs
    min_free: 500Gi
    clock: fail
  become: true

- name: A directory on a filesystem that is mounted already
  kaiwudb.kubernetes.kaiwudb_host_storage:
    path: /data/kaiwudb
    fstype: ext4
    new_directories: [orders.orders-0]
  become: true
"""

RETURN = r"""
msg:
  description: One line about what was done, or would be.
  returned: always
  type: str
  sample: '/data/kaiwudb: made ext4 on /dev/sdb, in fstab, mounted'
steps:
  description: Ids of the steps that were done; in check mode, of those that would be.
  returned: success
  type: list
  elements: str
  sample: [directory, intent, filesystem, fstab, mount, directory/orders.orders-0]
storage:
  description: What O(path) lies on, after the run.
  returned: success
  type: dict
  contains:
    path:
      description: The directory.
      type: str
    mount:
      description: Where the filesystem is mounted that it lies on.
      type: str
    source:
      description: Device of that filesystem.
      type: str
    fstype:
      description: Its type.
      type: str
    uuid:
      description: Its UUID, when O(device) is given.
      type: str
    free:
      description: Free bytes.
      type: int
  sample: {path: /data/kaiwudb, mount: /data/kaiwudb, source: /dev/sdb, fstype: ext4, uuid: 0e3c…, free: 498216206336}
host:
  description: What was found about the node.
  returned: success
  type: dict
  contains:
    transparent_hugepages:
      description: C(always), C(madvise) or C(never).
      type: str
    clock_synchronised:
      description: Whether the clock is synchronised; none when the kernel does not say.
      type: bool
reason:
  description: Stable code of a refusal or failure, such as C(device_signature), C(device_in_use), C(device_missing), C(too_small) or C(clock).
  returned: failure
  type: str
option:
  description: The option that is refused.
  returned: failure
  type: str
"""

import contextlib
import grp
import pwd
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host import storage
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.node import Node
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.wish import Wish, check, mode_of, numbered

HINTS = {"type": "str", "choices": ["warn", "fail", "ignore"], "default": "warn"}
ARGUMENTS = {
    "path": {"type": "str", "default": "/var/lib/kaiwudb"},
    "device": {"type": "str"},
    "fstype": {"type": "str", "choices": ["ext4", "xfs"]},
    "mount_options": {"type": "list", "elements": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "min_free": {"type": "str"},
    "directories": {"type": "list", "elements": "str", "default": []},
    "new_directories": {"type": "list", "elements": "str", "default": []},
    "transparent_hugepages": HINTS,
    "clock": HINTS,
}
# What is seen only after a mount is done in a second pass; a third one proves that nothing is left.
PASSES = 3


def account(option: str, name: str | None, find: t.Callable[[str], int]) -> int | None:
    """The number behind a user's or group's name."""
    if not name:
        return None
    if name.isdigit():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise InputError(
            option, f"there is no {option} {name!r} on this node; allowed is a name it knows, or a number"
        ) from None


def wish_of(params: dict[str, t.Any]) -> Wish:
    """The module's parameters, checked."""
    options = params["mount_options"]
    wish = Wish(
        path=params["path"],
        device=params["device"] or None,
        fstype=params["fstype"],
        mount_options=tuple(options) if options else None,
        owner=account("owner", params["owner"], lambda name: pwd.getpwnam(name).pw_uid),
        group=account("group", params["group"], lambda name: grp.getgrnam(name).gr_gid),
        mode=mode_of(params["mode"]),
        min_free=numbered("min_free", params["min_free"]),
        directories=tuple(params["directories"]),
        new=tuple(params["new_directories"]),
        thp=params["transparent_hugepages"],
        clock=params["clock"],
    )
    check(wish)
    return wish


def work(node: Node, wish: Wish, check_mode: bool) -> dict[str, t.Any]:
    """Look, decide, do, until nothing is left to do; in check mode look and decide once."""
    done: list[storage.Step] = []
    fresh = str(uuid.uuid4())
    try:
        for _pass in range(PASSES):
            seen = node.look(wish)
            plan = storage.decide(wish, seen, fresh)
            if check_mode or not plan.steps:
                break
            for step in plan.steps:
                node.do(step, wish)
                done.append(step)
        else:
            raise ClusterError(
                f"path: {wish.path} is still not as it should be: {plan.steps[0].id} is done again and again",
                "not_settled",
            )
    except (ClusterError, OSError) as error:
        facts = error.result() if isinstance(error, ClusterError) else {"reason": "system", "resumable": True}
        before = f"Done before: {', '.join(step.id for step in done)}." if done else "Nothing was changed."
        told = error.msg if isinstance(error, ClusterError) else str(error)
        return {
            **facts,
            "failed": True,
            "changed": bool(done),
            "msg": f"{told} {before}",
            "steps": [step.id for step in done],
        }
    steps = list(plan.steps) if check_mode else done
    names = ", ".join(step.id for step in steps)
    return {
        "changed": bool(steps),
        "msg": f"{wish.path}: " + (("would do " if check_mode else "") + names if steps else "nothing to do"),
        "steps": [step.id for step in steps],
        "storage": {
            "path": wish.path,
            "mount": plan.mount.target if plan.mount else None,
            "source": plan.mount.source if plan.mount else None,
            "fstype": plan.mount.fstype if plan.mount else None,
            "uuid": (seen.device.uuid or None) if seen.device else None,
            "free": seen.free,
        },
        "host": {"transparent_hugepages": seen.thp, "clock_synchronised": seen.synchronised},
        "warnings": list(plan.warnings),
        "diff": {
            "before": "".join(f"{step.what}: {step.before}\n" for step in steps),
            "after": "".join(f"{step.what}: {step.after}\n" for step in steps),
        },
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.run_command_environ_update = {"LC_ALL": "C", "LANG": "C"}
    node = Node(module.run_command, module.atomic_move)
    try:
        wish = wish_of(module.params)
        with contextlib.nullcontext() if module.check_mode else node.alone():
            result = work(node, wish, module.check_mode)
    except ClusterError as error:
        module.fail_json(**error.result())
    if result.pop("failed", False):
        module.fail_json(**result)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
