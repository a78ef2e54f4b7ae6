# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The control of the matrices: the same misoperations with the guards taken out of a copy of the collection. See ../MISOPERATIONS.md."""
