# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of local processes, for the tests of the lab itself."""
