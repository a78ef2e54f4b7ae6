# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of one run over one cluster: which cluster, what may hold it up, and what the action plugin hands to its slices."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  run_id:
    description:
      - Identity of the run over all its slices. Set by the action plugin.
    type: str
  slice:
    description:
      - Seconds after which the module returns where it stands, to be called again. Set by the action plugin.
    type: float
  carry:
    description:
      - What the slice before handed on, such as since when it waits. Set by the action plugin.
    type: dict
"""

    NAMED = r"""
options:
  name:
    description:
      - Name of the cluster.
    type: str
    required: true
  namespace:
    description:
      - Namespace that holds the cluster.
    type: str
    required: true
"""

    LIMITS = r"""
options:
  waive:
    description:
      - Names of gates that may fail in this run.
    type: list
    elements: str
  max_runtime:
    description:
      - Seconds after which the run ends with RV(in_progress=true) and success; the same run again continues. V(0) means no limit.
    type: str
  wait_timeout:
    description:
      - Seconds without any movement after which a wait is given up, such as for a pod that does not start or a budget that lets no pod go.
    type: str
"""
