"""Restarts and crashes with many live calls: real signals on a real gunicorn, the simulated phones as Twilio.

crowd.py     the callers: what each says, what must have become of each call, the silence they met
keeper.py    a small systemd: keeps the listening socket and starts gunicorn again
soak.py      `make soak`: fifty calls for as long as one likes, a fault a minute; then soak_caller, soak_faults,
             soak_samples
"""
