# SPDX-License-Identifier: GPL-3.0-or-later
"""A workload that knows which rows the database acknowledged, and looks for every one of them at the end."""

from __future__ import annotations

from workload.run import Options, Workload, verify_ledger

__all__ = ["Options", "Workload", "verify_ledger"]
