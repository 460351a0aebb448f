"""Random changes of a sealed log by every power that the design names, and whether each is found, at its first index.

Section 5 of the design: a database administrator without keys, the host of the application with the MAC keys, the host of
the sealer with the log's keys, all of them together, and whoever restores a backup. The tests play a short seeded form,
`./manage.py bench audit-tamper` the long one.
"""
