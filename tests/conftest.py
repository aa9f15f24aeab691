"""Settings that hold for all tests."""

from hypothesis import settings

# Machines are shared: how long an example takes says nothing about whether it is right.
settings.register_profile("tensoras", deadline=None)
settings.load_profile("tensoras")
