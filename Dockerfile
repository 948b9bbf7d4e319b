# The server in a container: docs/deploy.md. The code is root's; what the server writes goes to /var/lib/voice.
FROM python:3.11-slim-bookworm

RUN useradd --system --uid 10001 --user-group voice && install -d -o voice -g voice -m 0700 /var/lib/voice
WORKDIR /opt/voice

COPY requirements-server.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
    -r requirements-server.lock

# .dockerignore lets through what the server needs, and nothing else. Compiled now, each start is so much shorter.
COPY . .
RUN python -m compileall -q config voice server.py gunicorn.conf.py

ENV CALL_LOG_DIR=/var/lib/voice/calls \
    RECORDINGS_DIR=/var/lib/voice/recordings \
    CLIPS_DIR=/var/lib/voice/clips \
    DATABASE_URL=sqlite:////var/lib/voice/voice.db
VOLUME /var/lib/voice
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 8000}/healthz\", timeout=4)"]
# gunicorn is process 1 and gets SIGTERM itself. Its calls need up to 25 s to leave: docker stop --time 40.
STOPSIGNAL SIGTERM
CMD ["gunicorn", "server:app"]
