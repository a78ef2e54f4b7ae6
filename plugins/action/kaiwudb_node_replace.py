# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls the module of the same name slice by slice, and shows a line whenever something moved."""

from __future__ import annotations

from ansible_collections.kaiwudb.kubernetes.plugins.plugin_utils.slices import SlicedAction


class ActionModule(SlicedAction):
    """See M(kaiwudb.kubernetes.kaiwudb_node_replace)."""
