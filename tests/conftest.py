"""Settings of the core's tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Tests share a busy machine: how long an example takes says nothing about the code.
settings.register_profile(
    "mtlora", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("mtlora")
