"""How long the server lets somebody wait: asks `/healthz` ten times a second and prints milliseconds: `probe.py URL`.

Each line: until the answer was there, and how late this process itself woke up to ask. A process of its own, so that
what the callers' process has to do is not taken for the server's.
"""

import http.client
import sys
import time
from urllib.parse import urlsplit

_EVERY_S = 0.1
_PATIENCE_S = 5.0


def main(url: str) -> None:
    host = urlsplit(url).netloc
    wanted = time.monotonic()
    while True:
        wanted += _EVERY_S
        time.sleep(max(0.0, wanted - time.monotonic()))
        late = time.monotonic() - wanted
        began = time.monotonic()
        try:
            # A new one each time: any of the workers may take it.
            connection = http.client.HTTPConnection(host, timeout=_PATIENCE_S)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            connection.close()
        except OSError:
            pass  # its time tells
        now = time.monotonic()
        print(f"{(now - began) * 1000:.2f} {late * 1000:.2f}", flush=True)
        # What was missed is not made up for.
        wanted = max(wanted, now - _EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1])
