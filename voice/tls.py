"""How all TLS of ours is met: one context for the process, since building it costs 20 to 40 ms, of a start or of all
calls; and with it sessions are resumed. urllib3 and httpx have it offer http/1.1 (ALPN), which is what all wires speak.
"""

import ssl

import certifi

CONTEXT = ssl.create_default_context(cafile=certifi.where())
