# SPDX-License-Identifier: MIT
"""The parts of bench/run: one module each for statistics, configurations,
workloads, measuring, reports."""
