# SPDX-License-Identifier: GPL-3.0-or-later
"""The control of the row check: a careless orchestrator must turn it red, a careful one must not."""
