"""The code that the functions share, in rooms. The rules are the modules of this package: no I/O, and no clock.

Rooms import downwards only: flows, replicate, aws, photo, runtime, rules. `tests/repository/test_rooms.py` holds that.
"""
