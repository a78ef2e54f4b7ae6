# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Attributes of modules. A module names this fragment and adds ``support`` and ``details`` to each."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return what it would do, without changing anything.
  diff_mode:
    description: Returns details on what has changed, or in check mode would change, when diff is asked for.
  idempotent:
    description:
      - When run twice in a row outside check mode with the same arguments, the second run does not change anything.
"""

    ACTIONGROUP_KAIWUDB = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/kaiwudb.kubernetes.kaiwudb) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - kaiwudb.kubernetes.kaiwudb
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not change anything.
  diff_mode:
    support: N/A
    details:
      - This action does not change anything.
  idempotent:
    support: full
    details:
      - This action does not change anything.
"""
