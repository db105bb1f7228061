"""What all unit tests have in common: Hypothesis, on a machine that has other things to do."""

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is. What is too slow takes a test's own time limit.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
